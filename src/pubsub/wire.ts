import * as v from 'valibot'
import { bytesOf, bytesUpTo, integer, method, objectId } from '../dht/index.ts'
import { LIMITS } from './options.ts'

/** What nodes ask of each other about topics; the record store's own requests are in src/dht/wire.ts. */

const topic = bytesOf(32)
const version = v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(LIMITS.maxVersion))
const envelope = bytesUpTo(LIMITS.maxEnvelopeBytes)
const errorCode = v.pipe(v.string(), v.maxLength(40))

export const MAX_MESSAGES_PER_REQUEST = 128

export const topicMethods = {
  /** Publisher to initiator. One result per message: null is stored, now or before. */
  publish: method(
    'topic/publish',
    { perSecond: 200, burst: 400 },
    v.strictObject({
      topic,
      messages: v.pipe(v.array(envelope), v.minLength(1), v.maxLength(MAX_MESSAGES_PER_REQUEST)),
      payloads: v.pipe(v.array(bytesUpTo(LIMITS.maxPayloadBytes)), v.maxLength(1)),
    }),
    v.strictObject({
      version,
      replicas: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
      durableReplicas: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
      results: v.array(v.nullable(errorCode)),
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
  ),
  /** Client to initiator: a signed subscribe, renewal or unsubscribe. */
  subscribe: method(
    'topic/subscribe',
    { perSecond: 20, burst: 400 },
    v.strictObject({ topic, statement: bytesUpTo(LIMITS.maxStatementBytes) }),
    v.strictObject({ version }),
  ),
  /** Subscriber to the replica that is assigned to it: push to me what is added from now on. */
  attach: method(
    'topic/attach',
    { perSecond: 20, burst: 400 },
    v.strictObject({ topic, statement: bytesUpTo(LIMITS.maxStatementBytes) }),
    v.strictObject({ version }),
  ),
  detach: method(
    'topic/detach',
    { perSecond: 20, burst: 400 },
    v.strictObject({ topic }),
    v.strictObject({}),
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
  ),
} as const

export const topicKeySchema = objectId
