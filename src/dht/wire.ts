import * as v from 'valibot'
import { bytesOf, bytesUpTo, decode, encode, integer, objectId } from './codec.ts'
import { MAX_FRAME_BYTES } from './network.ts'
import type { Quota } from './rate-limit.ts'

/** The frames of a link and the requests of the record store. docs/protocol.md tells the same in prose. */

export const WIRE_VERSION = 1

const requestId = integer(0, 0xffff_ffff)
const methodName = v.pipe(v.string(), v.maxLength(32))

/** First frame of each side: who speaks, and what it is. */
const hello = v.strictTuple([
  v.literal('hello'),
  v.strictObject({
    version: integer(1, 1_000),
    /** Random per process start: a restart is seen as one. */
    session: bytesOf(16),
    stores: v.boolean(),
    durable: v.boolean(),
  }),
])
const request = v.strictTuple([v.literal('request'), requestId, methodName, v.unknown()])
const reply = v.strictTuple([v.literal('reply'), requestId, v.unknown()])
const failure = v.strictTuple([
  v.literal('error'),
  requestId,
  v.pipe(v.string(), v.maxLength(40)),
  v.pipe(v.string(), v.maxLength(300)),
])

export const frameSchema = v.union([hello, request, reply, failure])
export type Frame = v.InferOutput<typeof frameSchema>
export type Hello = v.InferOutput<typeof hello>[1]

export const encodeFrame = (frame: Frame): Uint8Array => encode(frame)
export const decodeFrame = (bytes: Uint8Array): Frame => decode(bytes, MAX_FRAME_BYTES, frameSchema)

/** One kind of request: what may be asked, what may be answered, and how often one peer may ask. */
export interface Method<Q extends v.GenericSchema, A extends v.GenericSchema> {
  readonly name: string
  readonly request: Q
  readonly response: A
  readonly quota: Quota
  readonly load: Load
}

/**
 * What a peer has in work is counted for each: with bulk at its bound, who holds what and who is there still goes on.
 * `waiting`: what is asked is to wait, for so long, or to fetch blocks from others first; how long that takes says little of
 * this node.
 */
export type Load = 'bulk' | 'control' | 'waiting'

export const method = <Q extends v.GenericSchema, A extends v.GenericSchema>(
  name: string,
  quota: Quota,
  request: Q,
  response: A,
  load: Load = 'bulk',
): Method<Q, A> => ({ name, quota, request, response, load })

/** Bytes left for blocks in one reply frame. */
export const MAX_REPLY_BLOCK_BYTES = 240 * 1024
export const MAX_REFS_PER_REQUEST = 128
const MAX_RECORDS_PER_COMPARE = 1_024

const kindName = v.pipe(v.string(), v.maxLength(16))
const head = bytesUpTo(1_024)
const key = bytesOf(32)
const ref = v.strictTuple([kindName, objectId])
export const MAX_SIGNED_BYTES = 128
const signed = bytesUpTo(MAX_SIGNED_BYTES)

export const recordMethods = {
  /**
   * The receiver's head is `base`: after `delta` it is the one with this id. `other`: it is not, or would not be. `signed`:
   * what the receiver signs of the delta (`HeadKind.acknowledge`), for others who do not believe the sender.
   */
  append: method(
    'record/append',
    { perSecond: 2_000, burst: 4_000 },
    v.strictObject({
      kind: kindName,
      key,
      base: v.nullable(objectId),
      id: objectId,
      delta: bytesUpTo(232 * 1024),
    }),
    v.strictObject({ outcome: v.picklist(['stored', 'other']), signed: v.optional(signed) }),
  ),
  /** The sender's head: to be taken with all that it names, unless the receiver's has diverged from it. */
  commit: method(
    'record/commit',
    { perSecond: 2_000, burst: 4_000 },
    v.strictObject({ kind: kindName, key, head }),
    v.strictObject({ outcome: v.picklist(['stored', 'conflict']), head }),
    'waiting',
  ),
  head: method(
    'record/head',
    { perSecond: 500, burst: 1_000 },
    v.strictObject({ kind: kindName, key }),
    v.strictObject({ head: v.nullable(head) }),
    'control',
  ),
  /** "This head exists at `source`": the receiver fetches what it lacks, joins, and answers with its own head. */
  offer: method(
    'record/offer',
    { perSecond: 200, burst: 1_000 },
    v.strictObject({ kind: kindName, key, head, source: bytesOf(32) }),
    v.strictObject({ head }),
    'waiting',
  ),
  /** Which of these records does the receiver hold under another head, or not at all? */
  compare: method(
    'record/compare',
    { perSecond: 20, burst: 100 },
    v.strictObject({
      kind: kindName,
      records: v.pipe(v.array(v.strictTuple([key, objectId])), v.maxLength(MAX_RECORDS_PER_COMPARE)),
    }),
    v.strictObject({
      differing: v.pipe(v.array(integer(0, MAX_RECORDS_PER_COMPARE)), v.maxLength(MAX_RECORDS_PER_COMPARE)),
    }),
    'control',
  ),
  /** Blocks in the order asked, null for those not here; the answer may stop early where the frame is full. */
  blocks: method(
    'record/blocks',
    { perSecond: 2_000, burst: 8_000 },
    v.strictObject({
      kind: kindName,
      key,
      refs: v.pipe(v.array(ref), v.minLength(1), v.maxLength(MAX_REFS_PER_REQUEST)),
    }),
    v.strictObject({ blocks: v.pipe(v.array(v.nullable(bytesUpTo(MAX_REPLY_BLOCK_BYTES))), v.minLength(1)) }),
  ),
} as const
export { MAX_RECORDS_PER_COMPARE }
