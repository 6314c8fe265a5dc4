import type { BlockReader, ClosestPeer } from '../dht/index.ts'
import {
  asStickyError,
  byPreference,
  compareBytes,
  type Dht,
  equalBytes,
  framed,
  type Identity,
  type NodeId,
  publicKeyOf,
  StickyError,
  sha256,
} from '../dht/index.ts'
import { decodeCoordinator } from './coordinator.ts'
import { COORDINATOR, LIMITS, type PubSubOptions } from './options.ts'
import { SigningClock } from './signing-clock.ts'
import { decodeTrieNode, placeOf } from './subscribers.ts'
import { createStatement, type VerifiedStatement } from './subscription-statement.ts'
import { topicMethods } from './wire.ts'

/** Signed subscribe, renewal and unsubscribe: made here, brought into the topic by whichever holder is reached first. */
export class Statements {
  readonly #dht: Dht
  readonly #identity: Identity
  readonly #options: PubSubOptions
  readonly #clock: SigningClock

  constructor(dht: Dht, identity: Identity, options: PubSubOptions) {
    this.#dht = dht
    this.#identity = identity
    this.#options = options
    this.#clock = new SigningClock(dht)
  }

  make(topicKey: Uint8Array, kind: 'subscribe' | 'unsubscribe', info: string): Promise<VerifiedStatement> {
    const issuedAt = this.#clock.next()
    return createStatement({
      topicKey,
      identity: this.#identity,
      kind,
      issuedAt,
      expiresAt: issuedAt + LIMITS.subscriptionTtlMs,
      info: new TextEncoder().encode(info),
    })
  }

  /**
   * Resolves with the topic's version once a majority of its replicas has the statement, as a replica says and another one
   * shows; where those that answer show nothing of it, the next one is asked to store it.
   */
  async send(topicKey: Uint8Array, statement: VerifiedStatement): Promise<number> {
    const { replicas, rpc } = this.#dht
    const set = await replicas.set(topicKey)
    const ranked = byPreference(set)
    let version: number | undefined
    let last = new StickyError('NO_REPLICAS', 'No node that stores topics can be reached.')
    for (const { nodeId } of ranked) {
      try {
        const request = { topic: topicKey, statement: statement.envelope }
        const answer = await rpc.request(nodeId, topicMethods.subscribe, request, {
          timeoutMs: this.#options.publishAttemptMs,
        })
        const others = ranked.filter((peer) => peer.nodeId !== nodeId)
        if (nodeId === this.#dht.self || !(await this.#isDenied(topicKey, statement, others)))
          return answer.version
        version = answer.version
      } catch (error) {
        // a refusal too is only what this one says
        last = asStickyError(error, 'UNREACHABLE')
        replicas.noteFailure(nodeId, last)
      }
    }
    if (version === undefined) throw last
    return version // all were asked to store it: more cannot be done
  }

  /** Whether others answer, and none of them shows it. */
  async #isDenied(
    topicKey: Uint8Array,
    statement: VerifiedStatement,
    others: ClosestPeer[],
  ): Promise<boolean> {
    let isDenied = false
    const from = Math.floor(this.#dht.runtime.random() * others.length)
    const asked = [...others.slice(from), ...others.slice(0, from)].slice(0, MAX_ASKED)
    for (const { nodeId } of asked) {
      try {
        if (await this.#isShown(topicKey, statement, nodeId)) return false
        if (nodeId === this.#dht.self) {
          // this node may be new among them, and was not sent it: what it lacks the others show
          await this.#dht.readHeads(COORDINATOR, topicKey)
          if (await this.#isShown(topicKey, statement, nodeId)) return false
        }
        isDenied = true
      } catch {
        // silence says nothing
      }
    }
    return isDenied
  }

  async #isShown(topicKey: Uint8Array, statement: VerifiedStatement, at: NodeId): Promise<boolean> {
    const head = await this.#dht.headAt(COORDINATOR, topicKey, at)
    const root = head === null ? null : decodeCoordinator(head).subscribers
    const read = this.#dht.reader(COORDINATOR, topicKey, at)
    const shown = await statementsAt(root, await placeOf(statement.body.client), read)
    return shown.some((envelope) => equalBytes(envelope, statement.envelope))
  }
}

/** Replicas that are asked for a statement; the first one shows it where all are honest. */
const MAX_ASKED = 3

/** What a list of subscribers holds in the leaf to which a client belongs. */
async function statementsAt(
  rootId: Uint8Array | null,
  place: string,
  read: BlockReader,
): Promise<readonly Uint8Array[]> {
  let id = rootId
  for (const nibble of place) {
    if (id === null) break
    const node = decodeTrieNode(await read({ kind: 'subscribers', id }))
    if ('statements' in node) return node.statements
    id = node.children[Number.parseInt(nibble, 16)] ?? null
  }
  return []
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
