import { afterEach, describe, expect, it } from 'vitest'
import { memoryStorage, type Storage } from '../../src/dht/index.ts'
import { decodeCoordinator } from '../../src/pubsub/coordinator.ts'
import { ChannelFailedError, type StickyPubSub, topicKeyOf } from '../../src/pubsub/index.ts'
import { COORDINATOR } from '../../src/pubsub/options.ts'
import { MemoryNet, until } from '../support/memory-nodes.ts'

let net: MemoryNet
afterEach(() => net.close())

/** What a disk holds, without the blocks where `intact` is false. */
async function copyOf(storage: Storage, intact: boolean): Promise<Storage> {
  const copy = memoryStorage()
  for await (const [key, value] of storage.entries('')) {
    if (intact || key.startsWith('head/')) await copy.write([{ type: 'put', key, value }])
  }
  return copy
}

/** A disk that stays readable after the node has let go of it. */
const kept = (storage: Storage): Storage => ({ ...storage, close: async () => undefined })

describe('the low-level view of a topic', () => {
  it('shows coordinator, collections, history and replicas', async () => {
    net = new MemoryNet()
    for (let i = 0; i < 4; i++) await net.add()
    const { pubsub } = await net.add({ stores: false })
    expect(await pubsub.loadCoordinator('room')).toBeUndefined()
    expect(await pubsub.loadMessageCollection('room')).toBeUndefined()
    await using subscription = await pubsub.subscribe('room', { info: 'Ada' })
    for (let n = 1; n <= 80; n++) await pubsub.publish('room', n)
    const coordinator = await pubsub.loadCoordinator('room')
    expect(coordinator?.bytes).toBeLessThanOrEqual(1_024)
    expect(coordinator?.encoded.byteLength).toBe(coordinator?.bytes)
    expect(coordinator?.version).toBeGreaterThanOrEqual(80)
    expect(await pubsub.loadMessageCollection('room')).toMatchObject({
      id: coordinator?.messages,
      count: 80,
      pages: [{ count: 64 }],
    })
    expect(await pubsub.loadSubscriberCollection('room')).toMatchObject([{ info: 'Ada' }])
    const history = await pubsub.loadFullHistory('room')
    expect(new Set(history.messages).size).toBe(80)
    expect(history.missing).toBe(0)
    expect((await pubsub.loadFullHistory('room', 0)).messages.length).toBeLessThan(80)
    const replicas = await pubsub.replicas('room')
    expect(replicas).toHaveLength(4)
    expect(new Set(replicas.map(({ headId }) => headId))).toEqual(new Set([coordinator?.id]))
    expect(subscription.topic).toBe('room')
  })

  it('tells what two coordinators join to, in either order, and stores nothing', async () => {
    net = new MemoryNet()
    const options = { publishAttemptMs: 200, commitDeadlineMs: 150 }
    // neither time nor a link that is opened anew lets them compare
    const dhtOptions = { requestTimeoutMs: 100, antiEntropyMs: 3_600_000, unansweredBeforeRedial: 1_000 }
    const [a, b] = [await net.add({ options, dhtOptions }), await net.add({ options, dhtOptions })]
    await a.pubsub.publish('room', 'base')
    a.network.blackholes.add(b.pubsub.nodeId)
    b.network.blackholes.add(a.pubsub.nodeId)
    const alone = await Promise.allSettled(
      [a, b].map(({ pubsub }) => pubsub.publish('room', 'alone', { deadlineMs: 500 })),
    )
    const unknown = { status: 'rejected', reason: { code: 'OUTCOME_UNKNOWN' } }
    expect(alone).toMatchObject([unknown, unknown])
    // an attempt that is under way goes on after its caller was told, and would reach the other one
    await until(() => [a, b].every(({ pubsub }) => pubsub.counters().queuedTopics === 0))
    a.network.blackholes.clear()
    b.network.blackholes.clear()
    const [left, right] =
      (await until(async () => {
        const views = await a.pubsub.replicas('room')
        const heads = views.flatMap(({ head }) => (head === undefined ? [] : [head]))
        return heads.length === 2 ? heads : undefined
      })) ?? []
    if (left === undefined || right === undefined) throw new Error('both have the topic')
    expect(left).not.toEqual(right)
    const merged = await a.pubsub.mergeCoordinators('room', left, right)
    expect(await b.pubsub.mergeCoordinators('room', right, left)).toEqual(merged)
    expect([left, right]).not.toContainEqual(merged.encoded)
    const after = await a.pubsub.replicas('room')
    expect(after.map(({ head }) => head)).toEqual(expect.arrayContaining([left, right]))
    await expect(a.pubsub.mergeCoordinators('another', left, right)).rejects.toMatchObject({
      code: 'WRONG_TOPIC',
    })
  })
})

