import { multiaddr } from '@multiformats/multiaddr'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { type Bridge, type BridgeOptions, startBridge } from '../../src/bridge/index.ts'
import {
  createLibp2pNetwork,
  type DhtLibp2p,
  enterBridge,
  identityFromSeed,
  type Libp2pNetwork,
  type Link,
  MAX_FRAME_BYTES,
} from '../../src/dht/index.ts'
import { listenOnRelay, reservationStore } from '../../src/dht/libp2p-relay.ts'
import { createNode, type NodeOptions, type StickyNode } from '../../src/node/index.ts'
import { createNodeLibp2p } from '../../src/node/transports.ts'
import type { Message } from '../../src/pubsub/index.ts'
import { bareNode } from '../support/bare-node.ts'
import { dial } from '../support/dial.ts'
import { openIdleCircuit } from '../support/idle-circuit.ts'
import { PATIENCE } from '../support/patience.ts'
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'

/** What an admitted peer may take of the relay: real nodes at a real bridge, some of them seemingly from elsewhere. */

let bridge: Bridge
const nodes: DhtLibp2p[] = []
const peers: StickyNode[] = []
const proxies: TcpProxy[] = []
const networks: Libp2pNetwork[] = []
const seed = (value: number) => new Uint8Array(32).fill(value)
const idOf = async (value: number) => (await identityFromSeed(seed(value))).nodeId

const start = async (options: Partial<BridgeOptions> = {}): Promise<void> => {
  bridge = await startBridge({ seed: seed(99), port: 0, ...options })
}
/** The bridge's address as somebody at `localAddress` dials it. */
async function addressFrom(localAddress: string): Promise<string> {
  const proxy = await startTcpProxy(bridge.port, localAddress)
  proxies.push(proxy)
  return bridge.address.replace(`/tcp/${bridge.port}/`, `/tcp/${proxy.port}/`)
}
const enter = async (value: number) => enterBridge(bridge.url, await identityFromSeed(seed(value)))
/** An admitted node that does only what it is told; with a `relay` it asks there for a reservation. */
async function node(value: number, relay?: string): Promise<DhtLibp2p> {
  await enter(value)
  const libp2p = await bareNode(seed(value), relay)
  nodes.push(libp2p)
  return libp2p
}
/** One as it is shipped. */
async function dhtNode(value: number, relay?: string): Promise<DhtLibp2p> {
  await enter(value)
  const libp2p = await createNodeLibp2p({ seed: seed(value), listen: [], role: 'fleeting' })
  nodes.push(libp2p)
  if (relay !== undefined) await listenOnRelay(libp2p, relay)
  return libp2p
}
async function peer(options: NodeOptions): Promise<StickyNode> {
  const opened = await createNode({ bridgeUrl: bridge.url, ...options })
  peers.push(opened)
  return opened
}
/** Asks the relay again for what the node has; libp2p does so before the end. */
function renew(libp2p: DhtLibp2p): Promise<unknown> {
  const [connection] = libp2p.getConnections()
  const store = reservationStore(libp2p)
  if (store === undefined || connection === undefined) throw new Error('There is nothing to renew.')
  return store.addRelay(connection.remotePeer, 'configured')
}
const reserved = (value: number) =>
  vi.waitFor(async () => expect(bridge.reservations()).toContain(await idOf(value)), PATIENCE)
const isReserving = (libp2p: DhtLibp2p) =>
  libp2p.getMultiaddrs().some((address) => String(address).includes('/p2p-circuit'))
const throughTo = async (value: number, relay = bridge.address) =>
  multiaddr(`${relay}/p2p-circuit/p2p/${await idOf(value)}`)
const idleCircuit = async (libp2p: DhtLibp2p, value: number) => openIdleCircuit(libp2p, await idOf(value))

