import { describe, expect, it } from 'vitest'
import { decodeAny, encode, fromBase64url, toBase64url } from '../../../src/dht/index.ts'
import { hadNotCome, type KnownWriter } from '../../../src/pubsub/known-writers.ts'
import { LIMITS } from '../../../src/pubsub/options.ts'
import {
  decodePosition,
  encodePosition,
  type SavedPosition,
  without,
} from '../../../src/pubsub/saved-position.ts'

const topicKey = new Uint8Array(32).fill(7)
const id = (n: number) => new Uint8Array(32).fill(n)
const nameOf = (publisher: number, writer = 0) =>
  publisher.toString(16).padStart(16, '0') + writer.toString(16).padStart(16, '0')
const writer = (n: number, changes: Partial<KnownWriter> = {}): KnownWriter => ({
  name: nameOf(n),
  floor: 1,
  hasToldFloor: false,
  next: 5,
  open: [],
  ...changes,
})
const position = (changes: Partial<SavedPosition> = {}): SavedPosition => ({
  begin: 0,
  seen: [
    { version: 3, messages: id(3), move: 0 },
    { version: 9, messages: id(9), move: 0 },
  ],
  wantedFromMs: 17,
  strict: true,
  joined: true,
  last: 0,
  readAtMs: 1_800_000_000_000,
  writers: [
    writer(1),
    writer(2, {
      floor: 4,
      hasToldFloor: true,
      next: 12,
      open: [
        { from: 1, to: 3 },
        { from: 6, to: 6 },
      ],
    }),
  ],
  ...changes,
})
const again = (value: SavedPosition) => decodePosition(topicKey, encodePosition(topicKey, value))
const refusal = { code: 'INVALID_DATA' }

/** The text of a position with other fields than an honest one. */
function forged(changes: Record<string, unknown>): string {
  const honest = decodeAny(fromBase64url(encodePosition(topicKey, position())), LIMITS.maxPositionBytes)
  return toBase64url(encode({ ...(honest as object), ...changes }))
}

