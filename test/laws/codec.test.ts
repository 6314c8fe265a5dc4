import * as dagCbor from '@ipld/dag-cbor'
import fc from 'fast-check'
import { CID } from 'multiformats/cid'
import * as v from 'valibot'
import { describe, expect, it } from 'vitest'
import { isSurelyCanonical, MAX_DEPTH } from '../../src/dht/canonical.ts'
import {
  cidOf,
  compareBytes,
  concatBytes,
  decode,
  decodeAny,
  encode,
  encodeAny,
  equalBytes,
  framed,
  fromHex,
  idOfCid,
  toHex,
} from '../../src/dht/codec.ts'
import { StickyError } from '../../src/dht/errors.ts'
import { nested } from '../support/nested.ts'

const MAX_BYTES = 1 << 20
const A_CID = 'bafyreigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi'
const bytes = fc.uint8Array({ maxLength: 64 })
const key = fc.string({ maxLength: 12 }).filter((name) => name !== '__proto__')

/** Any value an application may publish. */
const { value } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom(null, true, false),
    fc.maxSafeInteger(),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((x) => (Object.is(x, -0) ? 0 : x)),
    fc.string({ maxLength: 20 }),
    bytes,
    fc.array(tie('value'), { maxLength: 5 }),
    fc.array(fc.tuple(key, tie('value')), { maxLength: 5 }).map((entries) => Object.fromEntries(entries)),
  ),
}))

/** What the objects of the protocol are made of. */
const ascii = fc.string({ unit: 'grapheme-ascii', maxLength: 30 })
const { plain } = fc.letrec<{ plain: unknown }>((tie) => ({
  plain: fc.oneof(
    { depthSize: 'small' },
    fc.constantFrom(null, true, false),
    fc.maxSafeInteger(),
    ascii,
    bytes,
    fc.array(tie('plain'), { maxLength: 30 }),
    fc.dictionary(
      ascii.filter((name) => !name.startsWith('/')),
      tie('plain'),
      { maxKeys: 30 },
    ),
  ),
}))

/** One item with a head of any length, whole or not, and what is in it: often nearly canonical. */
const head = fc
  .tuple(
    fc.integer({ min: 0, max: 7 }),
    fc.integer({ min: 0, max: 31 }),
    fc.array(fc.constantFrom(0, 1, 23, 24, 255), { maxLength: 8 }),
  )
  .map(([major, low, rest]) => [(major << 5) | low, ...rest])
const shortKey = fc.constantFrom(
  [0x61, 0x61],
  [0x61, 0x62],
  [0x62, 0x61, 0x61],
  [0x61, 0x2f],
  [0x61, 0xff],
  [0x41, 0x61],
)
const { item } = fc.letrec<{ item: number[] }>((tie) => ({
  item: fc.oneof(
    { depthSize: 'small' },
    head,
    fc.integer({ min: 0, max: 0x37 }).map((first) => [first]),
    fc.array(tie('item'), { maxLength: 3 }).map((items) => [0x80 | items.length, ...items.flat()]),
    fc
      .array(fc.tuple(shortKey, tie('item')), { maxLength: 3 })
      .map((entries) => [0xa0 | entries.length, ...entries.flat(2)]),
  ),
}))
const likelyItem = item.map((numbers) => Uint8Array.from(numbers))

const codeOf = (work: () => unknown): string => {
  try {
    work()
    return 'none'
  } catch (error) {
    return error instanceof StickyError ? error.code : `not a StickyError: ${String(error)}`
  }
}

