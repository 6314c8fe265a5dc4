import { StickyError } from './errors.ts'

/**
 * A look at bytes before they are decoded. What is decoded by recursion ends where a stack ends, which is somewhere else in
 * each process: what one node could store another would take for corrupted, and whoever shows it would crash.
 */

/** Lists, maps and links inside each other. */
export const MAX_DEPTH = 64

/**
 * Whether bytes are surely the one encoding of their value. False: decode them, encode the value again and compare, which
 * takes twice as long. Sure are whole numbers, byte strings, ASCII text, lists, maps, true, false and null, which is all
 * that the objects of this protocol are made of. Throws MALFORMED for what is no DAG-CBOR, or deeper than MAX_DEPTH.
 */
export function isSurelyCanonical(bytes: Uint8Array): boolean {
  const walk = new Walk(bytes)
  if (walk.endOf(0, 0) !== bytes.byteLength) throw notCbor()
  return walk.isSure
}

const MAJOR = { whole: 0, negative: 1, bytes: 2, text: 3, list: 4, map: 5, tag: 6 } as const
/** From here on the low five bits say how many bytes follow: 1, 2, 4 or 8. */
const LONG = 24
const [FALSE, NULL, UNDEFINED, HALF, DOUBLE] = [0xf4, 0xf6, 0xf7, 0xf9, 0xfb] // true is the second; between the last two is float
const SLASH = 0x2f

class Walk {
  isSure = true
  readonly #bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  /** Where the item ends that begins at `at`, `depth` levels down. */
  endOf(at: number, depth: number): number {
    const first = this.#bytes[at]
    if (first === undefined) throw notCbor()
    if (first >= FALSE) return this.#endOfSimple(first, at)
    const short = first & 31
    const longBytes = short < LONG ? 0 : 2 ** (short - LONG)
    if (longBytes > 8) throw notCbor()
    const argument = longBytes === 0 ? short : this.#longArgument(at + 1, longBytes)
    const next = at + 1 + longBytes
    switch (first >> 5) {
      case MAJOR.whole:
      case MAJOR.negative:
        return next
      case MAJOR.bytes:
        return this.#within(next + argument)
      case MAJOR.text:
        this.isSure &&= this.#isAscii(next, this.#within(next + argument))
        return next + argument
    }
    if (depth === MAX_DEPTH) throw new StickyError('MALFORMED', `Nested more than ${MAX_DEPTH} levels deep.`)
    switch (first >> 5) {
      case MAJOR.list:
        return this.#endOfList(next, argument, depth + 1)
      case MAJOR.map:
        return this.#endOfMap(next, argument, depth + 1)
      case MAJOR.tag:
        this.isSure = false
        return this.endOf(next, depth + 1)
      default:
        throw notCbor()
    }
  }

  #endOfSimple(first: number, at: number): number {
    if (first <= NULL) return at + 1
    this.isSure = false
    if (first === UNDEFINED) return at + 1
    if (first < HALF || first > DOUBLE) throw notCbor()
    return this.#within(at + 1 + 2 ** (first - HALF + 1))
  }

  /** Not sure where a shorter one would do, or it is beyond what a number holds exactly. */
  #longArgument(at: number, size: number): number {
    let value = 0
    for (let i = at; i < this.#within(at + size); i++) value = value * 256 + (this.#bytes[i] as number)
    const least = size === 1 ? LONG : 2 ** (4 * size)
    if (value < least || value >= Number.MAX_SAFE_INTEGER) this.isSure = false
    return value
  }

  #endOfList(at: number, count: number, depth: number): number {
    let next = at
    for (let i = 0; i < count; i++) next = this.endOf(next, depth)
    return next
  }

  /** Keys are texts, a shorter one before a longer one, each once. */
  #endOfMap(at: number, count: number, depth: number): number {
    let next = at
    let last: Uint8Array | undefined
    for (let i = 0; i < count; i++) {
      const end = this.endOf(next, depth)
      if ((this.#bytes[next] as number) >> 5 !== MAJOR.text) throw notCbor()
      const key = this.#bytes.subarray(next, end)
      if (isOfLink(key) || (last !== undefined && !isBefore(last, key))) this.isSure = false
      last = key
      next = this.endOf(end, depth)
    }
    return next
  }

  #within(end: number): number {
    if (end > this.#bytes.byteLength) throw notCbor()
    return end
  }

  #isAscii(from: number, to: number): boolean {
    for (let i = from; i < to; i++) if ((this.#bytes[i] as number) >= 0x80) return false
    return true
  }
}

const notCbor = () => new StickyError('MALFORMED', 'Not DAG-CBOR.')

/** With their heads, in which the length is: so a shorter one is before a longer one. */
function isBefore(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < a.byteLength; i++) if (a[i] !== b[i]) return (a[i] as number) < (b[i] ?? 0)
  return false
}

/** An object with the key `/` may be taken for a link when it is encoded. */
const isOfLink = (key: Uint8Array): boolean => key[1] === SLASH