afterEach(async () => {
  await Promise.all(peers.splice(0).map((peer) => peer.close()))
  await Promise.all(networks.splice(0).map((network) => network.close()))
  await Promise.all(nodes.splice(0).map((libp2p) => libp2p.stop()))
  await Promise.all(proxies.splice(0).map((proxy) => proxy.close()))
  await bridge.close()
})

const metric = async (name: string): Promise<number> => {
  const text = await (await fetch(`${bridge.url}/metrics`)).text()
  const line = text.split('\n').find((each) => each.startsWith(`sticky_bridge_${name} `))
  return Number(line?.split(' ').at(-1))
}

describe('reservations', () => {
  it('are so many for one address; somebody elsewhere gets one, and a renewal takes nothing', async () => {
    await start({ relay: { maxReservationsPerAddress: 2 } })
    const first = await node(1, bridge.address)
    await node(2, bridge.address)
    await Promise.all([reserved(1), reserved(2)])
    const third = await node(3, bridge.address).catch(() => undefined)
    expect(third === undefined || !isReserving(third)).toBe(true)
    await node(4, await addressFrom('127.0.0.2'))
    await reserved(4)
    expect(bridge.reservations()).not.toContain(await idOf(3))
    expect(isReserving(first)).toBe(true)
    expect(await metric('relay_reservations_refused')).toBeGreaterThan(0)
  })

  it('that are all taken keep no node from starting; it has one as soon as there is one', async () => {
    await start({ relay: { maxReservations: 1 } })
    const first = await node(1, bridge.address)
    await reserved(1)
    const holder = await peer({})
    const reader = await peer({ role: 'client' })
    await holder.pubsub.publish('room', 'text')
    const read = async () => (await reader.pubsub.history('room')).messages.map(({ data }) => data)
    await vi.waitFor(async () => expect(await read()).toEqual(['text']), PATIENCE)
    expect(holder.addresses.join()).not.toContain('/p2p-circuit')
    await first.stop()
    await vi.waitFor(() => expect(holder.addresses.join()).toContain('/p2p-circuit'), PATIENCE)
    expect(bridge.reservations()).toEqual([holder.nodeId])
  }, 60_000)

  it('that are free are had by a node as soon as it has started', async () => {
    await start()
    const holder = await peer({ listen: [] })
    expect(holder.addresses.join()).toContain('/p2p-circuit')
    expect(bridge.reservations()).toEqual([holder.nodeId])
    expect((await peer({ role: 'client' })).addresses).toEqual([])
  })

  it('end with the last connection of their peer: who comes and goes does not fill the relay', async () => {
    await start({ relay: { maxReservations: 1 } })
    for (const value of [1, 2, 3]) {
      const libp2p = await node(value, bridge.address)
      await reserved(value)
      await libp2p.stop()
      await vi.waitFor(() => expect(bridge.reservations()).toEqual([]), PATIENCE)
    }
  })

  it('come back with their peer', async () => {
    await start()
    const libp2p = await node(1, bridge.address)
    await reserved(1)
    for (const connection of libp2p.getConnections()) await connection.close()
    await vi.waitFor(() => expect(bridge.reservations()).toEqual([]), PATIENCE)
    await dial(libp2p, bridge.address)
    await reserved(1)
  })

  it('that are renewed last their whole time again, however often', async () => {
    const ttlMs = 3_000
    await start({ relay: { reservationTtlMs: ttlMs, maxReservations: 1 } })
    const libp2p = await node(1, bridge.address)
    const isAfter = (ms: number) =>
      vi.waitFor(() => expect(performance.now()).toBeGreaterThan(ms), { timeout: 10_000 })
    const first = performance.now()
    await isAfter(first + 1_000)
    const second = performance.now()
    await renew(libp2p)
    await isAfter(second + 1_000)
    const third = performance.now()
    await renew(libp2p)
    for (const end of [first, second].map((ms) => ms + ttlMs)) {
      await isAfter(end + 100)
      const isThere = bridge.reservations().length === 1
      expect(isThere || performance.now() >= third + ttlMs).toBe(true) // a machine that slow proves nothing
    }
  })
})

