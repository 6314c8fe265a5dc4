import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { nodeIdOf } from '../../src/dht/identity.ts'
import { joinDht, LINK_PROTOCOL } from '../../src/dht/libp2p.ts'
import { MAX_BUFFERED_BYTES } from '../../src/dht/libp2p-link.ts'
import { type Link, MAX_FRAME_BYTES } from '../../src/dht/network.ts'
import { startLibp2pNet, type TestLibp2pNet, type TestPeer } from '../support/libp2p-net.ts'
import { networkSuite } from './network-suite.ts'

const unreachable = nodeIdOf(new Uint8Array(32).fill(200))
const patience = { timeout: 8_000, interval: 10 }

networkSuite('libp2p on loopback', async () => {
  const net = await startLibp2pNet(['durable', 'fleeting', 'durable', 'durable', 'fleeting', 'client'])
  const networks = net.peers.map(({ network }) => network)
  const client = networks.at(-1)
  if (client === undefined) throw new Error('No client.')
  return { holders: networks.slice(0, -1), client, unreachable, stop: net.stop }
})

describe('libp2p network', () => {
  let net: TestLibp2pNet
  let a: TestPeer
  let b: TestPeer

  beforeAll(async () => {
    net = await startLibp2pNet(['durable', 'fleeting'], 40)
    ;[a, b] = net.peers as [TestPeer, TestPeer]
  }, 20_000)
  afterAll(() => net?.stop(), 20_000)

  const rawStream = () =>
    a.libp2p.dialProtocol(b.libp2p.peerId, LINK_PROTOCOL, { signal: AbortSignal.timeout(5_000) })

  it('closes a link whose peer announces an oversize frame, before the frame is there', async () => {
    let closed = 0
    const frames: Uint8Array[] = []
    b.network.onInboundLink(() => ({
      onFrame: (frame) => void frames.push(frame),
      onClose: () => void closed++,
    }))
    const stream = await rawStream()
    stream.send(Uint8Array.of(0, 4, 0, 1))
    await vi.waitFor(() => expect(closed).toBe(1), patience)
    await vi.waitFor(() => expect(stream.status).not.toBe('open'), patience)
    expect(frames).toEqual([])
  })

  it('puts frames together that arrive byte by byte, and closes on a truncated one without delivering it', async () => {
    let closed = 0
    const frames: Uint8Array[] = []
    b.network.onInboundLink(() => ({
      onFrame: (frame) => void frames.push(frame),
      onClose: () => void closed++,
    }))
    const stream = await rawStream()
    for (const byte of [0, 0, 0, 2, 5, 6, 0, 0, 0, 0, 0, 0, 0, 9, 1]) stream.send(Uint8Array.of(byte))
    await vi.waitFor(() => expect(frames).toEqual([Uint8Array.of(5, 6), new Uint8Array(0)]), patience)
    await stream.close()
    await vi.waitFor(() => expect(closed).toBe(1), patience)
    expect(frames).toHaveLength(2)
  })

  it('queues for a peer that does not read, and cuts it off at the cap', async () => {
    const inbound: Link[] = []
    let closed = 0
    b.network.onInboundLink((link) => {
      inbound.push(link)
      return { onFrame: () => undefined, onClose: () => void closed++ }
    })
    const stream = await rawStream()
    stream.pause()
    await vi.waitFor(() => expect(inbound).toHaveLength(1), patience)
    const link = inbound[0] as Link
    const frame = new Uint8Array(MAX_FRAME_BYTES)
    let sent = 0
    while (link.send(frame)) {
      sent += 1
      expect(link.bufferedBytes).toBeLessThanOrEqual(MAX_BUFFERED_BYTES)
    }
    expect(sent * MAX_FRAME_BYTES).toBeGreaterThan(MAX_BUFFERED_BYTES / 2)
    await vi.waitFor(() => expect(closed).toBe(1), patience)
    expect(link.bufferedBytes).toBe(0)
  })

  it('tells the topology changed when a node comes and when it goes, and the newcomer knows its neighbours', async () => {
    let changes = 0
    a.network.onTopologyChange(() => void changes++)
    const c = await net.add('fleeting')
    await vi.waitFor(async () => {
      const closest = await a.network.closestPeers(Uint8Array.of(1), {
        count: 8,
        minDurable: 3,
        signal: AbortSignal.timeout(5_000),
      })
      expect(closest.map(({ nodeId }) => nodeId)).toContain(c.network.self)
    }, patience)
    await vi.waitFor(() => expect(changes).toBeGreaterThan(0), patience)
    expect(await a.network.profile(c.libp2p.peerId)).toEqual({ stores: true, durable: false })
    const before = changes
    await c.libp2p.stop()
    await vi.waitFor(() => expect(changes).toBeGreaterThan(before), patience)
  })

  it('answers with itself, or nobody, before it has joined', async () => {
    const options = { count: 8, minDurable: 3, signal: AbortSignal.timeout(5_000) }
    const holder = await net.add('durable', { join: false })
    const own = { nodeId: holder.network.self, durable: true }
    expect(await holder.network.closestPeers(Uint8Array.of(1), options)).toEqual([own])
    const client = await net.add('client', { join: false })
    expect(await client.network.closestPeers(Uint8Array.of(1), options)).toEqual([])
  })

  it('the bridge refuses a node it has not admitted, and takes it once it has', async () => {
    const stranger = await net.add('fleeting', { admit: false, join: false })
    const dial = () =>
      stranger.libp2p.dial(net.bridge.getMultiaddrs(), { signal: AbortSignal.timeout(5_000) })
    // the dialler may finish its half of the handshake before it is refused
    await dial().catch(() => undefined)
    await vi.waitFor(() => expect(stranger.libp2p.getConnections().length).toBe(0), patience)
    expect(net.bridge.getConnections(stranger.libp2p.peerId).length).toBe(0)
    net.admitted.add(stranger.network.self)
    await joinDht(stranger.libp2p, [net.bridgeAddress], { signal: AbortSignal.timeout(5_000) })
    expect(net.bridge.getConnections(stranger.libp2p.peerId).length).toBe(1)
  })
})
