import * as v from 'valibot'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { memoryStorage, type Runtime, StickyError, type Storage, systemRuntime } from '../../src/dht/index.ts'
import { openTopic, type Topic, type TopicMessage, type TopicReceipt } from '../../src/pubsub/index.ts'
import { CuttableDisk, crash, restart } from '../support/memory-faults.ts'
import { MemoryNet, type MemoryNode, type MemoryNodeOptions, until } from '../support/memory-nodes.ts'

let net: MemoryNet
beforeEach(() => {
  net = new MemoryNet()
})
afterEach(() => net.close())

const holders = async (count: number) => {
  for (let i = 0; i < count; i++) await net.add()
}
const client = (init: MemoryNodeOptions = {}) => net.add({ stores: false, durable: false, ...init })

/** A disk that takes a moment to write and outlives its node, which writes nothing any more once it has closed it. */
class LastingDisk {
  readonly #kept = memoryStorage()

  open(): Storage {
    let isClosed = false
    return {
      ...this.#kept,
      write: async (operations) => {
        for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate)
        if (isClosed) throw new StickyError('CLOSED', 'Too late.')
        await this.#kept.write(operations)
      },
      close: async () => {
        isClosed = true
      },
    }
  }
}
const restarted = (node: MemoryNode, disk: LastingDisk) => client({ seed: node.seed, storage: disk.open() })

async function take<T>(topic: Topic<T>, count: number): Promise<T[]> {
  const taken: T[] = []
  if (count === 0) return taken
  for await (const { data } of topic) {
    taken.push(data)
    if (taken.length === count) break
  }
  return taken
}

const publishAll = (node: MemoryNode, topic: string, from: number, to: number) =>
  Promise.all(Array.from({ length: to - from + 1 }, (_, i) => node.pubsub.publish(topic, from + i)))
const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

