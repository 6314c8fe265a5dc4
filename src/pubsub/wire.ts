import * as v from 'valibot'
import { bytesOf, bytesUpTo, integer, MAX_SIGNED_BYTES, method, objectId } from '../dht/index.ts'
import { LIMITS } from './options.ts'

/** What nodes ask of each other about topics; the record store's own requests are in src/dht/wire.ts. */

const topic = bytesOf(32)
const version = v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(LIMITS.maxVersion))
const envelope = bytesUpTo(LIMITS.maxEnvelopeBytes)
const errorCode = v.pipe(v.string(), v.maxLength(40))

const clientKey = bytesOf(32)
/** Changes of a list of members are counted; another epoch is another count. */
const epoch = bytesOf(8)
const count = integer(0, Number.MAX_SAFE_INTEGER)
const presenceStatement = bytesUpTo(LIMITS.maxPresenceBytes)

/** What changed in a list of members after change `since` up to `counter`; there were `latest` when it was said. */
const roster = {
  epoch,
  since: count,
  counter: count,
  latest: count,
  /** The latest statement of each: who is here, and who has left. */
  entries: v.pipe(v.array(presenceStatement), v.maxLength(LIMITS.maxRosterEntries)),
  /** Of whom nothing was heard for too long. */
  gone: v.pipe(v.array(clientKey), v.maxLength(LIMITS.maxRosterEntries)),
}

/** Of the messages of one commit: which they are, and what replicas have signed of them (stored-statement.ts). */
const signed = v.strictObject({
  ids: v.pipe(v.array(objectId), v.minLength(1), v.maxLength(LIMITS.maxDeltaMessages)),
  by: v.pipe(
    v.array(v.strictTuple([clientKey, bytesUpTo(MAX_SIGNED_BYTES)])),
    v.maxLength(LIMITS.maxSignedBy),
  ),
})
export type Signed = v.InferOutput<typeof signed>

export const MAX_MESSAGES_PER_REQUEST = 128

/** As much of a subscriber's key as tells it from the others of its topic. */
export const SHORT_KEY_BYTES = 8

export const topicMethods = {
  /**
   * Publisher to initiator. One result per message: null is stored, now or before. `expect`: only where nothing was added
   * to the topic after this version; one message then. Where that is refused, `version` is the one that the topic is at.
   * `signed` spares the publisher to ask the replicas.
   */
  publish: method(
    'topic/publish',
    { perSecond: 200, burst: 400 },
    v.strictObject({
      topic,
      messages: v.pipe(v.array(envelope), v.minLength(1), v.maxLength(MAX_MESSAGES_PER_REQUEST)),
      payloads: v.pipe(v.array(bytesUpTo(LIMITS.maxPayloadBytes)), v.maxLength(1)),
      expect: v.optional(version),
    }),
    v.strictObject({
      version,
      replicas: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
      durableReplicas: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
      results: v.array(v.nullable(errorCode)),
      signed: v.optional(signed),
    }),
  ),
  /**
   * Publisher to replica: which of these are on your disk? Answered when all are, or after `waitMs`. As many as of
   * `record/head`: what it costs is the same, a record that may have to be read.
   */
  confirm: method(
    'topic/confirm',
    { perSecond: 500, burst: 1_000 },
    v.strictObject({
      topic,
      ids: v.pipe(v.array(objectId), v.minLength(1), v.maxLength(MAX_MESSAGES_PER_REQUEST)),
      waitMs: integer(0, LIMITS.maxConfirmWaitMs),
    }),
    v.strictObject({ stored: v.pipe(v.array(v.boolean()), v.maxLength(MAX_MESSAGES_PER_REQUEST)) }),
    'waiting',
  ),
  /**
   * Publisher to replica: which of the subscribers attached to you have acknowledged these messages of mine? Of each that
   * has acknowledged any, the first bytes of its key, and a bit for each message.
   */
  delivered: method(
    'topic/delivered',
    { perSecond: 10, burst: 100 },
    v.strictObject({
      topic,
      ids: v.pipe(v.array(objectId), v.minLength(1), v.maxLength(MAX_MESSAGES_PER_REQUEST)),
    }),
    v.strictObject({
      to: v.pipe(
        v.array(v.strictTuple([bytesOf(SHORT_KEY_BYTES), bytesUpTo(MAX_MESSAGES_PER_REQUEST / 8)])),
        v.maxLength(LIMITS.maxSubscribers),
      ),
    }),
  ),
  /** Client to initiator: a signed subscribe, renewal or unsubscribe. */
  subscribe: method(
    'topic/subscribe',
    { perSecond: 20, burst: 400 },
    v.strictObject({ topic, statement: bytesUpTo(LIMITS.maxStatementBytes) }),
    v.strictObject({ version }),
    'control',
  ),
  /** Subscriber to the replica that is assigned to it: push to me what is added from now on. */
  attach: method(
    'topic/attach',
    { perSecond: 20, burst: 400 },
    v.strictObject({ topic, statement: bytesUpTo(LIMITS.maxStatementBytes) }),
    v.strictObject({ version }),
    'control',
  ),
  detach: method(
    'topic/detach',
    { perSecond: 20, burst: 400 },
    v.strictObject({ topic }),
    v.strictObject({}),
    'control',
  ),
  /**
   * Replica to subscriber. `previous` is the version that carried messages before these did: a subscriber that has not
   * seen it has a gap. `messages` is the collection they lead to. No entries: there is more than fits, come and read it.
   */
  push: method(
    'topic/push',
    { perSecond: 2_000, burst: 4_000 },
    v.strictObject({
      topic,
      previous: version,
      version,
      messages: objectId,
      entries: v.pipe(v.array(v.strictTuple([version, envelope])), v.maxLength(256)),
    }),
    v.strictObject({}),
    'control',
  ),
  /** Member to each replica: I am here, in this state; or I leave. One in 15 s and topic, and one for each change. */
  presence: method(
    'topic/presence',
    { perSecond: 40, burst: 400 },
    v.strictObject({ topic, statement: presenceStatement }),
    v.strictObject({}),
    'control',
  ),
  /**
   * Subscriber to its replica: what has changed among the members since? The whole list where `since` is 0, the count is
   * another one, or it goes too far back. `listed`: `latest` of the answer with which the asker's list began.
   */
  roster: method(
    'topic/roster',
    { perSecond: 40, burst: 400 },
    v.strictObject({ topic, epoch, since: count, listed: count }),
    v.strictObject(roster),
    'control',
  ),
  /** Replica to a subscriber that has asked for the list: what has changed since what it was given last. */
  present: method(
    'topic/present',
    { perSecond: 400, burst: 2_000 },
    v.strictObject({ topic, ...roster }),
    v.strictObject({}),
    'control',
  ),
} as const

/** Without the topic, which says whose it is. */
export type Push = Omit<v.InferOutput<typeof topicMethods.push.request>, 'topic'>
export type Roster = v.InferOutput<typeof topicMethods.roster.response>
