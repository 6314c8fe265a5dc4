import type { Dht } from '../dht/index.ts'
import type { Timers } from './timers.ts'

/**
 * Notices that the source may push no more: it lets go of whoever did not acknowledge for a while, and their link may live
 * all the same. The signs are a message that a check has read and no push brings soon after, and a call to come and read
 * that nothing follows: what was not acknowledged is followed by such calls, of which one is the last.
 */
export class PushWatch {
  readonly #dht: Dht
  readonly #timers: Timers
  readonly #onSilent: () => void
  #heardMs = Number.NEGATIVE_INFINITY
  #stopWaiting: (() => void) | undefined
  /** Doubles each time: one that cannot reach this node is not asked again and again. */
  #waitMs = 0
  #silentMs = Number.NEGATIVE_INFINITY

  constructor(dht: Dht, timers: Timers, onSilent: () => void) {
    this.#dht = dht
    this.#timers = timers
    this.#onSilent = onSilent
  }

  get #nowMs(): number {
    return this.#dht.runtime.monotonicNow()
  }

  /** It has pushed something, or has just begun to serve. */
  heard(isCall = false): void {
    this.#heardMs = this.#nowMs
    this.#stopWaiting?.()
    this.#stopWaiting = undefined
    if (isCall) this.#wait()
  }

  /** It has messages that it had not pushed. The question for them was asked at `sinceMs`. */
  unheard(sinceMs: number): void {
    if (this.#stopWaiting === undefined && this.#heardMs < sinceMs) this.#wait()
  }

  #wait(): void {
    const { options, runtime } = this.#dht
    if (this.#nowMs - this.#silentMs > FORGET_MS) this.#waitMs = PATIENCE * options.requestTimeoutMs
    // up to twice as long: many may have been called at the same time
    this.#stopWaiting = this.#timers.after(this.#waitMs * (1 + runtime.random()), () => {
      this.#stopWaiting = undefined
      this.#silentMs = this.#nowMs
      this.#waitMs = Math.min(2 * this.#waitMs, MAX_WAIT_MS)
      this.#onSilent()
    })
  }
}

/** Of the wait for an acknowledgement: so long the push before may keep one from going out. */
const PATIENCE = 1.2

const MAX_WAIT_MS = 150_000

/** Longer than any wait, and the check before it. */
const FORGET_MS = 600_000
