/**
 * Whether bytes that decode are surely the one encoding of their value. False: encode the value again and compare, which
 * takes twice as long as decoding. Sure are whole numbers, byte strings, ASCII text, lists, maps, true, false and null,
 * which is all that the objects of this protocol are made of.
 */
export const isSurelyCanonical = (bytes: Uint8Array): boolean => endOf(bytes, 0) === bytes.byteLength

const UNSURE = Number.POSITIVE_INFINITY
const [FALSE, NULL] = [0xf4, 0xf6] // true is between

/** Where the item ends that begins at `at`. */
function endOf(bytes: Uint8Array, at: number): number {
  const first = bytes[at]
  if (first === undefined) return UNSURE
  const major = first >> 5
  if (major === MAJOR.simple) return first >= FALSE && first <= NULL ? at + 1 : UNSURE
  const short = first & 31
  const longBytes = short < LONG ? 0 : 2 ** (short - LONG)
  if (longBytes > 8) return UNSURE
  const argument = longBytes === 0 ? short : longArgument(bytes, at + 1, longBytes)
  const next = at + 1 + longBytes
  if (argument === UNSURE) return UNSURE
  switch (major) {
    case MAJOR.whole:
    case MAJOR.negative:
      return next
    case MAJOR.bytes:
      return next + argument
    case MAJOR.text:
      return isAscii(bytes, next, next + argument) ? next + argument : UNSURE
    case MAJOR.list:
      return endOfList(bytes, next, argument)
    case MAJOR.map:
      return endOfMap(bytes, next, argument)
    default:
      return UNSURE
  }
}

const MAJOR = { whole: 0, negative: 1, bytes: 2, text: 3, list: 4, map: 5, simple: 7 } as const
/** From here on the low five bits say how many bytes follow: 1, 2, 4 or 8. */
const LONG = 24

/** UNSURE where a shorter one would do, or it is beyond what a number holds exactly. */
function longArgument(bytes: Uint8Array, at: number, size: number): number {
  let value = 0
  for (let i = at; i < at + size; i++) value = value * 256 + (bytes[i] ?? Number.NaN)
  const least = size === 1 ? LONG : 2 ** (4 * size)
  return value >= least && value < Number.MAX_SAFE_INTEGER ? value : UNSURE
}

function endOfList(bytes: Uint8Array, at: number, count: number): number {
  let next = at
  for (let i = 0; i < count && next !== UNSURE; i++) next = endOf(bytes, next)
  return next
}

/** Keys are texts, a shorter one before a longer one, each once. */
function endOfMap(bytes: Uint8Array, at: number, count: number): number {
  let next = at
  let last: Uint8Array | undefined
  for (let i = 0; i < count && next !== UNSURE; i++) {
    const end = endOf(bytes, next)
    if (end === UNSURE || (bytes[next] as number) >> 5 !== MAJOR.text) return UNSURE
    const key = bytes.subarray(next, end)
    if (isOfLink(key) || (last !== undefined && !isBefore(last, key))) return UNSURE
    last = key
    next = endOf(bytes, end)
  }
  return next
}

/** With their heads, in which the length is: so a shorter one is before a longer one. */
function isBefore(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < a.byteLength; i++) if (a[i] !== b[i]) return (a[i] as number) < (b[i] ?? 0)
  return false
}

/** An object with the key `/` may be taken for a link when it is encoded. */
const isOfLink = (key: Uint8Array): boolean => key[1] === SLASH
const SLASH = 0x2f

function isAscii(bytes: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (!((bytes[i] as number) < 0x80)) return false
  return true
}
