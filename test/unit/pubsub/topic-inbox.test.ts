import { beforeEach, describe, expect, it } from 'vitest'
import type { Data, Message } from '../../../src/pubsub/api.ts'
import type { TopicMessage } from '../../../src/pubsub/topic-api.ts'
import { TopicInbox } from '../../../src/pubsub/topic-inbox.ts'
import { TopicReaders } from '../../../src/pubsub/topic-readers.ts'

const messageOf = (id: string, data: Data = id): Message => ({
  id,
  topic: 'room',
  publisher: 'ada',
  writer: '0'.repeat(16),
  sequence: 1,
  publishedAt: 1,
  expiresAt: 2,
  data,
  addedInVersion: 1,
  historic: false,
})
const gap = { publisher: 'ada', writer: '0', fromSequence: 1, toSequence: 2, reason: 'withheld' } as const

let readers: TopicReaders<TopicMessage<string>>
let inbox: TopicInbox<string>
let log: string[]
let opening: number
let gates: Map<string, Promise<void>>
beforeEach(() => {
  readers = new TopicReaders()
  log = []
  gates = new Map()
  opening = 0
  inbox = new TopicInbox<string>({
    readers,
    maxUnread: 8,
    async open({ id, data }) {
      opening += 1
      await gates.get(id)
      if (id.startsWith('bad')) throw new TypeError('no')
      return `${data}!`
    },
    onTaken: ({ id }) => log.push(`taken ${id}`),
    onInvalid: ({ id }, { code }) => log.push(`invalid ${id} ${code}`),
    onGap: () => log.push('gap'),
    onHistoryEnd: () => log.push('end'),
    onRoom: () => log.push('room'),
  })
})
const add = (...ids: string[]) => {
  for (const id of ids) inbox.add({ event: 'message', message: messageOf(id) })
}
const listen = () => readers.listen(({ id, data }) => log.push(`got ${id} ${data}`))
const settled = () => new Promise((resolve) => setImmediate(resolve))
const told = () => log.filter((line) => line !== 'room')

describe('what waits for the application', () => {
  it('comes in order, taken in the moment in which it is given', async () => {
    const gate = Promise.withResolvers<void>()
    gates.set('a', gate.promise)
    listen()
    add('a', 'b')
    inbox.add({ event: 'gap', value: gap })
    add('c')
    inbox.add({ event: 'history-end', value: { version: 1, count: 3, recovered: true } })
    await settled()
    expect(told()).toEqual([])
    gate.resolve()
    await settled()
    expect(told()).toEqual([
      'taken a',
      'got a a!',
      'taken b',
      'got b b!',
      'gap',
      'taken c',
      'got c c!',
      'end',
    ])
  })

  it('comes at once, in whatever moment of the message before it it arrives', async () => {
    listen()
    for (let turns = 0; turns < 40; turns++) {
      log.length = 0
      add('a')
      for (let turn = 0; turn < turns; turn++) await undefined
      add('b')
      await settled()
      expect(told(), `${turns} turns later`).toEqual(['taken a', 'got a a!', 'taken b', 'got b b!'])
    }
  })

  it('is passed over where it cannot be opened, and stops nothing', async () => {
    listen()
    add('a', 'bad', 'b')
    await settled()
    expect(told()).toEqual([
      'taken a',
      'got a a!',
      'taken bad',
      'invalid bad INVALID_DATA',
      'taken b',
      'got b b!',
    ])
  })

  it('waits, gaps and end too, until somebody reads', async () => {
    inbox.add({ event: 'gap', value: gap })
    add('a')
    await settled()
    expect(log).toEqual([])
    listen()
    await settled()
    expect(told()).toEqual(['gap', 'taken a', 'got a a!'])
  })

  it('says when it is full, by number and by size, and when there is room again', async () => {
    add(...'abcdefg')
    expect(inbox.isFull).toBe(false)
    add('h')
    expect(inbox.isFull).toBe(true)
    await settled()
    expect(log).toEqual([])
    listen()
    await settled()
    expect(log.filter((line) => !line.startsWith('taken')).slice(5, 8)).toEqual([
      'got f f!',
      'room',
      'got g g!',
    ])
    expect(inbox.isFull).toBe(false)
    readers.end()
    const large: Data = { parts: [new Uint8Array(8 * 1024 * 1024), 'x'.repeat(4 * 1024 * 1024)] }
    inbox.add({ event: 'message', message: messageOf('large', large) })
    expect(inbox.isFull).toBe(true)
  })

  it('opens a few ahead, not everything at once', async () => {
    const gate = Promise.withResolvers<void>()
    gates.set('0', gate.promise)
    listen()
    add(...Array.from({ length: 100 }, (_, n) => String(n)))
    await settled()
    expect(opening).toBe(32)
    gate.resolve()
    await settled()
    expect(opening).toBe(100)
  })

  it('stays where it is when the topic ends', async () => {
    const iteration = readers.iterate()
    void iteration.next()
    add('a', 'b')
    await settled()
    readers.end()
    await settled()
    expect(told()).toEqual(['taken a'])
  })
})
