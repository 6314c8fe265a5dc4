import { mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { type Runtime, type Storage, systemRuntime } from '../../src/dht/index.ts'
import { openLevelStorage } from '../../src/node/object-store.ts'
import type { Message } from '../../src/pubsub/index.ts'
import { LIMITS } from '../../src/pubsub/options.ts'
import { MemoryNet, until } from '../support/memory-nodes.ts'

const MINUTE_MS = 60_000

let net: MemoryNet
const folders: string[] = []
afterEach(async () => {
  await net.close()
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true })
})

/** The clock of all nodes. It stands still unless the test moves it, however long the machine takes. */
function movableClock(): { runtime: Runtime; ahead(ms: number): void } {
  let nowMs = Date.now()
  return {
    runtime: { ...systemRuntime, now: () => nowMs },
    ahead: (ms) => {
      nowMs += ms
    },
  }
}

async function keysOf(storage: Storage): Promise<string[]> {
  const keys: string[] = []
  for await (const key of storage.keys('')) keys.push(key)
  return keys
}

async function bytesIn(folder: string): Promise<number> {
  const sizes = await Promise.all(
    (await readdir(folder)).map(async (name) => (await stat(join(folder, name))).size),
  )
  return sizes.reduce((sum, size) => sum + size, 0)
}

describe('history that a head does not name any more', () => {
  it('is kept while what it names lives, so that who comes back reads what is new; then it goes', async () => {
    const COMMITS = 1_000
    net = new MemoryNet()
    const clock = movableClock()
    const quiet = { runtime: clock.runtime, dhtOptions: { antiEntropyMs: 3_600_000, aloneMs: 0 } }
    const holder = await net.add(quiet)
    const client = () => net.add({ ...quiet, stores: false, durable: false })
    const text = 'x'.repeat(500)
    const atOnce = Array.from(
      { length: 2_000 },
      () => holder.pubsub.publish('room', text, { deadlineMs: 60_000 }), // more than it takes beside other tests
    )
    await Promise.all(atOnce)
    const reader = await client()
    const heard: unknown[] = []
    const subscription = await reader.pubsub.subscribe('room', { onMessage: ({ data }) => heard.push(data) })
    await until(() => heard.length === 2_000)
    await until(() => subscription.status === 'synced')
    const from = subscription.position
    await subscription.close()
    for (let n = 0; n < COMMITS; n++) await holder.pubsub.publish('room', n)
    const comeBack = async () => {
      const again = await client()
      const news: unknown[] = []
      await again.pubsub.subscribe('room', { history: { from }, onMessage: ({ data }) => news.push(data) })
      await until(() => news.length === COMMITS)
      return again.pubsub.counters().rpc.bytesReceived
    }
    const sweepTwice = async () => {
      for (let round = 0; round < 2; round++) await holder.pubsub.dht.sweep()
    }
    const bytes = await comeBack()
    await sweepTwice()
    const history = await reader.pubsub.loadFullHistory('room')
    expect(history.snapshots.length).toBeGreaterThan(LIMITS.maxParents)
    expect(history.missing).toBe(0)
    expect(await comeBack()).toBeLessThan(1.1 * bytes)
    const named = await keysOf(holder.storage)
    const snapshots = named.filter((key) => key.startsWith('block/snapshot/'))
    expect(snapshots.length).toBe(history.snapshots.length)

    clock.ahead(LIMITS.defaultTtlMs + 1)
    await holder.pubsub.publish('room', 'lives')
    await sweepTwice()
    const left = (await keysOf(holder.storage)).filter((key) => key.startsWith('block/snapshot/'))
    expect(left.length).toBeLessThanOrEqual(LIMITS.maxParents)
  }, 60_000)
})