describe('an open topic', () => {
  it('lets two nodes talk, each message once and in order', async () => {
    await holders(3)
    const [ada, bob] = [await client(), await client()]
    const said = await openTopic<string>(ada.pubsub, 'room')
    const heard = await openTopic<string>(bob.pubsub, 'room')
    for (const text of ['one', 'two', 'three']) await said.publish(text)
    expect(await take(heard, 3)).toEqual(['one', 'two', 'three'])
    await heard.publish('four')
    const seen: TopicMessage<string>[] = []
    said.on('message', (message) => seen.push(message))
    await until(() => seen.length === 4)
    expect(seen.map(({ data }) => data)).toEqual(['one', 'two', 'three', 'four'])
    expect(seen.map(({ publisher }) => publisher)).toEqual([
      ...Array(3).fill(ada.pubsub.nodeId),
      bob.pubsub.nodeId,
    ])
    expect(seen[0]?.topic).toBe('room')
  })

  it('keeps what comes before somebody reads', async () => {
    await holders(3)
    const reader = await client()
    const topic = await openTopic<number>(reader.pubsub, 'room')
    await publishAll(reader, 'room', 1, 5)
    await until(
      async () => topic.status === 'synced' && (await reader.pubsub.history('room')).messages.length === 5,
    )
    expect(await take(topic, 5)).toEqual(numbers(1, 5))
  })

  it('goes on after a restart where the application was, with nothing twice and nothing missing', async () => {
    await holders(3)
    const writer = await client()
    await publishAll(writer, 'room', 1, 40)
    const disk = new LastingDisk()
    let reader = await client({ storage: disk.open() })
    const taken: number[] = []
    let published = 40
    for (const count of [17, 0, 43, 40, 20]) {
      const topic = await openTopic<number>(reader.pubsub, 'room')
      taken.push(...(await take(topic, count)))
      await reader.pubsub.close() // not the topic, which has to notice; what it had not given waits for the next time
      expect(topic.status).toBe('closed')
      if (published < 120) await publishAll(writer, 'room', published + 1, published + 20)
      published += 20
      reader = await restarted(reader, disk)
    }
    expect(taken).toEqual(numbers(1, 120))
    const topic = await openTopic<number>(reader.pubsub, 'room')
    const end = await new Promise<object>((resolve) => {
      topic.on('message', ({ data }) => taken.push(data))
      topic.on('history-end', resolve)
    })
    expect(end).toMatchObject({ count: 0, recovered: true })
    expect(taken).toHaveLength(120)
  })

  it('goes on so too where it held back when its node closed', async () => {
    await holders(3)
    await publishAll(await client(), 'room', 1, 100)
    const disk = new LastingDisk()
    const reader = await client({ storage: disk.open() })
    const topic = await openTopic<number>(reader.pubsub, 'room', { maxUnread: 20 })
    const taken = await take(topic, 3)
    await until(() => topic.status === 'catching-up')
    taken.push(...(await take(topic, 5)))
    await reader.pubsub.close()
    expect(topic.status).toBe('closed')
    const again = await openTopic<number>((await restarted(reader, disk)).pubsub, 'room')
    taken.push(...(await take(again, 92)))
    expect(taken).toEqual(numbers(1, 100))
  })

  it('goes on after a crash from what was kept before, and asks for nothing that was not', async () => {
    await holders(3)
    const writer = await client()
    await publishAll(writer, 'room', 1, 20)
    const reader = await client({ storage: new CuttableDisk() })
    const kept = vi.spyOn(reader.pubsub, 'keepPosition')
    const first = await openTopic<number>(reader.pubsub, 'room', { keepPositionMs: 0 })
    expect(await take(first, 12)).toEqual(numbers(1, 12))
    await until(async () => (await reader.pubsub.keptPosition('room', 'default')) === first.position)
    await Promise.all(kept.mock.results.map(({ value }) => value))
    const disk = await crash(net, reader)
    await publishAll(writer, 'room', 21, 22)
    const again = await restart(net, reader, disk, { stores: false, durable: false })
    const topic = await openTopic<number>(again.pubsub, 'room')
    expect(await take(topic, 10)).toEqual(numbers(13, 22))
  })

  it('keeps a place for each reader, and begins anew where it cannot be read', async () => {
    await holders(3)
    const reader = await client()
    await publishAll(reader, 'room', 1, 3)
    const first = await openTopic<number>(reader.pubsub, 'room')
    expect(await take(first, 2)).toEqual([1, 2])
    const { position } = first
    await first.close()
    const phone = await openTopic<number>(reader.pubsub, 'room', { reader: 'phone' })
    expect(await take(phone, 3)).toEqual([1, 2, 3])
    const since = await openTopic<number>(reader.pubsub, 'room', { history: { from: position } })
    expect(await take(since, 1)).toEqual([3])
    const all = await openTopic<number>(reader.pubsub, 'room', { history: 'all' })
    expect(await take(all, 1)).toEqual([1])
    await Promise.all([phone, since, all].map((topic) => topic.close()))
    const second = await openTopic<number>(reader.pubsub, 'room') // of the others only 'phone' kept a place, its own
    expect(await take(second, 1)).toEqual([3])
    await second.close()
    await reader.pubsub.keepPosition('room', 'default', 'of another version')
    const anew = await openTopic<number>(reader.pubsub, 'room')
    expect(await take(anew, 3)).toEqual([1, 2, 3])
    await expect(
      openTopic(reader.pubsub, 'room', { history: { from: 'no position' } }),
    ).rejects.toMatchObject({
      code: 'INVALID_DATA',
    })
  })

  it('holds back what a slow reader has not come to, and loses none of it', async () => {
    await holders(3)
    const [writer, reader] = [await client(), await client()]
    await publishAll(writer, 'room', 1, 150)
    const subscribe = vi.spyOn(reader.pubsub, 'subscribe')
    const topic = await openTopic<number>(reader.pubsub, 'room', { maxUnread: 20 })
    const ends: number[] = []
    const taken: number[] = []
    topic.on('history-end', ({ count }) => ends.push(count, taken.length))
    for await (const { data } of topic) {
      taken.push(data)
      // at each of them it has stopped, and only this loop lets it go on
      if (taken.length % 40 === 1) await until(() => topic.status === 'catching-up' || taken.length > 120)
      if (taken.length === 100) await publishAll(writer, 'room', 151, 160)
      if (taken.length === 160) break
    }
    expect(taken).toEqual(numbers(1, 160))
    expect(subscribe.mock.calls.length).toBeGreaterThan(3)
    topic.on('message', () => taken.push(0))
    await until(() => ends.length === 2)
    expect(ends[0]).toBe(ends[1])
  })

  it('says of its whole history whether something was missed since its place, however often it held back', async () => {
    let aheadMs = 0
    const runtime: Runtime = { ...systemRuntime, now: () => Date.now() + aheadMs }
    const { pubsub } = await net.add({ runtime })
    const expire = async () => {
      await pubsub.publish('room', 'expires', { ttlMs: 5_000 })
      aheadMs += 6_000
    }
    const sixty = () => Promise.all(numbers(1, 60).map((n) => pubsub.publish('room', n)))
    const endOf = async (history: 'resume' | 'all', whenPaused?: () => Promise<void>) => {
      const topic = await openTopic(pubsub, 'room', { maxUnread: 10, history })
      const gaps: string[] = []
      topic.on('gap', ({ reason }) => gaps.push(reason))
      const ended = new Promise<{ recovered: boolean }>((resolve) => topic.on('history-end', resolve))
      await until(() => topic.status === 'catching-up')
      await whenPaused?.()
      topic.on('message', () => undefined)
      const { recovered } = await ended
      await topic.close()
      return { recovered, gaps }
    }
    await pubsub.publish('room', 0)
    const before = await openTopic(pubsub, 'room')
    await take(before, 1)
    await before.close()
    await expire()
    await sixty()
    expect(await endOf('resume')).toEqual({ recovered: false, gaps: ['expired'] }) // told before the first pause
    const afterPause = async () => {
      await expire()
      await sixty()
    }
    const all = await endOf('all', afterPause)
    expect(all.gaps.length).toBeGreaterThan(0)
    expect(all.recovered).toBe(true) // it was not asked for from a place
  })

  it('ends with its signal, its block, its node or by itself, and only unsubscribe leaves', async () => {
    await holders(3)
    const [ada, bob] = [await client(), await client()]
    const names = async () => (await bob.pubsub.subscribers('room')).map(({ info }) => info)
    const abort = new AbortController()
    const aborted = await openTopic(ada.pubsub, 'room', { info: 'Ada', signal: abort.signal })
    const iteration = take(aborted, 1)
    await until(async () => (await names()).length === 1)
    abort.abort()
    expect(await iteration).toEqual([])
    expect(aborted.status).toBe('closed')
    await expect(aborted.publish('late')).rejects.toMatchObject({ code: 'CLOSED' })
    await expect(openTopic(ada.pubsub, 'room', { signal: abort.signal })).rejects.toMatchObject({
      code: 'ABORTED',
    })
    expect(await names()).toEqual(['Ada'])
    const statuses: string[] = []
    {
      await using topic = await openTopic(ada.pubsub, 'room', { info: 'Ada' })
      topic.on('sync', (status) => statuses.push(status))
    }
    expect(statuses.filter((status) => status === 'closed')).toEqual(['closed'])
    const last = await openTopic(ada.pubsub, 'room', { info: 'Ada' })
    await last.unsubscribe()
    await last.unsubscribe()
    await last.close()
    expect(await names()).toEqual([])
    expect(ada.pubsub.counters().subscriptions).toBe(0)
  })

  it('gives history both ways, without what does not fit', async () => {
    await holders(3)
    const node = await client()
    await publishAll(node, 'room', 1, 5)
    await node.pubsub.publish('room', 'six')
    const topic = await openTopic(node.pubsub, 'room', { schema: v.number() })
    const invalid: string[] = []
    topic.on('invalid', ({ publisher, error }) => invalid.push(`${publisher} ${error.code}`))
    const all = await Array.fromAsync(topic.history({ reverse: true }), ({ data }) => data)
    expect(all).toEqual([5, 4, 3, 2, 1])
    expect(invalid).toContain(`${node.pubsub.nodeId} INVALID_DATA`)
    expect(await Array.fromAsync(topic.history({ limit: 2 }), ({ data }) => data)).toEqual([1, 2])
  })

  it('shows who is here', async () => {
    await holders(3)
    const [ada, bob] = [await client(), await client()]
    const first = await openTopic(ada.pubsub, 'room', { presence: { name: 'Ada' } })
    const second = await openTopic(bob.pubsub, 'room')
    const states: unknown[] = []
    second.on('presence', (members) => states.push(members.map(({ state }) => state)))
    await until(() => second.present.length === 1)
    expect(second.present).toMatchObject([{ nodeId: ada.pubsub.nodeId, state: { name: 'Ada' } }])
    await first.setPresence({ name: 'Ada', typing: true })
    await until(() => JSON.stringify(second.present).includes('typing'))
    await first.close()
    await until(() => second.present.length === 0)
    expect(states.at(-1)).toEqual([])
  })
})