describe('a topic that moves on while it is read', () => {
  /**
   * After a head was read, and before its blocks are, so many commits are made that their holder has let go of them. It is
   * the only one: where another lags behind and is brought up, the blocks of that moment stay on its disk until a sweep.
   */
  async function busyTopic(busyReads: number): Promise<{ reader: StickyPubSub; published(): number }> {
    net = new MemoryNet()
    const dhtOptions = { keptOldCommits: 1, checkpointCommits: 1_000 }
    const holder = (await net.add({ dhtOptions })).pubsub.dht
    const publisher = (await net.add({ stores: false })).pubsub
    const { pubsub } = await net.add({ stores: false })
    const { dht } = pubsub
    const key = await topicKeyOf('room')
    const isKept = async (head: Uint8Array) => {
      const id = decodeCoordinator(head).messages as Uint8Array
      const reading = dht.reader(COORDINATOR, key, holder.self)({ kind: 'messages', id })
      return reading.then(
        () => true,
        () => false,
      )
    }
    let published = 0
    const publish = async () => publisher.publish('room', ++published)
    const readHeads = dht.readHeads.bind(dht)
    let left = busyReads
    dht.readHeads = async (...args) => {
      const heads = await readHeads(...args)
      if (left-- <= 0) return heads
      for (const { head } of heads) while (head !== undefined && (await isKept(head))) await publish()
      return heads
    }
    await publish()
    return { reader: pubsub, published: () => published }
  }

  it('is read from its newest head', async () => {
    const { reader, published } = await busyTopic(1)
    expect((await reader.history('room')).messages).toHaveLength(published())
    expect(published()).toBeGreaterThan(1)
    expect(await reader.loadMessageCollection('room')).toMatchObject({ count: published() })
  })

  it('gives up when it is always faster', async () => {
    const { reader } = await busyTopic(Number.POSITIVE_INFINITY)
    await expect(reader.history('room')).rejects.toMatchObject({ code: 'NOT_FOUND', retryable: true })
  })
})

describe('the state of a topic at a node', () => {
  it('is RECOVERING after merges that led to no commit, and ACTIVE once they do', async () => {
    net = new MemoryNet()
    for (let i = 0; i < 5; i++) await net.add({ options: { maxFailedMerges: 1, retryMs: 20 } })
    const holders = net.nodes.map(({ pubsub }) => pubsub)
    await holders[0]?.publish('room', 'base')
    // each reaches another holder: five initiators in the same moment, none of which gets a majority
    const clients: StickyPubSub[] = []
    for (const only of holders) {
      const { pubsub } = await net.add({ stores: false })
      for (const other of holders) if (other !== only) pubsub.dht.replicas.markDown(other.nodeId)
      clients.push(pubsub)
    }
    const states = new Set<string>()
    let isOver = false
    const watching = (async () => {
      while (!isOver) {
        for (const holder of holders) states.add(await holder.channelState('room'))
        await new Promise(setImmediate)
      }
    })()
    const published = await Promise.all(clients.map((client, i) => client.publish('room', i)))
    expect(published.map(({ status }) => status)).toEqual(Array(5).fill('stored'))
    await until(async () => {
      const now = await Promise.all(holders.map((holder) => holder.channelState('room')))
      return now.every((state) => state === 'ACTIVE')
    })
    isOver = true
    await watching
    expect(states).toEqual(new Set(['ACTIVE', 'RECOVERING']))
    const history = await holders[0]?.history('room')
    const data = history?.messages.map((message) => message.data)
    expect(data?.sort()).toEqual([0, 1, 2, 3, 4, 'base'])
  })

  it('is FAILED when nothing of it loads, refuses publishes, and is ACTIVE again once something does', async () => {
    net = new MemoryNet()
    const disk = memoryStorage()
    const first = await net.add({ storage: kept(disk) })
    for (let n = 1; n <= 70; n++) await first.pubsub.publish('room', n)
    await first.pubsub.close()
    net.hub.crash(first.network.self)
    const damaged = await copyOf(disk, false)
    const options = { recoveryRetryMs: 100 }
    const { pubsub } = await net.add({ storage: damaged, seed: first.seed, options })
    expect(await pubsub.channelState('room')).toBe('ACTIVE')
    await expect(pubsub.recover('room')).rejects.toBeInstanceOf(ChannelFailedError)
    expect(await pubsub.getChannelState('room')).toBe('FAILED')
    await expect(pubsub.publish('room', 71)).rejects.toMatchObject({ code: 'CHANNEL_FAILED' })
    expect(await pubsub.channelState('elsewhere')).toBe('ACTIVE')
    await expect(pubsub.publish('elsewhere', 1)).resolves.toMatchObject({ status: 'stored' })
    // the blocks come back: the retry in the background finds them
    for await (const [key, value] of disk.entries('block/'))
      await damaged.write([{ type: 'put', key, value }])
    await until(async () => (await pubsub.channelState('room')) === 'ACTIVE')
    await expect(pubsub.publish('room', 71)).resolves.toMatchObject({ status: 'stored' })
    const { messages } = await pubsub.history('room', { limit: 100 })
    expect(messages.map(({ data }) => data)).toEqual(Array.from({ length: 71 }, (_, i) => i + 1))
  })
})
