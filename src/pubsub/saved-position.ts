import * as v from 'valibot'
import {
  bytesOf,
  decode,
  encode,
  equalBytes,
  fromBase64url,
  fromHex,
  integer,
  objectId,
  StickyError,
  timestampMs,
  toBase64url,
  toHex,
} from '../dht/index.ts'
import { type Hole, hadNotCome, type KnownWriter, type WriterPlace } from './known-writers.ts'
import type { VerifiedMessage } from './message.ts'
import { LIMITS } from './options.ts'
import { MAX_KEPT_SEEN, type Seen } from './position.ts'

/**
 * A position as applications keep it: all that one reader of a topic has been given, in a text. What it has seen of the
 * topic's lineage says where to go on reading, and what it has of each writer what to leave out there, however often a
 * merge has stamped it anew.
 */
export interface SavedPosition {
  /** Where it began, in a lineage that it has nothing of. */
  begin: number
  /** Oldest first. */
  seen: Seen[]
  /** What was published before this was not asked for, but from writers that had begun for it. */
  wantedFromMs: number
  /** It asked for everything from each writer's beginning. */
  strict: boolean
  /** Its history was over. */
  joined: boolean
  /** It asked for so many of the last messages, and had reached nobody yet. */
  last: number
  /** When it last had everything that there was. */
  readAtMs: number
  /** The longest silent first. */
  writers: KnownWriter[]
}

/** A message that the reader has taken and not given yet. */
export interface Place extends WriterPlace {
  /** How often the reader had moved before: what it had seen until then does not have the message. */
  moves: number
}

/** Before the first move: the head was seen before the history that belongs to it is given. */
export const BEFORE_ALL = -1

export const placeOf = ({ body }: VerifiedMessage, moves: number): Place => ({
  publisher: toHex(body.publisher),
  writer: toHex(body.writer),
  sequence: body.sequence,
  moves,
})

/** The position of a reader that these had not come to: they are read, and given, once more. */
export function without(position: SavedPosition, places: Place[]): SavedPosition {
  if (places.length === 0) return position
  const moves = fewestMoves(places)
  const seen = position.seen.filter(({ move }) => move <= moves)
  return { ...position, seen, writers: hadNotCome(position.writers, places) }
}

export const fewestMoves = (places: Pick<Place, 'moves'>[]): number =>
  places.reduce((fewest, { moves }) => Math.min(fewest, moves), Number.POSITIVE_INFINITY)

const sequence = integer(1, Number.MAX_SAFE_INTEGER)

/** [name, floor, whether what is below was told, next, and from and to of each hole] */
const writerSchema = v.pipe(
  v.tupleWithRest([bytesOf(16), sequence, v.boolean(), sequence], sequence),
  v.check(([, floor, , next, ...bounds]) => {
    if (floor > next || bounds.length % 2 !== 0) return false
    const inOrder = bounds.every((bound, i) => i === 0 || bound > (bounds[i - 1] as number) - (i % 2))
    return inOrder && (bounds.at(-1) ?? 0) < next
  }, 'holes in order, below the next number'),
)

const schema = v.strictObject({
  v: v.literal(1),
  /** The first bytes of its key. */
  topic: bytesOf(8),
  begin: integer(0, LIMITS.maxVersion),
  seen: v.pipe(v.array(v.strictTuple([integer(0, LIMITS.maxVersion), objectId])), v.maxLength(MAX_KEPT_SEEN)),
  from: timestampMs,
  strict: v.boolean(),
  joined: v.boolean(),
  last: integer(0, Number.MAX_SAFE_INTEGER),
  readAt: timestampMs,
  writers: v.pipe(v.array(writerSchema), v.maxLength(LIMITS.maxPositionWriters)),
})

export function encodePosition(topicKey: Uint8Array, position: SavedPosition): string {
  const { begin, seen, wantedFromMs, strict, joined, last, readAtMs, writers } = position
  const bytes = encode({
    v: 1,
    topic: topicKey.slice(0, 8),
    begin,
    seen: seen.map(({ version, messages }) => [version, messages]),
    from: wantedFromMs,
    strict,
    joined,
    last: Number.isSafeInteger(last) ? last : Number.MAX_SAFE_INTEGER,
    readAt: readAtMs,
    writers: bounded(writers).map(({ name, floor, hasToldFloor, next, open }) => [
      fromHex(name),
      floor,
      hasToldFloor,
      next,
      ...open.flatMap(({ from, to }) => [from, to]),
    ]),
  })
  return toBase64url(bytes)
}

/** Throws INVALID_DATA for what is no position, is one of another topic, or is too long. */
export function decodePosition(topicKey: Uint8Array, text: unknown): SavedPosition {
  const value = parse(text)
  if (!equalBytes(value.topic, topicKey.slice(0, 8)))
    throw new StickyError('INVALID_DATA', 'A position in another topic.')
  const { begin, from, strict, joined, last, readAt } = value
  return {
    begin,
    seen: value.seen.map(([version, messages]) => ({ version, messages, move: 0 })),
    wantedFromMs: from,
    strict,
    joined,
    last,
    readAtMs: readAt,
    writers: value.writers.map(([name, floor, hasToldFloor, next, ...bounds]) => ({
      name: toHex(name),
      floor,
      hasToldFloor,
      next,
      open: holesOf(bounds),
    })),
  }
}

function parse(text: unknown): v.InferOutput<typeof schema> {
  if (typeof text !== 'string' || text.length > MAX_TEXT_LENGTH || !/^[\w-]*$/.test(text))
    throw new StickyError('INVALID_DATA', 'Not a position: a text of `subscription.position` is expected.')
  try {
    const bytes = fromBase64url(text)
    const value = decode(bytes, LIMITS.maxPositionBytes, schema)
    if (toBase64url(bytes) !== text) throw new StickyError('NOT_CANONICAL', 'Another text means the same.')
    return value
  } catch (error) {
    throw new StickyError('INVALID_DATA', 'Not a position of this version of the library.', { cause: error })
  }
}

/**
 * The longest silent writers go first, then the oldest holes. Nobody has more writers here than the tracker remembers of
 * it, also over many restarts: who invents writers drives out its own.
 */
function bounded(writers: KnownWriter[]): KnownWriter[] {
  const kept: KnownWriter[] = []
  const ofPublisher = new Map<string, number>()
  let holes = 0
  for (const writer of writers.toReversed()) {
    if (kept.length >= LIMITS.maxPositionWriters) break
    const publisher = writer.name.slice(0, 16)
    const count = (ofPublisher.get(publisher) ?? 0) + 1
    if (count > LIMITS.maxPositionWritersPerPublisher) continue
    ofPublisher.set(publisher, count)
    const room = Math.min(LIMITS.maxPositionHolesPerWriter, LIMITS.maxPositionHoles - holes)
    const open = room > 0 ? writer.open.slice(-room) : []
    holes += open.length
    kept.push({ ...writer, open })
  }
  return kept.reverse()
}

const holesOf = (bounds: number[]): Hole[] =>
  Array.from({ length: bounds.length / 2 }, (_, i) => ({
    from: bounds[2 * i] as number,
    to: bounds[2 * i + 1] as number,
  }))

const MAX_TEXT_LENGTH = Math.ceil((LIMITS.maxPositionBytes * 4) / 3)
