import { beforeAll, describe, expect, it } from 'vitest'
import { encode } from '../../../src/dht/index.ts'
import { loadMessages } from '../../../src/pubsub/collection.ts'
import { entriesForward, versionBefore } from '../../../src/pubsub/collection-places.ts'
import { decodeCoordinator } from '../../../src/pubsub/coordinator.ts'
import { HistoryReader } from '../../../src/pubsub/history.ts'
import type { HistoryOptions, Message, PubSub } from '../../../src/pubsub/index.ts'
import { cursorOf, historyOf } from '../../../src/pubsub/index.ts'
import { publishedAtOf } from '../../../src/pubsub/message.ts'
import { START_MS, sequences, topicKey, World } from '../../support/lineage.ts'

const COUNT = 10_000
const PER_COMMIT = 100
const COMMIT_EVERY_MS = 60_000
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

let world: World
let head: Uint8Array
beforeAll(async () => {
  world = new World()
  let at: Uint8Array | undefined
  for (let from = 1; from <= COUNT; from += PER_COMMIT) {
    const messages = range(from, from + PER_COMMIT - 1).map((n) => world.message(n, { data: encode(n) }))
    at = await world.apply(at, await Promise.all(messages))
    world.nowMs += COMMIT_EVERY_MS
  }
  head = at as Uint8Array
})

/** Pages of ten thousand messages, as a node reads them. */
function reader(): Pick<PubSub, 'history'> & { questions: number; pagesRead: () => number } {
  const loaded = { coordinator: decodeCoordinator(head), head, reader: () => world.read }
  const pages = new HistoryReader(async () => loaded)
  world.reads.length = 0
  return {
    questions: 0,
    pagesRead: () => world.reads.filter(({ kind }) => kind === 'page').length,
    history(_, options) {
      this.questions += 1
      return pages.page({ ...options, topic: 'room', topicKey, nowMs: world.nowMs })
    },
  }
}
const dataOf = (messages: Message[]) => messages.map(({ data }) => data)
async function all(options: HistoryOptions, from = reader()): Promise<unknown[]> {
  const out: unknown[] = []
  for await (const { data } of historyOf(from, 'room', options)) out.push(data)
  return out
}

describe('history of ten thousand messages', () => {
  it('reads one page at most for the last five, and for the first five', async () => {
    const last = reader()
    expect(await all({ limit: 5, reverse: true }, last)).toEqual(range(9_996, 10_000).reverse())
    expect(last.pagesRead()).toBeLessThanOrEqual(1)
    expect(last.questions).toBe(1)
    const first = reader()
    expect(await all({ limit: 5 }, first)).toEqual(range(1, 5))
    expect(first.pagesRead()).toBe(1)
    const page = reader()
    expect(dataOf((await page.history('room', { limit: 5 })).messages)).toEqual(range(9_996, 10_000))
    expect(page.pagesRead()).toBeLessThanOrEqual(1)
  })

  it('reads no page that nobody asks for', async () => {
    const from = reader()
    const messages = historyOf(from, 'room', {})
    for (let n = 1; n <= 100; n++) expect((await messages.next()).value?.data).toBe(n)
    await messages.return(undefined)
    expect(from.questions).toBe(1)
    expect(from.pagesRead()).toBe(2)
  })

  it('gives everything once, in either direction', async () => {
    expect(await all({ limit: 1_000 })).toEqual(range(1, 1_000))
    const newest: Message[] = []
    for await (const message of historyOf(reader(), 'room', { limit: 1_000, reverse: true }))
      newest.push(message)
    expect(dataOf(newest)).toEqual(range(COUNT - 999, COUNT).reverse())
    expect(await all({ after: cursorOf(newest.at(-1) as Message) })).toEqual(range(COUNT - 998, COUNT))
  })

  it('keeps to what lies between two places', async () => {
    const { messages } = await reader().history('room', { limit: 256 })
    const [oldest, newest] = [messages[0] as Message, messages[255] as Message] // 9745 and 10000
    const between = { after: cursorOf(oldest), before: cursorOf(newest) }
    expect(await all(between)).toEqual(range(9_746, 9_999))
    expect(await all({ ...between, reverse: true })).toEqual(range(9_746, 9_999).reverse())
    expect(await all({ ...between, limit: 3 })).toEqual(range(9_746, 9_748))
    expect(await all({ ...between, limit: 3, reverse: true })).toEqual([9_999, 9_998, 9_997])
    expect(await all({ after: cursorOf(newest) })).toEqual([])
  })

  it('names the pages on both sides, and none beyond the ends', async () => {
    const from = reader()
    const first = await from.history('room', { after: '', limit: 64 })
    expect(first.before).toBeUndefined()
    const second = await from.history('room', { after: first.after as string, limit: 64 })
    expect(dataOf(second.messages)).toEqual(range(65, 128))
    const again = await from.history('room', { before: second.before as string, limit: 64 })
    expect(dataOf(again.messages)).toEqual(range(1, 64))
    expect(await from.history('room', { before: again.before as string, limit: 64 })).toEqual({
      messages: [],
    })
    expect((await from.history('room', { limit: 64 })).after).toBeUndefined()
    const backward = await from.history('room', { limit: 64, reverse: true })
    expect(dataOf(backward.messages)).toEqual(range(COUNT - 63, COUNT).reverse())
  })

  it('refuses what is no place', async () => {
    for (const options of [{ before: 'x' }, { after: 'x' }, { before: '' }])
      await expect(reader().history('room', options)).rejects.toMatchObject({ code: 'MALFORMED' })
  })
})

