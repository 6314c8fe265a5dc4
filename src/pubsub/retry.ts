import { asStickyError, type Dht, delay, jittered } from '../dht/index.ts'
import type { PubSubOptions } from './options.ts'
import type { Timers } from './timers.ts'

/** After so many failures in a row. */
function backoffMs({ retryMs, maxCheckMs }: PubSubOptions, failures: number): number {
  return Math.min(retryMs * 2 ** Math.min(failures, 10), maxCheckMs)
}

/** An attempt that is made again after it has failed: one waits at a time, each longer than the one before. */
export class Retry {
  readonly #timers: Timers
  readonly #options: PubSubOptions
  readonly #attempt: () => void
  #failures = 0
  #stopWaiting: (() => void) | undefined

  constructor(timers: Timers, options: PubSubOptions, attempt: () => void) {
    this.#timers = timers
    this.#options = options
    this.#attempt = attempt
  }

  get isWaiting(): boolean {
    return this.#stopWaiting !== undefined
  }

  /** Whatever else fails until then is covered by the attempt that waits. */
  later(): void {
    if (this.isWaiting) return
    this.#failures += 1
    const waitMs = backoffMs(this.#options, this.#failures)
    this.#stopWaiting = this.#timers.after(waitMs, () => this.now())
  }

  /** The one that waits, without waiting any longer. */
  now(): void {
    if (!this.isWaiting) return
    this.begun()
    this.#attempt()
  }

  /** For another reason, and so instead of the one that waits. */
  begun(): void {
    this.#stopWaiting?.()
    this.#stopWaiting = undefined
  }

  succeeded(): void {
    this.begun()
    this.#failures = 0
  }
}

export interface Persistence {
  dht: Dht
  options: PubSubOptions
  /** Then it is given up without a word. */
  signal: AbortSignal
}

/** Until it is done. Rejects with what cannot be mended by trying again. */
export async function untilDone(
  work: () => Promise<unknown>,
  { dht: { runtime }, options, signal }: Persistence,
): Promise<void> {
  for (let failures = 1; !signal.aborted; failures++) {
    try {
      await work()
      return
    } catch (error) {
      if (signal.aborted) return
      const failure = asStickyError(error, 'UNREACHABLE')
      if (!failure.retryable) throw failure
      await delay(runtime, jittered(runtime, backoffMs(options, failures)), signal).catch(() => undefined)
    }
  }
}
