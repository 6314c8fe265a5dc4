import type { PeerData } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import { multiaddr } from '@multiformats/multiaddr'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { nodeIdOf } from '../../src/dht/identity.ts'
import { AT_HAND_MS, boundPeerStore, DEFAULT_PEER_STORE_OPTIONS } from '../../src/dht/libp2p-peer-store.ts'
import type { DhtLibp2p } from '../../src/dht/libp2p-services.ts'
import { createNodeLibp2p } from '../../src/node/transports.ts'
import { PATIENCE } from '../support/patience.ts'

/** What a real libp2p node remembers of peers that it has never seen. */

const OPTIONS = { ...DEFAULT_PEER_STORE_OPTIONS, maxPeers: 50, maxAddresses: 8, maxUnderWay: 100 }
const idOf = (number: number) => {
  const key = new Uint8Array(32)
  new DataView(key.buffer).setUint32(0, number + 1)
  return peerIdFromString(nodeIdOf(key))
}
const addressOf = (number: number) =>
  multiaddr(`/ip4/10.${(number >> 16) & 255}.${(number >> 8) & 255}.${number & 255}/tcp/1/ws`)
const addresses = (count: number, from = 0) => Array.from({ length: count }, (_, i) => addressOf(from + i))

/** Where libp2p writes, which its type does not show. */
interface Inside {
  components: { datastore: { put(...entry: unknown[]): unknown } }
}

let node: DhtLibp2p
let other: DhtLibp2p
beforeEach(async () => {
  const listen = ['/ip4/127.0.0.1/tcp/0/ws']
  node = await createNodeLibp2p({ seed: new Uint8Array(32).fill(81), role: 'durable', listen })
  other = await createNodeLibp2p({ seed: new Uint8Array(32).fill(82), role: 'client', listen: [] })
  boundPeerStore(node, OPTIONS)
})
afterEach(() => Promise.all([node.stop(), other.stop()]))

const known = async () => (await node.peerStore.all()).map(({ id }) => String(id))
const textsOf = async (number: number) =>
  (await node.peerStore.get(idOf(number))).addresses.map((one) => String(one.multiaddr))

