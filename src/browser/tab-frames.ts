import * as v from 'valibot'
import { asStickyError, type ErrorCode, isErrorCode, StickyError } from '../dht/index.ts'
import { ChannelFailedError, UnexpectedVersionError } from '../pubsub/index.ts'

/**
 * What a tab that follows and the tab that leads say to each other, over a port between the two. Both are pages of one
 * origin, so neither defends itself against lies; but one may be of an older version of the page, frozen, or gone in the
 * middle of a sentence. A frame that does not parse does nothing.
 */

/** Counted up with each change of a frame. Tabs of different versions do not talk. */
export const TAB_VERSION = 1

/** A MessagePort, or a BroadcastChannel that only two tabs listen to. */
export interface TabPort {
  postMessage(value: unknown): void
  onmessage: ((event: MessageEvent) => void) | null
  close(): void
}

/** Of an object that a tab has opened, and of its calls: chosen by the tab that follows, from 1. 0 is the node itself. */
const id = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const name = v.pipe(v.string(), v.maxLength(40))
const failure = v.strictObject({
  code: name,
  message: v.pipe(v.string(), v.maxLength(2_000)),
  version: v.optional(id),
})
const MAX_ARGUMENTS = 8

export const askFrame = v.variant('t', [
  v.strictObject({
    t: v.literal('call'),
    id,
    object: id,
    method: name,
    args: v.pipe(v.array(v.unknown()), v.maxLength(MAX_ARGUMENTS)),
    /** The call gives an object, which gets this number. */
    opens: v.optional(id),
    /** It changes something: that it was taken is told before it is begun. */
    tracked: v.boolean(),
  }),
  v.strictObject({ t: v.literal('abort'), id }),
  v.strictObject({ t: v.literal('drop'), object: id }),
  /** So many more events of the object have been handled. */
  v.strictObject({ t: v.literal('ack'), object: id, count: id }),
])
export type AskFrame = v.InferOutput<typeof askFrame>

export const tellFrame = v.variant('t', [
  v.strictObject({ t: v.literal('welcome'), mirror: v.unknown() }),
  v.strictObject({ t: v.literal('taken'), id }),
  v.strictObject({ t: v.literal('result'), id, value: v.unknown() }),
  v.strictObject({ t: v.literal('error'), id, error: failure }),
  /** Events in order; `mirror`: what the object's getters show after the last of them. */
  v.strictObject({
    t: v.literal('events'),
    object: id,
    events: v.array(v.strictTuple([name, v.unknown()])),
    mirror: v.unknown(),
  }),
  /** The leader has let go of the object, because too much waited for this tab. */
  v.strictObject({ t: v.literal('ended'), object: id }),
  /** The leader is closing; another one follows. */
  v.strictObject({ t: v.literal('bye') }),
])
export type TellFrame = v.InferOutput<typeof tellFrame>

/** The frame in an incoming event, undefined where it is none. */
export function parseFrame<S extends typeof askFrame | typeof tellFrame>(
  schema: S,
  data: unknown,
): v.InferOutput<S> | undefined {
  const parsed = v.safeParse(schema, data)
  return parsed.success ? parsed.output : undefined
}

export interface Failure {
  code: string
  message: string
  /** Of an UnexpectedVersionError. */
  version?: number | undefined
}

export function toFailure(error: unknown): Failure {
  const { code, message } = asStickyError(error, 'INVALID_DATA')
  const more = error instanceof UnexpectedVersionError ? { version: error.version } : {}
  return { code, message: message.slice(0, 2_000), ...more }
}

export function fromFailure({ code, message, version }: Failure): StickyError {
  if (code === 'CHANNEL_FAILED') return new ChannelFailedError()
  if (code === 'UNEXPECTED_VERSION' && version !== undefined) return new UnexpectedVersionError(version)
  const known: ErrorCode = isErrorCode(code) ? code : 'MALFORMED'
  return new StickyError(known, message)
}

export interface TabOptions {
  /** A tab that follows asks this often whether somebody leads, while it is visible. */
  heartbeatMs: number
  /** So many questions in a row without an answer, and the leader counts as frozen: its place is taken. */
  maxMissedHeartbeats: number
  /** Tabs that one leader serves, itself included. */
  maxTabs: number
  /**
   * Calls of one tab to the node that are under way or wait for a leader; more are refused as BUSY. Those of what it has
   * open have as many places beside them.
   */
  maxCalls: number
  /** Subscriptions of one tab. */
  maxObjects: number
  /** Events of a subscription that a tab may be behind, by number and by size; beyond, it begins anew where it was. */
  maxUnackedEvents: number
  maxUnackedBytes: number
  /** Events are acknowledged this many at a time. */
  ackEvents: number
  /** Ids of messages that a tab remembers having had, for the time after a hand-over. */
  maxSeenIds: number
  /** How long a leader that closes waits for what it has begun and must not be done twice. */
  drainMs: number
  /** Until a tab that could not start the node tries again to lead. */
  restartMs: number
}

export const DEFAULT_TAB_OPTIONS: TabOptions = {
  heartbeatMs: 5_000,
  maxMissedHeartbeats: 3,
  maxTabs: 64,
  maxCalls: 1_024,
  maxObjects: 256,
  maxUnackedEvents: 16_384,
  maxUnackedBytes: 64 * 1024 * 1024,
  ackEvents: 64,
  maxSeenIds: 8_192,
  drainMs: 3_000,
  restartMs: 10_000,
}