describe('a topic with a schema', () => {
  const chat = v.strictObject({
    text: v.pipe(v.string(), v.trim(), v.minLength(1)),
    mood: v.optional(v.string(), 'calm'),
  })

  it('refuses to publish what does not fit, before anything is sent', async () => {
    await holders(3)
    const node = await client()
    const topic = await openTopic(node.pubsub, 'room', { schema: chat })
    await expect(topic.publish({ text: ' ' } as never)).rejects.toMatchObject({ code: 'INVALID_DATA' })
    expect(await topic.outbox()).toEqual([])
    await topic.publish({ text: ' hi ', mood: 'calm' })
    await until(async () => (await node.pubsub.history('room')).messages.length > 0)
    const { messages } = await node.pubsub.history('room')
    expect(messages.map(({ data }) => data)).toEqual([{ text: 'hi', mood: 'calm' }])
  })

  it('tells of what others sent and does not fit, and gives the rest', async () => {
    await holders(3)
    const [stranger, reader] = [await client(), await client()]
    const topic = await openTopic(reader.pubsub, 'room', { schema: chat })
    const invalid: object[] = []
    topic.on('invalid', (message) => invalid.push(message))
    for (const data of [
      'hi',
      { text: 5 },
      { text: 'one' },
      { text: 'x', mood: 'calm', evil: 1 },
      { text: 'two' },
    ])
      await stranger.pubsub.publish('room', data)
    expect(await take(topic, 2)).toEqual([
      { text: 'one', mood: 'calm' },
      { text: 'two', mood: 'calm' },
    ])
    expect(invalid).toHaveLength(3)
    for (const message of invalid) {
      expect(message).toMatchObject({ publisher: stranger.pubsub.nodeId, error: { code: 'INVALID_DATA' } })
      expect(message).not.toHaveProperty('data')
    }
    await topic.close()
    const again = await openTopic(reader.pubsub, 'room', { schema: chat }) // they count as taken
    again.on('invalid', (message) => invalid.push(message))
    await stranger.pubsub.publish('room', { text: 'three' })
    expect(await take(again, 1)).toEqual([{ text: 'three', mood: 'calm' }])
    expect(invalid).toHaveLength(3)
  })

  it('publishes in the order of the calls, however long the schema takes', async () => {
    await holders(3)
    const node = await client()
    const gate = Promise.withResolvers<void>()
    const slow = v.pipeAsync(
      v.string(),
      v.checkAsync(async (text) => text !== 'first' || gate.promise.then(() => true)),
    )
    const topic = await openTopic(node.pubsub, 'room', { schema: slow })
    const published = ['first', 'second'].map((text) => topic.publish(text))
    gate.resolve()
    await Promise.all(published)
    expect(await take(topic, 2)).toEqual(['first', 'second'])
  })
})

