import * as v from 'valibot'
import {
  bytesOf,
  decode,
  encode,
  framed,
  type Identity,
  MAX_SIGNED_BYTES,
  StickyError,
  sha256,
  timestampMs,
  verifySignature,
} from '../dht/index.ts'
import { LIMITS } from './options.ts'

/**
 * A replica's word, signed, that these messages are on its disk. The initiator collects them and hands them to the
 * publisher, who then need not ask the replicas.
 */

const SIGNATURE_DOMAIN = 'sticky-pubsub/stored/1'

/** When it was signed, by the replica's clock, and the signature. */
const statementSchema = v.strictTuple([timestampMs, bytesOf(64)])

export interface StoredStatement {
  topicKey: Uint8Array
  /** In the order in which the delta has them. */
  ids: readonly Uint8Array[]
}

async function signedBytes({ topicKey, ids }: StoredStatement, at: number): Promise<Uint8Array> {
  return framed(SIGNATURE_DOMAIN, topicKey, encode(at), await sha256(...ids))
}

export async function signStored(
  statement: StoredStatement,
  identity: Identity,
  at: number,
): Promise<Uint8Array> {
  return encode([at, await identity.sign(await signedBytes(statement, at))])
}

/**
 * Throws TOO_LARGE, MALFORMED, NOT_CANONICAL, FROM_THE_FUTURE, REPLAYED or BAD_SIGNATURE unless `replica`, an Ed25519 key,
 * has signed this within ten minutes of `now`.
 */
export async function verifyStored(
  bytes: Uint8Array,
  statement: StoredStatement,
  { replica, now }: { replica: Uint8Array; now: number },
): Promise<void> {
  const [at, signature] = decode(bytes, MAX_SIGNED_BYTES, statementSchema)
  if (at > now + 2 * LIMITS.maxSkewMs)
    throw new StickyError('FROM_THE_FUTURE', 'Stored more than 10 minutes ahead of this clock.')
  if (at < now - 2 * LIMITS.maxSkewMs) throw new StickyError('REPLAYED', 'Signed more than 10 minutes ago.')
  if (!(await verifySignature(replica, await signedBytes(statement, at), signature)))
    throw new StickyError('BAD_SIGNATURE', 'It is not the replica that has signed this.')
}
