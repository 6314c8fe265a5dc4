import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { LightConnection } from '../../src/browser/light-connection.ts'
import { IDENTIFY_PROTOCOL } from '../../src/browser/light-messages.ts'
import {
  createLightNetwork,
  type LightNetwork,
  type LightNetworkOptions,
} from '../../src/browser/light-network.ts'
import { identityFromSeed, nodeIdOf } from '../../src/dht/identity.ts'
import { KAD_DURABLE_PROTOCOL, KAD_PROTOCOL } from '../../src/dht/libp2p-services.ts'
import type { Link, LinkEvents } from '../../src/dht/network.ts'
import { startLibp2pNet, type TestLibp2pNet, type TestPeer } from '../support/libp2p-net.ts'
import { PATIENCE } from '../support/patience.ts'
import { freePort } from '../support/proxied.ts'
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'
import { type NetworkFixture, networkSuite } from './network-suite.ts'

/** A light node among real libp2p nodes: what the port promises of a client, and what is its own. */

const within = () => ({ signal: AbortSignal.timeout(20_000) })
const silent: LinkEvents = { onFrame: () => undefined, onClose: () => undefined }

let seeds = 100
const lights: LightNetwork[] = []

async function lightIn(
  net: TestLibp2pNet,
  options: Partial<LightNetworkOptions> = {},
  bridgeId = String(net.bridge.peerId),
  address = net.bridgeAddress,
): Promise<LightNetwork> {
  const seed = new Uint8Array(32).fill(++seeds)
  const { nodeId } = await identityFromSeed(seed)
  const network = await createLightNetwork({ nodeId, seed, options })
  lights.push(network)
  net.admitted.add(nodeId)
  await network.join(address, bridgeId, AbortSignal.timeout(20_000))
  return network
}

const fixture = async (options: Partial<LightNetworkOptions>): Promise<NetworkFixture> => {
  const net = await startLibp2pNet(['durable', 'fleeting', 'durable', 'durable', 'fleeting', 'client'])
  const client = await lightIn(net, options)
  return {
    holders: net.peers.slice(0, -1).map(({ network }) => network),
    client,
    unreachable: nodeIdOf(new Uint8Array(32).fill(200)),
    stop: async () => {
      await client.close()
      await net.stop()
    },
  }
}

networkSuite('a light client, by what its bridge knows', () => fixture({}))
networkSuite('a light client, by look-up', () => fixture({ bucketPeers: 0 }))

