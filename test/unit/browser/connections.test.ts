import { afterEach, describe, expect, it, vi } from 'vitest'
import {
  type Candidate,
  choose,
  defaultMaxConnections,
  keepBounded,
} from '../../../src/browser/connections.ts'
import { type DhtLibp2p, NEEDED_VALUE } from '../../../src/dht/index.ts'
import { MAX_CONNECTIONS_FROM_PEER } from '../../../src/dht/libp2p-newest.ts'
import { startLibp2pNet, type TestLibp2pNet } from '../../support/libp2p-net.ts'
import { until } from '../../support/memory-nodes.ts'

const SELF = new Uint8Array(32)

/** A position that shares so many bits with SELF. */
function at(bits: number, tail = 0): Uint8Array {
  const position = new Uint8Array(32).fill(tail, 31)
  position[bits >> 3] = 0x80 >> (bits & 7)
  return position
}

let made = 0
function peer(bits: number, rest: Partial<Candidate> = {}): Candidate {
  made += 1
  const nodeId = rest.nodeId ?? `peer-${made}`
  const plain = { isRelay: false, value: 0, isInUse: false, isDirect: true, openedAtMs: made }
  return { nodeId, position: at(bits, made), ...plain, ...rest }
}

const idsOf = (peers: Candidate[]) => peers.map(({ nodeId }) => nodeId)

describe('which connections are kept', () => {
  it('all of them while there are no more than allowed', () => {
    const peers = [0, 0, 0, 1, 9].map((bits) => peer(bits))
    expect([...choose(peers, SELF, 5)].toSorted()).toEqual(idsOf(peers).toSorted())
  })

  it('never more than allowed, whatever they are', () => {
    const relays = Array.from({ length: 9 }, () => peer(0, { isRelay: true }))
    const needed = Array.from({ length: 9 }, () => peer(0, { value: NEEDED_VALUE }))
    expect(choose([...needed, ...relays], SELF, 6).size).toBe(6)
  })

  it('the relay and the replicas of its topics before neighbours, however far they are', () => {
    const near = Array.from({ length: 50 }, (_, i) => peer(10 + i))
    const relay = peer(0, { isRelay: true })
    const replicas = [1, 2, 3].map((rank) => peer(0, { value: NEEDED_VALUE + rank }))
    const kept = choose([...near, ...replicas, relay], SELF, 4)
    expect([...kept].toSorted()).toEqual(idsOf([relay, ...replicas]).toSorted())
    // and those that nobody needs any more have no such claim
    const forgotten = replicas.map((one) => ({ ...one, value: NEEDED_VALUE - 1 }))
    expect([...choose([...near, ...forgotten, relay], SELF, 4)]).not.toEqual(
      expect.arrayContaining(idsOf(forgotten)),
    )
  })

  it('its closest neighbours, two in five', () => {
    const far = Array.from({ length: 30 }, () => peer(0, { isInUse: true }))
    const near = [20, 21, 22, 23].map((bits) => peer(bits))
    const kept = choose([...far, ...near], SELF, 10)
    for (const nodeId of idsOf(near)) expect(kept).toContain(nodeId)
    expect(kept.size).toBe(10)
  })

  it('of the others some of every bucket, not the first that came', () => {
    const crowd = Array.from({ length: 40 }, () => peer(0))
    const few = [1, 2, 3].flatMap((bits) => [peer(bits), peer(bits)])
    const near = Array.from({ length: 8 }, () => peer(30))
    const kept = choose([...crowd, ...near, ...few], SELF, 20)
    for (const nodeId of idsOf(few)) expect(kept).toContain(nodeId)
    expect(idsOf(crowd).filter((nodeId) => kept.has(nodeId)).length).toBe(20 - 8 - 6)
  })

  it('within a bucket those in use, then direct ones, then the oldest', () => {
    const [oldest, direct, used] = [
      peer(0, { isDirect: false }),
      peer(0),
      peer(0, { isInUse: true, isDirect: false }),
    ]
    const order = [used, direct, oldest] as Candidate[]
    for (const count of [1, 2, 3])
      expect([...choose(order.toReversed(), SELF, count)].toSorted()).toEqual(
        idsOf(order.slice(0, count)).toSorted(),
      )
  })
})

