import type { Multiaddr } from '@multiformats/multiaddr'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DEFAULT_MEET_OPTIONS, DialPace, keepMeeting } from '../../../src/dht/libp2p-meet.ts'
import { NEEDED_VALUE } from '../../../src/dht/libp2p-needed.ts'
import type { DhtLibp2p } from '../../../src/dht/libp2p-services.ts'
import { routingTable } from '../../../src/dht/routing-table.ts'
import { createNodeLibp2p, type NodeRole } from '../../../src/node/transports.ts'
import { startLibp2pNet, type TestLibp2pNet } from '../../support/libp2p-net.ts'
import { ManualRuntime } from '../../support/manual-runtime.ts'
import { until } from '../../support/memory-nodes.ts'

describe('the pace of dialling neighbours', () => {
  it('is slower each time for one that does not stay, up to a minute', () => {
    const runtime = new ManualRuntime()
    const pace = new DialPace(runtime, DEFAULT_MEET_OPTIONS)
    for (const againMs of [2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]) {
      expect(pace.take('a')).toBe(true)
      runtime.advance(againMs - 1)
      expect(pace.take('a')).toBe(false)
      expect(pace.take(`another at ${againMs}`)).toBe(true)
      runtime.advance(1)
    }
  })

  it('begins anew for one that stayed for long', () => {
    const runtime = new ManualRuntime()
    const pace = new DialPace(runtime, DEFAULT_MEET_OPTIONS)
    pace.take('a')
    runtime.advance(3_600_000)
    expect(pace.take('a')).toBe(true)
    runtime.advance(2_000)
    expect(pace.take('a')).toBe(true)
  })
})

describe('a node that has met its neighbours', () => {
  const { firstMs, lossMs } = DEFAULT_MEET_OPTIONS
  let runtime: ManualRuntime
  let node: DhtLibp2p
  let others: DhtLibp2p[]
  let stopMeeting: () => void
  let looks = 0

  const start = (byte: number, role: NodeRole) =>
    createNodeLibp2p({
      seed: new Uint8Array(32).fill(byte),
      role,
      listen: role === 'client' ? [] : ['/ip4/127.0.0.1/tcp/0/ws'],
    })
  /** The look that is due, until the next one is. */
  const look = async () => {
    const before = looks
    runtime.advance(runtime.nextInMs)
    await until(() => looks > before && runtime.waiting === 1)
  }
  const leave = async (other: DhtLibp2p) => {
    await other.stop()
    await until(() => node.getConnections(other.peerId).length === 0)
  }

  beforeEach(async () => {
    runtime = new ManualRuntime()
    node = await start(1, 'durable')
    others = await Promise.all([start(2, 'fleeting'), start(3, 'fleeting'), start(4, 'client')])
    for (const other of others) await other.dial(node.getMultiaddrs()[0] as Multiaddr)
    await until(() => routingTable(node.services.kad).size === 2)
    const { getClosestPeers } = node.services.kad
    node.services.kad.getClosestPeers = (...request) => {
      looks += 1
      return getClosestPeers.apply(node.services.kad, request)
    }
    const client = others[2]?.peerId
    stopMeeting = keepMeeting(node, runtime, (peerId) => !client?.equals(peerId))
    while (runtime.nextInMs < 60_000) await look()
    runtime.advance(runtime.nextInMs / 2)
  }, 20_000)
  afterEach(async () => {
    stopMeeting()
    await Promise.all([node, ...others].map((libp2p) => libp2p.stop()))
  })

  it('looks for more when one is lost, and not for each of many', async () => {
    const [first, second] = others as [DhtLibp2p, DhtLibp2p]
    await leave(first)
    expect(runtime.nextInMs).toBeLessThanOrEqual(1.5 * firstMs)
    await look()
    expect(runtime.nextInMs).toBeGreaterThanOrEqual(lossMs)
    await leave(second)
    expect(runtime.nextInMs).toBeGreaterThanOrEqual(0.5 * lossMs)
    expect(runtime.nextInMs).toBeLessThanOrEqual(1.5 * lossMs)
  })

  it('does not look because a client leaves', async () => {
    const beforeMs = runtime.nextInMs
    await leave(others[2] as DhtLibp2p)
    expect(runtime.nextInMs).toBe(beforeMs)
  })
})

describe('the holders of a key', () => {
  let net: TestLibp2pNet
  afterEach(() => net.stop())

  it('are marked as needed in the peer store by whoever looks them up, and nobody else is', async () => {
    net = await startLibp2pNet(['durable', 'fleeting', 'client'])
    const [, , client] = net.peers
    if (client === undefined) throw new Error('no client')
    const worthOf = async (index: number): Promise<number> => {
      const peer = net.peers[index]?.libp2p.peerId
      if (peer === undefined) throw new Error('no peer')
      const known = await client.libp2p.peerStore.get(peer).catch(() => undefined)
      return Math.max(0, ...[...(known?.tags.values() ?? [])].map(({ value }) => value))
    }
    expect(await worthOf(0)).toBeLessThan(NEEDED_VALUE)
    const look = () =>
      client.network.closestPeers(new Uint8Array(32), {
        count: 8,
        minDurable: 3,
        signal: AbortSignal.timeout(10_000),
      })
    await until(async () => (await look()).length === 2)
    await until(async () => (await worthOf(0)) >= NEEDED_VALUE && (await worthOf(1)) >= NEEDED_VALUE)
    const bridge = await client.libp2p.peerStore.get(net.bridge.peerId)
    expect(Math.max(0, ...[...bridge.tags.values()].map(({ value }) => value))).toBeLessThan(NEEDED_VALUE)
  })
})