describe('what has expired', () => {
  it('leaves memory and disk, and nothing else does: the folder is as small as before', async () => {
    net = new MemoryNet()
    const folder = await mkdtemp(join(tmpdir(), 'sticky-expiry-'))
    folders.push(folder)
    const clock = movableClock()
    const storage = await openLevelStorage(folder)
    const { pubsub } = await net.add({ storage, runtime: clock.runtime })
    await pubsub.publish('lasting', 'stays', { ttlMs: LIMITS.maxTtlMs })
    const before = await bytesIn(folder)
    const noise = () => crypto.getRandomValues(new Uint8Array(8_000)) // does not compress
    for (let round = 0; round < 8; round++)
      await Promise.all(
        Array.from({ length: 50 }, () => pubsub.publish('idle', noise(), { ttlMs: MINUTE_MS })),
      )
    await pubsub.publish('idle', new Uint8Array(100_000), { ttlMs: MINUTE_MS })
    await pubsub.dht.sweep()
    const full = await bytesIn(folder)
    expect(full).toBeGreaterThan(3_000_000)
    expect((await pubsub.loadMessageCollection('idle'))?.count).toBe(401)

    clock.ahead(MINUTE_MS + LIMITS.graceMs - 1_000)
    await pubsub.dht.sweep()
    await pubsub.dht.sweep()
    expect((await pubsub.history('idle')).messages).toEqual([]) // expired, though still within the grace
    expect((await pubsub.loadMessageCollection('idle'))?.count).toBe(401)

    clock.ahead(30_000)
    await pubsub.dht.sweep() // the record goes
    await pubsub.dht.sweep() // and what only it reached
    expect(await pubsub.loadCoordinator('idle')).toBeUndefined()
    const left = await keysOf(storage)
    expect(left.filter((key) => key.startsWith('head/'))).toHaveLength(1)
    expect(left.length).toBeLessThan(10)
    expect(await bytesIn(folder)).toBeLessThan(before + 100_000)
    expect((await pubsub.history('lasting')).messages.map(({ data }) => data)).toEqual(['stays'])
  })

  it('is delivered to nobody, and a subscription that nobody renews ends', async () => {
    net = new MemoryNet()
    const clock = movableClock()
    const options = { renewMs: 0, checkIntervalMs: 0 }
    for (let i = 0; i < 3; i++) await net.add({ runtime: clock.runtime })
    const client = { stores: false, durable: false, runtime: clock.runtime }
    const subscriber = await net.add({ ...client, options })
    const publisher = await net.add(client)
    await publisher.pubsub.publish('room', 'short', { ttlMs: MINUTE_MS })
    await publisher.pubsub.publish('room', 'long')
    clock.ahead(MINUTE_MS)
    const seen: Message[] = []
    const subscription = await subscriber.pubsub.subscribe('room', {
      info: 'Ada',
      onMessage: (message) => seen.push(message),
    })
    await until(() => seen.length === 1)
    expect(seen[0]?.data).toBe('long')
    await until(async () => (await publisher.pubsub.subscribers('room')).length === 1)
    clock.ahead(LIMITS.subscriptionTtlMs - MINUTE_MS)
    await subscription.renew()
    clock.ahead(2 * MINUTE_MS)
    expect(await publisher.pubsub.subscribers('room')).toHaveLength(1)
    await publisher.pubsub.publish('room', 'renewed')
    await until(() => seen.length === 2)
    clock.ahead(LIMITS.subscriptionTtlMs)
    expect(await publisher.pubsub.subscribers('room')).toEqual([])
    const dropped = () =>
      net.nodes.reduce((sum, { pubsub }) => sum + (pubsub.counters().delivery?.dropped ?? 0), 0)
    const before = dropped()
    await publisher.pubsub.publish('room', 'to nobody')
    await until(() => dropped() === before + 1)
    expect(seen.map(({ data }) => data)).toEqual(['long', 'renewed'])
  })

  it('does not take a subscription with it that renews itself', async () => {
    net = new MemoryNet()
    const clock = movableClock()
    for (let i = 0; i < 3; i++) await net.add({ runtime: clock.runtime })
    const subscriber = await net.add({ stores: false, runtime: clock.runtime, options: { renewMs: 50 } })
    await subscriber.pubsub.subscribe('room', { info: 'Ada' })
    const since = async () => (await subscriber.pubsub.subscribers('room'))[0]?.since ?? 0
    const first = await until(since)
    for (let half = 0; half < 4; half++) {
      clock.ahead(LIMITS.subscriptionTtlMs / 2)
      const now = clock.runtime.now()
      await until(async () => (await since()) >= now - 1_000)
    }
    expect((await since()) - first).toBeGreaterThan(LIMITS.subscriptionTtlMs)
  })
})
