import type { Dht, NodeId } from '../dht/index.ts'
import type { VerifiedMessage } from './message.ts'
import { LIMITS, type PubSubOptions } from './options.ts'
import { MAX_MESSAGES_PER_REQUEST, topicMethods } from './wire.ts'

/** A message on its way, and how many travel in one request. */

export interface Sent {
  readonly message: VerifiedMessage
  readonly payload: Uint8Array | undefined
  /** Only where nothing was said after this version; such a message travels alone. */
  readonly expect?: number | undefined
}

/** To one replica, which then acts as the initiator for these messages. */
export const requestPublish = (
  dht: Dht,
  { publishAttemptMs }: PubSubOptions,
  initiator: NodeId,
  topicKey: Uint8Array,
  batch: readonly Sent[],
) =>
  dht.rpc.request(
    initiator,
    topicMethods.publish,
    {
      topic: topicKey,
      messages: batch.map(({ message }) => message.envelope),
      payloads: batch.flatMap(({ payload }) => (payload ? [payload] : [])),
      ...(batch[0]?.expect === undefined ? {} : { expect: batch[0].expect }),
    },
    { timeoutMs: publishAttemptMs },
  )

/** Which of these a replica has on its disk: answered when it has all, or after `waitMs`. */
export const requestConfirm = (
  dht: Dht,
  replica: NodeId,
  topicKey: Uint8Array,
  batch: readonly Sent[],
  waitMs: number,
  signal?: AbortSignal,
) =>
  dht.rpc.request(
    replica,
    topicMethods.confirm,
    { topic: topicKey, ids: batch.map(({ message }) => message.id), waitMs },
    { timeoutMs: waitMs + dht.options.requestTimeoutMs, ...(signal ? { signal } : {}) },
  )

/** As many messages, in order, as one request carries; a large payload, or what expects a version, travels alone. What nobody wants is dropped. */
export function takeBatch<T extends Sent>(waiting: T[], isWanted: (sent: T) => boolean): T[] {
  const batch: T[] = []
  let bytes = 0
  while (waiting.length > 0 && batch.length < MAX_MESSAGES_PER_REQUEST) {
    const next = waiting[0] as T
    bytes += next.message.envelope.byteLength + 8
    const isAlone = next.payload !== undefined || next.expect !== undefined
    if (batch.length > 0 && (isAlone || bytes > LIMITS.maxDeltaBytes / 2)) break
    waiting.shift()
    if (isWanted(next)) batch.push(next)
    if (isAlone) break
  }
  return batch
}
