import type { PeerId, Stream } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import { multiaddr } from '@multiformats/multiaddr'
import { varint } from 'multiformats'
import { afterEach, describe, expect, it } from 'vitest'
import { createBridgeLibp2p } from '../../src/bridge/transports.ts'
import { type DhtLibp2p, identityFromSeed } from '../../src/dht/index.ts'
import { boundIntroductions } from '../../src/dht/libp2p-introduce.ts'
import { listenOnRelay } from '../../src/dht/libp2p-relay.ts'
import { createNodeLibp2p } from '../../src/node/transports.ts'
import { bareNode } from '../support/bare-node.ts'
import { ManualRuntime } from '../support/manual-runtime.ts'
import { until } from '../support/memory-nodes.ts'

/** Two nodes that cannot reach each other, and one in the middle that both are connected to. */

const ECHO = '/test/echo/1'
const HOP = '/libp2p/circuit/relay/0.2.0/hop'
const STOP = '/libp2p/circuit/relay/0.2.0/stop'
const LOOPBACK = '/ip4/127.0.0.1/tcp/0/ws'

const started: DhtLibp2p[] = []
const start = async (node: Promise<DhtLibp2p>): Promise<DhtLibp2p> => {
  started.push(await node)
  return node
}
afterEach(() => Promise.all(started.splice(0).map((node) => node.stop())))

let seeds = 0
const newSeed = () => new Uint8Array(32).fill(++seeds)

const connect = async (from: DhtLibp2p, to: DhtLibp2p) => {
  await from.dial(to.getMultiaddrs())
}
/** To introduce this peer, with so many empty addresses. Who is asked by STOP answers that this is no question. */
function requestFor(to: PeerId, addresses = 0): Uint8Array {
  const id = to.toMultihash().bytes
  const peer = [0x0a, id.length, ...id, ...Array<number[]>(addresses).fill([0x12, 0]).flat()]
  const request = [0x08, 1, 0x12, ...lengthOf(peer), ...peer]
  return Uint8Array.from([...lengthOf(request), ...request])
}

/** In front of what is so long. */
function lengthOf({ length }: { length: number }): Uint8Array {
  return varint.encodeTo(length, new Uint8Array(varint.encodingLength(length)))
}

const through = (middle: DhtLibp2p, to: PeerId) => multiaddr(`/p2p/${middle.peerId}/p2p-circuit/p2p/${to}`)

async function apart() {
  const middle = await start(createNodeLibp2p({ seed: newSeed(), listen: [LOOPBACK], role: 'fleeting' }))
  const one = await start(bareNode(newSeed()))
  const other = await start(createNodeLibp2p({ seed: newSeed(), listen: [], role: 'client' }))
  await Promise.all([connect(one, middle), connect(other, middle)])
  await other.handle(
    ECHO,
    (stream) => stream.addEventListener('message', ({ data }) => void stream.send(data)),
    { runOnLimitedConnection: true },
  )
  return { middle, one, other }
}

