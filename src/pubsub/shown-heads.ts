import type { Dht, ExpectedHead, NodeId } from '../dht/index.ts'
import { type Coordinator, decodeCoordinator } from './coordinator.ts'
import { COORDINATOR } from './options.ts'

/**
 * The head that a replica is asked about, where the question may go with those of other topics: the one that it showed
 * itself, or the one that any showed last. What the source has not shown it may withhold.
 */
export type Expecting = 'nothing' | 'its own' | 'any'

/** What replicas of a topic showed last: one of them is asked whether that is what it has, not for all of it. */
export class ShownHeads {
  readonly #dht: Dht
  readonly #topicKey: Uint8Array
  readonly #gatherMs: number
  /** The latest last. */
  readonly #shown = new Map<NodeId, Uint8Array>()

  constructor(dht: Dht, topicKey: Uint8Array, checkIntervalMs: number) {
    this.#dht = dht
    this.#topicKey = topicKey
    this.#gatherMs = checkIntervalMs * GATHER_SHARE
  }

  /** What a peer has now, undefined where that is nothing. `position`: who asks has come so far. */
  async at(peer: NodeId, expecting: Expecting, position: number): Promise<Coordinator | undefined> {
    const expected = this.#expectedAt(peer, expecting, position)
    const head = await this.#dht.headAt(COORDINATOR, this.#topicKey, peer, expected)
    this.#shown.delete(peer)
    if (head === null) return undefined
    this.#shown.set(peer, head)
    if (this.#shown.size > MAX_SHOWN) this.#shown.delete(this.#shown.keys().next().value as NodeId)
    return decodeCoordinator(head)
  }

  /** None where something was pushed since: the replicas have another one then. */
  #expectedAt(peer: NodeId, expecting: Expecting, position: number): ExpectedHead | undefined {
    if (expecting === 'nothing') return undefined
    const head = expecting === 'its own' ? this.#shown.get(peer) : [...this.#shown.values()].at(-1)
    if (head === undefined || decodeCoordinator(head).version < position) return undefined
    return { head, gatherMs: this.#gatherMs }
  }
}

/** A periodic check waits this part of its interval for those of other topics, which then go in one request. */
const GATHER_SHARE = 1 / 10

/** Twice a set: those are asked in turn. */
const MAX_SHOWN = 16
