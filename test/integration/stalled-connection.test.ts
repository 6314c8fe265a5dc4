import type { Connection } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { afterEach, describe, expect, it } from 'vitest'
import type { LinkEvents } from '../../src/dht/index.ts'
import type { DhtLibp2p } from '../../src/dht/libp2p-services.ts'
import { PINGS } from '../../src/dht/libp2p-services.ts'
import { startLibp2pNet, type TestLibp2pNet } from '../support/libp2p-net.ts'
import { until } from '../support/memory-nodes.ts'
import { freePort } from '../support/proxied.ts'
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'

let net: TestLibp2pNet
let proxy: TcpProxy
afterEach(async () => {
  await net?.stop()
  await proxy?.close()
})

const silent: LinkEvents = { onFrame() {}, onClose() {} }

it('a connection that died without a word is replaced when a link is opened', async () => {
  net = await startLibp2pNet([], { stalledConnectionMs: 1_500 })
  const options = { join: false }
  const [a, b] = [await net.add('durable', options), await net.add('durable', options)]
  const port = Number(/\/tcp\/(\d+)/.exec(String(b.libp2p.getMultiaddrs()[0]))?.[1])
  proxy = await startTcpProxy(port)
  const frames: Uint8Array[] = []
  b.network.onInboundLink(() => ({ onFrame: (frame) => frames.push(frame), onClose() {} }))
  const address = multiaddr(`/ip4/127.0.0.1/tcp/${proxy.port}/ws/p2p/${b.libp2p.peerId}`)
  await a.libp2p.peerStore.merge(b.libp2p.peerId, { multiaddrs: [address] })
  const before = await a.libp2p.dial(address)
  const open = () => a.network.openLink(b.network.self, silent, { signal: AbortSignal.timeout(15_000) })
  await open()
  expect(a.libp2p.getConnections(b.libp2p.peerId)).toHaveLength(1)
  proxy.stallStanding()
  expect(proxy.stalled).toBe(1)
  expect(before.status).toBe('open')
  const link = await open()
  expect(before.status).not.toBe('open')
  link.send(Uint8Array.of(7))
  await expect.poll(() => frames.length).toBe(1)
})

it('all connections to a peer that died without a word are replaced, not one at each attempt', async () => {
  net = await startLibp2pNet([], { stalledConnectionMs: 300 })
  const options = { join: false }
  const [a, b] = [await net.add('durable', options), await net.add('durable', options)]
  const port = Number(/\/tcp\/(\d+)/.exec(String(b.libp2p.getMultiaddrs()[0]))?.[1])
  proxy = await startTcpProxy(port)
  b.network.onInboundLink(() => silent)
  const address = multiaddr(`/ip4/127.0.0.1/tcp/${proxy.port}/ws/p2p/${b.libp2p.peerId}`)
  await a.libp2p.peerStore.merge(b.libp2p.peerId, { multiaddrs: [address] })
  const dead = [await a.libp2p.dial(address), await a.libp2p.dial(address, { force: true })]
  expect(a.libp2p.getConnections(b.libp2p.peerId)).toHaveLength(2)
  proxy.stallStanding()
  const link = await a.network.openLink(b.network.self, silent, { signal: AbortSignal.timeout(15_000) })
  expect(dead.map(({ status }) => status)).not.toContain('open')
  link.close()
})

it('a connection that is given up leaves no socket behind, on either side of a silent peer', async () => {
  net = await startLibp2pNet([])
  const options = { join: false }
  const [a, b] = [await net.add('durable', options), await net.add('durable', options)]
  const port = Number(/\/tcp\/(\d+)/.exec(String(b.libp2p.getMultiaddrs()[0]))?.[1])
  proxy = await startTcpProxy(port)
  const address = multiaddr(`/ip4/127.0.0.1/tcp/${proxy.port}/ws/p2p/${b.libp2p.peerId}`)
  const dialled = await a.libp2p.dial(address)
  await until(() => b.libp2p.getConnections(a.libp2p.peerId).length === 1)
  proxy.stallStanding()
  expect(proxy.open).toEqual({ fromDialler: 1, toListener: 1 })
  dialled.abort(new Error('given up'))
  await until(() => proxy.open.fromDialler === 0)
  expect(proxy.open.toListener).toBe(1)
  b.libp2p.getConnections(a.libp2p.peerId)[0]?.abort(new Error('given up'))
  await until(() => proxy.open.toListener === 0)
})

describe('an idle connection that died without a word', () => {
  const shipped = { ...PINGS }
  afterEach(() => void Object.assign(PINGS, shipped))

  /** Whether it pings is as shipped; how often is not. */
  const hurry = () =>
    Object.assign(PINGS, { pingInterval: 400, pingTimeout: { minTimeout: 1_000, maxTimeout: 4_000 } })
  const open = (one: DhtLibp2p, other: DhtLibp2p) =>
    one.getConnections(other.peerId).filter(({ status }) => status === 'open')
  /** Those of both sides, once there are any. */
  async function between(one: DhtLibp2p, other: DhtLibp2p): Promise<Set<Connection>> {
    await until(() => open(one, other).length > 0 && open(other, one).length > 0, 20_000)
    return new Set([...open(one, other), ...open(other, one)])
  }
  const areGone = (connections: Set<Connection>) => [...connections].every(({ status }) => status !== 'open')

  it('is noticed within 30 s, where others are slow too after a minute', () => {
    expect(PINGS).toEqual({ pingInterval: 20_000, pingTimeout: { minTimeout: 10_000, maxTimeout: 40_000 } })
  })

  it('is noticed on both sides and made anew, before anybody asks for anything', async () => {
    hurry()
    net = await startLibp2pNet([])
    const port = await freePort()
    proxy = await startTcpProxy(port)
    const b = await net.add('durable', { listenPort: port, announcePort: proxy.port })
    const a = await net.add('client') // which nobody can dial: whatever is between them is through the proxy
    const dead = await between(a.libp2p, b.libp2p)
    proxy.stallStanding()
    await until(() => areGone(dead))
    const anew = await between(a.libp2p, b.libp2p)
    expect([...dead].filter((connection) => anew.has(connection))).toEqual([])
    const frames: Uint8Array[] = []
    b.network.onInboundLink(() => ({ onFrame: (frame) => frames.push(frame), onClose() {} }))
    const link = await a.network.openLink(b.network.self, silent, { signal: AbortSignal.timeout(15_000) })
    link.send(Uint8Array.of(7))
    await until(() => frames.length === 1)
  })

  it('is noticed by a node and its bridge', async () => {
    hurry()
    net = await startLibp2pNet([])
    const { bridge, bridgeAddress } = net
    proxy = await startTcpProxy(Number(/\/tcp\/(\d+)/.exec(bridgeAddress)?.[1]))
    const { libp2p } = await net.add('client', { join: false })
    await libp2p.dial(multiaddr(`/ip4/127.0.0.1/tcp/${proxy.port}/ws/p2p/${bridge.peerId}`))
    const dead = await between(libp2p, bridge)
    proxy.stallStanding()
    await until(() => areGone(dead))
  })
})