describe('a node', () => {
  it('introduces two peers that it is connected to, and passes on little', async () => {
    const { middle, one, other } = await apart()
    const connection = await one.dial(through(middle, other.peerId))
    expect(connection.remotePeer.equals(other.peerId)).toBe(true)
    expect(connection.limits).toBeDefined()
    const stream = await connection.newStream(ECHO, { runOnLimitedConnection: true })
    let echoed = 0
    stream.addEventListener('message', ({ data }) => {
      echoed += data.byteLength
    })
    stream.send(new Uint8Array(32 * 1024))
    await until(() => echoed === 32 * 1024)
    for (let sent = 0; sent < 8 && stream.status === 'open'; sent++) stream.send(new Uint8Array(32 * 1024))
    await until(() => connection.status !== 'open')
    expect(echoed).toBeLessThanOrEqual(64 * 1024)
  })

  it('introduces nobody to one that it is not connected to, or only by another introduction', async () => {
    const { middle, one, other } = await apart()
    const { nodeId } = await identityFromSeed(newSeed())
    await expect(one.dial(through(middle, peerIdFromString(nodeId)))).rejects.toThrow()
    const farther = await start(createNodeLibp2p({ seed: newSeed(), listen: [LOOPBACK], role: 'client' }))
    const last = await start(bareNode(newSeed()))
    await connect(farther, middle)
    await connect(last, farther)
    await farther.dial(through(middle, other.peerId))
    await expect(last.dial(through(farther, other.peerId))).rejects.toThrow()
  })

  it('introduces so many at once to one peer, also where that says nothing', async () => {
    const { middle, other } = await apart()
    await other.unhandle(STOP)
    await other.handle(STOP, () => undefined, { maxInboundStreams: 1_000 })
    const asking: Stream[] = []
    for (let asked = 0; asked < 24; asked += 4) {
      const one = await start(bareNode(newSeed()))
      const connection = await one.dial(middle.getMultiaddrs())
      const streams = await Promise.all([1, 2, 3, 4].map(() => connection.newStream(HOP)))
      for (const stream of streams) stream.send(requestFor(other.peerId))
      asking.push(...streams)
    }
    await until(() => asking.filter(({ status }) => status === 'open').length <= 16)
    const { length } = middle
      .getConnections(other.peerId)
      .flatMap(({ streams }) => streams.filter(({ protocol }) => protocol === STOP))
    expect(length).toBe(16)
  })

  it('introduces by the direct connection where there is a relayed one too', async () => {
    const { middle, one } = await apart()
    const farther = await start(createNodeLibp2p({ seed: newSeed(), listen: [LOOPBACK], role: 'client' }))
    const both = await start(createNodeLibp2p({ seed: newSeed(), listen: [], role: 'client' }))
    await Promise.all([connect(farther, middle), connect(both, middle)])
    await farther.dial(through(middle, both.peerId))
    await both.dial(farther.getMultiaddrs(), { force: true })
    await until(() => farther.getConnections(both.peerId).length === 2)
    await connect(one, farther)
    await one.dial(through(farther, both.peerId))
    const ways = farther.getConnections(both.peerId).map(({ limits, streams }) => ({
      isRelayed: limits !== undefined,
      circuits: streams.filter(({ protocol }) => protocol === STOP).length,
    }))
    expect(ways).toEqual([
      { isRelayed: true, circuits: 0 },
      { isRelayed: false, circuits: 1 },
    ])
  })

  it('reads no request of more than some kilobytes, nor does a bridge', async () => {
    const { middle, one, other } = await apart()
    const bridge = await start(
      createBridgeLibp2p({ seed: newSeed(), listenPort: 0, announce: [], admit: () => true }),
    )
    await connect(one, bridge)
    await until(() => middle.getConnections(other.peerId).length > 0)
    for (const [protocol, connections] of [
      [HOP, one.getConnections(middle.peerId)],
      [HOP, one.getConnections(bridge.peerId)],
      [STOP, middle.getConnections(other.peerId)],
    ] as const) {
      const [to] = connections
      const answers: number[] = []
      const small = (await to?.newStream(protocol)) as Stream
      small.addEventListener('message', ({ data }) => answers.push(data.byteLength))
      small.send(requestFor(middle.peerId, 1_000))
      await until(() => answers.length > 0)
      const large = (await to?.newStream(protocol)) as Stream
      large.addEventListener('message', () => expect.unreachable('It was read.'))
      large.send(requestFor(middle.peerId, 20_000))
      await until(() => large.status === 'reset')
    }
  })

  it('does not remember by whom it was introduced, nor tell others', async () => {
    const { middle, other } = await apart()
    const one = await start(createNodeLibp2p({ seed: newSeed(), listen: [], role: 'client' }))
    await connect(one, middle)
    await one.dial(through(middle, other.peerId))
    await until(async () => (await one.peerStore.get(other.peerId)).metadata.has('last-dial-success'))
    expect((await one.peerStore.get(other.peerId)).addresses).toEqual([])
  })

  it('can be stopped while it introduces, and so can those that are introduced', async () => {
    const { middle, one, other } = await apart()
    const connection = await one.dial(through(middle, other.peerId))
    const stream = await connection.newStream(ECHO, { runOnLimitedConnection: true })
    stream.send(new Uint8Array(1_024))
    await middle.stop()
    await until(() => connection.status !== 'open' && stream.status !== 'open')
    await until(() => other.getConnections().length === 0)
  })

  it('has no place for anybody', async () => {
    const { middle, one } = await apart()
    await expect(listenOnRelay(one, String(middle.getMultiaddrs()[0]))).rejects.toMatchObject({
      code: 'UNREACHABLE',
    })
  })

  it('introduces each peer so often', () => {
    const runtime = new ManualRuntime()
    const { denyOutboundRelayedConnection: isDenied } = boundIntroductions(runtime, {
      quota: { perSecond: 0.5, burst: 3 },
      totalQuota: { perSecond: 100, burst: 100 },
    })
    const [one, other] = ['one', 'other'].map((name) => ({ toString: () => name }) as PeerId) as [
      PeerId,
      PeerId,
    ]
    expect([1, 2, 3, 4].map(() => isDenied(one))).toEqual([false, false, false, true])
    expect(isDenied(other)).toBe(false)
    runtime.advance(2_000)
    expect([isDenied(one), isDenied(one)]).toEqual([false, true])
  })

  it('introduces so often in all, whoever asks under however many names', () => {
    const runtime = new ManualRuntime()
    const { denyOutboundRelayedConnection: isDenied } = boundIntroductions(runtime)
    let names = 0
    const ask = () => isDenied({ toString: () => `name ${++names}` } as PeerId)
    const introduced = () => Array.from({ length: 2_000 }, ask).filter((denied) => !denied).length
    expect(introduced()).toBe(64)
    runtime.advance(10_000)
    expect(introduced()).toBe(40)
  })

  it('does not begin to listen at whoever passes somebody on to it', async () => {
    const relay = await start(
      createBridgeLibp2p({ seed: newSeed(), listenPort: 0, announce: [], admit: () => true }),
    )
    const { reservationStore } = (relay.services as unknown as { relay: { reservationStore: Places } }).relay
    const limit = { data: 1n << 17n, duration: 30_000 }
    reservationStore.get = () => ({ limit, signal: new AbortController().signal })
    const one = await start(bareNode(newSeed()))
    const other = await start(createNodeLibp2p({ seed: newSeed(), listen: [], role: 'client' }))
    await Promise.all([connect(one, relay), connect(other, relay)])
    expect((await one.dial(through(relay, other.peerId))).status).toBe('open')
    expect(reservationStore.reservations.size).toBe(0)
    expect(other.getMultiaddrs()).toEqual([])
  })
})

interface Places {
  get(peer: PeerId): unknown
  reservations: { size: number }
}
