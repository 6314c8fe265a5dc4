import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import {
  type Author,
  forgetRoom,
  forgetUnsent,
  keepUnsent,
  loadUnsent,
  onUnsentElsewhere,
  type UnsentMessage,
} from '../../../web/unsent-kept.ts'

const stored = new Map<string, string>()
beforeEach(() =>
  vi.stubGlobal('localStorage', {
    getItem: (key: string) => stored.get(key) ?? null,
    setItem: (key: string, value: string) => stored.set(key, value),
  }),
)
afterEach(() => {
  stored.clear()
  vi.unstubAllGlobals()
})

const [inA, inB, inC] = ['a', 'b', 'c'].map((room) => ({ room, nodeId: 'me' })) as [Author, Author, Author]
const failed = (n: number): UnsentMessage => ({
  chat: { name: 'Noor', text: `text ${n}`, at: n, typed: true },
  outboxKey: `key ${n}`,
  problem: 'Nobody was there.',
})

describe('messages that no outbox has', () => {
  it('are kept by room and key, until they are let go of', () => {
    keepUnsent(inA, failed(1))
    keepUnsent(inA, failed(2))
    keepUnsent(inB, failed(1))
    expect(loadUnsent(inA)).toEqual([failed(1), failed(2)])
    keepUnsent(inA, { ...failed(1), problem: 'Again.' })
    expect(loadUnsent(inA)).toEqual([failed(2), { ...failed(1), problem: 'Again.' }])
    forgetUnsent(inA, 'key 1')
    forgetUnsent(inA, 'no key')
    expect(loadUnsent(inA)).toEqual([failed(2)])
    forgetRoom('a')
    expect(loadUnsent(inA)).toEqual([])
    expect(loadUnsent(inB)).toEqual([failed(1)])
    expect(loadUnsent(inC)).toEqual([])
  })

  it('are another identity’s where that has written them, and go with the room all the same', () => {
    const other = { ...inA, nodeId: 'somebody else' }
    keepUnsent(inA, failed(1))
    keepUnsent(other, failed(2))
    expect(loadUnsent(inA)).toEqual([failed(1)])
    expect(loadUnsent(other)).toEqual([failed(2)])
    forgetRoom('a')
    expect(loadUnsent(other)).toEqual([])
  })

  it('have no problem where they have not been tried', () => {
    const { problem: _, ...untried } = failed(1)
    keepUnsent(inA, untried)
    expect(loadUnsent(inA)).toEqual([untried])
  })

  it('of other tabs are neither lost nor brought back', () => {
    keepUnsent(inA, failed(1))
    const inOtherTab = stored.get('sticky-chat/unsent') as string
    stored.set('sticky-chat/unsent', '[]')
    keepUnsent(inA, failed(2))
    expect(loadUnsent(inA)).toEqual([failed(2)])
    stored.set('sticky-chat/unsent', inOtherTab)
    keepUnsent(inA, failed(3))
    expect(loadUnsent(inA)).toEqual([failed(1), failed(3)])
  })

  it('are followed in their room: what another tab keeps now, and what it has let go of', () => {
    const window = new EventTarget()
    vi.stubGlobal('addEventListener', window.addEventListener.bind(window))
    const heard: unknown[] = []
    const stop = onUnsentElsewhere(inA, (kept, gone) => heard.push([kept, [...gone]]))
    const elsewhere = (change: () => void) => {
      const oldValue = stored.get('sticky-chat/unsent') ?? null
      change()
      const newValue = stored.get('sticky-chat/unsent') ?? null
      window.dispatchEvent(
        Object.assign(new Event('storage'), { key: 'sticky-chat/unsent', oldValue, newValue }),
      )
    }
    elsewhere(() => keepUnsent(inA, failed(1)))
    elsewhere(() => keepUnsent(inB, failed(1)))
    elsewhere(() => forgetUnsent(inA, 'key 1'))
    window.dispatchEvent(Object.assign(new Event('storage'), { key: 'sticky-chat/rooms' }))
    stop()
    elsewhere(() => keepUnsent(inA, failed(2)))
    expect(heard).toEqual([
      [[failed(1)], []],
      [[failed(1)], []],
      [[], ['key 1']],
    ])
  })

  it('are no more than 64, the newest', () => {
    for (let n = 0; n < 100; n++) keepUnsent(inA, failed(n))
    expect(loadUnsent(inA).map(({ chat }) => chat.at)).toEqual(Array.from({ length: 64 }, (_, n) => n + 36))
  })

  it('are left out when they are none, whatever else stored them', () => {
    keepUnsent(inA, failed(1))
    const [good] = JSON.parse(stored.get('sticky-chat/unsent') as string)
    const bad = [
      null,
      7,
      [],
      {},
      { ...good, chat: { kind: 'other' } },
      { ...good, room: 1 },
      { ...good, problem: null },
      { ...good, nodeId: undefined },
    ]
    stored.set('sticky-chat/unsent', JSON.stringify([...bad, good]))
    expect(loadUnsent(inA)).toEqual([failed(1)])
    for (const text of ['', '{', '{}', 'null']) {
      stored.set('sticky-chat/unsent', text)
      expect(loadUnsent(inA)).toEqual([])
    }
  })

  it('are not kept where nothing can be stored', () => {
    vi.stubGlobal('localStorage', undefined)
    keepUnsent(inA, failed(1))
    expect(loadUnsent(inA)).toEqual([])
  })
})