describe('circuits', () => {
  it('of one peer are so many, and one that ends makes room', async () => {
    await start({ relay: { maxCircuitsPerPeer: 1 } })
    await Promise.all([node(1, bridge.address), node(2, bridge.address)])
    await Promise.all([reserved(1), reserved(2)])
    const greedy = await node(3)
    const circuit = await greedy.dial(await throughTo(1))
    await expect(greedy.dial(await throughTo(2))).rejects.toThrow()
    circuit.abort(new Error('done'))
    await vi.waitFor(async () => void (await greedy.dial(await throughTo(2))), PATIENCE)
  })

  it('to one peer are so many, whoever opens them', async () => {
    await start({ relay: { maxCircuitsToPeer: 1 } })
    await node(1, bridge.address)
    await reserved(1)
    await (await node(2)).dial(await throughTo(1))
    await expect((await node(3)).dial(await throughTo(1))).rejects.toThrow()
  })

  it('of one address are so many, with however many identities', async () => {
    await start({ relay: { maxCircuitsPerAddress: 1 } })
    await Promise.all([node(1, bridge.address), node(2, bridge.address)])
    await Promise.all([reserved(1), reserved(2)])
    await (await node(3)).dial(await throughTo(1))
    await expect((await node(4)).dial(await throughTo(2))).rejects.toThrow()
    await (await node(5)).dial(await throughTo(2, await addressFrom('127.0.0.2')))
  })

  it('of one peer to one other are few: it leaves the others their way there', async () => {
    await start({ relay: { maxCircuitsToPeer: 64 } })
    await dhtNode(1, bridge.address)
    await reserved(1)
    const greedy = await node(2)
    await dial(greedy, bridge.address)
    const asked = await Promise.allSettled(Array.from({ length: 64 }, () => idleCircuit(greedy, 1)))
    await (await node(3)).dial(await throughTo(1))
    expect(asked.filter(({ status }) => status === 'fulfilled').length).toBeLessThan(64)
  })

  it('of one peer to one other follow each other as often as it likes', async () => {
    await start()
    await dhtNode(1, bridge.address) // libp2p takes five a second
    await reserved(1)
    const client = await dhtNode(2)
    const target = await throughTo(1)
    for (let i = 0; i < 10; i++) await (await client.dial(target)).close()
    await client.dial(target)
  })

  it('of one address to one peer are so many, and one that ends makes room', async () => {
    await start({ relay: { maxCircuitsToPeerPerAddress: 1 } })
    await Promise.all([node(1, bridge.address), node(2, bridge.address)])
    await Promise.all([reserved(1), reserved(2)])
    const circuit = await (await node(3)).dial(await throughTo(1))
    const neighbour = await node(4)
    await expect(neighbour.dial(await throughTo(1))).rejects.toThrow()
    await neighbour.dial(await throughTo(2))
    await (await node(5)).dial(await throughTo(1, await addressFrom('127.0.0.2')))
    circuit.abort(new Error('done'))
    await vi.waitFor(async () => void (await neighbour.dial(await throughTo(1))), PATIENCE)
  })
})

it('a peer has so many connections: a new one ends the oldest', async () => {
  await start({ relay: { maxConnectionsPerPeer: 2 } })
  const libp2p = await node(1)
  for (let i = 0; i < 4; i++) await libp2p.dial(multiaddr(bridge.address), { force: true })
  await vi.waitFor(() => expect(libp2p.getConnections()).toHaveLength(2), PATIENCE)
  const { connections } = (await (await fetch(`${bridge.url}/health`)).json()) as { connections: number }
  expect(connections).toBe(2)
  await dial(libp2p, bridge.address)
})

const KIB = 1_024

