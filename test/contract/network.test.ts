import { setTimeout } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { equalBytes } from '../../src/dht/codec.ts'
import { nodeIdOf } from '../../src/dht/identity.ts'
import { LINK_PROTOCOL, type Libp2pNetworkOptions } from '../../src/dht/libp2p.ts'
import { joinDht } from '../../src/dht/libp2p-join.ts'
import { FrameReader, MAX_BUFFERED_BYTES } from '../../src/dht/libp2p-link.ts'
import { type ReservationStore, reservationStore } from '../../src/dht/libp2p-relay.ts'
import { KAD_PROTOCOL } from '../../src/dht/libp2p-services.ts'
import { type Link, MAX_FRAME_BYTES, type PeerNetwork } from '../../src/dht/network.ts'
import { routingTable } from '../../src/dht/routing-table.ts'
import { createNodeLibp2p, type NodeRole } from '../../src/node/transports.ts'
import { startLibp2pNet, type TestLibp2pNet, type TestPeer } from '../support/libp2p-net.ts'
import { PATIENCE } from '../support/patience.ts'
import { type NetworkFixture, networkSuite } from './network-suite.ts'

const unreachable = nodeIdOf(new Uint8Array(32).fill(200))

const roles: NodeRole[] = ['durable', 'fleeting', 'durable', 'durable', 'fleeting', 'client']

const fixture = async (options: Partial<Libp2pNetworkOptions>): Promise<NetworkFixture> => {
  const net = await startLibp2pNet(roles, options)
  const networks = net.peers.map(({ network }) => network)
  return {
    holders: networks.slice(0, -1),
    client: networks.at(-1) as PeerNetwork,
    unreachable,
    stop: net.stop,
  }
}

networkSuite('libp2p on loopback, from the routing tables', () => fixture({}))
networkSuite('libp2p on loopback, by look-up', () => fixture({ smallNetworkPeers: 0 }))