describe('light network', () => {
  let net: TestLibp2pNet
  let direct: TestPeer
  let relayed: TestPeer

  beforeAll(async () => {
    net = await startLibp2pNet(['durable'])
    direct = net.peers[0] as TestPeer
    relayed = await net.add('fleeting', { relayed: true })
  }, 20_000)
  afterEach(() => Promise.all(lights.splice(0).map((light) => light.close())))
  afterAll(() => net?.stop(), 20_000)

  const closest = (light: LightNetwork) =>
    light.closestPeers(Uint8Array.of(1), { count: 8, minDurable: 3, ...within() })
  const knows = (light: LightNetwork, peers: TestPeer[]) =>
    vi.waitFor(async () => {
      const ids = (await closest(light)).map(({ nodeId }) => nodeId)
      expect(ids.toSorted()).toEqual(peers.map(({ network }) => network.self).toSorted())
    }, PATIENCE)
  const wayTo = (light: LightNetwork, { network }: TestPeer) =>
    light.connections().find(({ nodeId }) => nodeId === network.self)

  it('reaches who can only be reached through the relay, and who can be dialled without it', async () => {
    const light = await lightIn(net)
    await knows(light, [direct, relayed])
    for (const peer of [direct, relayed]) {
      const frames: Uint8Array[] = []
      peer.network.onInboundLink(() => ({ ...silent, onFrame: (frame) => void frames.push(frame) }))
      const link = await light.openLink(peer.network.self, silent, within())
      link.send(new Uint8Array(100_000).fill(7))
      await vi.waitFor(() => expect(frames).toEqual([new Uint8Array(100_000).fill(7)]), PATIENCE)
    }
    expect(wayTo(light, direct)?.direct).toBe(true)
    expect(wayTo(light, relayed)?.direct).toBe(false)
  })

  it('asks once in each DHT for many keys, and once more when peers have come or gone', async () => {
    const asking = vi.spyOn(LightConnection.prototype, 'ask')
    try {
      const light = await lightIn(net, { firstWatchMs: 60_000 })
      await knows(light, [direct, relayed])
      let changes = 0
      light.onTopologyChange(() => void changes++)
      await vi.waitFor(() => expect(changes).toBeGreaterThan(0), PATIENCE) // what they said of themselves was news
      const keys = Array.from({ length: 50 }, (_, i) => Uint8Array.of(i))
      const lookAll = () =>
        Promise.all(keys.map((key) => light.closestPeers(key, { count: 8, minDurable: 3, ...within() })))
      const questions = async () => {
        asking.mockClear()
        for (const set of await lookAll()) expect(set).toHaveLength(2)
        return asking.mock.calls.map(([protocol]) => protocol).toSorted()
      }
      expect(await questions()).toEqual([KAD_DURABLE_PROTOCOL, KAD_PROTOCOL].toSorted())
      expect(await questions()).toEqual([])
      const before = changes
      for (const connection of direct.libp2p.getConnections())
        if (String(connection.remotePeer) === light.self) connection.abort(new Error('lost'))
      await vi.waitFor(() => expect(changes).toBeGreaterThan(before), PATIENCE)
      const kad = (await questions()).filter((protocol) => protocol !== IDENTIFY_PROTOCOL)
      expect(kad).toEqual([KAD_DURABLE_PROTOCOL, KAD_PROTOCOL].toSorted())
    } finally {
      asking.mockRestore()
    }
  })

  describe('with a holder that is far away, and has no place at the relay', () => {
    let far: TestPeer
    let proxy: TcpProxy
    beforeEach(async () => {
      const listenPort = await freePort()
      proxy = await startTcpProxy(listenPort)
      far = await net.add('durable', { listenPort, announcePort: proxy.port })
      proxy.delayMs = 150
    })
    afterEach(async () => {
      await proxy.close()
      await far.network.close()
      await far.libp2p.stop()
    })
    const names = async (light: LightNetwork) => (await closest(light)).map(({ nodeId }) => nodeId)

    it('names it though it answers later than the relay is asked, and reaches it', async () => {
      const light = await lightIn(net, { directMs: 100, firstWatchMs: 60_000 })
      expect(await names(light)).toContain(far.network.self)
      far.network.onInboundLink(() => silent)
      await light.openLink(far.network.self, silent, within())
      expect(wayTo(light, far)?.direct).toBe(true)
    })

    it('names it once it has answered, which is news, where others answer before', async () => {
      const light = await lightIn(net, { questionMs: 1_200, dialMs: 8_000, firstWatchMs: 60_000 })
      proxy.delayMs = 400
      expect(await names(light)).not.toContain(far.network.self)
      let changes = 0
      light.onTopologyChange(() => void changes++)
      await vi.waitFor(() => expect(wayTo(light, far)?.direct).toBe(true), PATIENCE)
      const before = changes
      await vi.waitFor(() => expect(changes).toBeGreaterThan(before), PATIENCE)
      expect(await names(light)).toContain(far.network.self)
    })
  })

  it('has one connection to each peer, however many ask for it at once', async () => {
    const light = await lightIn(net)
    await knows(light, [direct, relayed])
    relayed.network.onInboundLink(() => silent)
    const links = await Promise.all(
      Array.from({ length: 4 }, () => light.openLink(relayed.network.self, silent, within())),
    )
    expect(new Set(links).size).toBe(4)
    const fromLight = relayed.libp2p
      .getConnections()
      .filter(({ remotePeer }) => String(remotePeer) === light.self)
    expect(fromLight).toHaveLength(1)
  })

  it('takes links that others open on a connection of its own, and tells them that it holds nothing', async () => {
    const light = await lightIn(net)
    await knows(light, [direct, relayed])
    const taken: Link[] = []
    light.onInboundLink((link) => {
      taken.push(link)
      return silent
    })
    direct.network.onInboundLink(() => silent)
    await light.openLink(direct.network.self, silent, within())
    await direct.network.openLink(light.self, silent, within())
    await vi.waitFor(() => expect(taken.map(({ peer }) => peer)).toEqual([direct.network.self]), PATIENCE)
    const [connection] = direct.libp2p
      .getConnections()
      .filter(({ remotePeer }) => String(remotePeer) === light.self)
    const told = await direct.network.profile(connection?.remotePeer as never)
    expect(told).toEqual({ stores: false, durable: false })
  })

  it('keeps to its number of connections, and opens anew what it let go', async () => {
    const light = await lightIn(net, { maxConnections: 2 })
    for (const peer of [direct, relayed, direct, relayed]) {
      peer.network.onInboundLink(() => silent)
      await vi.waitFor(() => light.openLink(peer.network.self, silent, within()), PATIENCE)
      await vi.waitFor(() => expect(light.connections().length).toBeLessThanOrEqual(2), PATIENCE)
    }
    expect(light.isConnected(String(net.bridge.peerId))).toBe(true)
  })

  it('dials a peer anew whose connection was lost, and says that peers have changed', async () => {
    const light = await lightIn(net)
    await knows(light, [direct, relayed])
    let changes = 0
    light.onTopologyChange(() => void changes++)
    for (const peer of [direct, relayed]) {
      let closed = 0
      peer.network.onInboundLink(() => silent)
      await light.openLink(peer.network.self, { ...silent, onClose: () => void closed++ }, within())
      const before = changes
      for (const connection of peer.libp2p.getConnections())
        if (String(connection.remotePeer) === light.self) connection.abort(new Error('lost'))
      await vi.waitFor(() => expect(closed).toBe(1), PATIENCE)
      await vi.waitFor(() => expect(changes).toBeGreaterThan(before), PATIENCE)
      await light.openLink(peer.network.self, silent, within())
    }
  })

  describe('whose connections die without a word', () => {
    let proxy: TcpProxy
    afterEach(() => proxy.close())

    it('replaces one to a peer when a link is opened', async () => {
      const listenPort = await freePort()
      proxy = await startTcpProxy(listenPort)
      const peer = await net.add('durable', { listenPort, announcePort: proxy.port })
      const light = await lightIn(net, { stalledConnectionMs: 300 })
      await knows(light, [direct, relayed, peer])
      const frames: Uint8Array[] = []
      peer.network.onInboundLink(() => ({ ...silent, onFrame: (frame) => void frames.push(frame) }))
      await light.openLink(peer.network.self, silent, within())
      expect(wayTo(light, peer)?.direct).toBe(true)
      const before = proxy.accepted // other nodes dial it too
      proxy.stallStanding()
      const link = await light.openLink(peer.network.self, silent, within())
      link.send(Uint8Array.of(7))
      await vi.waitFor(() => expect(frames).toEqual([Uint8Array.of(7)]), PATIENCE)
      expect(proxy.accepted).toBeGreaterThan(before)
      expect(wayTo(light, peer)?.direct).toBe(true)
      await peer.network.close()
      await peer.libp2p.stop()
    })

    it('lets go of the bridge once that opens no way to others, and reaches them when it has joined anew', async () => {
      proxy = await startTcpProxy(Number(/\/tcp\/(\d+)/.exec(net.bridgeAddress)?.[1]))
      const bridgeId = String(net.bridge.peerId)
      const address = net.bridgeAddress.replace(/\/tcp\/\d+/, `/tcp/${proxy.port}`)
      const light = await lightIn(net, { dialMs: 500, stalledConnectionMs: 300 }, bridgeId, address)
      relayed.network.onInboundLink(() => silent)
      await light.openLink(relayed.network.self, silent, within())
      proxy.stallStanding()
      const opening = light.openLink(relayed.network.self, silent, within())
      await expect(opening).rejects.toMatchObject({ code: 'UNREACHABLE' })
      await vi.waitFor(() => expect(light.isConnected(bridgeId)).toBe(false), PATIENCE)
      await light.join(address, bridgeId, AbortSignal.timeout(20_000))
      await light.openLink(relayed.network.self, silent, within())
    })

    it('does not take one for dead on which much comes, and the sign of life behind it', async () => {
      const listenPort = await freePort()
      proxy = await startTcpProxy(listenPort)
      const peer = await net.add('durable', { listenPort, announcePort: proxy.port })
      const light = await lightIn(net, { pingMs: 50, pingTimeoutMs: 600 })
      await knows(light, [direct, relayed, peer])
      const inbound = Promise.withResolvers<Link>()
      peer.network.onInboundLink((link) => {
        inbound.resolve(link)
        return silent
      })
      let frames = 0
      let closed = 0
      const events = { onFrame: () => void frames++, onClose: () => void closed++ }
      await light.openLink(peer.network.self, events, within())
      expect(wayTo(light, peer)?.direct).toBe(true)
      const link = await inbound.promise
      const sending = setInterval(() => link.send(Uint8Array.of(7)), 10)
      try {
        await vi.waitFor(() => expect(frames).toBeGreaterThan(10), PATIENCE)
        proxy.delayMs = 400 // a round trip takes longer than a sign of life may
        const before = frames
        await vi.waitFor(() => expect(closed > 0 || frames > before + 150).toBe(true), PATIENCE)
        expect(closed).toBe(0)
      } finally {
        clearInterval(sending)
      }
      await peer.network.close()
      await peer.libp2p.stop()
    })

    it('notices it by itself, with nobody asking', async () => {
      proxy = await startTcpProxy(Number(/\/tcp\/(\d+)/.exec(net.bridgeAddress)?.[1]))
      const bridgeId = String(net.bridge.peerId)
      const address = net.bridgeAddress.replace(/\/tcp\/\d+/, `/tcp/${proxy.port}`)
      const light = await lightIn(
        net,
        { pingMs: 100, pingTimeoutMs: 500, firstWatchMs: 60_000 },
        bridgeId,
        address,
      )
      proxy.stallStanding()
      await vi.waitFor(() => expect(light.isConnected(bridgeId)).toBe(false), PATIENCE)
    })
  })

  it('remembers who speaks the DHT and takes no links', async () => {
    const other = await net.add('fleeting')
    const light = await lightIn(net)
    await knows(light, [direct, relayed, other])
    await other.libp2p.unhandle('/sticky-pubsub/link/1.0.0')
    await expect(light.openLink(other.network.self, silent, within())).rejects.toMatchObject({
      code: 'UNREACHABLE',
    })
    await knows(light, [direct, relayed])
    await other.libp2p.stop()
  })

  it('tells when somebody has come', async () => {
    const light = await lightIn(net)
    let changes = 0
    light.onTopologyChange(() => void changes++)
    await vi.waitFor(() => expect(changes).toBeGreaterThan(0), PATIENCE)
    const before = changes
    const newcomer = await net.add('durable')
    await vi.waitFor(() => expect(changes).toBeGreaterThan(before), { timeout: 20_000 })
    await knows(light, [direct, relayed, newcomer])
    await newcomer.libp2p.stop()
  }, 40_000)

  it('knows nobody before it has joined', async () => {
    const seed = new Uint8Array(32).fill(99)
    const light = await createLightNetwork({ nodeId: (await identityFromSeed(seed)).nodeId, seed })
    lights.push(light)
    expect(await closest(light)).toEqual([])
    await expect(light.openLink(direct.network.self, silent, within())).rejects.toMatchObject({
      code: 'UNREACHABLE',
    })
  })

  it('refuses a bridge that has another key than the one that is meant', async () => {
    const joining = lightIn(net, {}, relayed.network.self)
    await expect(joining).rejects.toMatchObject({ code: 'WRONG_IDENTITY' })
  })

  it('is refused by a bridge that has not admitted it', async () => {
    const seed = new Uint8Array(32).fill(98)
    const light = await createLightNetwork({ nodeId: (await identityFromSeed(seed)).nodeId, seed })
    lights.push(light)
    const bridgeId = String(net.bridge.peerId)
    const joining = light.join(net.bridgeAddress, bridgeId, AbortSignal.timeout(20_000))
    await expect(joining).rejects.toMatchObject({ code: 'UNREACHABLE' })
    expect(light.isConnected(bridgeId)).toBe(false)
  })
})