describe('one relayed circuit', () => {
  const FRAMES = 5

  /** Two nodes with only the relay between them: what one receives, and links of the other to it. */
  async function pair() {
    const [hidden, far] = [await dhtNode(1, bridge.address), await dhtNode(2)]
    await reserved(1)
    const [receiver, sender] = [hidden, far].map((libp2p) =>
      createLibp2pNetwork({ libp2p, durable: false, stores: true }),
    ) as [Libp2pNetwork, Libp2pNetwork]
    networks.push(receiver, sender)
    const seen = { bytes: 0, closed: 0 }
    receiver.onInboundLink(() => ({
      onFrame: ({ byteLength }) => {
        seen.bytes += byteLength
      },
      onClose: () => {
        seen.closed += 1
      },
    }))
    const isRelayed = () => far.getConnections(hidden.peerId).every(({ limits }) => limits !== undefined)
    const target = await throughTo(1)
    const link = async () => {
      if (far.getConnections(hidden.peerId).length === 0) await far.dial(target)
      const events = { onFrame: () => undefined, onClose: () => undefined }
      const opened = await sender.openLink(receiver.self, events, { signal: AbortSignal.timeout(20_000) })
      expect(isRelayed()).toBe(true)
      return opened
    }
    return { seen, link }
  }
  const sendAll = (link: Link) => {
    for (let i = 0; i < FRAMES; i++) link.send(new Uint8Array(MAX_FRAME_BYTES))
  }

  it('carries more than 1 MiB with the limits as they are', async () => {
    await start()
    const { seen, link } = await pair()
    sendAll(await link())
    await vi.waitFor(() => expect(seen).toEqual({ bytes: FRAMES * MAX_FRAME_BYTES, closed: 0 }), PATIENCE)
    expect(seen.bytes).toBeGreaterThan(KIB * KIB)
  })

  it('is cut when it has carried its bytes, and another one opens', async () => {
    await start({ relay: { maxCircuitBytes: 600 * KIB } })
    const { seen, link } = await pair()
    sendAll(await link())
    await vi.waitFor(() => expect(seen.closed).toBe(1), PATIENCE)
    expect(seen.bytes).toBeLessThan(600 * KIB)
    const before = seen.bytes
    await vi.waitFor(async () => expect((await link()).send(new Uint8Array(KIB))).toBe(true), PATIENCE)
    await vi.waitFor(() => expect(seen.bytes).toBeGreaterThan(before), PATIENCE)
  })

  it('is cut when its time is over, and another one opens', async () => {
    await start({ relay: { maxCircuitMs: 2_000 } }) // enough to open it on a machine that is busy
    const { seen, link } = await pair()
    await link()
    await vi.waitFor(() => expect(seen.closed).toBe(1), PATIENCE)
    await vi.waitFor(link, PATIENCE)
  })
})

describe('history that is more than one circuit may carry', () => {
  it('is read to the end, through one circuit after another, without a gap', async () => {
    await start({ relay: { maxCircuitBytes: 400 * KIB } })
    const holder = await peer({ listen: [] })
    await vi.waitFor(() => expect(bridge.reservations()).toContain(holder.nodeId), PATIENCE)
    const numbers = Array.from({ length: 16 }, (_, i) => i)
    for (const i of numbers) await holder.pubsub.publish('room', new Uint8Array(64 * KIB).fill(i))
    expect(holder.addresses.filter((address) => !address.includes('/p2p-circuit'))).toEqual([])
    const reader = await peer({ role: 'client' })
    const read: number[] = []
    const gaps: unknown[] = []
    const onMessage = ({ data }: Message) => read.push((data as Uint8Array)[0] as number)
    const subscription = await reader.pubsub.subscribe('room', { onMessage })
    subscription.on('gap', (gap) => gaps.push(gap))
    await vi.waitFor(() => expect(read).toHaveLength(numbers.length), { timeout: 60_000 })
    expect({ read, gaps }).toEqual({ read: numbers, gaps: [] })
  }, 90_000)
})
