import { createHash } from 'node:crypto'
import { base58btc } from 'multiformats/bases/base58'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { NodeId } from '../../src/dht/identity.ts'
import { type ClosestPeer, type Link, MAX_FRAME_BYTES, type PeerNetwork } from '../../src/dht/network.ts'
import { PATIENCE } from '../support/patience.ts'

/** What every PeerNetwork promises. Any factory can run it: real nodes on loopback, or a simulated network. */

export interface NetworkFixture {
  /** At least 5 that store, of them at least 2 durable and 2 fleeting, all joined. */
  holders: PeerNetwork[]
  /** Joined, takes links, stores nothing. */
  client: PeerNetwork
  /** The id of a node that cannot be reached. */
  unreachable: NodeId
  stop(): Promise<void>
}

/** One end of a link and what happened on it. */
interface End {
  link: Link
  frames: Uint8Array[]
  closed: number
}

const signal = () => AbortSignal.timeout(20_000)

const SMALL_BYTES = 16 * 1024
const isSmall = (frame: Uint8Array) => frame.byteLength <= SMALL_BYTES
const isLarge = (frame: Uint8Array) => !isSmall(frame)

const recorder = () => {
  const end: Omit<End, 'link'> = { frames: [], closed: 0 }
  const events = {
    onFrame: (frame: Uint8Array) => void end.frames.push(frame),
    onClose: () => {
      end.closed += 1
    },
  }
  return { end, events }
}

/** Opens a link and gives both its ends. */
async function connect(from: PeerNetwork, to: PeerNetwork): Promise<{ near: End; far: End }> {
  let far: End | undefined
  to.onInboundLink((link) => {
    const { end, events } = recorder()
    if (link.peer === from.self) far = Object.assign(end, { link })
    return events
  })
  const { end, events } = recorder()
  const link = await from.openLink(to.self, events, { signal: signal() })
  await vi.waitFor(() => expect(far).toBeDefined(), PATIENCE)
  return { near: Object.assign(end, { link }), far: far as End }
}

const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest()

/** Computed here from the definition, apart from the code under test. */
const distance = (key: Uint8Array, nodeId: NodeId): bigint =>
  BigInt(`0x${sha256(key).toString('hex')}`) ^
  BigInt(`0x${sha256(base58btc.decode(`z${nodeId}`)).toString('hex')}`)

const keys = Array.from({ length: 16 }, (_, index) => new Uint8Array(32).fill(index * 7 + 1))
const ids = (peers: ClosestPeer[]): NodeId[] => peers.map(({ nodeId }) => nodeId)

export function networkSuite(name: string, start: () => Promise<NetworkFixture>): void {
  describe(`PeerNetwork: ${name}`, () => {
    let fixture: NetworkFixture
    let a: PeerNetwork
    let b: PeerNetwork

    beforeAll(async () => {
      fixture = await start()
      ;[a, b] = fixture.holders as [PeerNetwork, PeerNetwork]
    }, 20_000)
    afterAll(() => fixture?.stop(), 20_000)

    linkTests(() => ({ a, b, fixture }))
    closestTests(() => fixture)
  })
}