describe('a light network and a bridge that fails it', () => {
  let net: TestLibp2pNet
  afterEach(async () => {
    await Promise.all(lights.splice(0).map((light) => light.close()))
    await net?.stop()
  })

  it('goes on asking holders where the bridge has gone, also when their own word has become old', async () => {
    const profileMs = 200
    net = await startLibp2pNet(['durable', 'durable', 'durable'])
    const light = await lightIn(net, { profileMs, pingMs: 50 })
    const found = () => light.closestPeers(Uint8Array.of(1), { count: 8, minDurable: 3, ...within() })
    await vi.waitFor(async () => expect(await found()).toHaveLength(3), PATIENCE)
    await net.bridge.stop()
    await vi.waitFor(() => expect(light.isConnected(String(net.bridge.peerId))).toBe(false), PATIENCE)
    const startedMs = performance.now()
    while (performance.now() - startedMs < 4 * profileMs) expect(await found()).toHaveLength(3)
  }, 30_000)

  it('counts as not connected to one that could not be joined, so that it is joined again', async () => {
    net = await startLibp2pNet(['durable'])
    const bridgeId = String(net.bridge.peerId)
    const seed = new Uint8Array(32).fill(97)
    const { nodeId } = await identityFromSeed(seed)
    const light = await createLightNetwork({ nodeId, seed, options: { questionMs: 300 } })
    lights.push(light)
    net.admitted.add(nodeId)
    await net.bridge.unhandle(KAD_PROTOCOL)
    await net.bridge.handle(KAD_PROTOCOL, () => undefined) // it takes questions and does not answer
    const joining = light.join(net.bridgeAddress, bridgeId, AbortSignal.timeout(20_000))
    await expect(joining).rejects.toMatchObject({ code: 'UNREACHABLE' })
    expect(light.isConnected(bridgeId)).toBe(false)
  })
})