describe('libp2p network', () => {
  let net: TestLibp2pNet
  let a: TestPeer
  let b: TestPeer

  beforeAll(async () => {
    net = await startLibp2pNet(['durable', 'fleeting'])
    ;[a, b] = net.peers as [TestPeer, TestPeer]
  }, 20_000)
  afterAll(() => net?.stop(), 20_000)

  const rawStream = () =>
    a.libp2p.dialProtocol(b.libp2p.peerId, LINK_PROTOCOL, { signal: AbortSignal.timeout(15_000) })

  it('closes a link whose peer announces an oversize frame, before the frame is there', async () => {
    let closed = 0
    const frames: Uint8Array[] = []
    b.network.onInboundLink(() => ({
      onFrame: (frame) => void frames.push(frame),
      onClose: () => void closed++,
    }))
    const stream = await rawStream()
    stream.send(Uint8Array.of(0, 4, 0, 1))
    await vi.waitFor(() => expect(closed).toBe(1), PATIENCE)
    await vi.waitFor(() => expect(stream.status).not.toBe('open'), PATIENCE)
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
    await vi.waitFor(() => expect(frames).toEqual([Uint8Array.of(5, 6), new Uint8Array(0)]), PATIENCE)
    await stream.close()
    await vi.waitFor(() => expect(closed).toBe(1), PATIENCE)
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
    await vi.waitFor(() => expect(inbound).toHaveLength(1), PATIENCE)
    const link = inbound[0] as Link
    const frame = new Uint8Array(MAX_FRAME_BYTES)
    let sent = 0
    while (link.send(frame)) {
      sent += 1
      expect(link.bufferedBytes).toBeLessThanOrEqual(MAX_BUFFERED_BYTES)
    }
    expect(sent * MAX_FRAME_BYTES).toBeGreaterThan(MAX_BUFFERED_BYTES / 2)
    await vi.waitFor(() => expect(closed).toBe(1), PATIENCE)
    expect(link.bufferedBytes).toBe(0)
  })

  it('lets what is small overtake what is large before a peer that reads slowly, and both arrive', async () => {
    const inbound: Link[] = []
    b.network.onInboundLink((link) => {
      inbound.push(link)
      return { onFrame: () => undefined, onClose: () => undefined }
    })
    const stream = await rawStream()
    stream.pause()
    await vi.waitFor(() => expect(inbound).toHaveLength(1), PATIENCE)
    const link = inbound[0] as Link
    const [large, small] = [new Uint8Array(MAX_FRAME_BYTES), new Uint8Array(1_024)]
    const [larges, smalls] = [12, 1_000]
    for (let i = 0; i < larges; i++) expect(link.send(large)).toBe(true)
    for (let i = 0; i < smalls; i++) expect(link.send(small)).toBe(true)
    const came: boolean[] = []
    const reader = new FrameReader()
    stream.addEventListener('message', ({ data }) => {
      for (const chunk of data instanceof Uint8Array ? [data] : data)
        reader.push(chunk, (frame) => came.push(frame.byteLength === small.byteLength))
    })
    stream.resume()
    await vi.waitFor(() => expect(came).toHaveLength(larges + smalls), PATIENCE)
    const before = came.indexOf(true) // what the transport had taken already
    expect(before).toBeLessThan(larges / 2)
    expect(came.slice(0, before + smalls / 2)).toContain(false)
    expect(came.slice(before, before + smalls).filter((isSmallOne) => !isSmallOne).length).toBeGreaterThan(2) // in turn
    await stream.close()
  })

  it('tells the topology changed when a node comes and when it goes, and the newcomer knows its neighbours', async () => {
    let changes = 0
    a.network.onTopologyChange(() => void changes++)
    const closest = async () => {
      const signal = AbortSignal.timeout(15_000)
      const found = await a.network.closestPeers(Uint8Array.of(1), { count: 8, minDurable: 3, signal })
      return found.map(({ nodeId }) => nodeId).toSorted()
    }
    const both = [a.network.self, b.network.self].toSorted()
    await vi.waitFor(async () => expect(await closest()).toEqual(both), PATIENCE)
    const c = await net.add('fleeting')
    await vi.waitFor(async () => expect(await closest()).toContain(c.network.self), PATIENCE)
    await vi.waitFor(() => expect(changes).toBeGreaterThan(0), PATIENCE)
    expect(await a.network.profile(c.libp2p.peerId)).toEqual({ stores: true, durable: false })
    const before = changes
    await c.libp2p.stop()
    await vi.waitFor(() => expect(changes).toBeGreaterThan(before), PATIENCE)
  })

  it('tells nothing when one comes and goes that stores nothing', async () => {
    const quiet = await startLibp2pNet(['durable'], { topologyDebounceMs: 0 })
    try {
      const [holder] = quiet.peers as [TestPeer]
      await vi.waitFor(
        async () => expect(await holder.network.profile(quiet.bridge.peerId)).toBeDefined(),
        PATIENCE,
      )
      let changes = 0
      holder.network.onTopologyChange(() => void changes++)
      const client = await quiet.add('client', { join: false })
      await client.libp2p.dial(holder.libp2p.getMultiaddrs())
      const profile = () => holder.network.profile(client.libp2p.peerId)
      await vi.waitFor(
        async () => expect(await profile()).toEqual({ stores: false, durable: false }),
        PATIENCE,
      )
      const connections = () => holder.libp2p.getConnections(client.libp2p.peerId)
      await client.libp2p.stop()
      await vi.waitFor(() => expect(connections()).toEqual([]), PATIENCE)
      await setTimeout(1) // a timer of 0 ms ends before it
      expect(changes).toBe(0)
      const other = await quiet.add('fleeting', { join: false })
      await other.libp2p.dial(holder.libp2p.getMultiaddrs())
      await vi.waitFor(() => expect(changes).toBeGreaterThan(0), PATIENCE)
    } finally {
      await quiet.stop()
    }
  })

  it('looks nobody up who is in its routing tables, however many clients it has', async () => {
    const clients: NodeRole[] = ['client', 'client', 'client']
    const others = ['the bridge', 'the durable node']
    for (const [smallNetworkPeers, looksUp] of [
      [others.length, false],
      [others.length - 1, true],
    ] as const) {
      const crowded = await startLibp2pNet(['durable', 'durable', ...clients], { smallNetworkPeers })
      try {
        const [holder, other] = crowded.peers as [TestPeer, TestPeer]
        const { kad } = holder.libp2p.services
        const connected = () => holder.libp2p.getPeers()
        await vi.waitFor(() => expect(connected()).toHaveLength(others.length + clients.length), PATIENCE)
        await vi.waitFor(() => expect(routingTable(kad).size).toBe(others.length), PATIENCE)
        const looking = vi.spyOn(kad, 'getClosestPeers')
        const key = Uint8Array.of(1)
        const signal = AbortSignal.timeout(15_000)
        const closest = await holder.network.closestPeers(key, { count: 8, minDurable: 3, signal })
        const nodes = [holder.network.self, other.network.self]
        expect(closest.map(({ nodeId }) => nodeId).toSorted()).toEqual(nodes.toSorted())
        expect(looking.mock.calls.some(([wanted]) => equalBytes(wanted, key))).toBe(looksUp)
      } finally {
        await crowded.stop()
      }
    }
  }, 30_000)

  it.each([
    { who: 'everybody answers', isSilent: false },
    { who: 'one peer says nothing', isSilent: true },
  ])(
    'finds the holders of many keys by one look-up where $who',
    async ({ isSilent }) => {
      const all: NodeRole[] = ['durable', 'fleeting', 'durable', 'fleeting', 'fleeting']
      const asked = await startLibp2pNet(all, { smallNetworkPeers: 0 })
      try {
        const [asker, other] = asked.peers as [TestPeer, TestPeer]
        const { kad } = asker.libp2p.services
        await vi.waitFor(() => expect(routingTable(kad).size).toBe(all.length), PATIENCE) // the bridge among them
        if (isSilent) {
          await other.libp2p.unhandle(KAD_PROTOCOL)
          await other.libp2p.handle(KAD_PROTOCOL, () => undefined)
        }
        const looking = vi.spyOn(kad, 'getClosestPeers')
        const keys = Array.from({ length: 50 }, (_, i) => Uint8Array.of(i))
        const options = { count: 8, minDurable: 3, signal: AbortSignal.timeout(20_000) }
        const sets = await Promise.all(keys.map((key) => asker.network.closestPeers(key, options)))
        const nodes = asked.peers.map(({ network }) => network.self).toSorted()
        for (const set of sets) expect(set.map(({ nodeId }) => nodeId).toSorted()).toEqual(nodes)
        const lookUps = looking.mock.calls.filter(([key]) => keys.some((one) => equalBytes(one, key)))
        expect(lookUps).toHaveLength(1)
      } finally {
        await asked.stop()
      }
    },
    30_000,
  )

  it('answers with itself, or nobody, before it has joined', async () => {
    const options = { count: 8, minDurable: 3, signal: AbortSignal.timeout(15_000) }
    const holder = await net.add('durable', { join: false })
    const own = { nodeId: holder.network.self, durable: true }
    expect(await holder.network.closestPeers(Uint8Array.of(1), options)).toEqual([own])
    const client = await net.add('client', { join: false })
    expect(await client.network.closestPeers(Uint8Array.of(1), options)).toEqual([])
  })

  it('the bridge refuses a node it has not admitted, and takes it once it has', async () => {
    const stranger = await net.add('fleeting', { admit: false, join: false })
    const dial = () =>
      stranger.libp2p.dial(net.bridge.getMultiaddrs(), { signal: AbortSignal.timeout(15_000) })
    // the dialler may finish its half of the handshake before it is refused
    await dial().catch(() => undefined)
    await vi.waitFor(() => expect(stranger.libp2p.getConnections().length).toBe(0), PATIENCE)
    expect(net.bridge.getConnections(stranger.libp2p.peerId).length).toBe(0)
    net.admitted.add(stranger.network.self)
    await joinDht(stranger.libp2p, [net.bridgeAddress], { signal: AbortSignal.timeout(15_000) })
    expect(net.bridge.getConnections(stranger.libp2p.peerId).length).toBe(1)
  })

  it('links to a node that only a relayed circuit reaches, and the bridge holds its reservation', async () => {
    const hidden = await net.add('fleeting', { relayed: true })
    const frames: Uint8Array[] = []
    hidden.network.onInboundLink(() => ({
      onFrame: (frame) => void frames.push(frame),
      onClose: () => undefined,
    }))
    const far = await net.add('client')
    const events = { onFrame: () => undefined, onClose: () => undefined }
    const open = () =>
      far.network.openLink(hidden.network.self, events, { signal: AbortSignal.timeout(15_000) })
    const link = await vi.waitFor(open, PATIENCE) // its neighbours may not have heard of it yet
    const [connection] = far.libp2p.getConnections(hidden.libp2p.peerId)
    expect(connection?.remoteAddr.toString()).toContain('/p2p-circuit')
    expect(connection?.limits).toBeDefined()
    link.send(new Uint8Array(MAX_FRAME_BYTES))
    await vi.waitFor(
      () => expect(frames.map((frame) => frame.byteLength)).toEqual([MAX_FRAME_BYTES]),
      PATIENCE,
    )
    link.close()
  })

  it('reserves on its relay again after the connection to it was lost', async () => {
    const hidden = await net.add('fleeting', { relayed: true })
    const circuits = () =>
      hidden.libp2p.getMultiaddrs().filter((address) => String(address).includes('/p2p-circuit'))
    expect(circuits().length).toBeGreaterThan(0)
    net.admitted.delete(hidden.network.self) // keeps it out until the loss has been seen
    for (const connection of hidden.libp2p.getConnections(net.bridge.peerId)) await connection.close()
    await vi.waitFor(() => expect(circuits().length).toBe(0), PATIENCE)
    net.admitted.add(hidden.network.self)
    await joinDht(hidden.libp2p, [net.bridgeAddress], { signal: AbortSignal.timeout(20_000) })
    await vi.waitFor(() => expect(circuits().length).toBeGreaterThan(0), PATIENCE)
  })

  it('asks again when its relay refuses for now, while it is connected', async () => {
    const hidden = await net.add('fleeting', { relayed: true })
    const store = reservationStore(hidden.libp2p) as ReservationStore
    const addRelay = store.addRelay.bind(store)
    let isFull = true
    let asked = 0
    store.addRelay = (relay, type) => {
      if (type === 'configured') asked++ // else libp2p's own search, which is for no relay here
      return isFull ? Promise.reject(new Error('full')) : addRelay(relay, type)
    }
    let identified = 0
    hidden.libp2p.addEventListener('peer:identify', ({ detail: { peerId } }) => {
      if (peerId.equals(net.bridge.peerId)) identified++
    })
    for (const connection of hidden.libp2p.getConnections(net.bridge.peerId)) await connection.close()
    await vi.waitFor(() => expect(store.hasReservation(net.bridge.peerId)).toBe(false), PATIENCE)
    await joinDht(hidden.libp2p, [net.bridgeAddress], { signal: AbortSignal.timeout(20_000) })
    // once because of each time that the relay told what it is, and once more because it had refused
    await vi.waitFor(() => expect(asked).toBeGreaterThan(identified), PATIENCE)
    expect(identified).toBeGreaterThan(0)
    expect(store.hasReservation(net.bridge.peerId)).toBe(false)
    isFull = false
    await vi.waitFor(() => expect(store.hasReservation(net.bridge.peerId)).toBe(true), PATIENCE)
  })

  it('joinDht rejects with UNREACHABLE where nobody listens, and with ABORTED on the signal', async () => {
    const lost = await net.add('fleeting', { join: false })
    const nowhere = [`/ip4/127.0.0.1/tcp/9/ws/p2p/${unreachable}`]
    await expect(joinDht(lost.libp2p, nowhere)).rejects.toMatchObject({ code: 'UNREACHABLE' })
    const aborted = joinDht(lost.libp2p, [net.bridgeAddress], { signal: AbortSignal.abort() })
    await expect(aborted).rejects.toMatchObject({ code: 'ABORTED' })
  })

  it('joinDht ends with TIMEOUT where the other side never becomes a peer, and another attempt can join', async () => {
    const { libp2p } = await net.add('fleeting', { join: false })
    // it takes connections and serves no DHT, as if what it is had been lost on the way
    const mute = await createNodeLibp2p({
      seed: new Uint8Array(32).fill(201),
      listen: ['/ip4/127.0.0.1/tcp/0/ws'],
      role: 'client',
    })
    try {
      const address = String(mute.getMultiaddrs()[0])
      const join = joinDht(libp2p, [address], { firstEntryTimeoutMs: 300 })
      await expect(join).rejects.toMatchObject({ code: 'TIMEOUT' })
      expect(libp2p.getConnections(mute.peerId)).toEqual([])
      await joinDht(libp2p, [net.bridgeAddress], { signal: AbortSignal.timeout(20_000) })
      expect(libp2p.getConnections(net.bridge.peerId)).toHaveLength(1)
    } finally {
      await mute.stop()
    }
  })
})
