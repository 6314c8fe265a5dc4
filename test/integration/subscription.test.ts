import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { memoryStorage, type Runtime, type Storage, systemRuntime } from '../../src/dht/index.ts'
import { recordMethods } from '../../src/dht/wire.ts'
import { decodeCoordinator } from '../../src/pubsub/coordinator.ts'
import type { Message } from '../../src/pubsub/index.ts'
import { COORDINATOR } from '../../src/pubsub/options.ts'
import { assignedReplicas } from '../../src/pubsub/statements.ts'
import { openTopic } from '../../src/pubsub/topic.ts'
import { topicKeyOf } from '../../src/pubsub/topic-key.ts'
import { topicMethods } from '../../src/pubsub/wire.ts'
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

  describe('and a replica that has not taken the last commit', () => {
    let behind: MemoryNode
    let publisher: MemoryNode
    let others: MemoryNode[]
    /** One whose replica it is. */
    let reader: MemoryNode

    const versions = async () => {
      const answers = await publisher.pubsub.dht.replicas.heads(COORDINATOR, await topicKeyOf('room'))
      return answers.map(({ head }) => (head === undefined ? 0 : decodeCoordinator(head).version))
    }
    /** Gives the version that both others have then. */
    async function commitWithoutIt(commit: () => Promise<unknown>): Promise<number> {
      await until(async () => new Set(await versions()).size === 1)
      for (const { network } of others) network.blackholes.add(behind.pubsub.nodeId)
      await commit()
      await until(async () => new Set(await versions()).size === 2)
      for (const { network } of others) network.blackholes.clear()
      return Math.max(...(await versions()))
    }
    const attached = () => behind.pubsub.counters().attachedSubscribers
    const offers = ({ pubsub }: MemoryNode) =>
      pubsub.dht.rpc.counters.methods[recordMethods.offer.name]?.begun ?? 0

    beforeEach(async () => {
      await network(3, { dhtOptions: { antiEntropyMs: 600_000, requestTimeoutMs: 200 } })
      publisher = await client()
      const topicKey = await topicKeyOf('room')
      const set = await publisher.pubsub.dht.replicas.set(topicKey)
      const isLast = ({ pubsub }: MemoryNode) => pubsub.nodeId === set.at(-1)?.nodeId
      behind = net.nodes.find(isLast) as MemoryNode // not the initiator
      others = net.nodes.filter((node) => node.network.stores && !isLast(node))
      do reader = await client()
      while ((await assignedReplicas(reader.pubsub.nodeId, topicKey, set))[0] !== behind.pubsub.nodeId)
      await publisher.pubsub.publish('room', 1)
    })

    it('has it repaired first where it lacks a message', async () => {
      await commitWithoutIt(() => publisher.pubsub.publish('room', 2))
      const seen: unknown[] = []
      await reader.pubsub.subscribe('room', {
        history: { last: 9 },
        onMessage: ({ data }) => seen.push(data),
      })
      expect(offers(reader)).toBeGreaterThan(0)
      await until(() => seen.length === 2)
      expect(seen).toEqual([1, 2])
    })

    it('waits for no repair where it lacks a subscriber', async () => {
      await commitWithoutIt(() => publisher.pubsub.subscribe('room'))
      const before = attached()
      const seen: unknown[] = []
      await reader.pubsub.subscribe('room', {
        history: { last: 9 },
        onMessage: ({ data }) => seen.push(data),
      })
      expect(offers(reader)).toBe(0)
      await until(() => seen.length === 1)
      expect(attached()).toBe(before + 1)
    })

    it('does not begin anew where it lacks a subscriber, and the reader has seen everything', async () => {
      const lastSeenVersion = await commitWithoutIt(() => publisher.pubsub.subscribe('room'))
      const before = attached()
      const seen: unknown[] = []
      const onMessage = ({ data }: Message) => void seen.push(data)
      const subscription = await reader.pubsub.subscribe('room', { lastSeenVersion, onMessage })
      await until(() => subscription.status === 'synced')
      expect(attached()).toBe(before + 1)
      await publisher.pubsub.publish('room', 2)
      await until(() => seen.length > 0)
      expect(seen).toEqual([2])
    })
  })

  it('reads the end of the topic at its replica while the others are asked for theirs', async () => {
    await network(3)
    const [publisher, subscriber] = [await client(), await client()]
    for (const n of [1, 2, 3]) await publisher.pubsub.publish('room', n)
    const { rpc } = subscriber.pubsub.dht
    const request = rpc.request.bind(rpc)
    const reading = Promise.withResolvers<void>()
    let source: string | undefined
    rpc.request = async (to, method, ...rest) => {
      if (method.name === topicMethods.attach.name) source = to
      if (method.name === recordMethods.blocks.name) reading.resolve()
      if (method.name === recordMethods.head.name && to !== source) await reading.promise
      return request(to, method, ...rest)
    }
    const seen: unknown[] = []
    const onMessage = ({ data }: Message) => seen.push(data)
    await subscriber.pubsub.subscribe('room', { history: { last: 2 }, onMessage })
    await until(() => seen.length === 2)
    expect(seen).toEqual([2, 3])
  })

  it('begins before subscribe resolves though no replica is there at first', async () => {
    await network(0)
    const publisher = await client()
    // it tries again when both are stored
    const subscriber = await net.add({ stores: false, durable: false, options: { retryMs: 500 } })
    const sets = vi.spyOn(subscriber.pubsub.dht.replicas, 'set')
    const seen: Message[] = []
    const subscribing = subscriber.pubsub.subscribe('room', {
      history: 'none',
      onMessage: (message) => seen.push(message),
    })
    await until(() => sets.mock.settledResults.length >= 2) // for its statement, and to attach
    for (let i = 0; i < 3; i++) await net.add()
    await publisher.pubsub.publish('room', 'before')
    await subscribing
    await publisher.pubsub.publish('room', 'after')
    await until(() => seen.some(({ data }) => data === 'after'))
    expect(seen.at(-1)).toMatchObject({ data: 'after', historic: false })
  })

  it('resolves all the same when none comes, and says that it reaches nobody', async () => {
    await network(0)
    const subscriber = await net.add({ stores: false, durable: false, options: { beginMs: 50 } })
    const subscription = await subscriber.pubsub.subscribe('room', { history: 'none' })
    expect(subscription.status).toBe('offline')
  })

  it('is given up with its signal meanwhile', async () => {
    await network(0)
    const hour = { options: { beginMs: 3_600_000 } }
    const subscriber = await net.add({ stores: false, durable: false, ...hour })
    const abort = new AbortController()
    const options = { history: { last: 1 }, signal: abort.signal }
    const opening = [
      subscriber.pubsub.subscribe('room', options),
      openTopic(subscriber.pubsub, 'room', options),
    ]
    const given = Promise.allSettled(opening)
    await until(() => subscriber.pubsub.counters().subscriptions === 2)
    abort.abort()
    const refused = { status: 'rejected', reason: { code: 'ABORTED' } }
    expect(await given).toMatchObject([refused, refused])
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
  it('ends with the holder, though a push to a subscriber is still open', async () => {
    await network(3)
    const [publisher, subscriber] = [await client(), await client()]
    await subscriber.pubsub.subscribe('room')
    const source = net.nodes.find(({ pubsub }) => pubsub.counters().attachedTopics > 0)?.pubsub
    if (source === undefined) throw new Error('somebody serves the subscriber')
    subscriber.network.blackholes.add(source.nodeId)
    await publisher.pubsub.publish('room', 1)
    await until(() => source.counters().delivery?.pushes)
    await source.close()
    // a loop that never gives way would let nothing else of this process run
    await new Promise(setImmediate)
    expect(source.counters().delivery?.pushes).toBe(1)
  })

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
      20_000,
      () => `${seen.length} arrived`,
    )
    expect(seen).toEqual(numbers)
  })

  it('is whole though more is pushed than may wait while the history is read', async () => {
    await network(3)
    const [publisher, subscriber] = [await client(), await client()]
    await publisher.pubsub.publish('room', 0)
    // the head is read, and its blocks only once a hundred pushes have come
    const { dht } = subscriber.pubsub
    const readHeads = dht.readHeads.bind(dht)
    const published = Promise.withResolvers<void>()
    dht.readHeads = async (...args) => {
      const heads = await readHeads(...args)
      await published.promise
      return heads
    }
    const seen: number[] = []
    await subscriber.pubsub.subscribe('room', { onMessage: ({ data }) => seen.push(data as number) })
    for (let n = 1; n <= 100; n++) await publisher.pubsub.publish('room', n)
    published.resolve()
    await until(() => seen.length > 100, 2_000) // sooner than the periodic check
    expect(seen).toEqual(Array.from({ length: 101 }, (_, n) => n))
  })

  it('ends at the replica that a subscriber leaves for another, and goes on there', async () => {
    await network(3)
    const publisher = await client()
    const subscriber = await net.add({ stores: false, durable: false, options: { checkIntervalMs: 50 } })
    const seen: unknown[] = []
    await subscriber.pubsub.subscribe('room', { onMessage: ({ data }) => seen.push(data) })
    const serving = () =>
      net.nodes.flatMap(({ pubsub }) => (pubsub.counters().attachedSubscribers > 0 ? [pubsub.nodeId] : []))
    const [first, ...others] = serving()
    expect(others).toEqual([])
    subscriber.pubsub.dht.replicas.markDown(first as string)
    await until(() => serving().length === 1 && serving()[0] !== first)
    await publisher.pubsub.publish('room', 1)
    await until(() => seen.length === 1)
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

describe('leaving a topic', () => {
  const join = async ({ pubsub }: MemoryNode) => {
    const seen: unknown[] = []
    const subscription = await pubsub.subscribe('room', { onMessage: ({ data }) => seen.push(data) })
    await until(() => subscription.status === 'synced')
    return { subscription, seen }
  }
  const subscribers = async ({ pubsub }: MemoryNode) =>
    (await pubsub.subscribers('room')).map(({ nodeId }) => nodeId)

  it('is for the last of the subscriptions of a node to say, whichever that is', async () => {
    await network(3)
    const [publisher, member] = [await client(), await client()]
    const [first, second] = [await join(member), await join(member)]
    await until(async () => (await subscribers(publisher)).length === 1)
    await first.subscription.unsubscribe()
    expect(first.subscription.status).toBe('closed')
    expect(await subscribers(publisher)).toEqual([member.pubsub.nodeId])
    await publisher.pubsub.publish('room', 'for who stayed')
    await until(() => second.seen.length === 1)
    expect(first.seen).toEqual([])
    await second.subscription.unsubscribe()
    expect(await subscribers(publisher)).toEqual([])
  })

  it('is said where all of them leave at the same time, and not kept back by those that are closed', async () => {
    await network(3)
    const [publisher, member] = [await client(), await client()]
    const all = [await join(member), await join(member), await join(member)]
    await until(async () => (await subscribers(publisher)).length === 1)
    await all[0]?.subscription.close()
    await Promise.all(all.slice(1).map(({ subscription }) => subscription.unsubscribe()))
    expect(await subscribers(publisher)).toEqual([])
  })
})

describe('a publish that is refused', () => {
  const aheadByMs = (ms: number): Runtime => ({ ...systemRuntime, now: () => Date.now() + ms })
  const ahead = aheadByMs(20 * 60_000)
  const shortLived = { ttlMs: 60_000 }
  const impatient = { stores: false, durable: false, options: { publishAttemptMs: 300 } }

  it('is of unknown outcome when an earlier attempt may have stored it', async () => {
    net = new MemoryNet()
    const silent = await net.add()
    await net.add({ runtime: ahead })
    const publisher = await net.add(impatient)
    const topic = await topicWhoseInitiatorIs(silent.pubsub.nodeId, publisher)
    // its replica is told and may store; the publisher is not told
    silent.network.blackholes.add(publisher.pubsub.nodeId)
    await expect(publisher.pubsub.publish(topic, 'x', shortLived)).rejects.toMatchObject({
      code: 'OUTCOME_UNKNOWN',
      cause: { code: 'EXPIRED' },
    })
  })

  it('is stored when only one holder refuses it', async () => {
    net = new MemoryNet()
    await net.add()
    await net.add()
    const refusing = await net.add({ runtime: ahead })
    const publisher = await net.add(impatient)
    const topic = await topicWhoseInitiatorIs(refusing.pubsub.nodeId, publisher)
    await expect(publisher.pubsub.publish(topic, 'x', shortLived)).resolves.toMatchObject({
      status: 'stored',
    })
  })

  it('fails for good when a second holder says the same', async () => {
    net = new MemoryNet()
    for (let i = 0; i < 3; i++) await net.add({ runtime: ahead })
    const publisher = await net.add(impatient)
    await expect(publisher.pubsub.publish('room', 'x', shortLived)).rejects.toMatchObject({ code: 'EXPIRED' })
  })

  it('fails at once where it is made, when no holder would take it', async () => {
    await network(1)
    const publisher = await client()
    const refused = publisher.pubsub.publish('room', 'x', { ttlMs: -1 })
    await expect(refused).rejects.toMatchObject({ code: 'INVALID_DATA' })
  })
})
