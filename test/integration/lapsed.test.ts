import { afterEach, describe, expect, it } from 'vitest'
import { type Runtime, systemRuntime } from '../../src/dht/index.ts'
import type { Gap } from '../../src/pubsub/index.ts'
import { LIMITS } from '../../src/pubsub/options.ts'
import { MemoryNet, type MemoryNode, until } from '../support/memory-nodes.ts'

/** Somebody comes back to a topic after all that it had said there has expired. */

const MINUTE_MS = 60_000
/** Longer than a test: what is waited for does not come. */
const PATIENT = { gapPatienceMs: 600_000, checkIntervalMs: 200 }

let net: MemoryNet
let nowMs: number
let clock: Runtime
let holder: MemoryNode
afterEach(() => net.close())

async function start(): Promise<{ bob: MemoryNode; reader: MemoryNode }> {
  net = new MemoryNet()
  nowMs = Date.now()
  clock = { ...systemRuntime, now: () => nowMs }
  holder = await net.add({ runtime: clock })
  const client = { stores: false, durable: false, runtime: clock, options: PATIENT }
  return { bob: await net.add(client), reader: await net.add(client) }
}

async function expireAll(): Promise<void> {
  nowMs += 10 * MINUTE_MS + LIMITS.graceMs
  await holder.pubsub.dht.sweep()
  await holder.pubsub.dht.sweep()
}

async function read({ pubsub }: MemoryNode, history: 'all' | 'none' = 'all') {
  const seen: unknown[] = []
  const gaps: Pick<Gap, 'reason' | 'fromSequence' | 'toSequence'>[] = []
  const subscription = await pubsub.subscribe('room', { history, onMessage: ({ data }) => seen.push(data) })
  subscription.on('gap', ({ reason, fromSequence, toSequence }) =>
    gaps.push({ reason, fromSequence, toSequence }),
  )
  await until(() => subscription.status === 'synced')
  return { seen, gaps, subscription }
}

describe('who comes back after all that it said has expired', () => {
  it('is heard at once by who has come since, and what is gone has expired', {
    timeout: 30_000,
  }, async () => {
    const { bob, reader } = await start()
    for (const n of [1, 2, 3]) await bob.pubsub.publish('room', n, { ttlMs: MINUTE_MS })
    await expireAll()
    const all = await read(reader)
    await bob.pubsub.publish('room', 4)
    await until(() => all.seen.length === 1)
    await bob.pubsub.publish('room', 5)
    await until(() => all.seen.length === 2)
    expect(all.seen).toEqual([4, 5])
    expect(all.gaps).toEqual([{ reason: 'expired', fromSequence: 1, toSequence: 3 }])
  })

  it('is heard at once by who has gone on from a position, and is told what it missed', {
    timeout: 30_000,
  }, async () => {
    const { bob, reader } = await start()
    const first = await read(reader)
    await bob.pubsub.publish('room', 1, { ttlMs: MINUTE_MS })
    await until(() => first.seen.length === 1)
    const { position } = first.subscription
    await first.subscription.close()
    for (const n of [2, 3]) await bob.pubsub.publish('room', n, { ttlMs: MINUTE_MS })
    await expireAll()
    const seen: unknown[] = []
    const gaps: unknown[] = []
    const subscription = await reader.pubsub.subscribe('room', {
      history: { from: position },
      onMessage: ({ data }) => seen.push(data),
    })
    subscription.on('gap', ({ reason, fromSequence, toSequence }) =>
      gaps.push([reason, fromSequence, toSequence]),
    )
    await until(() => subscription.status === 'synced')
    await bob.pubsub.publish('room', 4)
    await until(() => seen.length === 1)
    expect(gaps).toEqual([['expired', 2, 3]])
  })

  it('is waited for as ever while something that it said has not expired', { timeout: 30_000 }, async () => {
    const { bob, reader } = await start()
    await bob.pubsub.publish('room', 1, { ttlMs: LIMITS.maxTtlMs })
    await bob.pubsub.publish('room', 2, { ttlMs: MINUTE_MS })
    await expireAll()
    const all = await read(reader)
    await until(() => all.seen.length === 1)
    await bob.pubsub.publish('room', 3)
    await until(() => all.subscription.lastSeenVersion > 2)
    expect(all.seen).toEqual([1])
  })
})
