import { beforeAll, describe, expect, it } from 'vitest'
import { decodeAny, encode } from '../../../src/dht/index.ts'
import { decodeCoordinator } from '../../../src/pubsub/coordinator.ts'
import { HistoryReader } from '../../../src/pubsub/history.ts'
import type { HistoryOptions, HistoryPageOptions, Message } from '../../../src/pubsub/index.ts'
import { cursorOf, historyOf } from '../../../src/pubsub/index.ts'
import { openMessage } from '../../../src/pubsub/message.ts'
import { topicKey, World } from '../../support/lineage.ts'

/** A walk through a topic that a partition had divided, and that is joined before the walk is over. */

const world = new World()
let left: Uint8Array
let right: Uint8Array
let merged: Uint8Array

/** `count` messages of two publishers, one to a commit, whose clocks are a minute apart: their times are not in order. */
async function said(head: Uint8Array | undefined, side: string, count: number): Promise<Uint8Array> {
  let at = head
  const startMs = world.nowMs
  for (let n = 1; n <= count; n++) {
    const publisher = n % 2
    world.nowMs = startMs + n * 1_000 + publisher * 60_000
    const options = { publisher, writer: side.charCodeAt(0), data: encode(`${side} ${n}`) }
    const message = await world.message(Math.ceil(n / 2), options)
    world.nowMs = startMs + n * 1_000
    at = await world.apply(at, [message])
  }
  return at as Uint8Array
}

beforeAll(async () => {
  const base = await said(undefined, 'base', 150)
  const parted = world.nowMs
  left = await said(base, 'left', 200)
  world.nowMs = parted
  right = await said(base, 'right', 170)
  merged = await world.join(left, right)
  world.nowMs += 3_600_000
})

/** Reads whatever head there is at the moment. */
function topicAt(first: Uint8Array) {
  const topic = { head: first, pagesRead: 0, history }
  const pages = new HistoryReader(async () => ({
    coordinator: decodeCoordinator(topic.head),
    head: topic.head,
    reader: () => (ref) => {
      if (ref.kind === 'page') topic.pagesRead += 1
      return world.read(ref)
    },
  }))
  function history(_: string, options: HistoryPageOptions = {}) {
    world.nowMs += 60_000 // no head is that fresh any more
    return pages.page({ ...options, topic: 'room', topicKey, nowMs: world.nowMs })
  }
  return topic
}

async function dataAt(head: Uint8Array): Promise<unknown[]> {
  const opened = (await world.entries(head)).map(({ envelope }) => openMessage(envelope))
  return (await Promise.all(opened)).map(({ body }) => decodeAny(body.data as Uint8Array, 1_024))
}

/** All that a walk gives during which, after so many messages, the sides are joined. */
async function walked(options: HistoryOptions, joinedAfter: number, from = left): Promise<unknown[]> {
  const topic = topicAt(from)
  const given: unknown[] = []
  for await (const { data } of historyOf(topic, 'room', options)) {
    given.push(data)
    if (given.length === joinedAfter) topic.head = merged
  }
  return given
}

const sortedText = (all: unknown[]) => all.map(String).sort()

