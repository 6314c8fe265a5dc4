import { afterEach, describe, expect, it } from 'vitest'
import { encode, identityFromSeed, memoryStorage, type Runtime, systemRuntime } from '../../src/dht/index.ts'
import type { Subscription } from '../../src/pubsub/index.ts'
import { createMessage } from '../../src/pubsub/message.ts'
import { LIMITS } from '../../src/pubsub/options.ts'
import { topicKeyOf } from '../../src/pubsub/topic-key.ts'
import { topicMethods } from '../../src/pubsub/wire.ts'
import { heal, separate } from '../support/memory-faults.ts'
import { MemoryNet, type MemoryNode, type MemoryNodeOptions, until } from '../support/memory-nodes.ts'
import { type Run, subscribe } from '../support/reader-run.ts'

/** A reader that comes back with its position. */

let net: MemoryNet
afterEach(() => net.close())

const QUICK: MemoryNodeOptions = {
  dhtOptions: { requestTimeoutMs: 500, downMs: 100, maxDownMs: 200, antiEntropyMs: 200 },
  options: { publishAttemptMs: 2_000, commitDeadlineMs: 1_800, retryMs: 20, checkIntervalMs: 200 },
}

/** The clock of all nodes. It stands still unless the test moves it. */
function movableClock(): { runtime: Runtime; ahead(ms: number): void } {
  let nowMs = Date.now()
  return {
    runtime: { ...systemRuntime, now: () => nowMs },
    ahead: (ms) => {
      nowMs += ms
    },
  }
}

async function network(holders: number, options: MemoryNodeOptions = QUICK): Promise<void> {
  net = new MemoryNet()
  for (let i = 0; i < holders; i++) await net.add(options)
}
const client = (options: MemoryNodeOptions = {}) =>
  net.add({ ...QUICK, ...options, stores: false, durable: false })

const resume = (node: MemoryNode, position: string) => subscribe(node, { history: { from: position } })
const dataOf = ({ messages }: Run) => messages.map(({ data }) => data)
const numbersOf = ({ gaps }: Run) =>
  gaps.map(({ fromSequence, toSequence, reason }) => [fromSequence, toSequence, reason])

/** Each push brings its messages in the opposite order, so that all wait for the last. Gives how many the largest had. */
function turnPushesAround(subscription: Subscription): () => number {
  let largest = 0
  const receiver = subscription as unknown as { receive(push: { entries: unknown[] }, from: string): void }
  const receive = receiver.receive.bind(receiver)
  receiver.receive = (push, from) => {
    largest = Math.max(largest, push.entries.length)
    receive({ ...push, entries: push.entries.toReversed() }, from)
  }
  return () => largest
}

/** Stores messages of one writer under the numbers that it is called with, which are their data too. */
async function writerWithHoles(node: MemoryNode): Promise<(sequence: number) => Promise<void>> {
  const identity = await identityFromSeed(node.seed)
  const topicKey = await topicKeyOf('room')
  const writer = new Uint8Array(8).fill(1)
  const { dht } = node.pubsub
  return async (sequence) => {
    const named = { topicKey, identity, writer, sequence, publishedAt: Date.now(), ttlMs: 600_000 }
    const { envelope } = await createMessage({ ...named, data: encode(sequence) })
    const [holder] = await dht.replicas.set(topicKey)
    const request = { topic: topicKey, messages: [envelope], payloads: [] }
    const { results } = await dht.rpc.request(holder?.nodeId as string, topicMethods.publish, request)
    expect(results).toEqual([null])
  }
}

/** One message each. */
async function writersSay(node: MemoryNode, count: number): Promise<void> {
  const topicKey = await topicKeyOf('room')
  const said = { topicKey, sequence: 1, publishedAt: Date.now(), ttlMs: 600_000, data: encode('once') }
  for (let first = 0; first < count; first += 100) {
    const identity = await identityFromSeed(crypto.getRandomValues(new Uint8Array(32)))
    const writers = Array.from({ length: 100 }, (_, i) => new Uint8Array(8).fill(i))
    const made = await Promise.all(writers.map((writer) => createMessage({ ...said, identity, writer })))
    const messages = made.map(({ envelope }) => envelope)
    const request = { topic: topicKey, messages, payloads: [] }
    await node.pubsub.dht.rpc.request(node.pubsub.nodeId, topicMethods.publish, request)
  }
}

