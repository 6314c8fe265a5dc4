import * as v from 'valibot'
import { describe, expect, it } from 'vitest'
import {
  bytesOf,
  bytesUpTo,
  cidOf,
  concatBytes,
  decode,
  decodeAny,
  encode,
  framed,
  fromHex,
  idOfCid,
  integer,
  sha256,
  timestampMs,
  toHex,
} from '../../../src/dht/codec.ts'
import { StickyError } from '../../../src/dht/errors.ts'

const MAX_BYTES = 1 << 20

function codeOf(work: () => unknown): string {
  try {
    work()
    return 'none'
  } catch (error) {
    return error instanceof StickyError ? error.code : `not a StickyError: ${String(error)}`
  }
}
const decodes = (hex: string) => codeOf(() => decodeAny(fromHex(hex), MAX_BYTES))

describe('decoding takes the one encoding of a value', () => {
  const pairs: [what: string, canonical: string, others: string[]][] = [
    ['0', '00', ['1800', '190000', '1a00000000', '1b0000000000000000']],
    ['23', '17', ['1817']],
    ['24', '1818', ['190018', '1a00000018']],
    ['256', '190100', ['1a00000100', '1b0000000000000100']],
    ['2^32', '1b0000000100000000', []],
    ['-1', '20', ['3800', '390000']],
    ['-25', '3818', ['390018']],
    ['1 as a float', '01', ['f93c00', 'fa3f800000', 'fb3ff0000000000000']],
    ['0 as a negative float', '00', ['f98000', 'fb8000000000000000']],
    ['1.5', 'fb3ff8000000000000', ['f93e00', 'fa3fc00000']],
    ['2 bytes', '420102', ['58020102', '5900020102', '5f41014102ff']],
    ['a text', '6161', ['780161', '79000161', '7f6161ff']],
    ['a list', '8101', ['980101', '9f01ff']],
    ['a map', 'a1616101', ['b801616101', 'bf616101ff']],
    ['map keys in order', 'a2616101616202', ['a2616202616101']],
    ['map keys, the shorter first', 'a261620162616102', ['a262616102616201']],
  ]
  for (const [what, canonical, others] of pairs) {
    it(`of ${what}`, () => {
      expect(decodes(canonical)).toBe('none')
      for (const other of others) expect(decodes(other), other).toMatch(/^(MALFORMED|NOT_CANONICAL)$/)
    })
  }

  it('and nothing that has none: repeated keys, keys that are no texts, NaN, infinities, undefined, simple values', () => {
    const refused = [
      'a2616101616101',
      'a2616101616102',
      'a10102',
      'a1410102',
      'f97e00',
      'fb7ff8000000000000',
      'f97c00',
      'fb7ff0000000000000',
      'fbfff0000000000000',
      'f7',
      'e0',
      'f820',
    ]
    for (const hex of refused) expect(decodes(hex), hex).toMatch(/^(MALFORMED|NOT_CANONICAL)$/)
  })

  it('and nothing behind it', () => {
    for (const hex of ['0000', '6161ff', '8000', 'a0a0']) expect(decodes(hex), hex).toBe('MALFORMED')
    expect(decodes('')).toBe('MALFORMED')
  })

  it('and no tag but that of a CID', () => {
    for (const hex of ['c000', 'c11a00000000', 'c249010000000000000000', 'd82000', 'd9d9f700'])
      expect(decodes(hex), hex).toBe('MALFORMED')
    expect(decodes(`d82a58250001711220${'11'.repeat(32)}`)).toBe('none')
    expect(decodes('d82a4100')).toBe('MALFORMED')
    expect(decodes(`d82a582401711220${'11'.repeat(32)}`)).toBe('MALFORMED') // without the zero byte before it
  })

  it('and no text that is not UTF-8', () => {
    for (const hex of ['61ff', '62c0af', '63eda080']) {
      expect(decodes(hex), hex).toMatch(/^(MALFORMED|NOT_CANONICAL)$/)
    }
  })
})