describe('a place in a collection', () => {
  it('is found after a merge has moved it, with everything behind it', async () => {
    const own = new World()
    const base = await own.apply(undefined, await own.messages(1, 100))
    const a = await own.apply(base, await own.messages(1, 100, { writer: 1 }))
    const b = await own.apply(base, await own.messages(1, 100, { writer: 2 }))
    const place = (await own.entries(a))[120]
    if (place === undefined) throw new Error('there are 200')
    const merged = await own.join(a, b)
    const collection = await loadMessages(decodeCoordinator(merged).messages as Uint8Array, own.read)
    const cursor = { version: place.addedInVersion, id: place.id }
    const behind = await sequences(await entriesForward(collection, cursor, 1_000, own.read))
    expect(behind).toEqual([...range(22, 100), ...range(1, 100)])
  })

  it('is found for a time, reading back only until all is older', async () => {
    const collection = await loadMessages(decodeCoordinator(head).messages as Uint8Array, world.read)
    const sinceMs = START_MS + 90 * COMMIT_EVERY_MS
    world.reads.length = 0
    const after = await versionBefore(collection, sinceMs, world.read)
    // ten minutes of clocks, and 512 messages in eight commits beyond them, of 20 commits of 100
    expect(world.reads.filter(({ kind }) => kind === 'page').length).toBeLessThanOrEqual(46)
    const entries = await world.entries(head, after)
    expect(entries.filter(({ envelope }) => publishedAtOf(envelope) >= sinceMs)).toHaveLength(1_000)
    expect(entries.length).toBeLessThanOrEqual(2_100)
    expect(await versionBefore(collection, 0, world.read)).toBe(0)
    expect(await world.entries(head, await versionBefore(collection, START_MS * 2, world.read))).toEqual([])
  })

  it('is found behind what a merge brought in late', async () => {
    const own = new World()
    const old = await own.messages(1, 700, { writer: 2 })
    own.nowMs += 3_600_000
    const sinceMs = own.nowMs
    const base = await own.apply(undefined, await own.messages(1, 10))
    const mine = await own.apply(base, await own.messages(11, 10))
    const theirs = await own.apply(await own.apply(undefined, old.slice(0, 350)), old.slice(350))
    const merged = await own.join(mine, theirs)
    const collection = await loadMessages(decodeCoordinator(merged).messages as Uint8Array, own.read)
    const entries = await own.entries(merged, await versionBefore(collection, sinceMs, own.read))
    expect(entries.filter(({ envelope }) => publishedAtOf(envelope) >= sinceMs)).toHaveLength(20)
  })
})