/** What a run saw that was resumed there and heard no more than the history. */
async function historyFrom(node: MemoryNode, position: string): Promise<unknown[]> {
  const run = await resume(node, position)
  expect(await run.end).toMatchObject({ recovered: true, count: run.messages.length })
  await run.subscription.close()
  expect(run.messages.every(({ historic }) => historic)).toBe(true)
  return dataOf(run)
}

describe('a position', () => {
  it('of more writers than it holds gives none of them again where nobody has the history that it stands in', async () => {
    const WRITERS = LIMITS.maxPositionWriters + 476
    const COMMITS = 60
    await network(1, { dhtOptions: { antiEntropyMs: 3_600_000, keptOldCommits: 0 } })
    const [holder] = net.nodes as [MemoryNode]
    await writersSay(holder, WRITERS)
    const first = await subscribe(await client())
    expect(await first.end).toMatchObject({ count: WRITERS })
    await first.subscription.close()
    for (let n = 0; n < COMMITS; n++) await holder.pubsub.publish('room', n)
    await holder.pubsub.dht.sweep()
    const snapshots = await Array.fromAsync(holder.storage.keys('block/snapshot/'))
    expect(snapshots.length).toBeGreaterThan(0)
    await holder.storage.write(snapshots.map((key) => ({ type: 'delete', key })))
    const again = await resume(await client(), first.subscription.position)
    expect(await again.end).toMatchObject({ count: COMMITS, recovered: true })
    expect(dataOf(again)).toEqual(Array.from({ length: COMMITS }, (_, n) => n))
  })

  it('goes on behind what was given, in another node, and then live', async () => {
    await network(3)
    const [publisher, first] = [await client(), await client()]
    for (const n of [1, 2, 3]) await publisher.pubsub.publish('room', n)
    const run = await subscribe(first)
    expect(await run.end).toMatchObject({ count: 3, recovered: true })
    await run.subscription.close()
    const { position } = run.subscription
    await first.pubsub.close()
    for (const n of [4, 5]) await publisher.pubsub.publish('room', n)
    const again = await resume(await client(), position)
    expect(await again.end).toMatchObject({ count: 2, recovered: true })
    await publisher.pubsub.publish('room', 6)
    await until(() => again.messages.length === 3)
    expect(again.messages.map(({ data, historic }) => [data, historic])).toEqual([
      [4, true],
      [5, true],
      [6, false],
    ])
    expect(again.gaps).toEqual([])
  })

  it('of one that ended before its first message has everything before it', async () => {
    await network(3)
    const [publisher, reader] = [await client(), await client()]
    for (const n of [1, 2, 3]) await publisher.pubsub.publish('room', n)
    const positions = await Promise.all(
      (['all', 'none', { last: 2 }, { since: 0 }] as const).map(async (history) => {
        const { subscription, messages } = await subscribe(reader, { history })
        await subscription.close()
        expect(messages).toEqual([])
        return subscription.position
      }),
    )
    await publisher.pubsub.publish('room', 4)
    const seen: unknown[][] = []
    for (const position of positions) seen.push(await historyFrom(reader, position))
    expect(seen).toEqual([[1, 2, 3, 4], [4], [2, 3, 4], [1, 2, 3, 4]])
  })

  it('of an iteration through the last messages has those that it has not come to, also while more comes', async () => {
    await network(3)
    const [publisher, reader] = [await client(), await client()]
    for (let n = 1; n <= 12; n++) await publisher.pubsub.publish('room', n)
    const subscription = await reader.pubsub.subscribe('room', { history: { last: 8 } })
    const behind: [unknown, string][] = []
    for await (const { data } of subscription) {
      behind.push([data, subscription.position])
      for (let i = 0; i < 5; i++) await null // meanwhile others are handed over
      if (data === 9) {
        await publisher.pubsub.publish('room', 13)
        await until(() => subscription.lastSeenVersion >= 13)
      }
      if (data === 12) break
    }
    behind.push([12, subscription.position])
    for (const [given, position] of behind) {
      const rest = Array.from({ length: 13 - (given as number) }, (_, i) => (given as number) + i + 1)
      expect(await historyFrom(reader, position), `after ${given}`).toEqual(rest)
    }
  })

  it('of one that reached nobody begins where it would have begun', async () => {
    await network(0)
    const reader = await client({ options: { ...QUICK.options, beginMs: 20 } })
    const positions = await Promise.all(
      (['all', { last: 1 }] as const).map(
        async (history) => (await subscribe(reader, { history })).subscription.position,
      ),
    )
    await net.add(QUICK)
    const publisher = await client()
    for (const n of [1, 2]) await publisher.pubsub.publish('room', n)
    const seen: unknown[][] = []
    for (const position of positions) seen.push(await historyFrom(await client(), position))
    expect(seen).toEqual([[1, 2], [2]])
  })

  it('of one that wanted no history and reached nobody has what was said since', async () => {
    const clock = movableClock()
    await network(1, { ...QUICK, runtime: clock.runtime })
    const [holder] = net.nodes as [MemoryNode]
    await holder.pubsub.publish('room', 'long before')
    clock.ahead(2 * LIMITS.maxSkewMs + 1)
    const reader = await client({ runtime: clock.runtime, options: { ...QUICK.options, beginMs: 20 } })
    separate([reader], [holder])
    const { subscription } = await subscribe(reader, { history: 'none' })
    await subscription.close()
    await holder.pubsub.publish('room', 'since')
    expect(await historyFrom(holder, subscription.position)).toEqual(['since'])
  })

  it('taken at any message has that message and none behind it', async () => {
    await network(2)
    const [one, other, reader] = [await client(), await client(), await client()]
    for (let n = 1; n <= 6; n++) await (n % 2 ? one : other).pubsub.publish('room', n)
    const positions: string[] = []
    const subscription = await reader.pubsub.subscribe('room', {
      onMessage: () => positions.push(subscription.position),
    })
    await until(() => positions.length === 6)
    await subscription.close()
    for (const [i, position] of positions.entries())
      expect(await historyFrom(reader, position)).toEqual([1, 2, 3, 4, 5, 6].slice(i + 1))
  })

  it('does not have what is given together with a message and comes behind it', async () => {
    await network(2)
    const [publisher, reader] = [await client(), await client()]
    await publisher.pubsub.publish('room', 0)
    const runs = await Promise.all(
      [false, true].map(async (closesAtOnce) => {
        const seen: { data: unknown; position: string }[] = []
        const subscription = await reader.pubsub.subscribe('room', {
          onMessage: ({ data }) => {
            seen.push({ data, position: subscription.position })
            if (closesAtOnce && data === 2) void subscription.close() // the first message may come alone
          },
        })
        await until(() => subscription.status === 'synced')
        return { subscription, seen, largest: turnPushesAround(subscription) }
      }),
    )
    const numbers = Array.from({ length: 20 }, (_, n) => n + 1)
    await Promise.all(numbers.map((n) => publisher.pubsub.publish('room', n)))
    const [patient, hasty] = runs as [(typeof runs)[0], (typeof runs)[0]]
    await until(() => patient.seen.length === 21)
    expect(patient.largest()).toBeGreaterThan(2) // so many were given at once, the last of the push first
    for (const { data, position } of [...patient.seen.slice(0, 6), ...hasty.seen])
      expect(await historyFrom(reader, position)).toEqual(numbers.slice(data as number))
    expect(hasty.seen.map(({ data }) => data)).toEqual([0, 1, 2])
    expect(await historyFrom(reader, hasty.subscription.position)).toEqual(numbers.slice(2))
  })

  it('is before what waited above a hole, which is given once the hole is filled', async () => {
    await network(2)
    const store = await writerWithHoles(await client())
    await store(1)
    const run = await subscribe(await client())
    await run.end
    const before = run.subscription.lastSeenVersion
    await store(3)
    await until(() => run.subscription.lastSeenVersion > before)
    expect(dataOf(run)).toEqual([1])
    await run.subscription.close()
    await store(2)
    expect(await historyFrom(await client(), run.subscription.position)).toEqual([2, 3])
  })

  it('has what an iteration has come to, also once that was left', async () => {
    await network(2)
    const [publisher, reader] = [await client(), await client()]
    for (let n = 1; n <= 5; n++) await publisher.pubsub.publish('room', n)
    const subscription = await reader.pubsub.subscribe('room')
    const positions: string[] = []
    for await (const { data } of subscription) {
      await until(() => subscription.status === 'synced') // all five wait by now
      positions.push(subscription.position)
      if (data === 3) break
    }
    const { version } = await publisher.pubsub.publish('room', 6)
    await until(() => subscription.lastSeenVersion >= version)
    positions.push(subscription.position)
    await subscription.close()
    const seen: unknown[][] = []
    for (const position of positions) seen.push(await historyFrom(reader, position))
    expect(seen).toEqual([
      [2, 3, 4, 5, 6],
      [3, 4, 5, 6],
      [4, 5, 6],
      [4, 5, 6],
    ])
  })

  it('has what an iteration had been given that fell too far behind', async () => {
    await network(1, { ...QUICK, options: { ...QUICK.options, maxUnreadMessages: 2 } })
    const [holder] = net.nodes as [MemoryNode]
    for (let n = 1; n <= 5; n++) await holder.pubsub.publish('room', n)
    const subscription = await holder.pubsub.subscribe('room')
    const seen: unknown[] = []
    const reading = (async () => {
      for await (const { data } of subscription) {
        await until(() => subscription.status === 'synced')
        seen.push(data)
      }
    })()
    await expect(reading).rejects.toMatchObject({ code: 'BUSY' })
    await subscription.close()
    expect([...seen, ...(await historyFrom(holder, subscription.position))]).toEqual([1, 2, 3, 4, 5])
    expect(seen.length).toBeLessThan(5)
  })

  it('gives nothing twice after a merge has stamped everything anew, as a version alone would', async () => {
    await network(6)
    const holders = [...net.nodes]
    const [here, there] = [await client(), await client()]
    await here.pubsub.publish('room', 'before')
    const [left, right] = [
      [...holders.slice(0, 3), here],
      [...holders.slice(3), there],
    ]
    separate(left, right)
    const run = await subscribe(here)
    await run.end
    for (let n = 1; n <= 5; n++) {
      await here.pubsub.publish('room', `here ${n}`)
      await there.pubsub.publish('room', `there ${n}`)
    }
    await until(() => run.messages.length === 6)
    const { position, lastSeenVersion } = run.subscription
    await run.subscription.close()
    heal(net.nodes)
    const isMerged = async () => (await holders[0]?.pubsub.loadMessageCollection('room'))?.count === 11
    await until(() => isMerged().catch(() => false))
    const missed = ['there 1', 'there 2', 'there 3', 'there 4', 'there 5']
    const resumed = await historyFrom(await client(), position)
    expect(resumed.toSorted()).toEqual(missed)
    const byVersion = await subscribe(await client(), { lastSeenVersion })
    await byVersion.end
    expect(dataOf(byVersion).length).toBeGreaterThan(missed.length)
  })

  it.each([
    ['no position', 'nonsense'],
    ['a position in another topic', undefined],
  ])('is refused when it is %s', async (_, text) => {
    await network(1)
    const [{ pubsub }] = net.nodes as [MemoryNode]
    const from = text ?? (await pubsub.subscribe('another room')).position
    await expect(pubsub.subscribe('room', { history: { from } })).rejects.toMatchObject({
      code: 'INVALID_DATA',
    })
  })
})

