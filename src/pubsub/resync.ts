import { type Dht, delay } from '../dht/index.ts'
import type { PubSubOptions } from './options.ts'
import type { Outbox } from './outbox.ts'
import { Slots } from './slots.ts'

/** After a sleep or a reconnect: all subscriptions attach anew and read what they missed, and the outbox is drained. */

export interface ResyncInit {
  dht: Dht
  options: PubSubOptions
  outbox: Outbox
  /** Those there are now. */
  subscriptions(): { resync(): Promise<void> }[]
}

export class Resync {
  readonly #init: ResyncInit
  readonly #closed = new AbortController()
  #running: Promise<void> | undefined
  /** It was asked for again while one was under way. */
  #isWanted = false
  readonly counters = { runs: 0, lastReason: '' }

  constructor(init: ResyncInit) {
    this.#init = init
  }

  /** Calls during a run are answered by it; one more follows, however many there were. */
  run(reason: string): Promise<void> {
    this.counters.lastReason = reason
    if (this.#running !== undefined) {
      this.#isWanted = true
      return this.#running
    }
    this.#running = this.#once().finally(() => {
      this.#running = undefined
      if (!this.#isWanted) return
      this.#isWanted = false
      void this.run(reason)
    })
    return this.#running
  }

  close(): void {
    this.#closed.abort()
  }

  async #once(): Promise<void> {
    const { dht, options, outbox, subscriptions } = this.#init
    if (this.#closed.signal.aborted) return
    this.counters.runs += 1
    dht.replicas.lookAgain()
    outbox.drain()
    const slots = new Slots(options.maxResyncsAtOnce)
    const all = subscriptions().map((subscription) =>
      slots.run(() => subscription.resync().catch(() => undefined)),
    )
    const done = new AbortController()
    const tooLong = delay(dht.runtime, options.resyncMs, AbortSignal.any([done.signal, this.#closed.signal]))
    await Promise.race([Promise.all([...all, outbox.atRest()]), tooLong.catch(() => undefined)])
    done.abort()
  }
}
