import * as dagCbor from '@ipld/dag-cbor'
import { sha256 as portableSha256 } from '@noble/hashes/sha2.js'
import { base32 } from 'multiformats/bases/base32'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import * as v from 'valibot'
import { isSurelyCanonical } from './canonical.ts'
import { StickyError } from './errors.ts'

/**
 * Bytes on the wire and on disk are canonical DAG-CBOR, and there is exactly one encoding of a value: decoding refuses
 * what does not encode back to the same bytes (unsorted or duplicate keys, long integers).
 */

const SHA2_256 = 0x12

export const encode = (value: unknown): Uint8Array => dagCbor.encode(value)

/** Size before allocation, depth, canonical form, then schema. Throws TOO_LARGE, MALFORMED or NOT_CANONICAL. */
export function decode<S extends v.GenericSchema>(
  bytes: Uint8Array,
  maxBytes: number,
  schema: S,
): v.InferOutput<S> {
  if (bytes.byteLength > maxBytes) {
    throw new StickyError('TOO_LARGE', `${bytes.byteLength} bytes, at most ${maxBytes} are allowed here.`)
  }
  const isSure = isSurelyCanonical(bytes)
  let value: unknown
  let isCanonical: boolean
  try {
    value = dagCbor.decode(bytes)
    isCanonical = isSure || equalBytes(bytes, dagCbor.encode(value))
  } catch (error) {
    throw new StickyError('MALFORMED', 'Not DAG-CBOR.', { cause: error })
  }
  if (!isCanonical) throw new StickyError('NOT_CANONICAL', 'Not the canonical encoding of its value.')
  const result = v.safeParse(schema, value)
  if (!result.success) {
    const issue = result.issues[0]
    throw new StickyError(
      'MALFORMED',
      `Does not fit its schema: ${v.getDotPath(issue) ?? 'value'}: ${issue.message}`,
    )
  }
  return result.output
}

export interface Remembered<T> {
  (bytes: Uint8Array): T
  /** What was encoded here need not be decoded here. */
  remember(bytes: Uint8Array, value: T): void
}

/**
 * Decodes the same bytes once as long as somebody holds them: a head or an envelope is looked at many times on its way.
 * The bytes are never changed, and neither may the value be, so it is frozen.
 */
export function remembered<T>(decodeBytes: (bytes: Uint8Array) => T): Remembered<T> {
  const known = new WeakMap<Uint8Array, T>()
  const remember = (bytes: Uint8Array, value: T) => void known.set(bytes, frozen(value))
  const decoded = (bytes: Uint8Array) => {
    if (!known.has(bytes)) remember(bytes, decodeBytes(bytes))
    return known.get(bytes) as T
  }
  return Object.assign(decoded, { remember })
}

function frozen<T>(value: T): T {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value
  for (const part of Object.values(value)) frozen(part)
  return Object.freeze(value)
}

/** Decodes an application's value (any DAG-CBOR), canonical form required. */
export const decodeAny = (bytes: Uint8Array, maxBytes: number): unknown =>
  decode(bytes, maxBytes, v.unknown())

/** An application's value, which others decode. Throws what the encoder throws, and MALFORMED when it is nested too deep. */
export function encodeAny(value: unknown): Uint8Array {
  const bytes = encode(value)
  isSurelyCanonical(bytes)
  return bytes
}

// Schema parts shared by every room.
const byteString = v.custom<Uint8Array>((value) => value instanceof Uint8Array, 'expected bytes')
/** A byte string of exactly `length` bytes. */
export const bytesOf = (length: number) =>
  v.pipe(
    byteString,
    v.check((bytes) => bytes.byteLength === length, `expected ${length} bytes`),
  )
/** A byte string of at most `maxBytes` bytes. */
export const bytesUpTo = (maxBytes: number) =>
  v.pipe(
    byteString,
    v.check((bytes) => bytes.byteLength <= maxBytes, `expected at most ${maxBytes} bytes`),
  )
/** A safe integer in [min, max]. */
export const integer = (min: number, max: number) =>
  v.pipe(v.number(), v.safeInteger(), v.minValue(min), v.maxValue(max))
