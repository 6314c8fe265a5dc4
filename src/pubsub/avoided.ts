import type { NodeId, Runtime } from '../dht/index.ts'

/** Replicas that were reached, or seemed to be, and were of no use: for a while the others are asked first. */
export class AvoidedReplicas {
  readonly #runtime: Runtime
  readonly #avoidMs: number
  readonly #until = new Map<NodeId, number>()

  constructor(runtime: Runtime, avoidMs: number) {
    this.#runtime = runtime
    this.#avoidMs = avoidMs
  }

  add(peer: NodeId): void {
    this.#until.delete(peer)
    this.#until.set(peer, this.#runtime.monotonicNow() + this.#avoidMs)
    if (this.#until.size > MAX_AVOIDED) this.#until.delete(this.#until.keys().next().value as NodeId)
  }

  delete(peer: NodeId): void {
    this.#until.delete(peer)
  }

  has(peer: NodeId): boolean {
    return (this.#until.get(peer) ?? 0) > this.#runtime.monotonicNow()
  }

  /** The same replicas in the same order, but for the avoided ones, which come last. */
  last<T>(ranked: T[], nodeIdOf: (replica: T) => NodeId): T[] {
    const isAvoided = (replica: T) => this.has(nodeIdOf(replica))
    return [...ranked.filter((replica) => !isAvoided(replica)), ...ranked.filter(isAvoided)]
  }
}

/** Several times the replicas of a topic; the oldest is forgotten first. */
const MAX_AVOIDED = 256
