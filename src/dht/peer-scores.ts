import type { NodeId } from './identity.ts'
import type { Runtime } from './runtime.ts'

/**
 * How well each peer has answered lately, from 0 to 1. It decides who is asked first where several could be, and nothing
 * else: whoever has a low one is still asked when the others are of no use, and so can raise it again.
 */
export class PeerScores {
  readonly #runtime: Runtime
  /** What each lacks to 1, and when that was so. Who is not here lacks nothing. */
  readonly #lacking = new Map<NodeId, { share: number; atMs: number }>()

  constructor(runtime: Runtime) {
    this.#runtime = runtime
  }

  /** It answered what it was asked. */
  answered(peer: NodeId): void {
    const share = this.#shareOf(peer)
    if (share > 0) this.#set(peer, share * ANSWER_LEAVES)
  }

  /** It did not answer, or not in good time, or could not be reached. */
  silent(peer: NodeId): void {
    const share = this.#shareOf(peer)
    this.#set(peer, share + (1 - share) * SILENCE_TAKES)
  }

  of(peer: NodeId): number {
    return 1 - this.#shareOf(peer)
  }

  /** The same in the same order, but for those that have answered badly, who come last. */
  last<T>(ranked: readonly T[], nodeIdOf: (one: T) => NodeId): T[] {
    const isBad = (one: T) => this.of(nodeIdOf(one)) < GOOD_SCORE
    return [...ranked.filter((one) => !isBad(one)), ...ranked.filter(isBad)]
  }

  /** Peers with less than a whole score, the latest `MAX_SCORED`. */
  get size(): number {
    return this.#lacking.size
  }

  #shareOf(peer: NodeId): number {
    const lacking = this.#lacking.get(peer)
    if (lacking === undefined) return 0
    return lacking.share * 2 ** ((lacking.atMs - this.#runtime.monotonicNow()) / HALF_LIFE_MS)
  }

  #set(peer: NodeId, share: number): void {
    this.#lacking.delete(peer)
    if (share < NOTHING) return
    this.#lacking.set(peer, { share, atMs: this.#runtime.monotonicNow() })
    if (this.#lacking.size > MAX_SCORED) this.#lacking.delete(this.#lacking.keys().next().value as NodeId)
  }
}

/** Below it a peer is asked last: after two silences in a row, until three answers at least, or until time has passed. */
export const GOOD_SCORE = 0.5
/** Of what is there, and of what is lacking. Recovery is slower than the fall: one answer proves little (lesson L-S7). */
const SILENCE_TAKES = 0.4
const ANSWER_LEAVES = 0.92
/** What nobody has heard for long says little, too. */
const HALF_LIFE_MS = 60_000
const NOTHING = 0.01
export const MAX_SCORED = 4_096
