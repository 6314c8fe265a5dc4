import { afterEach, describe, expect, it } from 'vitest'
import { memoryStorage, type Runtime, type Storage, systemRuntime } from '../../src/dht/index.ts'
import type { Message } from '../../src/pubsub/index.ts'
import { topicKeyOf } from '../../src/pubsub/topic-key.ts'
import { MemoryNet, type MemoryNode, type MemoryNodeOptions, until } from '../support/memory-nodes.ts'

let net: MemoryNet
afterEach(() => net.close())

async function network(holders: number, options: MemoryNodeOptions = {}): Promise<void> {
  net = new MemoryNet()
  for (let i = 0; i < holders; i++) await net.add(options)
}
async function topicWhoseInitiatorIs(nodeId: string, from: MemoryNode): Promise<string> {
  for (let n = 0; ; n++) {
    const [first] = await from.pubsub.dht.replicas.set(await topicKeyOf(`room ${n}`))
    if (first?.nodeId === nodeId) return `room ${n}`
  }
}
const client = () => net.add({ stores: false, durable: false })

describe('a subscription without the whole history', () => {
  it.each([
    { history: 'none' as const, historic: [] },
    { history: { last: 2 }, historic: [2, 3] },
  ])('begins when subscribe resolves: $history', async ({ history, historic }) => {
    await network(4)
    const publisher = await client()
    const subscriber = await net.add({ stores: false, durable: false, dhtOptions: { requestTimeoutMs: 200 } })
    for (const n of [1, 2, 3]) await publisher.pubsub.publish('room', n)
    const seen: Message[] = []
    const ends: { count: number }[] = []
    const subscription = await subscriber.pubsub.subscribe('room', {
      history,
      onMessage: (message) => seen.push(message),
    })
    subscription.on('history-end', (end) => ends.push(end))
    // nothing it asks arrives until both are stored: it goes on to read what it missed
    for (const { pubsub } of net.nodes) subscriber.network.blackholes.add(pubsub.nodeId)
    await publisher.pubsub.publish('room', 4)
    await publisher.pubsub.publish('room', 5)
    subscriber.network.blackholes.clear()
    await until(() => seen.length === historic.length + 2)
    expect(seen.map((message) => message.data)).toEqual([...historic, 4, 5])
    expect(seen.map((message) => message.historic)).toEqual([...historic.map(() => true), false, false])
    expect(ends).toMatchObject([{ count: historic.length }])
  })
})

/** A disk of which every fifth read is slow, so that of two readers the later one may be the first to end. */
function unevenReads(storage: Storage): Storage {
  let reads = 0
  return {
    persistent: storage.persistent,
    async get(key) {
      reads += 1
      for (let turns = reads % 5 === 0 ? 500 : 0; turns > 0; turns--) await new Promise(setImmediate)
      return storage.get(key)
    },
    entries: (prefix) => storage.entries(prefix),
    keys: (prefix) => storage.keys(prefix),
    write: (operations) => storage.write(operations),
    close: () => storage.close(),
  }
}

describe('delivery', () => {
  it('pushes in order, with nothing between, whatever the disk does', async () => {
    net = new MemoryNet()
    for (let i = 0; i < 3; i++)
      await net.add({ storage: unevenReads(memoryStorage()), dhtOptions: { checkpointCommits: 4 } })
    const [publisher, subscriber] = [await client(), await client()]
    const seen: number[] = []
    await Promise.all(Array.from({ length: 100 }, (_, i) => publisher.pubsub.publish('room', -i)))
    await subscriber.pubsub.subscribe('room', {
      history: 'none',
      onMessage: (message) => seen.push(message.data as number),
    })
    const numbers = Array.from({ length: 200 }, (_, i) => i)
    for (const n of numbers) await publisher.pubsub.publish('room', n)
    await until(
      () => seen.length >= 200,
      4_000,
      () => `${seen.length} arrived`,
    )
    expect(seen).toEqual(numbers)
  })

  it('goes on when a subscriber attaches again', async () => {
    await network(3)
    const [publisher, subscriber] = [await client(), await client()]
    const seen: number[] = []
    const subscription = await subscriber.pubsub.subscribe('room', {
      onMessage: (message) => seen.push(message.data as number),
    })
    await publisher.pubsub.publish('room', 1)
    await subscription.renew()
    await publisher.pubsub.publish('room', 2)
    await until(() => seen.length === 2)
    expect(seen).toEqual([1, 2])
  })
})

describe('a publish whose first attempt may have been stored', () => {
  it('is of unknown outcome when a later attempt is refused for good', async () => {
    const ahead: Runtime = { ...systemRuntime, now: () => Date.now() + 20 * 60_000 }
    net = new MemoryNet()
    const silent = await net.add()
    const refusing = await net.add({ runtime: ahead })
    const publisher = await net.add({ stores: false, durable: false, options: { publishAttemptMs: 300 } })
    const topic = await topicWhoseInitiatorIs(silent.pubsub.nodeId, publisher)
    // its replica is told and may store; the publisher is not told
    silent.network.blackholes.add(publisher.pubsub.nodeId)
    await expect(publisher.pubsub.publish(topic, 'x', { ttlMs: 60_000 })).rejects.toMatchObject({
      code: 'OUTCOME_UNKNOWN',
      cause: { code: 'EXPIRED' },
    })
    // whoever asks the other one first is refused for good
    const other = await topicWhoseInitiatorIs(refusing.pubsub.nodeId, publisher)
    await expect(publisher.pubsub.publish(other, 'x', { ttlMs: 60_000 })).rejects.toMatchObject({
      code: 'EXPIRED',
    })
  })

  it('is refused for good when no attempt can have stored it', async () => {
    await network(1)
    const publisher = await client()
    const refused = publisher.pubsub.publish('room', 'x', { ttlMs: -1 })
    await expect(refused).rejects.toMatchObject({ code: 'INVALID_DATA' })
  })
})
