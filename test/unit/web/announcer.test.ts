import { describe, expect, it } from 'vitest'
import { Announcer } from '../../../web/announcer.ts'
import type { ChatEntry, Entry } from '../../../web/entries.ts'

let nextKey = 0
const said = (text: string, more: Partial<ChatEntry> = {}): ChatEntry => ({
  kind: 'message',
  key: `k${nextKey++}`,
  publisher: 'p',
  name: 'Bo',
  text,
  at: 0,
  own: false,
  imported: false,
  state: 'sent',
  ...more,
})
const gap: Entry = { kind: 'gap', key: 'g', publisher: 'p', name: 'Ana', count: 2, ranges: [] }

function listening(present: Entry[] = []) {
  const announcer = new Announcer()
  announcer.begin(present)
  return { present, next: () => announcer.next(present) }
}

describe('what a screen reader is told', () => {
  it('is every new message, also two of one text, and nothing twice', () => {
    const { present, next } = listening([said('read already')])
    expect(next()).toEqual([])
    present.push(said('one'), said('two'), gap)
    expect(next()).toEqual([
      'Bo: one',
      'Bo: two',
      '2 messages from Ana are missing: no node that keeps this room has them',
    ])
    present.push(said('ok'))
    expect(next()).toEqual(['Bo: ok'])
    present.push(said('ok'))
    expect(next()).toEqual(['Bo: ok'])
    expect(next()).toEqual([])
  })

  it('is not what somebody wrote here, nor what was heard before one of those went', () => {
    const { present, next } = listening()
    present.push(said('one'), said('mine', { own: true }))
    expect(next()).toEqual(['Bo: one'])
    present.pop() // discarded
    expect(next()).toEqual([])
    present.shift() // too old to be kept
    present.push(said('two'))
    expect(next()).toEqual(['Bo: two'])
  })

  it('is also what stands above own messages that are on their way, or have come meanwhile', () => {
    const mine = said('mine', { own: true, state: 'waiting' })
    const { present, next } = listening([mine])
    present.unshift(said('one'))
    expect(next()).toEqual(['Bo: one'])
    present.splice(1, 0, said('two'))
    mine.state = 'sent'
    expect(next()).toEqual(['Bo: two'])
    expect(next()).toEqual([])
  })

  it('is a number where there are many, and the beginning of a long text', () => {
    const { present, next } = listening()
    for (let n = 0; n < 5; n += 1) present.push(said('x'.repeat(4_000)))
    const lines = next()
    expect(lines.map((line) => line.length)).toEqual(Array(5).fill(300))
    for (let n = 0; n < 6; n += 1) present.push(said(`${n}`))
    expect(next()).toEqual(['6 new messages'])
  })

  it('is each failure, and once more when it fails again', () => {
    const failed = said('lost', { own: true, state: 'failed', problem: 'Nobody was there.' })
    const { present, next } = listening([failed])
    expect(next()).toEqual([])
    failed.state = 'waiting'
    expect(next()).toEqual([])
    failed.state = 'failed'
    expect(next()).toEqual(['Not sent. Nobody was there. lost'])
    expect(next()).toEqual([])
    for (let n = 0; n < 6; n += 1) present.push(said('lost too', { own: true, state: 'failed' }))
    expect(next()).toEqual(['6 messages were not sent'])
  })
})