describe('decoding hostile bytes', () => {
  it('answers any depth of nesting with an error or a value, never a crash', () => {
    const lists = new Uint8Array(MAX_BYTES).fill(0x81)
    expect(codeOf(() => decodeAny(lists, MAX_BYTES))).toBe('MALFORMED')
    const closed = new Uint8Array(200_001).fill(0x81)
    closed[200_000] = 0x00
    expect(codeOf(() => decodeAny(closed, MAX_BYTES))).toMatch(/^(none|MALFORMED)$/)
    const maps = concatBytes(...Array.from({ length: 100_000 }, () => fromHex('a16161')))
    expect(codeOf(() => decodeAny(maps, MAX_BYTES))).toBe('MALFORMED')
  })

  it('allocates nothing that is only announced', () => {
    for (const hex of [
      '5b001fffffffffffff',
      '7b001fffffffffffff',
      '9b001fffffffffffff',
      'bb001fffffffffffff',
    ])
      expect(decodes(hex), hex).toBe('MALFORMED')
    expect(decodes('5affffffff00')).toBe('MALFORMED')
    expect(decodes('9affffffff00')).toBe('MALFORMED')
  })

  it('looks at the size before anything else, at exactly the limit', () => {
    const bytes = encode(new Uint8Array(98))
    expect(bytes.byteLength).toBe(100)
    expect(codeOf(() => decodeAny(bytes, 100))).toBe('none')
    expect(codeOf(() => decodeAny(bytes, 99))).toBe('TOO_LARGE')
    const counted = { looked: 0 }
    const schema = v.custom(() => {
      counted.looked += 1
      return true
    })
    expect(codeOf(() => decode(bytes, 99, schema))).toBe('TOO_LARGE')
    expect(codeOf(() => decode(fromHex('1800'), 99, schema))).toMatch(/^(MALFORMED|NOT_CANONICAL)$/)
    expect(counted.looked).toBe(0)
    decode(bytes, 100, schema)
    expect(counted.looked).toBe(1)
  })

  it('gives bytes that are nobody else’s', () => {
    const wire = encode({ data: Uint8Array.of(1, 2, 3) })
    const { data } = decodeAny(wire, 100) as { data: Uint8Array }
    const before = toHex(data)
    wire.fill(0)
    expect(toHex(data)).toBe(before)
  })
})

describe('schema parts', () => {
  const takes = (schema: v.GenericSchema, value: unknown) => v.safeParse(schema, value).success

  it('take integers in their range only', () => {
    const schema = integer(1, 10)
    for (const good of [1, 5, 10]) expect(takes(schema, good)).toBe(true)
    for (const bad of [0, 11, 1.5, -1, '5', 5n, null, Number.NaN, Number.POSITIVE_INFINITY])
      expect(takes(schema, bad), String(bad)).toBe(false)
    expect(takes(integer(0, Number.MAX_SAFE_INTEGER), 2 ** 53)).toBe(false)
    expect(codeOf(() => decode(fromHex('1bffffffffffffffff'), 9, timestampMs))).toBe('MALFORMED')
    expect(takes(timestampMs, 9_000_000_000_000)).toBe(true)
    expect(takes(timestampMs, 9_000_000_000_001)).toBe(false)
  })

  it('take bytes of their length only, and nothing that merely looks like bytes', () => {
    expect(takes(bytesOf(3), new Uint8Array(3))).toBe(true)
    for (const bad of [new Uint8Array(2), new Uint8Array(4), [0, 0, 0], 'abc', { byteLength: 3 }])
      expect(takes(bytesOf(3), bad)).toBe(false)
    expect(takes(bytesUpTo(3), new Uint8Array(3))).toBe(true)
    expect(takes(bytesUpTo(3), new Uint8Array())).toBe(true)
    expect(takes(bytesUpTo(3), new Uint8Array(4))).toBe(false)
  })
})

describe('what is signed or hashed', () => {
  it('is the domain and each part behind its length, byte for byte', () => {
    expect(toHex(framed('ab', Uint8Array.of(1, 2, 3), new Uint8Array()))).toBe(
      '00000002' + '6162' + '00000003' + '010203' + '00000000',
    )
    expect(toHex(framed('é'))).toBe(`00000002${'c3a9'}`)
    expect(toHex(framed('', new Uint8Array(0x010203))).slice(0, 16)).toBe('0000000000010203')
  })

  it('is hashed whole, however it is cut', async () => {
    const abc = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
    const [a, b, c] = [0x61, 0x62, 0x63].map((byte) => Uint8Array.of(byte)) as [
      Uint8Array,
      Uint8Array,
      Uint8Array,
    ]
    expect(toHex(await sha256(concatBytes(a, b, c)))).toBe(abc)
    expect(toHex(await sha256(a, b, c))).toBe(abc)
    expect(toHex(await sha256())).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
  })
})

describe('texts', () => {
  it('of bytes are lower-case hexadecimal and nothing else', () => {
    expect(toHex(Uint8Array.of(0, 1, 0xab, 0xff))).toBe('0001abff')
    for (const text of ['0', 'AB', '0x', ' 00', '00 ', 'gg', '0１'])
      expect(
        codeOf(() => fromHex(text)),
        text,
      ).toBe('MALFORMED')
  })

  it('of object ids are dag-cbor, sha2-256 CIDs of 32 bytes', () => {
    const id = new Uint8Array(32).fill(7)
    expect(cidOf(id)).toMatch(/^bafyrei[a-z2-7]{52}$/)
    expect(toHex(idOfCid(cidOf(id)))).toBe(toHex(id))
    const others = [
      '',
      'bafyrei',
      'not a cid',
      cidOf(id).slice(0, -1),
      cidOf(new Uint8Array(20)),
      cidOf(new Uint8Array(33)),
      'QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG',
      'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku',
    ]
    for (const text of others)
      expect(
        codeOf(() => idOfCid(text)),
        text,
      ).toBe('MALFORMED')
  })
})
