import * as v from 'valibot'
import {
  bytesOf,
  bytesUpTo,
  cidOf,
  decode,
  decodeAny,
  encode,
  equalBytes,
  framed,
  type Identity,
  integer,
  objectId,
  remembered,
  type StageTimers,
  StickyError,
  sha256,
  timestampMs,
  toHex,
  verifySignature,
} from '../dht/index.ts'
import { LIMITS } from './options.ts'

/**
 * A message: a signed body. Its id is the hash of the body, so a signature is never an id, and everything that says
 * whose it is, where it belongs and how long it lives is under the signature. Only `createMessage`, `verifyMessage` and
 * (for bytes that were verified before) `openMessage` make a `VerifiedMessage`; storing and delivering take nothing else.
 */

const SIGNATURE_DOMAIN = 'sticky-pubsub/message/1'

/** What fits into the envelope is there: each payload is a block more to fetch, and those of a full topic must be few enough. */
const payloadBytes = integer(LIMITS.maxInlineBytes + 1, LIMITS.maxPayloadBytes)

const bodySchema = v.pipe(
  v.strictObject({
    v: v.literal(1),
    topic: bytesOf(32),
    /** Ed25519 public key. */
    publisher: bytesOf(32),
    /** One stretch of numbering of the publisher. */
    writer: bytesOf(8),
    /** One below what can be counted: readers keep the next number in their positions. */
    sequence: integer(1, Number.MAX_SAFE_INTEGER - 1),
    /** What the writer had said before this had all expired: nobody waits for it. */
    lapsed: v.exactOptional(v.literal(true)),
    publishedAt: timestampMs,
    expiresAt: timestampMs,
    /** The application's value as DAG-CBOR … */
    data: v.exactOptional(bytesUpTo(LIMITS.maxInlineBytes)),
    /** … or the block that holds it. */
    payload: v.exactOptional(v.strictObject({ id: objectId, bytes: payloadBytes })),
  }),
  v.check((body) => (body.data === undefined) !== (body.payload === undefined), 'data or payload, not both'),
  v.check(
    ({ publishedAt, expiresAt }) => expiresAt > publishedAt && expiresAt - publishedAt <= LIMITS.maxTtlMs,
    'a time to live between 0 and 30 days',
  ),
)
export type MessageBody = v.InferOutput<typeof bodySchema>

const envelopeSchema = v.strictObject({ body: bytesUpTo(LIMITS.maxEnvelopeBytes), signature: bytesOf(64) })

declare const verified: unique symbol
export interface VerifiedMessage {
  readonly [verified]: true
  readonly id: Uint8Array
  readonly cid: string
  readonly body: MessageBody
  /** The bytes that are stored and sent. */
  readonly envelope: Uint8Array
}

export interface NewMessage {
  topicKey: Uint8Array
  identity: Identity
  writer: Uint8Array
  sequence: number
  lapsed?: boolean
  publishedAt: number
  ttlMs: number
  data?: Uint8Array
  payload?: { id: Uint8Array; bytes: number }
}

export function checkTtl(ttlMs: number): void {
  if (!Number.isSafeInteger(ttlMs) || ttlMs <= 0 || ttlMs > LIMITS.maxTtlMs)
    throw new StickyError('INVALID_DATA', `A time to live is between 1 ms and ${LIMITS.maxTtlMs} ms.`)
}

export async function createMessage(init: NewMessage): Promise<VerifiedMessage> {
  checkTtl(init.ttlMs)
  const body: MessageBody = {
    v: 1,
    topic: init.topicKey,
    publisher: init.identity.publicKey,
    writer: init.writer,
    sequence: init.sequence,
    ...(init.lapsed ? { lapsed: true as const } : {}),
    publishedAt: init.publishedAt,
    expiresAt: init.publishedAt + init.ttlMs,
    ...(init.data ? { data: init.data } : {}),
    ...(init.payload ? { payload: init.payload } : {}),
  }
  const bodyBytes = encode(body)
  const signature = await init.identity.sign(framed(SIGNATURE_DOMAIN, bodyBytes))
  return brand(await sha256(bodyBytes), body, encode({ body: bodyBytes, signature }))
}

/** What verification needs to know, and what lets it skip a signature that this node has checked before. */
export interface VerifyContext {
  topicKey?: Uint8Array | undefined
  verified?: VerifiedMessages | undefined
  /** What was published after this moment is refused (`LIMITS.maxAheadMs`). Absent: read from the own disk. */
  newestMs?: number | undefined
  /** What times the signatures; default: that of `verified`. */
  stages?: StageTimers | undefined
}