describe('what is published', () => {
  const receiptsOf = <T>(topic: Topic<T>): TopicReceipt<T>[] => {
    const receipts: TopicReceipt<T>[] = []
    topic.on('receipt', (receipt) => receipts.push(receipt))
    return receipts
  }

  it('is told of from queued to stored, to its topic only', async () => {
    await holders(3)
    const node = await client()
    const topic = await openTopic<string>(node.pubsub, 'room')
    const other = await openTopic<string>(node.pubsub, 'hall')
    const [receipts, others] = [receiptsOf(topic), receiptsOf(other)]
    const receipt = await topic.publish('hello', { key: 'order 1' })
    expect(receipt).toMatchObject({ key: 'order 1', topic: 'room', data: 'hello' })
    await until(() => receipts.some(({ state }) => state === 'stored'))
    expect([...new Set(receipts.map(({ state }) => state))]).toEqual(['queued', 'sending', 'stored'])
    expect(receipts.every(({ data, topic }) => data === 'hello' && topic === 'room')).toBe(true)
    await topic.publish('hello', { key: 'order 1' })
    await other.publish('elsewhere')
    await until(() => others.some(({ state }) => state === 'stored'))
    expect(others.every(({ data }) => data === 'elsewhere')).toBe(true)
    expect((await node.pubsub.history('room')).messages).toHaveLength(1)
  })

  it('without anybody there waits on the disk, and is delivered once when somebody is', async () => {
    const disk = new LastingDisk()
    const node = await client({ storage: disk.open() })
    const offline = await openTopic<string>(node.pubsub, 'room')
    expect(await offline.publish('written offline')).toMatchObject({ state: 'queued' })
    expect(await offline.outbox()).toMatchObject([{ data: 'written offline', topic: 'room' }])
    await node.pubsub.close()
    const again = await restarted(node, disk)
    const topic = await openTopic<string>(again.pubsub, 'room')
    const receipts = receiptsOf(topic)
    expect(await topic.outbox()).toMatchObject([{ data: 'written offline' }])
    await holders(3)
    again.pubsub.drainOutbox()
    await until(() => receipts.some(({ state }) => state === 'stored'), 20_000)
    const reader = await openTopic<string>((await client()).pubsub, 'room')
    expect(await take(reader, 1)).toEqual(['written offline'])
    expect(await topic.outbox()).toEqual([])
    expect((await again.pubsub.history('room')).messages).toHaveLength(1)
  })

  it('and failed before anybody opened its topic is told when somebody does', async () => {
    const node = await client()
    await node.pubsub.enqueue('room', 'too late', { ttlMs: 1 })
    await until(async () => (await node.pubsub.outbox()).length === 0)
    const others = receiptsOf(await openTopic<string>(node.pubsub, 'hall'))
    const receipts = receiptsOf(await openTopic<string>(node.pubsub, 'room'))
    await until(() => receipts.length > 0)
    expect(receipts).toMatchObject([{ state: 'failed', data: 'too late', error: { code: 'EXPIRED' } }])
    expect(others).toEqual([])
  })

  it('and failed when the last listener had gone is told to the next one', async () => {
    const node = await client()
    const topic = await openTopic<string>(node.pubsub, 'room')
    const stop = topic.on('receipt', () => undefined)
    stop()
    await topic.publish('too late', { ttlMs: 1 })
    await until(async () => (await node.pubsub.outbox()).length === 0)
    const receipts = receiptsOf(topic)
    await until(() => receipts.length > 0)
    expect(receipts).toMatchObject([{ state: 'failed', data: 'too late' }])
  })
})
