import * as v from 'valibot'
import {
  bytesOf,
  bytesUpTo,
  decode,
  decodeAny,
  encode,
  encodeAny,
  equalBytes,
  framed,
  type Identity,
  MAX_DEPTH,
  type NodeId,
  nodeIdOf,
  remembered,
  StickyError,
  timestampMs,
  verifySignature,
} from '../dht/index.ts'
import type { Data } from './api.ts'
import { LIMITS } from './options.ts'

/**
 * "I am here, in this state", or "I leave": signed by the client, so that no replica can invent a member or change what it
 * says. Only `createPresence` and `verifyPresence` make a `VerifiedPresence`.
 */

const SIGNATURE_DOMAIN = 'sticky-pubsub/presence/1'

const bodySchema = v.pipe(
  v.strictObject({
    v: v.literal(1),
    topic: bytesOf(32),
    /** Ed25519 public key. */
    client: bytesOf(32),
    /** The application's value as DAG-CBOR; empty when it leaves. */
    state: bytesUpTo(LIMITS.maxPresenceStateBytes),
    /** When it came. Another stay is another `since`, so that nobody takes it for a heartbeat of the last one. */
    since: timestampMs,
    /** When this was signed. Of two statements of a client the later one counts. */
    at: timestampMs,
    leaves: v.boolean(),
  }),
  v.check(({ state, leaves }) => leaves === (state.byteLength === 0), 'a state, or a leave'),
  v.check(({ since, at }) => since <= at, 'a stay that begins before it is spoken of'),
)
export type PresenceBody = v.InferOutput<typeof bodySchema>

const envelopeSchema = v.strictObject({ body: bytesUpTo(LIMITS.maxPresenceBytes), signature: bytesOf(64) })

declare const verified: unique symbol
export interface VerifiedPresence {
  readonly [verified]: true
  readonly nodeId: NodeId
  readonly body: PresenceBody
  readonly envelope: Uint8Array
}

/** What the signature says, before anybody has looked at it. */
export interface ClaimedPresence {
  readonly body: PresenceBody
  readonly envelope: Uint8Array
}

/** By the bytes that were checked: who is replica and subscriber in one checks once. */
const known = new WeakMap<Uint8Array, VerifiedPresence>()

function brand(body: PresenceBody, envelope: Uint8Array): VerifiedPresence {
  const made = { nodeId: nodeIdOf(body.client), body, envelope } as VerifiedPresence
  known.set(envelope, made)
  return made
}

/** An application's state, encoded. Throws INVALID_DATA or TOO_LARGE. */
export function encodePresenceState(state: Data): Uint8Array {
  let bytes: Uint8Array
  try {
    bytes = encodeAny(state)
  } catch (error) {
    throw new StickyError(
      'INVALID_DATA',
      `A presence must be JSON values or bytes, at most ${MAX_DEPTH} levels deep.`,
      { cause: error },
    )
  }
  if (bytes.byteLength > LIMITS.maxPresenceStateBytes)
    throw new StickyError('TOO_LARGE', `A presence may take ${LIMITS.maxPresenceStateBytes} bytes.`)
  return bytes
}

export interface NewPresence {
  topicKey: Uint8Array
  identity: Identity
  /** Undefined: it leaves. */
  state: Uint8Array | undefined
  since: number
  at: number
}

export async function createPresence(init: NewPresence): Promise<VerifiedPresence> {
  const body: PresenceBody = {
    v: 1,
    topic: init.topicKey,
    client: init.identity.publicKey,
    state: init.state ?? new Uint8Array(),
    since: init.since,
    at: init.at,
    leaves: init.state === undefined,
  }
  const bodyBytes = encode(body)
  const signature = await init.identity.sign(framed(SIGNATURE_DOMAIN, bodyBytes))
  return brand(body, encode({ body: bodyBytes, signature }))
}

const decodeEnvelope = remembered((envelope) => {
  const { body: bodyBytes, signature } = decode(envelope, LIMITS.maxPresenceBytes, envelopeSchema)
  const body = decode(bodyBytes, LIMITS.maxPresenceBytes, bodySchema)
  if (!body.leaves) decodeAny(body.state, LIMITS.maxPresenceStateBytes)
  return { bodyBytes, signature, body }
})

/**
 * Everything but the signature: size, shape, topic, and a moment that two clocks may differ by, each off by the most.
 * `nowMs` is the own wall clock. Throws TOO_LARGE, MALFORMED, NOT_CANONICAL, WRONG_TOPIC, FROM_THE_FUTURE or REPLAYED.
 */
export function openPresence(envelope: Uint8Array, topicKey: Uint8Array, nowMs: number): ClaimedPresence {
  const { body } = decodeEnvelope(envelope)
  if (!equalBytes(body.topic, topicKey)) throw new StickyError('WRONG_TOPIC', 'A presence in another topic.')
  if (body.at > nowMs + 2 * LIMITS.maxSkewMs)
    throw new StickyError('FROM_THE_FUTURE', 'Signed more than 10 minutes ahead of this clock.')
  if (body.at < nowMs - 2 * LIMITS.maxSkewMs - LIMITS.presenceExpiryMs)
    throw new StickyError('REPLAYED', 'Signed too long ago to say who is here.')
  return { body, envelope }
}

/** Throws BAD_SIGNATURE. */
export async function verifyPresence({ body, envelope }: ClaimedPresence): Promise<VerifiedPresence> {
  const before = known.get(envelope)
  if (before !== undefined) return before
  const { bodyBytes, signature } = decodeEnvelope(envelope)
  if (!(await verifySignature(body.client, framed(SIGNATURE_DOMAIN, bodyBytes), signature)))
    throw new StickyError('BAD_SIGNATURE', 'A presence whose signature is not its client’s.')
  return brand(body, envelope)
}

export const isPresenceVerified = (envelope: Uint8Array): boolean => known.has(envelope)

export const presenceStateOf = ({ body }: VerifiedPresence): Data =>
  decodeAny(body.state, LIMITS.maxPresenceStateBytes) as Data
