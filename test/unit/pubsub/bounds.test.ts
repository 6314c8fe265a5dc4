import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type VerifiedMessage, VerifiedMessages } from '../../../src/pubsub/message.ts'
import { DEFAULT_PUBSUB_OPTIONS } from '../../../src/pubsub/options.ts'
import { topicMethods } from '../../../src/pubsub/wire.ts'
import type { MemoryNode } from '../../support/memory-nodes.ts'
import { OutboxNet } from '../../support/outbox-net.ts'

/** What one node remembers, or does at once, is bounded (requirement D5): by the defaults, in virtual time. */

const MINUTE_MS = 60_000

let net: OutboxNet
beforeEach(() => {
  net = new OutboxNet()
})
afterEach(() => net.close())

const boundsOf = async ({ pubsub }: MemoryNode) => (await net.during(pubsub.diagnostics())).bounds
const topics = (count: number) => Array.from({ length: count }, (_, i) => `topic ${i}`)

/** Lets go of these requests only when it is told to, one by one. */
function hold({ pubsub }: MemoryNode, { name }: { name: string }): (() => void)[] {
  const held: (() => void)[] = []
  const { rpc } = pubsub.dht
  const request = rpc.request.bind(rpc)
  rpc.request = async (to, method, ...rest) => {
    if (method.name === name) await new Promise<void>((resolve) => held.push(resolve))
    return request(to, method, ...rest)
  }
  return held
}

/** There are so many at once, and one more with each that is let go of. */
async function releaseAll(held: (() => void)[], atOnce: number, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const expected = Math.min(atOnce + i, count)
    await net.until(() => held.length >= expected)
    expect(held).toHaveLength(expected)
    held[i]?.()
  }
}

describe('a node', () => {
  it('asks to how many its latest 256 messages were delivered, and tells no more of those before', async () => {
    const holder = await net.holder()
    await net.during(holder.pubsub.subscribe('room')) // a replica that serves itself
    // nobody is asked before all are stored, however long that takes
    const client = await net.client({ options: { deliveredAskMs: MINUTE_MS, deliveredRounds: 1 } })
    const numbers = Array.from({ length: 300 }, (_, i) => i)
    const enqueue = (n: number) => client.pubsub.enqueue('room', n, { key: String(n), delivered: true })
    await net.during(Promise.all(numbers.map(enqueue)))
    await net.until(() => client.finals().length === numbers.length)
    expect((await boundsOf(client.node)).deliveredWatched).toEqual({ held: 256, limit: 256 })
    await net.pass(MINUTE_MS)
    await net.until(() => client.pubsub.counters().deliveredWatched === 0)
    const told = client.receipts.filter(({ state }) => state === 'delivered').map(({ data }) => data)
    expect(told).toEqual(numbers.slice(-256))
  })

  it('remembers 4,096 messages as verified, the latest ones', async () => {
    const verified = new VerifiedMessages(DEFAULT_PUBSUB_OPTIONS.maxVerifiedMessages)
    const messages = Array.from({ length: 5_000 }, (_, i) => {
      const id = new Uint8Array(32)
      new DataView(id.buffer).setUint32(0, i)
      return { id, envelope: id } as VerifiedMessage
    })
    for (const message of messages) verified.add(message)
    expect(verified.size).toBe(4_096)
    expect(messages.findIndex((message) => verified.has(message))).toBe(5_000 - 4_096)

    const holder = await net.holder({ options: { maxVerifiedMessages: 3 } })
    for (let n = 0; n < 5; n++) await net.during(holder.pubsub.publish('room', n))
    expect((await boundsOf(holder)).verifiedMessages).toEqual({ held: 3, limit: 3 })
  })

  it('sends to 16 topics of its outbox at once, and to the next one when one has its answer', async () => {
    await net.holder()
    const client = await net.client({ options: { publishDeadlineMs: 60 * MINUTE_MS } })
    const held = hold(client.node, topicMethods.publish)
    await net.during(Promise.all(topics(20).map((topic) => client.pubsub.enqueue(topic, 1))))
    await net.pass(1_000)
    await releaseAll(held, 16, 20)
    await net.until(() => client.finals().length === 20)
  })

  it('brings back 16 of its subscriptions at once, and the next one when one has its answer', async () => {
    await net.holder()
    const { node } = await net.client({ options: { checkIntervalMs: 0 } })
    const { pubsub } = node
    for (const topic of topics(20)) await net.during(pubsub.subscribe(topic))
    await net.pass(1_000)
    const held = hold(node, topicMethods.attach)
    const resync = pubsub.resync('awake')
    await net.pass(1_000)
    await releaseAll(held, 16, 20)
    await net.during(resync)
  })
})
