import type { Dht } from '../dht/index.ts'
import { LIMITS } from './options.ts'

/**
 * Moments to sign with, which only go forward for all topics of a node: of what it says the latest counts, so a clock that
 * goes back must not make the later one the older.
 */
export class SigningClock {
  readonly #dht: Dht
  #lastAt = 0

  constructor(dht: Dht) {
    this.#dht = dht
  }

  /** After a clock that was wrong by more than anybody takes has been put right, its moments count no more. */
  next(): number {
    const now = this.#dht.runtime.now()
    const wasTaken = this.#lastAt <= now + 2 * LIMITS.maxSkewMs
    this.#lastAt = wasTaken ? Math.max(now, this.#lastAt + 1) : now
    return this.#lastAt
  }
}
