import { afterEach, describe, expect, it, vi } from 'vitest'
import { systemRuntime } from '../../src/dht/index.ts'
import type { Message } from '../../src/pubsub/index.ts'
import { separate } from '../support/memory-faults.ts'
import { MemoryNet, type MemoryNodeOptions, until } from '../support/memory-nodes.ts'

let net: MemoryNet
afterEach(() => net.close())

async function network(holders: number, options: MemoryNodeOptions = {}): Promise<void> {
  net = new MemoryNet()
  for (let i = 0; i < holders; i++) await net.add(options)
}

describe('a topic', () => {
  it('delivers live, and everything from before to who comes late', async () => {
    await network(5)
    const publisher = await net.add({ stores: false, durable: false })
    const early = await net.add({ stores: false, durable: false })
    const seen: Message[] = []
    const publishedAt: number[] = []
    await early.pubsub.subscribe('room', { onMessage: (message) => seen.push(message) })
    for (let i = 1; i <= 200; i++) {
      const receipt = await publisher.pubsub.publish('room', { n: i })
      expect(receipt).toMatchObject({ status: 'stored', sequence: i })
      expect(receipt.replicas).toBeGreaterThanOrEqual(3)
      publishedAt.push(receipt.publishedAt)
    }
    await until(() => seen.length === 200)
    expect(seen.map((message) => message.publishedAt)).toEqual(publishedAt)
    expect(seen.map((message) => (message.data as { n: number }).n)).toEqual(
      Array.from({ length: 200 }, (_, i) => i + 1),
    )
    const late = await net.add({ stores: false, durable: false })
    const history: Message[] = []
    const subscription = await late.pubsub.subscribe('room', {
      onMessage: (message) => history.push(message),
    })
    const end = await new Promise<{ count: number }>((resolve) => subscription.on('history-end', resolve))
    expect(end.count).toBe(200)
    expect(history.every((message) => message.historic)).toBe(true)
    expect(new Set(history.map((message) => message.id)).size).toBe(200)
    await publisher.pubsub.publish('room', 'live')
    await until(() => history.length === 201)
    expect(history.at(-1)).toMatchObject({ data: 'live', historic: false })
  })

  it('pages history backwards, each message once', async () => {
    await network(4)
    const client = await net.add({ stores: false })
    await Promise.all(Array.from({ length: 300 }, (_, i) => client.pubsub.publish('room', i)))
    const seen: number[] = []
    const asked = vi.spyOn(client.pubsub.dht, 'readHeads')
    let before: string | undefined
    do {
      const page = await client.pubsub.history('room', { limit: 70, ...(before ? { before } : {}) })
      seen.unshift(...page.messages.map((message) => message.data as number))
      before = page.before
    } while (before !== undefined)
    expect(asked).toHaveBeenCalledOnce() // for the first page
    expect(seen).toEqual(Array.from({ length: 300 }, (_, i) => i))
  })

  it('is not said to have no history by one replica that has none, while the others cannot be reached', async () => {
    net = new MemoryNet()
    const others = [await net.add(), await net.add()]
    await others[0]?.pubsub.publish('room', 'said')
    const newcomer = await net.add()
    separate(others, [newcomer])
    const quick = { requestTimeoutMs: 100, downMs: 100, maxDownMs: 100 }
    let aheadMs = 0
    const runtime = { ...systemRuntime, monotonicNow: () => systemRuntime.monotonicNow() + aheadMs }
    const client = await net.add({ stores: false, durable: false, dhtOptions: quick, runtime })
    for (const { pubsub } of others) client.network.blackholes.add(pubsub.nodeId)
    const { dht } = client.pubsub
    const readHeads = dht.readHeads.bind(dht)
    let reads = 0
    dht.readHeads = async (...args) => {
      const heads = await readHeads(...args)
      client.network.blackholes.clear()
      reads += 1
      return heads
    }
    const { messages } = await client.pubsub.history('room')
    expect(messages.map(({ data }) => data)).toEqual(['said'])
    expect(reads).toBeGreaterThan(1)
    // who has just started may know only some of them; later one answer of all is enough
    const readsOf = async (topic: string) => {
      reads = 0
      expect((await client.pubsub.history(topic)).messages).toEqual([])
      return reads
    }
    expect(await readsOf('hall')).toBeGreaterThan(1)
    aheadMs = 3_000
    expect(await readsOf('yard')).toBe(1)
  })

  it('keeps data too large for a message in a block of its own', async () => {
    await network(4)
    const client = await net.add({ stores: false })
    const data = crypto.getRandomValues(new Uint8Array(50_000))
    await client.pubsub.publish('files', data)
    const { messages } = await client.pubsub.history('files')
    expect(messages[0]?.data).toEqual(data)
    await expect(client.pubsub.publish('files', new Uint8Array(200_000))).rejects.toMatchObject({
      code: 'TOO_LARGE',
    })
  })

  it('lists who is subscribed, and no longer who left', async () => {
    await network(4)
    const client = await net.add({ stores: false })
    const subscription = await client.pubsub.subscribe('room', { info: 'Ada' })
    const other = await net.add({ stores: false })
    await until(async () => (await other.pubsub.subscribers('room')).length === 1)
    expect(await other.pubsub.subscribers('room')).toMatchObject([
      { nodeId: client.pubsub.nodeId, info: 'Ada' },
    ])
    await subscription.unsubscribe()
    expect(await other.pubsub.subscribers('room')).toEqual([])
    const seen: Message[] = []
    subscription.on('message', (message) => seen.push(message))
    await other.pubsub.publish('room', 'after')
    expect(seen).toEqual([])
  })

  it('merges what two initiators committed at once, and loses neither', async () => {
    await network(3, {
      options: { publishAttemptMs: 1_000, commitDeadlineMs: 800 },
      dhtOptions: { requestTimeoutMs: 300 },
    })
    const [a, b, c] = net.nodes.map((node) => node)
    if (!a || !b || !c) throw new Error('three nodes')
    await a.pubsub.publish('room', 'base')
    // a cannot reach b, b cannot reach a: each commits with c or alone
    a.network.blackholes.add(b.pubsub.nodeId)
    b.network.blackholes.add(a.pubsub.nodeId)
    await Promise.allSettled([
      a.pubsub.publish('room', 'from a', { deadlineMs: 8_000 }),
      b.pubsub.publish('room', 'from b', { deadlineMs: 8_000 }),
    ])
    a.network.blackholes.clear()
    b.network.blackholes.clear()
    const texts = async (node: typeof a) =>
      (await node.pubsub.history('room')).messages.map((message) => String(message.data)).sort()
    await until(async () => {
      const views = await a.pubsub.replicas('room')
      return new Set(views.map((view) => view.headId)).size === 1 && (await texts(c)).length === 3
    }, 15_000)
    expect(await texts(a)).toEqual(['base', 'from a', 'from b'])
  })
})