describe('a walk during which a merge puts messages elsewhere', () => {
  it('gives each message that there was when it began, once, whichever way it goes', async () => {
    for (const reverse of [true, false])
      for (const joinedAfter of [1, 100, 128, 129, 200, 256, 300]) {
        const given = await walked({ reverse }, joinedAfter)
        const label = `${reverse ? 'back' : 'on'}, joined after ${joinedAfter}`
        expect(new Set(given).size, label).toBe(given.length)
        expect(sortedText(given), label).toEqual(expect.arrayContaining(sortedText(await dataAt(left))))
      }
  })

  it('gives what the other side brought behind it, too, and keeps to its bounds', async () => {
    expect(sortedText(await walked({ reverse: true }, 128))).toEqual(sortedText(await dataAt(merged)))
    const [first] = (await topicAt(left).history('room', { after: '', limit: 150 })).messages.slice(-1)
    const after = cursorOf(first as Message)
    const behind = await walked({ reverse: true, after }, 128)
    expect(behind.filter((data) => String(data).startsWith('base'))).toEqual([])
    expect(sortedText(behind)).toEqual(expect.arrayContaining(sortedText((await dataAt(left)).slice(150))))
    expect(await walked({ reverse: true, limit: 130 }, 128)).toHaveLength(130)
  })

  it('ends at a place that has moved meanwhile, and not before', async () => {
    const { messages } = await topicAt(left).history('room', { limit: 256 })
    const [from, to] = [messages[40] as Message, messages[240] as Message]
    const between = messages.slice(41, 240).map(({ data }) => data)
    const bounds = { after: cursorOf(from), before: cursorOf(to) }
    for (const reverse of [true, false])
      for (const joinedAfter of [0, 10, 128]) {
        const given = await walked({ ...bounds, reverse }, joinedAfter, joinedAfter === 0 ? merged : left)
        const label = `${reverse ? 'back' : 'on'}, joined after ${joinedAfter}`
        expect(new Set(given).size, label).toBe(given.length)
        // the place is where it is now: of one whose clock is behind, some that were within would lie beyond
        expect(given, label).toEqual(expect.arrayContaining(between))
      }
  })

  it('is as before where none does', async () => {
    const all = await dataAt(merged)
    expect(await walked({}, 0, merged)).toEqual(all)
    expect(await walked({ reverse: true }, 0, merged)).toEqual(all.toReversed())
  })
})

describe('a page next to a place that a merge has moved', () => {
  it('goes on from where the message is now, and says so', async () => {
    const topic = topicAt(left)
    const { messages, before, moved } = await topic.history('room', { limit: 2 })
    expect(moved).toBeUndefined()
    topic.head = merged
    topic.pagesRead = 0
    const { version } = decodeCoordinator(merged)
    const page = await topic.history('room', { limit: 256, before: before as string })
    expect(page.moved).toBe(`${version}.${messages[0]?.id}`)
    const all = await dataAt(merged)
    const index = all.indexOf(messages[0]?.data)
    expect(page.messages.map(({ data }) => data)).toEqual(all.slice(index - 256, index))
    const onward = await topic.history('room', { limit: 256, after: cursorOf(messages[0] as Message) })
    expect(onward.messages.map(({ data }) => data)).toEqual(all.slice(index + 1))
    expect(onward.moved).toBe(page.moved)
  })

  it('reads no more than before where it has not moved', async () => {
    const topic = topicAt(left)
    const { before } = await topic.history('room', { limit: 200 })
    for (const from of [{ before }, { after: before }] as HistoryPageOptions[]) {
      topic.pagesRead = 0
      expect((await topic.history('room', { ...from, limit: 10 })).moved).toBeUndefined()
      expect(topic.pagesRead).toBeLessThanOrEqual(2)
    }
  })
})

describe('a place that is gone', () => {
  it('counts by its version: what was added before it, and with it or since', async () => {
    const topic = topicAt(left)
    const { messages } = await topic.history('room', { limit: 100 })
    const place = cursorOf(messages[0] as Message)
    topic.head = right
    const older = await topic.history('room', { before: place, limit: 256 })
    expect(older.messages.map(({ data }) => data)).toEqual((await dataAt(right)).slice(0, 250))
    const { messages: since } = await topic.history('room', { after: place, limit: 256 })
    expect(since.map(({ data }) => data)).toEqual((await dataAt(right)).slice(250))
  })

  it('is looked for next to where it was, and not in all that was said since', async () => {
    const many = new World()
    let head: Uint8Array | undefined
    for (let from = 1; from <= 6_000; from += 20) head = await many.apply(head, await many.messages(from, 20))
    const pages = new HistoryReader(async () => ({
      coordinator: decodeCoordinator(head as Uint8Array),
      head: head as Uint8Array,
      reader: () => many.read,
    }))
    const [entry] = await world.entries(left)
    const gone = cursorOf({ addedInVersion: 1, id: (await openMessage(entry?.envelope as Uint8Array)).cid })
    many.reads.length = 0
    const asked = { topic: 'room', topicKey, nowMs: many.nowMs }
    expect((await pages.page({ ...asked, before: gone })).messages).toEqual([])
    expect((await pages.page({ ...asked, after: gone })).messages).toHaveLength(50)
    expect(many.reads.filter(({ kind }) => kind === 'page').length).toBeLessThan(10)
  })
})
