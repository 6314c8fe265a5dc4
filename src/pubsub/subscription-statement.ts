import * as v from 'valibot'
import {
  bytesOf,
  bytesUpTo,
  compareBytes,
  decode,
  encode,
  equalBytes,
  framed,
  type Identity,
  nodeIdOf,
  StickyError,
  timestampMs,
  verifySignature,
} from '../dht/index.ts'
import { LIMITS } from './options.ts'

/**
 * "I subscribe until then", or "I unsubscribe": signed by the client, so that nobody else can say it. Of a
 * client's statements the latest counts. Only `createStatement`, `verifyStatement` and (for bytes that were verified before)
 * `trustStatement` make a `VerifiedStatement`.
 */

const SIGNATURE_DOMAIN = 'sticky-pubsub/subscription/1'

const bodySchema = v.pipe(
  v.strictObject({
    v: v.literal(1),
    topic: bytesOf(32),
    /** Ed25519 public key. */
    client: bytesOf(32),
    kind: v.picklist(['subscribe', 'unsubscribe']),
    issuedAt: timestampMs,
    /** An unsubscribe is remembered until then. */
    expiresAt: timestampMs,
    info: bytesUpTo(LIMITS.maxInfoBytes),
  }),
  v.check(
    ({ issuedAt, expiresAt }) => expiresAt > issuedAt && expiresAt - issuedAt <= LIMITS.subscriptionTtlMs,
    'a life between 0 and 30 minutes',
  ),
  v.check(
    ({ kind, issuedAt, expiresAt }) =>
      kind === 'subscribe' || expiresAt - issuedAt === LIMITS.subscriptionTtlMs,
    'an unsubscribe outlives every subscription before it',
  ),
)
export type StatementBody = v.InferOutput<typeof bodySchema>

const envelopeSchema = v.strictObject({ body: bytesUpTo(LIMITS.maxStatementBytes), signature: bytesOf(64) })

/** What is signed, whether anybody has looked at the signature or not. */
export interface Statement {
  readonly body: StatementBody
  readonly envelope: Uint8Array
}

declare const verified: unique symbol
export interface VerifiedStatement extends Statement {
  readonly [verified]: true
  readonly nodeId: string
}

const brand = (body: StatementBody, envelope: Uint8Array): VerifiedStatement =>
  ({ nodeId: nodeIdOf(body.client), body, envelope }) as VerifiedStatement

export interface NewStatement {
  topicKey: Uint8Array
  identity: Identity
  kind: 'subscribe' | 'unsubscribe'
  issuedAt: number
  expiresAt: number
  info: Uint8Array
}

export async function createStatement({
  topicKey,
  identity,
  kind,
  issuedAt,
  expiresAt,
  info,
}: NewStatement): Promise<VerifiedStatement> {
  const body: StatementBody = {
    v: 1,
    topic: topicKey,
    client: identity.publicKey,
    kind,
    issuedAt,
    expiresAt,
    info,
  }
  const bodyBytes = encode(body)
  const signature = await identity.sign(framed(SIGNATURE_DOMAIN, bodyBytes))
  return brand(body, encode({ body: bodyBytes, signature }))
}

/** Size, shape, topic, moment, then signature. Throws TOO_LARGE, MALFORMED, NOT_CANONICAL, WRONG_TOPIC, FROM_THE_FUTURE or BAD_SIGNATURE. */
export async function verifyStatement(
  envelope: Uint8Array,
  { topicKey, newestMs }: { topicKey: Uint8Array; newestMs?: number | undefined },
): Promise<VerifiedStatement> {
  const { body: bodyBytes, signature } = decode(envelope, LIMITS.maxStatementBytes, envelopeSchema)
  const body = decode(bodyBytes, LIMITS.maxStatementBytes, bodySchema)
  if (!equalBytes(body.topic, topicKey))
    throw new StickyError('WRONG_TOPIC', 'A subscription of another topic.')
  if (newestMs !== undefined && body.issuedAt > newestMs)
    throw new StickyError('FROM_THE_FUTURE', 'A subscription from the future.')
  if (!(await verifySignature(body.client, framed(SIGNATURE_DOMAIN, bodyBytes), signature))) {
    throw new StickyError('BAD_SIGNATURE', 'A subscription whose signature is not its client’s.')
  }
  return brand(body, envelope)
}

/**
 * At acceptance only, and two-sided: a future timestamp would be an eternal token. Requirement A12 gives it five
 * minutes; but where the signer's clock and this one are each off by `maxSkewMs`, what was signed just now seems ten minutes
 * old or ahead. One that is played back within them changes nothing: of a client's statements the latest counts.
 */
export function checkStatementFreshness({ body }: VerifiedStatement, now: number): void {
  if (body.issuedAt > now + 2 * LIMITS.maxSkewMs)
    throw new StickyError('FROM_THE_FUTURE', 'Signed more than 10 minutes ahead of this clock.')
  if (body.issuedAt < now - 2 * LIMITS.maxSkewMs)
    throw new StickyError('REPLAYED', 'Signed more than 10 minutes ago.')
}

/** What a statement says; its signature is not looked at. */
export function openStatement(envelope: Uint8Array): Statement {
  const { body: bodyBytes } = decode(envelope, LIMITS.maxStatementBytes, envelopeSchema)
  return { body: decode(bodyBytes, LIMITS.maxStatementBytes, bodySchema), envelope }
}

/** For bytes that were verified when they were stored or fetched. */
export const trustStatement = ({ body, envelope }: Statement): VerifiedStatement => brand(body, envelope)

/** The later statement wins; at the same moment an unsubscribe, then the larger bytes. */
export function later<T extends Statement>(a: T, b: T): T {
  const order =
    a.body.issuedAt - b.body.issuedAt ||
    Number(a.body.kind === 'unsubscribe') - Number(b.body.kind === 'unsubscribe') ||
    compareBytes(a.envelope, b.envelope)
  return order >= 0 ? a : b
}

/** Not before every earlier word of the client is: the last one may have been for a shorter time. */
export const isGone = ({ body }: Pick<Statement, 'body'>, nowMs: number): boolean =>
  body.issuedAt + LIMITS.subscriptionTtlMs + LIMITS.maxSkewMs < nowMs
