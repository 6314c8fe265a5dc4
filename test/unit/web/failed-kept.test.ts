import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type FailedMessage, loadFailed, saveFailed } from '../../../web/failed-kept.ts'

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
  it('are kept by room, until others take their place', () => {
    saveFailed('a', [failed(1), failed(2)])
    saveFailed('b', [failed(3)])
    expect(loadFailed('a')).toEqual([failed(1), failed(2)])
    saveFailed('a', [failed(2)])
    expect(loadFailed('a')).toEqual([failed(2)])
    expect(loadFailed('b')).toEqual([failed(3)])
    expect(loadFailed('c')).toEqual([])
  })

  it('are no more than 64, the newest', () => {
    saveFailed(
      'a',
      Array.from({ length: 100 }, (_, n) => failed(n)),
    )
    expect(loadFailed('a').map(({ chat }) => chat.at)).toEqual(Array.from({ length: 64 }, (_, n) => n + 36))
  })

  it('are left out when they are none, whatever else stored them', () => {
    saveFailed('a', [failed(1)])
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
    saveFailed('a', [failed(1)])
    expect(loadFailed('a')).toEqual([])
  })
})