describe('what was missed for good while a reader was away', () => {
  it('is told as expired, before the history ends, whether it is still in the collection or not', async () => {
    const clock = movableClock()
    const options = { ...QUICK, runtime: clock.runtime }
    await network(1, options)
    const [{ pubsub }] = net.nodes as [MemoryNode]
    const publish = (n: number, ttlMs: number) => pubsub.publish('room', n, { ttlMs })
    const long = LIMITS.maxTtlMs
    await publish(1, long)
    const run = await subscribe(net.nodes[0] as MemoryNode)
    await run.end
    await run.subscription.close()
    const { position } = run.subscription
    for (const n of [2, 3]) await publish(n, 20_000)
    await publish(4, long)
    clock.ahead(60_000)
    const soon = await resume(net.nodes[0] as MemoryNode, position)
    expect(await soon.end).toMatchObject({ count: 1, recovered: false })
    expect(numbersOf(soon)).toEqual([[2, 3, 'expired']])
    expect(dataOf(soon)).toEqual([4])
    await soon.subscription.close()
    expect(await historyFrom(net.nodes[0] as MemoryNode, soon.subscription.position)).toEqual([])
    // they leave the collection with the next page that is sealed
    clock.ahead(2 * LIMITS.graceMs)
    await Promise.all(Array.from({ length: 64 }, (_, i) => publish(5 + i, long)))
    expect((await pubsub.loadMessageCollection('room'))?.count).toBe(66)
    const late = await resume(net.nodes[0] as MemoryNode, position)
    expect(await late.end).toMatchObject({ count: 65, recovered: false })
    expect(numbersOf(late)).toEqual([[2, 3, 'expired']])
  })

  it('is no gap for who was not there before', async () => {
    const clock = movableClock()
    await network(1, { ...QUICK, runtime: clock.runtime })
    const [node] = net.nodes as [MemoryNode]
    for (const n of [1, 2, 3]) await node.pubsub.publish('room', n, { ttlMs: n === 2 ? 20_000 : 600_000 })
    clock.ahead(60_000)
    const run = await subscribe(node)
    expect(await run.end).toMatchObject({ count: 2, recovered: true })
    expect(run.gaps).toEqual([])
  })
})