describe('how many connections a tab has', () => {
  afterEach(() => vi.unstubAllGlobals())

  it.each([
    ['a phone that says so', { userAgentData: { mobile: true } }, false, 20],
    ['a desktop with a touch screen that says so', { userAgentData: { mobile: false } }, true, 50],
    ['a phone whose browser does not say', {}, true, 20],
    ['a desktop whose browser does not say', {}, false, 50],
  ])('%s', (_, navigator, isCoarse, expected) => {
    vi.stubGlobal('navigator', navigator)
    vi.stubGlobal('matchMedia', () => ({ matches: isCoarse }))
    expect(defaultMaxConnections()).toBe(expected)
  })
})

describe('a node with a bound', () => {
  let net: TestLibp2pNet
  afterEach(() => net.stop())

  it('closes what is too much, and keeps the relay and whom it needs', async () => {
    net = await startLibp2pNet(['client'])
    const [hub] = net.peers
    if (hub === undefined) throw new Error('no hub')
    const relayId = net.bridge.peerId.toString()
    keepBounded(hub.libp2p, 4, new Set([relayId]))
    const others = []
    for (let i = 0; i < 5; i++) others.push(await net.add('fleeting', { join: false }))
    const needed = others[1]?.libp2p.peerId
    if (needed === undefined) throw new Error('no peers')
    await hub.libp2p.peerStore.merge(needed, { tags: { test: { value: NEEDED_VALUE } } })
    for (const { libp2p } of others) await hub.libp2p.dial(libp2p.getMultiaddrs())
    await until(() => hub.libp2p.getPeers().length <= 3, 15_000)
    const left = hub.libp2p.getPeers().map(String)
    expect(left).toContain(relayId)
    expect(left).toContain(needed.toString())
    expect(left.length).toBe(3)
  })

  it('has two connections from one peer at most, the newest, and goes on over them', async () => {
    net = await startLibp2pNet(['client'])
    const [hub] = net.peers
    if (hub === undefined) throw new Error('no hub')
    const { libp2p: peer } = await net.add('fleeting', { join: false })
    const dialled: Awaited<ReturnType<typeof peer.dial>>[] = []
    for (let i = 0; i < 12; i++) dialled.push(await hub.libp2p.dial(peer.getMultiaddrs(), { force: true }))
    const ofHub = () => peer.getConnections(hub.libp2p.peerId).filter(({ status }) => status === 'open')
    await until(() => ofHub().length === MAX_CONNECTIONS_FROM_PEER, 5_000)
    await until(
      () => dialled.filter(({ status }) => status === 'open').length === MAX_CONNECTIONS_FROM_PEER,
      5_000,
    )
    expect(dialled.map(({ status }) => status === 'open')).toEqual(dialled.map((_, i) => i >= 10))
    const { ping } = hub.libp2p.services as unknown as { ping: { ping(peer: unknown): Promise<number> } }
    expect(await ping.ping(peer.peerId)).toBeGreaterThanOrEqual(0)
  })

  it('closes none that it dialled itself: where both have, each may take another one for the oldest', async () => {
    net = await startLibp2pNet(['client'])
    const { libp2p: here } = await net.add('fleeting', { join: false })
    const { libp2p: there } = await net.add('fleeting', { join: false })
    const dial = (from: DhtLibp2p, to: DhtLibp2p) => from.dial(to.getMultiaddrs(), { force: true })
    const opened = (by: DhtLibp2p, from: DhtLibp2p) =>
      vi.waitFor(() => {
        const connection = by.getConnections(from.peerId).find(({ direction }) => direction === 'inbound')
        if (connection === undefined) throw new Error('not accepted yet')
        return connection
      })
    const first = await dial(here, there)
    await opened(there, here)
    const second = await dial(there, here)
    const accepted = await opened(here, there)
    first.timeline.open = accepted.timeline.open + 1 // as after a handshake of which one side knew the end sooner
    const third = await dial(here, there)
    const { ping } = here.services as unknown as { ping: { ping(peer: unknown): Promise<number> } }
    expect(await ping.ping(there.peerId)).toBeGreaterThanOrEqual(0)
    expect([first, second, third].map(({ status }) => status)).toEqual(['open', 'open', 'open'])
    // one more, and the oldest that was dialled from here goes, closed by the other side
    await dial(here, there)
    await vi.waitFor(() => expect(first.status).not.toBe('open'))
    expect([second, third].map(({ status }) => status)).toEqual(['open', 'open'])
  })
})
