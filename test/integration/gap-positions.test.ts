import { afterEach, describe, expect, it } from 'vitest'
import { encode, identityFromSeed, type Runtime, systemRuntime } from '../../src/dht/index.ts'
import type { HistoryRequest } from '../../src/pubsub/index.ts'
import { createMessage } from '../../src/pubsub/message.ts'
import { LIMITS } from '../../src/pubsub/options.ts'
import { topicKeyOf } from '../../src/pubsub/topic-key.ts'
import { topicMethods } from '../../src/pubsub/wire.ts'
import { MemoryNet, type MemoryNode, until } from '../support/memory-nodes.ts'

/** A reader that is told of a gap, keeps its position there and goes on from it has what follows the gap. */

const MINUTE_MS = 60_000

let net: MemoryNet
let nowMs: number
let holder: MemoryNode
let bob: MemoryNode
afterEach(() => net.close())

async function start(gapPatienceMs: number): Promise<MemoryNode> {
  net = new MemoryNet()
  nowMs = Date.now()
  const runtime: Runtime = { ...systemRuntime, now: () => nowMs }
  holder = await net.add({ runtime })
  const client = { stores: false, durable: false, runtime, options: { gapPatienceMs, checkIntervalMs: 200 } }
  bob = await net.add(client)
  return net.add(client)
}

/** Stores a message of one writer under a number, which is its data too. */
async function say(sequence: number): Promise<void> {
  const identity = await identityFromSeed(bob.seed)
  const topicKey = await topicKeyOf('room')
  const named = { topicKey, identity, writer: new Uint8Array(8).fill(1), publishedAt: nowMs }
  const { envelope } = await createMessage({ ...named, sequence, ttlMs: MINUTE_MS, data: encode(sequence) })
  const request = { topic: topicKey, messages: [envelope], payloads: [] }
  const { results } = await bob.pubsub.dht.rpc.request(holder.pubsub.nodeId, topicMethods.publish, request)
  expect(results).toEqual([null])
}

/** Reads until it is told of a gap, and ends there. */
async function readUntilGap({ pubsub }: MemoryNode, history: HistoryRequest) {
  const seen: unknown[] = []
  const told = Promise.withResolvers<{ gap: unknown[]; position: string; given: unknown[] }>()
  const subscription = await pubsub.subscribe('room', { history, onMessage: ({ data }) => seen.push(data) })
  subscription.on('gap', ({ fromSequence, toSequence, reason }) => {
    told.resolve({
      gap: [reason, fromSequence, toSequence],
      position: subscription.position,
      given: [...seen],
    })
    void subscription.close()
  })
  return { subscription, seen, told: told.promise }
}

async function seenFrom({ pubsub }: MemoryNode, position: string, count: number): Promise<unknown[]> {
  const seen: unknown[] = []
  const subscription = await pubsub.subscribe('room', {
    history: { from: position },
    onMessage: ({ data }) => seen.push(data),
  })
  await until(
    () => subscription.status === 'synced' && seen.length >= count,
    5_000,
    () => JSON.stringify(seen),
  )
  return seen
}

describe('the position in the moment of a gap', { timeout: 30_000 }, () => {
  it('goes on with what was held above it', async () => {
    const reader = await start(100)
    await say(1)
    const { subscription, told, seen } = await readUntilGap(reader, 'all')
    await until(() => subscription.status === 'synced' && seen.length === 1)
    await say(3)
    await say(4)
    const { gap, position, given } = await told
    expect(gap).toEqual(['withheld', 2, 2])
    expect(given).toEqual([1])
    expect(await seenFrom(reader, position, 2)).toEqual([3, 4])
  })

  it('goes on with what its writer said after all before it had expired', async () => {
    const reader = await start(600_000)
    for (const n of [1, 2]) await bob.pubsub.publish('room', n, { ttlMs: MINUTE_MS })
    nowMs += 10 * MINUTE_MS + LIMITS.graceMs
    await holder.pubsub.dht.sweep()
    await holder.pubsub.dht.sweep()
    const { subscription, told } = await readUntilGap(reader, 'all')
    await until(() => subscription.status === 'synced')
    await bob.pubsub.publish('room', 3)
    const { gap, position, given } = await told
    expect(gap).toEqual(['expired', 1, 2])
    expect(given).toEqual([])
    expect(await seenFrom(reader, position, 1)).toEqual([3])
  })

  it('goes on with what comes behind messages that had expired', async () => {
    const reader = await start(600_000)
    const seen: unknown[] = []
    const first = await reader.pubsub.subscribe('room', { onMessage: ({ data }) => seen.push(data) })
    await bob.pubsub.publish('room', 1)
    await until(() => seen.length === 1)
    const before = first.position
    await first.close()
    await bob.pubsub.publish('room', 2, { ttlMs: MINUTE_MS })
    await bob.pubsub.publish('room', 3)
    nowMs += 2 * MINUTE_MS
    const { told } = await readUntilGap(reader, { from: before })
    const { gap, position, given } = await told
    expect(gap).toEqual(['expired', 2, 2])
    expect(given).toEqual([])
    expect(await seenFrom(reader, position, 1)).toEqual([3])
  })
})
