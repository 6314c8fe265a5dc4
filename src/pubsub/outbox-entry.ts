import { decodeAny, StickyError, sha256 } from '../dht/index.ts'
import type { Data, PublishReceipt, Receipt, ReceiptState } from './api.ts'
import { LIMITS } from './options.ts'
import type { Loaded } from './outbox-store.ts'
import type { Sent } from './publish-request.ts'
import { nameOfKey } from './remembered-keys.ts'
import { topicKeyOf } from './topic-key.ts'

/** A message of the outbox, in this process. */

export interface Entry {
  /** Its place, and its name on disk. */
  readonly order: string
  readonly topic: string
  readonly topicKey: Uint8Array
  readonly key: string
  /** The key in its topic, hashed. */
  readonly keyName: string
  readonly isNamed: boolean
  readonly data: Uint8Array
  readonly hash: Uint8Array
  readonly queuedAt: number
  readonly expiresAt: number
  /** Who published it wants to know to how many it was delivered. */
  readonly asksDelivered: boolean
  state: ReceiptState
  attempts: number
  error: StickyError | undefined
  /** Of an entry that is over. */
  stored: PublishReceipt | undefined
  /** The signed message from disk: sent as it is, whatever happens. */
  envelope: Uint8Array | undefined
  /** The same, once it was numbered or read. */
  sent: Sent | undefined
  /** Somebody may have it, for all that is known. */
  mayBeStored: boolean
  /** Resolves once it is durable here; nothing is sent before. */
  written: Promise<void>
  isWritten: boolean
}

export type NewEntry = Pick<
  Entry,
  | 'topic'
  | 'topicKey'
  | 'key'
  | 'keyName'
  | 'isNamed'
  | 'data'
  | 'hash'
  | 'queuedAt'
  | 'expiresAt'
  | 'asksDelivered'
>

export const newEntry = (order: string, given: NewEntry): Entry => ({
  ...given,
  order,
  state: 'queued',
  attempts: 0,
  error: undefined,
  stored: undefined,
  envelope: undefined,
  sent: undefined,
  mayBeStored: false,
  written: Promise.resolve(),
  isWritten: false,
})

/** As an earlier process has left it. */
export async function restoredEntry({
  order,
  entry,
  sent,
  failed,
}: Loaded['entries'][number]): Promise<Entry> {
  const { topic, key, isNamed, data, queuedAt, expiresAt, asksDelivered = false } = entry
  const topicKey = await topicKeyOf(topic)
  const [keyName, hash] = await Promise.all([nameOfKey(topicKey, key), sha256(data)])
  const given = { topic, topicKey, key, keyName, isNamed, data, hash, queuedAt, expiresAt, asksDelivered }
  return {
    ...newEntry(order, given),
    isWritten: true,
    ...(failed ? { state: 'failed', error: failed } : {}),
    ...(sent ? { envelope: sent.envelope, attempts: sent.attempts, mayBeStored: true } : {}),
  }
}

/** What the limit counts: data, and the rest. */
export const bytesOfEntry = ({ data }: { data: Uint8Array }): number => data.byteLength + 1_024

export function toReceipt(entry: Entry): Receipt {
  const { key, topic, data, state, queuedAt, attempts, expiresAt, stored, error } = entry
  return {
    key,
    topic,
    data: decodeAny(data, LIMITS.maxPayloadBytes) as Data,
    state,
    queuedAt,
    attempts,
    expiresAt,
    ...(stored ? { stored } : {}),
    ...(error ? { error: { code: error.code, message: error.message } } : {}),
  }
}

/** Why it has failed for good: as unknown where somebody may have it from an earlier attempt. */
export function finalError({ mayBeStored }: Entry, error: StickyError): StickyError {
  if (!mayBeStored || error.code === 'OUTCOME_UNKNOWN') return error
  const reason = `It was sent, but nobody confirmed it (${error.message}) It may or may not appear.`
  return new StickyError('OUTCOME_UNKNOWN', reason, { cause: error })
}
