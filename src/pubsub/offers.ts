import { type Dht, delay, type NodeId, toHex } from '../dht/index.ts'
import { LIMITS, type PubSubOptions } from './options.ts'
import { requestConfirm, requestPublish, type Sent, takeBatch } from './publish-request.ts'
import { MAX_MESSAGES_PER_REQUEST } from './wire.ts'

/** Pairs of topic and replica: each holds the messages of one request at most, and those of one topic hold the same ones. */
const MAX_WAITING = 4_096

const bytesOf = (waiting: Sent[]): number =>
  waiting.reduce(
    (sum, { message, payload }) => sum + message.envelope.byteLength + (payload?.byteLength ?? 0),
    0,
  )

/**
 * Asks the replicas that a publish did not wait for whether they have it, and sends it to those that lack it: one request at
 * a time to each, so that one that is merely slow is not given more than it can take.
 */
export class Offers {
  readonly #dht: Dht
  readonly #options: PubSubOptions
  /** By topic and replica; the oldest are dropped beyond what one request carries. */
  readonly #waiting = new Map<string, Sent[]>()
  readonly #counters: { offered: number }
  readonly #closed = new AbortController()

  constructor(dht: Dht, options: PubSubOptions, counters: { offered: number }) {
    this.#dht = dht
    this.#options = options
    this.#counters = counters
  }

  add(topicKey: Uint8Array, peer: NodeId, batch: readonly Sent[]): void {
    const name = `${toHex(topicKey)} ${peer}`
    const waiting = this.#waiting.get(name)
    if (waiting === undefined) {
      if (this.#waiting.size >= MAX_WAITING) return // they have it from each other, if more slowly
      this.#waiting.set(name, [...batch])
      void this.#send(name, topicKey, peer)
    } else {
      waiting.push(...batch)
      while (waiting.length > MAX_MESSAGES_PER_REQUEST || bytesOf(waiting) > LIMITS.maxDeltaBytes)
        waiting.shift()
    }
  }

  async #send(name: string, topicKey: Uint8Array, peer: NodeId): Promise<void> {
    const { signal } = this.#closed
    while (!signal.aborted) {
      // one question for what is published in a while
      await delay(this.#dht.runtime, this.#options.gatherMs, signal).catch(() => undefined)
      const batch = takeBatch(this.#waiting.get(name) ?? [], () => !signal.aborted)
      if (batch.length === 0) break
      try {
        const lacking = await this.#lacking(topicKey, peer, batch)
        this.#counters.offered += lacking.length
        if (lacking.length > 0) await requestPublish(this.#dht, this.#options, peer, topicKey, lacking)
      } catch {
        break // it is not to be reached or has refused: the majority that has it hands it over when it can
      }
    }
    this.#waiting.delete(name)
  }

  /** Mostly that replica has just come, and is being told by the others. */
  async #lacking(topicKey: Uint8Array, peer: NodeId, batch: Sent[]): Promise<Sent[]> {
    const waitMs = this.#options.offerAfterMs - this.#options.gatherMs
    const { stored } = await requestConfirm(this.#dht, peer, topicKey, batch, waitMs)
    return batch.filter((_, i) => stored[i] !== true)
  }

  close(): void {
    this.#closed.abort()
  }
}
