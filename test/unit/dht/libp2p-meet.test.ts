import { afterEach, describe, expect, it } from 'vitest'
import { DEFAULT_MEET_OPTIONS, DialPace } from '../../../src/dht/libp2p-meet.ts'
import { NEEDED_VALUE } from '../../../src/dht/libp2p-needed.ts'
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
