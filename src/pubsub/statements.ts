import type { ClosestPeer } from '../dht/index.ts'
import {
  asStickyError,
  compareBytes,
  type Dht,
  framed,
  type Identity,
  type NodeId,
  publicKeyOf,
  StickyError,
  sha256,
} from '../dht/index.ts'
import { LIMITS, type PubSubOptions } from './options.ts'
import { createStatement, type VerifiedStatement } from './subscribers.ts'
import { topicMethods } from './wire.ts'

/** Signed subscribe, renewal and unsubscribe: made here, brought into the topic by whichever holder is reached first. */

export function makeStatement(
  dht: Dht,
  identity: Identity,
  topicKey: Uint8Array,
  kind: 'subscribe' | 'unsubscribe',
  info: string,
): Promise<VerifiedStatement> {
  const issuedAt = dht.runtime.now()
  const expiresAt = issuedAt + LIMITS.subscriptionTtlMs
  return createStatement({
    topicKey,
    identity,
    kind,
    issuedAt,
    expiresAt,
    info: new TextEncoder().encode(info),
  })
}

/** Resolves with the topic's version once a majority of its replicas has the statement. */
export async function sendStatement(
  dht: Dht,
  topicKey: Uint8Array,
  statement: VerifiedStatement,
  options: PubSubOptions,
): Promise<number> {
  const set = await dht.replicas.set(topicKey)
  let last = new StickyError('NO_REPLICAS', 'No node that stores topics can be reached.')
  for (const { nodeId } of [...set.filter((peer) => peer.durable), ...set.filter((peer) => !peer.durable)]) {
    try {
      const request = { topic: topicKey, statement: statement.envelope }
      const answer = await dht.rpc.request(nodeId, topicMethods.subscribe, request, {
        timeoutMs: options.publishAttemptMs,
      })
      return answer.version
    } catch (error) {
      last = asStickyError(error, 'UNREACHABLE')
      dht.replicas.noteFailure(nodeId, last)
      if (!last.retryable) throw last
    }
  }
  throw last
}

/**
 * Which replica serves which subscriber: the order of a hash of (subscriber, topic, replica), the same at every node, so
 * that no subscriber is served twice and the load spreads. A holder serves itself.
 */
export async function assignedReplicas(
  subscriber: NodeId,
  topicKey: Uint8Array,
  set: ClosestPeer[],
): Promise<NodeId[]> {
  const subscriberKey = publicKeyOf(subscriber)
  const ranked = await Promise.all(
    set.map(async ({ nodeId }) => ({
      nodeId,
      rank: await sha256(framed('sticky-pubsub/assignment/1', subscriberKey, topicKey, publicKeyOf(nodeId))),
    })),
  )
  ranked.sort(
    (a, b) =>
      Number(b.nodeId === subscriber) - Number(a.nodeId === subscriber) || compareBytes(a.rank, b.rank),
  )
  return ranked.map(({ nodeId }) => nodeId)
}
