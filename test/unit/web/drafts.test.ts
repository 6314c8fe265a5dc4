import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { loadDraft, saveDraft } from '../../../web/drafts.ts'

const PLACE = 'sticky-chat/drafts'
const stored = new Map<string, string>()
beforeEach(() =>
  vi.stubGlobal('sessionStorage', {
    getItem: (key: string) => stored.get(key) ?? null,
    setItem: (key: string, value: string) => stored.set(key, value),
    removeItem: (key: string) => stored.delete(key),
  }),
)
afterEach(() => {
  stored.clear()
  vi.unstubAllGlobals()
})

const open = { name: 'tea' }
const invite = `sticky1${'k'.repeat(60)}`
const encrypted = { name: 'tea', invite: `${invite}${'a'.repeat(16)}` }
const other = { name: 'tea', invite: `${invite}${'b'.repeat(16)}` }

describe('drafts', () => {
  it('are kept by room, and nothing is left of those that are empty', () => {
    saveDraft(open, 'one')
    saveDraft(encrypted, 'two')
    expect([open, encrypted, other, { name: 'milk' }].map(loadDraft)).toEqual(['one', 'two', '', ''])
    saveDraft(open, 'three')
    expect(loadDraft(open)).toBe('three')
    saveDraft(open, '')
    expect([open, encrypted].map(loadDraft)).toEqual(['', 'two'])
    saveDraft(encrypted, '')
    expect(stored.size).toBe(0)
  })

  it('do not tell the key of a room', () => {
    saveDraft(encrypted, 'two')
    expect(stored.get(PLACE)).not.toContain('k')
  })

  it('are no more than 32, those typed at last', () => {
    for (let n = 0; n < 33; n += 1) saveDraft({ name: `${n}` }, 'text')
    saveDraft({ name: '1' }, 'once more')
    saveDraft({ name: '33' }, 'text')
    const kept = Array.from({ length: 34 }, (_, n) => loadDraft({ name: `${n}` }) !== '')
    expect(kept.flatMap((isKept, n) => (isKept ? [] : [n]))).toEqual([0, 2])
  })

  it.each([
    '',
    '{',
    'null',
    '{}',
    '[7]',
    '[["open/tea"]]',
    '[["open/tea",7]]',
    `[["open/tea","${'x'.repeat(4_001)}"]]`,
  ])('are none where something else is stored: %.30s', (text) => {
    stored.set(PLACE, text)
    expect(loadDraft(open)).toBe('')
    saveDraft(open, 'one')
    expect(loadDraft(open)).toBe('one')
  })

  it('are not kept where nothing can be stored, and that stops nobody', () => {
    vi.stubGlobal('sessionStorage', undefined)
    saveDraft(open, 'one')
    expect(loadDraft(open)).toBe('')
    vi.stubGlobal('sessionStorage', {
      getItem: () => null,
      setItem: () => {
        throw new DOMException('full', 'QuotaExceededError')
      },
    })
    saveDraft(open, 'one')
    expect(loadDraft(open)).toBe('')
  })
})