describe('history since a time', () => {
  it('has what was published then or later, and everything from now on', async () => {
    const clock = movableClock()
    await network(1, { ...QUICK, runtime: clock.runtime })
    const [node] = net.nodes as [MemoryNode]
    for (const n of [1, 2]) await node.pubsub.publish('room', n)
    clock.ahead(60_000)
    const since = clock.runtime.now()
    for (const n of [3, 4]) await node.pubsub.publish('room', n)
    const run = await subscribe(node, { history: { since } })
    expect(await run.end).toMatchObject({ count: 2 })
    await node.pubsub.publish('room', 5)
    await until(() => run.messages.length === 3)
    expect(run.messages.map(({ data, historic }) => [data, historic])).toEqual([
      [3, true],
      [4, true],
      [5, false],
    ])
    expect(run.gaps).toEqual([])
    await run.subscription.close()
    await node.pubsub.publish('room', 6)
    expect(await historyFrom(node, run.subscription.position)).toEqual([6])
    await expect(subscribe(node, { history: { since: Number.NaN } })).rejects.toMatchObject({
      code: 'INVALID_DATA',
    })
  })
})

describe('the state of a subscription', () => {
  it('tells how many messages are still to be read', async () => {
    await network(2)
    const [publisher, reader] = [await client(), await client()]
    await Promise.all(Array.from({ length: 300 }, (_, n) => publisher.pubsub.publish('room', n)))
    const remaining: (number | undefined)[] = []
    const subscription = await reader.pubsub.subscribe('room', {
      onMessage: () => remaining.push(subscription.remaining),
    })
    await until(() => subscription.status === 'synced')
    expect(remaining).toEqual(Array.from({ length: 300 }, (_, n) => 299 - n))
    expect(subscription.remaining).toBeUndefined()
  })

  it('tells being offline from a topic that nobody serves, and is synced again', async () => {
    await network(2)
    const holders = [...net.nodes]
    const reader = await client()
    const { subscription, end } = await subscribe(reader)
    await end
    separate([reader], holders)
    await until(() => subscription.status === 'degraded') // there are peers, and none answers
    heal(net.nodes)
    await until(() => subscription.status === 'synced')
    await Promise.all(holders.map(({ pubsub }) => pubsub.close()))
    await until(() => subscription.status === 'offline')
    net.nodes.splice(0, net.nodes.length, reader)
    await net.add({ ...QUICK, storage: memoryStorage() })
    reader.network.topologyChanged()
    await until(() => subscription.status === 'synced')
  })

  it('is offline at a node that serves itself once all the others have gone', async () => {
    await network(2)
    const [own, other] = net.nodes as [MemoryNode, MemoryNode]
    const { subscription, end } = await subscribe(own)
    await end
    await until(() => subscription.status === 'synced')
    await other.pubsub.close()
    await until(() => subscription.status === 'offline')
    await net.add(QUICK)
    own.network.topologyChanged()
    await until(() => subscription.status === 'synced')
  })
})