describe('codec', () => {
  it('gives back every value it encodes', () => {
    fc.assert(
      fc.property(value, (x) => {
        expect(decodeAny(encode(x), MAX_BYTES)).toEqual(x)
      }),
    )
  })

  it('has one encoding per value: what decodes encodes to the same bytes', () => {
    fc.assert(
      fc.property(value, fc.nat(), fc.integer({ min: 1, max: 255 }), (x, at, flip) => {
        const changed = encode(x).slice()
        const index = at % changed.byteLength
        changed[index] = (changed[index] as number) ^ flip
        let decoded: unknown
        try {
          decoded = decodeAny(changed, MAX_BYTES)
        } catch (error) {
          expect((error as StickyError).code).toMatch(/^(MALFORMED|NOT_CANONICAL)$/)
          return
        }
        expect(equalBytes(encode(decoded), changed)).toBe(true)
      }),
      { numRuns: 500 },
    )
  })

  it('is sure of nothing that has another encoding, and of all that is plain', () => {
    const isCanonical = (encoded: Uint8Array) => {
      try {
        return equalBytes(encode(dagCbor.decode(encoded)), encoded)
      } catch {
        return false
      }
    }
    const isSure = (encoded: Uint8Array) => {
      try {
        return isSurelyCanonical(encoded)
      } catch (error) {
        expect(error).toMatchObject({ code: 'MALFORMED' })
        expect(isCanonical(encoded)).toBe(false)
        return false
      }
    }
    const isSound = (encoded: Uint8Array) => !isSure(encoded) || isCanonical(encoded)
    let sure = 0
    fc.assert(
      fc.property(likelyItem, (encoded) => {
        if (isSure(encoded)) sure += 1
        expect(isSound(encoded)).toBe(true)
      }),
      { numRuns: 5_000 },
    )
    expect(sure).toBeGreaterThan(500)
    fc.assert(
      fc.property(value, fc.nat(), fc.integer({ min: 1, max: 255 }), (x, at, flip) => {
        const changed = encode(x).slice()
        changed[at % changed.byteLength] = (changed[at % changed.byteLength] as number) ^ flip
        expect(isSound(changed)).toBe(true)
      }),
      { numRuns: 2_000 },
    )
    fc.assert(
      fc.property(plain, (x) => {
        expect(isSurelyCanonical(encode(x))).toBe(true)
      }),
    )
  })

  it('does not depend on the order in which keys were set', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(key, fc.integer()), { maxLength: 8 }), (entries) => {
        const unique = [...new Map(entries)]
        const there = encode(Object.fromEntries(unique))
        expect(toHex(encode(Object.fromEntries(unique.toReversed())))).toBe(toHex(there))
      }),
    )
  })

  it('answers arbitrary bytes with a value or a typed error, and truncation with MALFORMED', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (random) => {
        expect(codeOf(() => decodeAny(random, MAX_BYTES))).toMatch(/^(none|MALFORMED|NOT_CANONICAL)$/)
      }),
      { numRuns: 1_000 },
    )
    fc.assert(
      fc.property(value, fc.nat(), (x, at) => {
        const whole = encode(x)
        expect(codeOf(() => decodeAny(whole.subarray(0, at % whole.byteLength), MAX_BYTES))).toBe('MALFORMED')
      }),
    )
  })

  it('looks at the size first, then at the schema', () => {
    const schema = v.strictObject({ a: v.number() })
    expect(codeOf(() => decode(new Uint8Array(11).fill(0xff), 10, schema))).toBe('TOO_LARGE')
    expect(codeOf(() => decode(encode({ a: 'text' }), 100, schema))).toBe('MALFORMED')
    expect(codeOf(() => decode(encode({ a: 1, b: 2 }), 100, schema))).toBe('MALFORMED')
    expect(decode(encode({ a: 1 }), 100, schema)).toEqual({ a: 1 })
  })

  it('refuses long integers, unsorted and repeated keys, NaN and endless arrays', () => {
    for (const hex of ['1800', 'a2616201616101', 'a2616101616102', 'f97e00', '9fff'])
      expect(codeOf(() => decodeAny(fromHex(hex), MAX_BYTES))).toMatch(/^(MALFORMED|NOT_CANONICAL)$/)
  })

  it('refuses what looks like a link once it is decoded, and cannot be encoded again', () => {
    expect(codeOf(() => decodeAny(fromHex('a2612f0165627974657301'), MAX_BYTES))).toBe('MALFORMED')
  })

  it('takes 64 levels of lists, maps and links and no more, wherever it runs', () => {
    const list = (depth: number) => new Uint8Array(depth).fill(0x81, 0, depth - 1).fill(0x80, depth - 1)
    const map = (depth: number) => fromHex(`${'a16161'.repeat(depth - 1)}a0`)
    const behindText = (depth: number) => concatBytes(fromHex('8262c3a4'), list(depth - 1)) // not sure from the text on
    const mixed = (depth: number) => concatBytes(fromHex('a16161'), list(depth - 1))
    for (const made of [list, map, behindText, mixed]) {
      expect(codeOf(() => decodeAny(made(MAX_DEPTH), MAX_BYTES))).toBe('none')
      expect(codeOf(() => decodeAny(made(MAX_DEPTH + 1), MAX_BYTES))).toBe('MALFORMED')
      expect(codeOf(() => decodeAny(made(100_000), 1_000_000))).toBe('MALFORMED')
    }
    const linkAt = (depth: number) => concatBytes(list(depth).fill(0x81), encode(CID.parse(A_CID)))
    expect(codeOf(() => decodeAny(linkAt(MAX_DEPTH - 1), MAX_BYTES))).toBe('none')
    expect(codeOf(() => decodeAny(linkAt(MAX_DEPTH), MAX_BYTES))).toBe('MALFORMED')
    const tags = new Uint8Array(1_001).fill(0xc6)
    expect(codeOf(() => decodeAny(tags, MAX_BYTES))).toBe('MALFORMED')
  })

  it('encodes for others only what they decode', () => {
    expect(decodeAny(encodeAny(nested(MAX_DEPTH)), MAX_BYTES)).toEqual(nested(MAX_DEPTH))
    expect(codeOf(() => encodeAny(nested(MAX_DEPTH + 1)))).toBe('MALFORMED')
  })

  it('lets no key of the input become a prototype', () => {
    const decoded = decodeAny(fromHex('a1695f5f70726f746f5f5fa1617801'), MAX_BYTES) as { x?: unknown }
    expect(Object.getPrototypeOf(decoded)).toBe(Object.prototype)
    expect(decoded.x).toBeUndefined()
    expect(({} as { x?: unknown }).x).toBeUndefined()
  })

  it('frames parts so that no two lists of parts meet in the same bytes', () => {
    fc.assert(
      fc.property(fc.array(bytes, { maxLength: 4 }), fc.array(bytes, { maxLength: 4 }), (a, b) => {
        const isSame = a.length === b.length && a.every((part, i) => equalBytes(part, b[i] as Uint8Array))
        expect(equalBytes(framed('x', ...a), framed('x', ...b))).toBe(isSame)
      }),
    )
  })

  it('orders bytes totally, and turns ids into text and back', () => {
    fc.assert(
      fc.property(bytes, bytes, bytes, (a, b, c) => {
        expect(Math.sign(compareBytes(a, b))).toBe(-Math.sign(compareBytes(b, a)) + 0)
        expect(compareBytes(a, b) === 0).toBe(equalBytes(a, b))
        if (compareBytes(a, b) <= 0 && compareBytes(b, c) <= 0)
          expect(compareBytes(a, c)).toBeLessThanOrEqual(0)
        expect(fromHex(toHex(a))).toEqual(a)
      }),
    )
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (id) => {
        expect(toHex(idOfCid(cidOf(id)))).toBe(toHex(id))
      }),
    )
  })
})