/** ms since the epoch; the bound (year 2255) keeps arithmetic safe. */
export const timestampMs = integer(0, 9_000_000_000_000)
/** An object id: the sha2-256 digest inside its CIDv1 (dag-cbor). Shown to people as the CID, carried as 32 bytes. */
export const objectId = bytesOf(32)

/** SHA-256 in the thread that asks. */
export interface Sha256Here {
  hash(bytes: Uint8Array): Uint8Array
  /** Up to here that is quicker than the way to WebCrypto's threads and back. */
  maxBytes: number
}

/** The way there and back is 40 µs of processor time, for which 8 KiB can be hashed here; on idle cores it is sooner done. */
export const PORTABLE_SHA256: Sha256Here = { hash: portableSha256, maxBytes: 4_096 }

let hashedHere = PORTABLE_SHA256

/** For the whole program: Node has a quicker one (src/node/sha256.ts). Gives the one before. */
export function useSha256Here(platform: Sha256Here): Sha256Here {
  const before = hashedHere
  hashedHere = platform
  return before
}

export async function sha256(...parts: Uint8Array[]): Promise<Uint8Array> {
  const bytes = parts.length === 1 ? (parts[0] as Uint8Array) : concatBytes(...parts)
  if (bytes.byteLength <= hashedHere.maxBytes) return hashedHere.hash(bytes)
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>))
}

export function concatBytes(...parts: Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0))
  let offset = 0
  for (const part of parts) {
    out.set(part, offset)
    offset += part.byteLength
  }
  return out
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.byteLength !== b.byteLength) return false
  for (let i = 0; i < a.byteLength; i++) if (a[i] !== b[i]) return false
  return true
}

/** Lexicographic order, shorter first on a common prefix. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.byteLength, b.byteLength)
  for (let i = 0; i < length; i++) {
    const difference = (a[i] as number) - (b[i] as number)
    if (difference !== 0) return difference
  }
  return a.byteLength - b.byteLength
}

const DIGITS = [...'0123456789abcdef'].map((digit) => digit.charCodeAt(0))
const digits = new TextDecoder()
/** In one piece: what is put together of many parts costs as much again where it becomes the key of a map. */
export function toHex(bytes: Uint8Array): string {
  const out = new Uint8Array(2 * bytes.length)
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i] as number
    out[2 * i] = DIGITS[byte >> 4] as number
    out[2 * i + 1] = DIGITS[byte & 15] as number
  }
  return digits.decode(out)
}
export function fromHex(hex: string): Uint8Array {
  if (hex.length % 2 !== 0 || !/^[0-9a-f]*$/.test(hex))
    throw new StickyError('MALFORMED', 'Not lower-case hexadecimal.')
  return Uint8Array.from({ length: hex.length / 2 }, (_, i) =>
    Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16),
  )
}

/** The CID text of an object id, e.g. `bafyrei…`. */
export const cidOf = (id: Uint8Array): string =>
  CID.createV1(dagCbor.code, Digest.create(SHA2_256, id)).toString(base32)

/** The object id inside a CID text. Throws MALFORMED. */
export function idOfCid(text: string): Uint8Array {
  try {
    const cid = CID.parse(text)
    const { code, digest } = cid.multihash
    if (cid.code === dagCbor.code && code === SHA2_256 && digest.byteLength === 32) return digest
  } catch (error) {
    throw new StickyError('MALFORMED', `Not a CID: ${text.slice(0, 80)}`, { cause: error })
  }
  throw new StickyError('MALFORMED', 'Only dag-cbor, sha2-256 CIDs name objects here.')
}

/** `domain` and parts, each behind its 4-byte big-endian length: what is signed or hashed is never ambiguous. */
export function framed(domain: string, ...parts: Uint8Array[]): Uint8Array {
  const all = [new TextEncoder().encode(domain), ...parts]
  return concatBytes(
    ...all.flatMap((part) => {
      const length = new Uint8Array(4)
      new DataView(length.buffer).setUint32(0, part.byteLength)
      return [length, part]
    }),
  )
}
