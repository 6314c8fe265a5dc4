import { describe, expect, it } from 'vitest'
import type { Message } from '../../../web/chat-node.ts'
import type { ChatEntry, Entry } from '../../../web/entries.ts'
import { newKey } from '../../../web/entries.ts'
import { RoomLog } from '../../../web/room-log.ts'

const message = (sequence: number, more: Partial<Message> = {}): Message => ({
  topic: 'room',
  id: `id ${sequence}`,
  publisher: 'bo',
  writer: 'w',
  sequence,
  publishedAt: 0,
  expiresAt: 0,
  addedInVersion: 1,
  data: `text ${sequence}`,
  historic: false,
  ...more,
})
const gap = (fromSequence: number, toSequence: number, writer = 'w') => ({
  topic: 'room',
  publisher: 'bo',
  writer,
  fromSequence,
  toSequence,
  reason: 'withheld' as const,
})
const own = (text: string, state: ChatEntry['state']): ChatEntry => ({
  kind: 'message',
  key: newKey(),
  publisher: 'me',
  name: 'Me',
  text,
  at: 0,
  own: true,
  imported: false,
  state,
})
const shown = (entries: readonly Entry[]) =>
  entries.map((entry) => (entry.kind === 'gap' ? entry.count : entry.text))
const none = () => undefined

function roomLog() {
  const log = new RoomLog('me')
  const brings = (sequence: number) => {
    const brought = message(sequence)
    log.fillGap(brought)
    log.add(log.entryOf(brought, { name: 'Bo', text: `text ${sequence}` }), 'present')
  }
  return { log, brings }
}

describe('the order of a room', () => {
  it('is that of the topic: own messages that are on their way stand behind what comes', () => {
    const { log, brings } = roomLog()
    const [first, second, failed] = [
      own('first', 'waiting'),
      own('second', 'sending'),
      own('failed', 'failed'),
    ]
    log.add(failed, 'present')
    log.add(first, 'present')
    log.add(second, 'present')
    brings(1)
    log.noteGap(gap(2, 3), 'present', 'Bo')
    log.noteGap(gap(5, 5), 'present', 'Bo')
    expect(shown(log.present)).toEqual(['failed', 'text 1', 3, 'first', 'second'])
    second.state = 'sent'
    log.place(second, 'present')
    brings(6)
    expect(shown(log.present)).toEqual(['failed', 'text 1', 3, 'second', 'text 6', 'first'])
  })

  it('puts an own message that was told to be stored where the topic brings it', () => {
    const { log, brings } = roomLog()
    const stored = own('mine', 'sent')
    log.add(stored, 'present')
    brings(1)
    log.place(stored, 'present')
    expect(shown(log.present)).toEqual(['text 1', 'mine'])
    log.remove(stored)
    log.place(stored, 'present')
    expect(shown(log.present)).toEqual(['text 1'])
  })
})

describe('older messages that were found later', () => {
  it('stand where the topic has them among those that are shown', () => {
    const { log, brings } = roomLog()
    log.insertOlder([message(8), message(6), message(2)], none)
    brings(9)
    const walk = [9, 8, 7, 6, 5, 3, 2, 1].map((n) => message(n))
    expect(log.insertOlder(walk, none, 'end')).toBe(4)
    expect(shown(log.past)).toEqual([1, 2, 3, 5, 6, 7, 8].map((n) => `text ${n}`))
    expect(log.insertOlder(walk, none, 'end')).toBe(0)
    expect(shown(log.present)).toEqual(['text 9'])
  })
})

describe('what is missing', () => {
  it('is less, and then nothing, once it comes after all', () => {
    const { log, brings } = roomLog()
    log.noteGap(gap(2, 4), 'present', 'Bo')
    brings(5)
    log.fillGap(message(3, { writer: 'another' }))
    log.fillGap(message(3, { publisher: 'ana' }))
    log.fillGap(message(5))
    expect(shown(log.present)).toEqual([3, 'text 5'])
    brings(3)
    log.fillGap(message(3))
    expect(shown(log.present)).toEqual([2, 'text 5', 'text 3'])
    brings(2)
    brings(4)
    expect(shown(log.present)).toEqual(['text 5', 'text 3', 'text 2', 'text 4'])
  })

  it('is less also by what an older page brings', () => {
    const { log } = roomLog()
    log.noteGap(gap(2, 2), 'past', 'Bo')
    log.noteGap(gap(7, 8, 'second'), 'past', 'Bo')
    expect(shown(log.past)).toEqual([3])
    log.insertOlder([message(2)], none)
    expect(shown(log.past)).toEqual(['text 2', 2])
  })

  it('of one who leaves out much is all told, and bounded in what can be filled', () => {
    const { log } = roomLog()
    for (let n = 1; n <= 1_000; n += 1) log.noteGap(gap(2 * n, 2 * n), 'present', 'Bo')
    const gaps = log.present.filter((entry) => entry.kind === 'gap')
    expect(gaps.reduce((sum, { count }) => sum + count, 0)).toBe(1_000)
    expect(Math.max(...gaps.map(({ ranges }) => ranges.length))).toBeLessThanOrEqual(64)
  })
})
