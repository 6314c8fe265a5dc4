import { concatBytes, StickyError } from '../dht/index.ts'

/**
 * The protocol buffers that libp2p's own protocols speak, as far as a light node speaks them: numbers below 2^31 and bytes.
 * Whoever answers decides what is in the bytes, so a message has at most MAX_FIELDS and nothing is copied out of it.
 */

export type Field = { number: number; value: number | Uint8Array }

/** Many times what any of the messages has. */
const MAX_FIELDS = 1_024
const MAX_VARINT_BYTES = 10

const VARINT = 0
const FIXED_64 = 1
const BYTES = 2
const FIXED_32 = 5

/** The fields in order, those of kinds that no message here has passed over. Throws MALFORMED. */
export function fieldsOf(bytes: Uint8Array): Field[] {
  const fields: Field[] = []
  let offset = 0
  const skip = (length: number) => {
    if (length > bytes.byteLength - offset) throw malformed()
    offset += length
  }
  const varint = (): number => {
    let value = 0
    for (let shift = 0; shift < MAX_VARINT_BYTES * 7; shift += 7) {
      const byte = bytes[offset]
      if (byte === undefined) throw malformed()
      offset += 1
      value += (byte & 127) * 2 ** shift
      if (byte < 128) return value
    }
    throw malformed()
  }
  while (offset < bytes.byteLength) {
    if (fields.length >= MAX_FIELDS) throw malformed()
    const tag = varint()
    const [number, kind] = [Math.floor(tag / 8), tag % 8]
    if (kind === VARINT) fields.push({ number, value: varint() })
    else if (kind === BYTES) {
      const length = varint()
      const from = offset
      skip(length)
      fields.push({ number, value: bytes.subarray(from, offset) })
    } else if (kind === FIXED_64 || kind === FIXED_32) skip(kind === FIXED_64 ? 8 : 4)
    else throw malformed()
  }
  return fields
}

/** The values of one field that are bytes, the first `max` of them. */
export function bytesOfField(fields: Field[], number: number, max: number): Uint8Array[] {
  const found: Uint8Array[] = []
  for (const field of fields)
    if (field.number === number && field.value instanceof Uint8Array && found.length < max)
      found.push(field.value)
  return found
}

/** The last value of a field that is a number, as protocol buffers have it. */
export const numberOfField = (fields: Field[], number: number): number | undefined =>
  fields.findLast((field) => field.number === number && typeof field.value === 'number')?.value as
    | number
    | undefined

export const encodeFields = (fields: Field[]): Uint8Array =>
  concatBytes(
    ...fields.flatMap(({ number, value }) =>
      typeof value === 'number'
        ? [varintOf(number * 8 + VARINT), varintOf(value)]
        : [varintOf(number * 8 + BYTES), varintOf(value.byteLength), value],
    ),
  )

function varintOf(value: number): Uint8Array {
  const bytes: number[] = []
  let rest = value
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128)
  bytes.push(rest)
  return Uint8Array.from(bytes)
}

const malformed = (): StickyError =>
  new StickyError('MALFORMED', 'A peer sent what is no message of this protocol.')
