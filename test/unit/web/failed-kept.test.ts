import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import {
  type FailedMessage,
  forgetFailed,
  forgetRoom,
  keepFailed,
  loadFailed,
  onFailedElsewhere,
} from '../../../web/failed-kept.ts'

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

const failed = (n: number): FailedMessage => ({
  chat: { name: 'Noor', text: `text ${n}`, at: n, typed: true },
  outboxKey: `key ${n}`,
  problem: 'Nobody was there.',
})

describe('messages that failed', () => {
  it('are kept by room and key, until they are let go of', () => {
    keepFailed('a', failed(1))
    keepFailed('a', failed(2))
    keepFailed('b', failed(1))
    expect(loadFailed('a')).toEqual([failed(1), failed(2)])
    keepFailed('a', { ...failed(1), problem: 'Again.' })
    expect(loadFailed('a')).toEqual([failed(2), { ...failed(1), problem: 'Again.' }])
    forgetFailed('a', 'key 1')
    forgetFailed('a', 'no key')
    expect(loadFailed('a')).toEqual([failed(2)])
    forgetRoom('a')
    expect(loadFailed('a')).toEqual([])
    expect(loadFailed('b')).toEqual([failed(1)])
    expect(loadFailed('c')).toEqual([])
  })

  it('of other tabs are neither lost nor brought back', () => {
    keepFailed('a', failed(1))
    const inOtherTab = stored.get('sticky-chat/failed') as string
    stored.set('sticky-chat/failed', '[]')
    keepFailed('a', failed(2))
    expect(loadFailed('a')).toEqual([failed(2)])
    stored.set('sticky-chat/failed', inOtherTab)
    keepFailed('a', failed(3))
    expect(loadFailed('a')).toEqual([failed(1), failed(3)])
  })

  it('are followed in their room: what another tab keeps now, and what it has let go of', () => {
    const window = new EventTarget()
    vi.stubGlobal('addEventListener', window.addEventListener.bind(window))
    const heard: unknown[] = []
    const stop = onFailedElsewhere('a', (kept, gone) => heard.push([kept, [...gone]]))
    const elsewhere = (change: () => void) => {
      const oldValue = stored.get('sticky-chat/failed') ?? null
      change()
      const newValue = stored.get('sticky-chat/failed') ?? null
      window.dispatchEvent(
        Object.assign(new Event('storage'), { key: 'sticky-chat/failed', oldValue, newValue }),
      )
    }
    elsewhere(() => keepFailed('a', failed(1)))
    elsewhere(() => keepFailed('b', failed(1)))
    elsewhere(() => forgetFailed('a', 'key 1'))
    window.dispatchEvent(Object.assign(new Event('storage'), { key: 'sticky-chat/rooms' }))
    stop()
    elsewhere(() => keepFailed('a', failed(2)))
    expect(heard).toEqual([
      [[failed(1)], []],
      [[failed(1)], []],
      [[], ['key 1']],
    ])
  })

  it('are no more than 64, the newest', () => {
    for (let n = 0; n < 100; n++) keepFailed('a', failed(n))
    expect(loadFailed('a').map(({ chat }) => chat.at)).toEqual(Array.from({ length: 64 }, (_, n) => n + 36))
  })

  it('are left out when they are none, whatever else stored them', () => {
    keepFailed('a', failed(1))
    const [good] = JSON.parse(stored.get('sticky-chat/failed') as string)
    const bad = [
      null,
      7,
      [],
      {},
      { ...good, chat: { kind: 'other' } },
      { ...good, room: 1 },
      { ...good, problem: null },
    ]
    stored.set('sticky-chat/failed', JSON.stringify([...bad, good]))
    expect(loadFailed('a')).toEqual([failed(1)])
    for (const text of ['', '{', '{}', 'null']) {
      stored.set('sticky-chat/failed', text)
      expect(loadFailed('a')).toEqual([])
    }
  })

  it('are not kept where nothing can be stored', () => {
    vi.stubGlobal('localStorage', undefined)
    keepFailed('a', failed(1))
    expect(loadFailed('a')).toEqual([])
  })
})
