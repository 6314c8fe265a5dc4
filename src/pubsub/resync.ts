import { type Dht, delay } from '../dht/index.ts'
import type { PubSubOptions } from './options.ts'
import type { Outbox } from './outbox.ts'
import type { PresenceClient } from './presence-client.ts'
import { Slots } from './slots.ts'

/**
 * After a sleep or a reconnect: all subscriptions attach anew and read what they missed, the outbox is drained, and where
 * this node is present it says so: to those who heard nothing of it for a while it has gone.
 */

export interface ResyncInit {
  dht: Dht
  options: PubSubOptions
  outbox: Outbox
  presence: PresenceClient
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
    const { dht, options, outbox, presence, subscriptions } = this.#init
    if (this.#closed.signal.aborted) return
    this.counters.runs += 1
    dht.replicas.lookAgain()
    outbox.drain()
    const atOnce = (work: (() => Promise<void>)[]) => {
      const slots = new Slots(options.maxResyncsAtOnce)
      return work.map((resync) => slots.run(() => resync().catch(() => undefined)))
    }
    const reading = atOnce(subscriptions().map((subscription) => () => subscription.resync()))
    const all = [...reading, ...atOnce(presence.resyncs())]
    const done = new AbortController()
    const tooLong = delay(dht.runtime, options.resyncMs, AbortSignal.any([done.signal, this.#closed.signal]))
    await Promise.race([Promise.all([...all, outbox.atRest()]), tooLong.catch(() => undefined)])
    done.abort()
  }
}