describe('a peer store', () => {
  it('keeps those written last, and who is connected', async () => {
    await other.dial(node.getMultiaddrs())
    const isThere = async () => expect(await known()).toContain(String(other.peerId))
    await vi.waitFor(isThere, { timeout: 20_000 })
    for (let i = 0; i < 200; i++) await node.peerStore.merge(idOf(i), { multiaddrs: addresses(1, i) })
    const kept = await known()
    expect(kept).toHaveLength(OPTIONS.maxPeers)
    expect(kept).toContain(String(idOf(199)))
    expect(kept).not.toContain(String(idOf(0)))
    expect(kept).toContain(String(other.peerId))
    expect((await node.peerStore.get(other.peerId)).protocols.length).toBeGreaterThan(0)
  })

  it('keeps no relay without an address of its own: two that name each other are not waited for', async () => {
    const through = (relay: number, to: number) =>
      multiaddr(`/p2p/${idOf(relay)}/p2p-circuit/p2p/${idOf(to)}`)
    await node.peerStore.merge(idOf(1), { multiaddrs: [through(2, 1), addressOf(1)] })
    expect(await textsOf(1)).toEqual([String(addressOf(1))])
    for (const [relay, to] of [
      [2, 3],
      [3, 2],
    ] as const) {
      await node.peerStore.merge(idOf(to), { multiaddrs: [through(relay, to)] })
      await node.peerStore.patch(idOf(to), { multiaddrs: [through(relay, to)] })
    }
    await expect(node.dial(idOf(3))).rejects.toMatchObject({ name: 'NoValidAddressesError' })
  })

  it('keeps so many addresses of a peer, its own and the last ones, and no long ones', async () => {
    const own = addresses(3, 60_000).map((one) => ({ multiaddr: one, isCertified: true }))
    await node.peerStore.patch(idOf(1), { addresses: own, tags: { friend: { value: 7 } } })
    for (let i = 1; i < 20; i++) await node.peerStore.merge(idOf(1), { multiaddrs: addresses(5, 100 * i) })
    const texts = await textsOf(1)
    expect(texts.length).toBeLessThanOrEqual(OPTIONS.maxAddresses)
    expect(texts).toEqual(expect.arrayContaining(own.map((one) => String(one.multiaddr))))
    expect(texts).toContain(String(addressOf(1_900)))
    expect((await node.peerStore.get(idOf(1))).tags.get('friend')?.value).toBe(7)
    const long = multiaddr(`/dns4/${'a.'.repeat(200)}example/tcp/1/ws`)
    await node.peerStore.merge(idOf(2), { multiaddrs: [long, addressOf(1)] })
    expect(await textsOf(2)).toEqual([String(addressOf(1))])
    // by its own word too
    for (const write of [node.peerStore.patch, node.peerStore.save]) {
      await write.call(node.peerStore, idOf(3), { multiaddrs: [long, ...addresses(100)] })
      expect(await textsOf(3)).toEqual(addresses(OPTIONS.maxAddresses).map(String))
    }
  })

  it('is written once for each time that a peer is named, also where that is again and again', async () => {
    const patching = vi.spyOn(node.peerStore, 'patch')
    const reading = vi.spyOn(node.peerStore, 'get')
    for (let i = 0; i < 80; i++) await node.peerStore.merge(idOf(1), { multiaddrs: addresses(2) })
    expect(patching).not.toHaveBeenCalled()
    expect(reading.mock.calls.length).toBeLessThan(80 / 2)
    expect(await textsOf(1)).toEqual(addresses(2).map(String))
  })

  it('takes in so many strangers at once, and those that it knows always', async () => {
    await node.peerStore.merge(idOf(0), { multiaddrs: addresses(1) })
    const merging = Array.from({ length: 1_000 }, (_, i) =>
      node.peerStore.merge(idOf(i), { multiaddrs: addresses(1, i) }),
    )
    const outcomes = await Promise.allSettled(merging)
    expect(outcomes[0]?.status).toBe('fulfilled')
    const refused = outcomes.filter((one) => one.status === 'rejected')
    expect(refused).toHaveLength(1_000 - 1 - OPTIONS.maxUnderWay)
    expect(refused[0]?.reason).toMatchObject({ code: 'BUSY' })
    await node.peerStore.merge(idOf(5_000), { multiaddrs: addresses(1) })
    await vi.waitFor(async () => expect(await known()).toHaveLength(OPTIONS.maxPeers), PATIENCE)
  })

  describe('of a peer that it has just written', () => {
    const PROTOCOL = '/one/1.0.0'
    const inside = () => (node as unknown as Inside).components.datastore
    /** Whether something was written for it. */
    const isWritten = async (data: PeerData) => {
      const put = vi.spyOn(inside(), 'put')
      try {
        await node.peerStore.merge(idOf(1), data)
        return put.mock.calls.length > 0
      } finally {
        put.mockRestore()
      }
    }
    const infoOf = async () => (await node.peerStore.getInfo(idOf(1))).multiaddrs.map(String)

    beforeEach(async () => {
      await node.peerStore.merge(idOf(1), { multiaddrs: addresses(3), protocols: [PROTOCOL] })
    })
    afterEach(() => vi.useRealTimers())

    it('writes nothing that it has', async () => {
      for (const data of [{ multiaddrs: addresses(2, 1) }, { protocols: [PROTOCOL] }, { multiaddrs: [] }])
        expect([data, await isWritten(data)]).toEqual([data, false])
    })

    it('writes whatever is new', async () => {
      for (const data of [
        { multiaddrs: addresses(2, 2) },
        { protocols: [PROTOCOL, '/two/1.0.0'] },
        { tags: { tag: { value: 1 } } },
        { multiaddrs: addresses(1), metadata: { key: Uint8Array.of(1) } },
      ])
        expect([data, await isWritten(data)]).toEqual([data, true])
      const { addresses: kept, protocols, tags } = await node.peerStore.get(idOf(1))
      expect([kept.length, protocols.length, tags.size]).toEqual([4, 2, 1])
    })

    it('writes what was there before something else took its place, or it was deleted', async () => {
      await node.peerStore.patch(idOf(1), { multiaddrs: addresses(1, 9) })
      expect(await infoOf()).toEqual([String(addressOf(9))])
      expect(await isWritten({ multiaddrs: addresses(3) })).toBe(true)
      await node.peerStore.save(idOf(1), { multiaddrs: addresses(1, 8) })
      expect(await infoOf()).toEqual([String(addressOf(8))])
      await node.peerStore.delete(idOf(1))
      await expect(node.peerStore.getInfo(idOf(1))).rejects.toThrow()
      expect(await isWritten({ multiaddrs: addresses(1, 8) })).toBe(true)
    })

    it('writes it again before libp2p takes it for old', async () => {
      vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + AT_HAND_MS + 1 })
      expect(await isWritten({ multiaddrs: addresses(3) })).toBe(true)
      expect(await isWritten({ multiaddrs: addresses(3) })).toBe(false)
    })
  })
})