function linkTests(get: () => { a: PeerNetwork; b: PeerNetwork; fixture: NetworkFixture }): void {
  it('carries frames both ways over one link and names the peer at each end', async () => {
    const { a, b } = get()
    const { near, far } = await connect(a, b)
    expect([near.link.peer, far.link.peer]).toEqual([b.self, a.self])
    expect(near.link.send(Uint8Array.of(1))).toBe(true)
    expect(far.link.send(Uint8Array.of(2, 2))).toBe(true)
    await vi.waitFor(
      () => expect([far.frames, near.frames]).toEqual([[Uint8Array.of(1)], [Uint8Array.of(2, 2)]]),
      PATIENCE,
    )
    near.link.close()
  })

  it('keeps links of both sides opened at the same moment apart, and both work', async () => {
    const { a, b } = get()
    const [ab, ba] = await Promise.all([connect(a, b), connect(b, a)])
    for (const [index, { near }] of [ab, ba].entries()) near.link.send(Uint8Array.of(index))
    await vi.waitFor(
      () => expect([ab.far.frames, ba.far.frames]).toEqual([[Uint8Array.of(0)], [Uint8Array.of(1)]]),
      PATIENCE,
    )
    ab.near.link.close()
    ba.near.link.close()
  })

  it('keeps the order of small frames, and of large ones, empty and largest ones too', async () => {
    const { a, b } = get()
    const { near, far } = await connect(a, b)
    const sizes = [0, 1, 5, 70_000, 3, MAX_FRAME_BYTES, 0, 2, MAX_FRAME_BYTES, 100_000, 1, 0]
    const sent = sizes.map((size, index) => new Uint8Array(size).fill(index + 1))
    for (const frame of sent) expect(near.link.send(frame)).toBe(true)
    await vi.waitFor(() => expect(far.frames).toHaveLength(sent.length), PATIENCE)
    for (const isOne of [isSmall, isLarge]) {
      const expected = sent.filter(isOne)
      const came = far.frames.filter(isOne)
      expect(came.map((frame) => frame.byteLength)).toEqual(expected.map((frame) => frame.byteLength))
      expect(came.every((frame, i) => Buffer.compare(frame, expected[i] as Uint8Array) === 0)).toBe(true)
    }
    await vi.waitFor(() => expect(near.link.bufferedBytes).toBe(0), PATIENCE)
    near.link.close()
  })

  it('closes the link on a frame over the limit, and opens a new one after that', async () => {
    const { a, b } = get()
    const { near, far } = await connect(a, b)
    expect(near.link.send(new Uint8Array(MAX_FRAME_BYTES + 1))).toBe(false)
    await vi.waitFor(() => expect([near.closed, far.closed]).toEqual([1, 1]), PATIENCE)
    expect(far.frames).toEqual([])
    const again = await connect(a, b)
    again.near.link.send(Uint8Array.of(9))
    await vi.waitFor(() => expect(again.far.frames).toEqual([Uint8Array.of(9)]), PATIENCE)
    again.near.link.close()
  })

  it('delivers what was sent before close, then tells both ends once; later sends are refused', async () => {
    const { a, b } = get()
    const { near, far } = await connect(a, b)
    near.link.send(Uint8Array.of(1))
    near.link.send(new Uint8Array(MAX_FRAME_BYTES))
    near.link.close()
    near.link.close()
    expect(near.link.send(Uint8Array.of(2))).toBe(false)
    await vi.waitFor(() => expect([near.closed, far.closed]).toEqual([1, 1]), PATIENCE)
    expect(far.frames.map((frame) => frame.byteLength)).toEqual([1, MAX_FRAME_BYTES])
    expect(far.link.send(Uint8Array.of(3))).toBe(false)
    expect(near.frames).toEqual([])
  })

  it('rejects with UNREACHABLE for a node that is not there', async () => {
    const { a, fixture } = get()
    const opening = a.openLink(fixture.unreachable, recorder().events, { signal: signal() })
    await expect(opening).rejects.toMatchObject({ name: 'StickyError', code: 'UNREACHABLE' })
  })

  it('rejects with ABORTED when the signal aborts, before or during', async () => {
    const { a, b, fixture } = get()
    const before = a.openLink(b.self, recorder().events, { signal: AbortSignal.abort() })
    await expect(before).rejects.toMatchObject({ code: 'ABORTED' })
    const abort = new AbortController()
    const during = a.openLink(fixture.unreachable, recorder().events, { signal: abort.signal })
    abort.abort()
    await expect(during).rejects.toMatchObject({ code: 'ABORTED' })
    const options = { count: 8, minDurable: 3, signal: AbortSignal.abort() }
    await expect(a.closestPeers(keys[0] as Uint8Array, options)).rejects.toMatchObject({ code: 'ABORTED' })
  })

  it('lets a client open links and take them', async () => {
    const { a, fixture } = get()
    const { near, far } = await connect(fixture.client, a)
    far.link.send(Uint8Array.of(7))
    await vi.waitFor(() => expect(near.frames).toEqual([Uint8Array.of(7)]), PATIENCE)
    near.link.close()
  })
}

function closestTests(get: () => NetworkFixture): void {
  const closest = (network: PeerNetwork, key: Uint8Array, count: number, minDurable: number) =>
    network.closestPeers(key, { count, minDurable, signal: signal() })
  const byDistance = (key: Uint8Array) =>
    [...get().holders].sort((one, other) => (distance(key, one.self) < distance(key, other.self) ? -1 : 1))

  it('gives all holders in Kademlia order, self included, the same from every node', async () => {
    const { holders, client } = get()
    for (const key of keys) {
      const expected = byDistance(key).map(({ self, durable }) => ({ nodeId: self, durable }))
      for (const network of [...holders, client])
        await vi.waitFor(async () => expect(await closest(network, key, 8, 3)).toEqual(expected), PATIENCE)
    }
  })

  it('never names a client or a node without links', async () => {
    const { holders, client } = get()
    const holderIds = new Set(holders.map(({ self }) => self))
    for (const network of [...holders, client])
      for (const key of keys.slice(0, 4))
        expect(ids(await closest(network, key, 20, 20)).every((id) => holderIds.has(id))).toBe(true)
  })

  it('keeps to the count and has the closest durable ones in it', async () => {
    const { holders } = get()
    for (const key of keys) {
      const durable = byDistance(key).filter((network) => network.durable)
      const two = await closest(holders[0] as PeerNetwork, key, 2, 2)
      expect(ids(two)).toEqual(durable.slice(0, 2).map(({ self }) => self))
      const plain = await closest(holders[0] as PeerNetwork, key, 2, 0)
      expect(ids(plain)).toEqual(
        byDistance(key)
          .slice(0, 2)
          .map(({ self }) => self),
      )
      const mixed = await closest(holders[0] as PeerNetwork, key, 3, 1)
      expect(mixed).toHaveLength(3)
      expect(ids(mixed)).toContain((durable[0] as PeerNetwork).self)
    }
  })
}
