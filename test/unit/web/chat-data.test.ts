import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { cleanName, cleanRoom, displayName, readChat } from '../../../web/chat-data.ts'
import { checkedRoom, linkTo, readFragment } from '../../../web/rooms.ts'

const HALF = '\ud83d'
const PAGE = 'https://chat.example/#old'
const fragmentOf = (link: string): string => new URL(link).hash

describe('the names of rooms', () => {
  it('are cut between characters, and nowhere else', () => {
    const a = 'a'.repeat(63)
    expect(cleanRoom(`${a}😀`)).toBe(a)
    expect(cleanRoom(`${a.slice(1)}😀b`)).toBe(`${a.slice(1)}😀`)
    expect(cleanRoom(`${a}bc`)).toBe(`${a}b`)
    expect(cleanRoom('😀'.repeat(40))).toBe('😀'.repeat(32))
  })

  it('are without half characters, wherever they come from', () => {
    expect(cleanRoom(`a${HALF}b`)).toBe('a\ufffdb')
    expect(checkedRoom({ name: `a${HALF}` })).toBeUndefined()
    expect(checkedRoom({ name: 'a😀' })).toEqual({ name: 'a😀' })
  })

  it.each(['tea', ' # #tea ', `${'a'.repeat(63)} b`, 'e\u200d\u0301', `${'a'.repeat(63)}😀`, '日本 語'])(
    'are known again when they were stored, and lead to the room by a link: %j',
    (typed) => {
      const name = cleanRoom(typed)
      expect(checkedRoom(name)).toEqual({ name })
      expect(readFragment(fragmentOf(linkTo({ name }, PAGE)))).toEqual({ name })
    },
  )

  it('are so whatever is typed', () => {
    const part = fc.constantFrom(
      '#',
      ' ',
      '\u200d',
      '\ufe0f',
      '\u3164',
      '❤',
      '\u0301',
      'e',
      '😀',
      HALF,
      '\ude00',
      'a'.repeat(31),
    )
    const typed = fc.oneof(
      fc.array(part).map((parts) => parts.join('')),
      fc.string({ unit: 'binary' }),
    )
    fc.assert(
      fc.property(typed, (text) => {
        const name = cleanRoom(text)
        expect(name.isWellFormed() && name.length <= 64).toBe(true)
        expect(cleanRoom(name)).toBe(name)
        if (name !== '') expect(readFragment(fragmentOf(linkTo({ name }, PAGE)))).toEqual({ name })
      }),
    )
  })
})

/** Hangul fillers, a joiner of letters, selectors of glyphs, an empty braille cell, a tag, a zero width space. */
const DRAW_NOTHING = [
  ...'\u115f\u1160\u3164\uffa0\u034f\u17b4\u180b\ufe00\ufe0f\u2800\u{e0041}\u{e0100}\u200b',
]

describe('a name that looks like another one', () => {
  it.each(DRAW_NOTHING)('is that one: with %j', (nothing) => {
    expect(cleanRoom(`lob${nothing}by${nothing}`)).toBe('lobby')
    expect(readFragment(`#room=${encodeURIComponent(`lobby${nothing}`)}`)).toEqual({ name: 'lobby' })
    expect(checkedRoom({ name: `lobby${nothing}` })).toBeUndefined()
    expect(cleanName(`${nothing}ada`)).toBe('ada')
    expect(displayName(`ada${nothing}`, '12D3KooWabcdef')).toBe('ada')
    expect(displayName(nothing.repeat(3), '12D3KooWabcdef')).toBe('abcdef')
  })

  it('is not one with an emoji in colour', () => {
    expect(cleanRoom('I ❤\ufe0f tea')).toBe('I ❤\ufe0f tea')
    expect(cleanName('❤\ufe0f\ufe0f')).toBe('❤\ufe0f')
  })
})

describe('the names of people, and texts without one', () => {
  it('are cut between characters as well', () => {
    expect(cleanName(`${'n'.repeat(63)}😀`)).toBe('n'.repeat(63))
    expect(cleanName(`${'n'.repeat(62)}😀`)).toBe(`${'n'.repeat(62)}😀`)
    expect(cleanName(`N${HALF}`)).toBe('N\ufffd')
    expect(readChat(`${'t'.repeat(3_999)}😀`)?.text).toBe('t'.repeat(3_999))
    expect(readChat(`${'t'.repeat(3_998)}😀`)?.text).toBe(`${'t'.repeat(3_998)}😀`)
  })
})