describe('the text of a position', () => {
  it('means the same when it is read, and is made of letters that fit everywhere', () => {
    const text = encodePosition(topicKey, position())
    expect(text).toMatch(/^[\w-]+$/)
    expect(decodePosition(topicKey, text)).toEqual(position())
  })

  it('is refused in another topic', () => {
    const text = encodePosition(topicKey, position())
    expect(() => decodePosition(new Uint8Array(32).fill(8), text)).toThrow(expect.objectContaining(refusal))
  })

  it.each([
    ['no text', 5],
    ['nothing', ''],
    ['other letters', 'a b'],
    ['bytes that mean nothing', 'AAAA'],
    ['half of one', encodePosition(topicKey, position()).slice(0, 40)],
    ['more than one', `${encodePosition(topicKey, position())}AAAA`],
    ['a long text', 'A'.repeat(LIMITS.maxPositionBytes * 2)],
    ['another version', forged({ v: 2 })],
    ['a field too many', forged({ more: 1 })],
    ['a negative version', forged({ begin: -1 })],
    ['a version beyond all', forged({ begin: 2 ** 41 })],
    ['a hole that ends before it begins', forged({ writers: [[new Uint8Array(16), 1, 9, 5, 4]] })],
    ['holes in the wrong order', forged({ writers: [[new Uint8Array(16), 1, 9, 5, 6, 2, 3]] })],
    ['a hole above the next number', forged({ writers: [[new Uint8Array(16), 1, 9, 8, 9]] })],
    ['half a hole', forged({ writers: [[new Uint8Array(16), 1, 9, 8]] })],
    ['a writer that begins after its next number', forged({ writers: [[new Uint8Array(16), 10, 9]] })],
    ['no number', forged({ writers: [[new Uint8Array(16), 1, 0]] })],
    ['a short name', forged({ writers: [[new Uint8Array(15), 1, 2]] })],
    [
      'more writers than are kept',
      forged({ writers: Array.from({ length: 1_025 }, () => [new Uint8Array(16), 1, 2]) }),
    ],
  ])('is refused as INVALID_DATA: %s', (_, text) => {
    expect(() => decodePosition(topicKey, text)).toThrow(expect.objectContaining(refusal))
  })

  it('is refused in a second spelling', () => {
    const text = encodePosition(topicKey, position({ seen: [] }))
    const bytes = fromBase64url(text)
    const spellings = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_']
      .map((letter) => text.slice(0, -1) + letter)
      .filter((other) => other !== text && toBase64url(fromBase64url(other)) === toBase64url(bytes))
    for (const other of spellings)
      expect(() => decodePosition(topicKey, other)).toThrow(expect.objectContaining(refusal))
  })

  it('is bounded: the longest silent writers and the oldest holes go first', () => {
    const open = Array.from({ length: 64 }, (_, i) => ({ from: 2 * i + 1, to: 2 * i + 1 }))
    const writers = Array.from({ length: 3_000 }, (_, i) =>
      writer(i + 1, { floor: 2 ** 53 - 2, next: 2 ** 53 - 1, open }),
    )
    const text = encodePosition(topicKey, position({ writers }))
    expect(fromBase64url(text).byteLength).toBeLessThanOrEqual(LIMITS.maxPositionBytes)
    const read = decodePosition(topicKey, text).writers
    expect(read.map(({ name }) => name)).toEqual(writers.slice(-1_024).map(({ name }) => name))
    expect(read.at(-1)?.open).toEqual(open.slice(-16))
    expect(read.flatMap((one) => one.open)).toHaveLength(LIMITS.maxPositionHoles)
  })

  it('keeps the writers of others when one publisher invents many', () => {
    const honest = writer(2)
    const invented = Array.from({ length: 2_000 }, (_, i) => ({ ...honest, name: nameOf(1, i + 1) }))
    const read = again(position({ writers: [honest, ...invented] })).writers
    expect(read[0]).toEqual(honest)
    expect(read).toHaveLength(101)
  })

  it('has room for the largest of everything', () => {
    const huge = { floor: 2 ** 53 - 3, next: 2 ** 53 - 1, open: [{ from: 2 ** 53 - 3, to: 2 ** 53 - 3 }] }
    const writers = Array.from({ length: 1_024 }, (_, i) => writer(i, huge))
    const seen = Array.from({ length: 13 }, (_, i) => ({ version: 2 ** 40, messages: id(i), move: 0 }))
    const value = position({ writers, seen, begin: 2 ** 40, last: Number.POSITIVE_INFINITY })
    expect(again(value)).toEqual({ ...value, last: Number.MAX_SAFE_INTEGER })
  })
})

describe('what was taken and not given', () => {
  const publisher = `${nameOf(1).slice(0, 16)}${'0'.repeat(48)}`
  const place = (sequence: number) => ({ publisher, writer: nameOf(1).slice(16), sequence })

  it('is expected once more', () => {
    const known = [writer(1, { next: 9, open: [{ from: 2, to: 2 }] })]
    const of = (...numbers: number[]) => hadNotCome(known, numbers.map(place))[0]
    expect(of(7, 8)).toMatchObject({ next: 7, open: [{ from: 2, to: 2 }] })
    expect(of(5, 8)).toMatchObject({
      next: 8,
      open: [
        { from: 2, to: 2 },
        { from: 5, to: 5 },
      ],
    })
    expect(of(2, 9, 12)).toEqual(known[0])
    expect(known[0]?.next).toBe(9)
  })

  it('by two iterations of one reader is expected once more too, also where it came late', () => {
    const [one] = hadNotCome([writer(1, { next: 9 })], [8, 7, 8, 7].map(place))
    expect(one).toMatchObject({ next: 8, open: [{ from: 7, to: 7 }] })
    expect(again(position({ writers: [one as KnownWriter] })).writers).toEqual([one])
  })

  it('begins its writer where nothing of it was given', () => {
    expect(hadNotCome([], [place(6), place(8), place(7)])).toEqual([
      { name: nameOf(1), floor: 6, hasToldFloor: false, next: 6, open: [{ from: 1, to: 5 }] },
    ])
  })

  it('is read again: what was seen since then does not count', () => {
    const seen = [1, 2, 3].map((move) => ({ version: move, messages: id(move), move }))
    const read = without(position({ seen }), [{ ...place(6), moves: 1 }])
    expect(read.seen.map(({ version }) => version)).toEqual([1])
    expect(without(position({ seen }), []).seen).toEqual(seen)
  })
})
