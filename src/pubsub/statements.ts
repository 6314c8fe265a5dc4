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
export class Statements {
  readonly #dht: Dht
  readonly #identity: Identity
  readonly #options: PubSubOptions
  /** The latest statement of a client wins, so a clock that goes back must not make the later one the older. */
  #lastIssuedAt = 0

  constructor(dht: Dht, identity: Identity, options: PubSubOptions) {
    this.#dht = dht
    this.#identity = identity
    this.#options = options
  }

  make(topicKey: Uint8Array, kind: 'subscribe' | 'unsubscribe', info: string): Promise<VerifiedStatement> {
    const issuedAt = Math.max(this.#dht.runtime.now(), this.#lastIssuedAt + 1)
    this.#lastIssuedAt = issuedAt
    return createStatement({
      topicKey,
      identity: this.#identity,
      kind,
      issuedAt,
      expiresAt: issuedAt + LIMITS.subscriptionTtlMs,
      info: new TextEncoder().encode(info),
    })
  }

  /** Resolves with the topic's version once a majority of its replicas has the statement. */
  async send(topicKey: Uint8Array, statement: VerifiedStatement): Promise<number> {
    const { replicas, rpc } = this.#dht
    const set = await replicas.set(topicKey)
    const ranked = [...set.filter((peer) => peer.durable), ...set.filter((peer) => !peer.durable)]
    let last = new StickyError('NO_REPLICAS', 'No node that stores topics can be reached.')
    for (const { nodeId } of ranked) {
      try {
        const request = { topic: topicKey, statement: statement.envelope }
        const answer = await rpc.request(nodeId, topicMethods.subscribe, request, {
          timeoutMs: this.#options.publishAttemptMs,
        })
        return answer.version
      } catch (error) {
        // a refusal too is only what this one says
        last = asStickyError(error, 'UNREACHABLE')
        replicas.noteFailure(nodeId, last)
      }
    }
    throw last
  }
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