/** Size, shape, topic, moment, then signature. Throws TOO_LARGE, MALFORMED, NOT_CANONICAL, WRONG_TOPIC, FROM_THE_FUTURE or BAD_SIGNATURE. */
export async function verifyMessage(
  envelope: Uint8Array,
  { topicKey, verified: known, newestMs, stages = known?.stages }: VerifyContext,
): Promise<VerifiedMessage> {
  const { body, bodyBytes, signature } = decodeEnvelope(envelope)
  if (topicKey !== undefined && !equalBytes(body.topic, topicKey))
    throw new StickyError('WRONG_TOPIC', 'A message of another topic.')
  if (newestMs !== undefined && body.publishedAt > newestMs)
    throw new StickyError('FROM_THE_FUTURE', 'A message from the future.')
  if (body.data !== undefined) checkData(body.data)
  const message = brand(await idOf(envelope), body, envelope)
  if (known?.has(message)) return message
  const check = () => verifySignature(body.publisher, framed(SIGNATURE_DOMAIN, bodyBytes), signature)
  if (!(await (stages === undefined ? check() : stages.watch('verify', check)))) {
    throw new StickyError('BAD_SIGNATURE', 'A message whose signature is not its publisher’s.')
  }
  known?.add(message)
  return message
}

/** What no reader can decode would stop everybody who reads the topic. Throws MALFORMED or NOT_CANONICAL. */
export const checkData = (data: Uint8Array): void => void decodeAny(data, LIMITS.maxPayloadBytes)

/** A message out of bytes that were verified when they were stored or fetched. Throws WRONG_TOPIC. */
export async function openMessage(envelope: Uint8Array, topicKey?: Uint8Array): Promise<VerifiedMessage> {
  const { body } = decodeEnvelope(envelope)
  if (topicKey !== undefined && !equalBytes(body.topic, topicKey)) {
    throw new StickyError('WRONG_TOPIC', 'A message of another topic.')
  }
  return brand(await idOf(envelope), body, envelope)
}

/** The block that holds the data of a large message. */
export const payloadOf = (envelope: Uint8Array): MessageBody['payload'] =>
  decodeEnvelope(envelope).body.payload
export const publishedAtOf = (envelope: Uint8Array): number => decodeEnvelope(envelope).body.publishedAt
export const expiryOf = (envelope: Uint8Array): number => decodeEnvelope(envelope).body.expiresAt

/** For new publishes only: neither from the future nor over already, for two clocks that are each off by the most. */
export function checkFreshness({ body }: VerifiedMessage, now: number): void {
  if (body.publishedAt > now + 2 * LIMITS.maxSkewMs)
    throw new StickyError('FROM_THE_FUTURE', 'Published more than 10 minutes ahead of this clock.')
  if (body.expiresAt + 2 * LIMITS.maxSkewMs <= now)
    throw new StickyError('EXPIRED', 'Its time to live has passed.')
}

const decodeEnvelope = remembered((envelope) => {
  const { body: bodyBytes, signature } = decode(envelope, LIMITS.maxEnvelopeBytes, envelopeSchema)
  return { bodyBytes, signature, body: decode(bodyBytes, LIMITS.maxEnvelopeBytes, bodySchema) }
})

const ids = new WeakMap<Uint8Array, Uint8Array>()

/** Hashed once as long as somebody holds the envelope. */
async function idOf(envelope: Uint8Array): Promise<Uint8Array> {
  const known = ids.get(envelope)
  if (known !== undefined) return known
  const id = await sha256(decodeEnvelope(envelope).bodyBytes)
  ids.set(envelope, id)
  return id
}

function brand(id: Uint8Array, body: MessageBody, envelope: Uint8Array): VerifiedMessage {
  return {
    id,
    body,
    envelope,
    get cid() {
      return cidOf(id)
    },
  } as Omit<VerifiedMessage, typeof verified> as VerifiedMessage
}

/** Messages this node has verified, by id and exact bytes; the oldest are forgotten. */
export class VerifiedMessages {
  readonly #max: number
  readonly #known = new Map<string, Uint8Array>()

  readonly stages: StageTimers | undefined

  constructor(max: number, stages?: StageTimers) {
    this.#max = max
    this.stages = stages
  }

  has({ id, envelope }: VerifiedMessage): boolean {
    const known = this.#known.get(toHex(id))
    return known !== undefined && equalBytes(known, envelope)
  }

  add({ id, envelope }: VerifiedMessage): void {
    if (this.#known.size >= this.#max) this.#known.delete(this.#known.keys().next().value as string)
    this.#known.set(toHex(id), envelope)
  }

  get size(): number {
    return this.#known.size
  }
}
