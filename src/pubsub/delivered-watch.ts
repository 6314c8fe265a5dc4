import { type Dht, type Timer, toHex } from '../dht/index.ts'
import { askDelivered } from './delivered.ts'
import { LIMITS, type PubSubOptions } from './options.ts'
import { MAX_MESSAGES_PER_REQUEST } from './wire.ts'

/**
 * Asks the replicas, for some time after a message was stored, to how many it was delivered, and tells each time that they
 * are more. What is due in a topic at nearly the same time is one question.
 */

interface Watched {
  readonly id: Uint8Array
  readonly to: Set<string>
  rounds: number
  dueMs: number
  onMore(count: number): void
}

interface WatchedTopic {
  readonly key: Uint8Array
  readonly watched: Set<Watched>
  timer: Timer | undefined
  isAsking: boolean
}

export class DeliveredWatch {
  readonly #dht: Dht
  readonly #options: PubSubOptions
  readonly #topics = new Map<string, WatchedTopic>()
  /** Of all topics, oldest first. */
  readonly #all = new Map<Watched, WatchedTopic>()
  #isClosed = false

  constructor(dht: Dht, options: PubSubOptions) {
    this.#dht = dht
    this.#options = options
  }

  get size(): number {
    return this.#all.size
  }

  watch(topicKey: Uint8Array, id: Uint8Array, onMore: (count: number) => void): void {
    if (this.#isClosed) return
    const name = toHex(topicKey)
    const topic = this.#topics.get(name) ?? {
      key: topicKey,
      watched: new Set(),
      timer: undefined,
      isAsking: false,
    }
    this.#topics.set(name, topic)
    const watched = { id, to: new Set<string>(), rounds: 0, dueMs: this.#after(0), onMore }
    topic.watched.add(watched)
    this.#all.set(watched, topic)
    const [oldest] = this.#all.keys()
    if (this.#all.size > this.#options.maxDeliveredWatched && oldest !== undefined) this.#end(oldest)
    this.#plan(topic)
  }

  /** When the round after so many is due: the pauses double. */
  #after(rounds: number): number {
    return this.#dht.runtime.monotonicNow() + this.#options.deliveredAskMs * 2 ** rounds
  }

  #plan(topic: WatchedTopic): void {
    topic.timer?.clear()
    topic.timer = undefined
    if (this.#isClosed || topic.isAsking || topic.watched.size === 0) return
    const dueMs = Math.min(...[...topic.watched].map((watched) => watched.dueMs))
    const waitMs = Math.max(1, dueMs - this.#dht.runtime.monotonicNow())
    topic.timer = this.#dht.runtime.setTimer(() => void this.#ask(topic), waitMs)
  }

  async #ask(topic: WatchedTopic): Promise<void> {
    topic.timer = undefined
    topic.isAsking = true
    const untilMs = this.#dht.runtime.monotonicNow() + this.#options.deliveredAskMs / 2
    const due = [...topic.watched].filter(({ dueMs }) => dueMs <= untilMs).slice(0, MAX_MESSAGES_PER_REQUEST)
    const ids = due.map(({ id }) => id)
    // who does not answer now may do so in the next round
    const found = await askDelivered(this.#dht, topic.key, ids).catch(() => [])
    topic.isAsking = false
    for (const [i, watched] of due.entries()) this.#take(watched, found[i] ?? new Set())
    this.#plan(topic)
  }

  #take(watched: Watched, found: Set<string>): void {
    if (!this.#all.has(watched)) return
    watched.rounds += 1
    watched.dueMs = this.#after(watched.rounds)
    const before = watched.to.size
    for (const key of found) if (watched.to.size < LIMITS.maxSubscribers) watched.to.add(key)
    if (watched.rounds >= this.#options.deliveredRounds) this.#end(watched)
    if (watched.to.size > before) watched.onMore(watched.to.size)
  }

  #end(watched: Watched): void {
    const topic = this.#all.get(watched)
    if (topic === undefined) return
    this.#all.delete(watched)
    topic.watched.delete(watched)
    if (topic.watched.size > 0) return
    topic.timer?.clear()
    this.#topics.delete(toHex(topic.key))
  }

  close(): void {
    this.#isClosed = true
    for (const watched of [...this.#all.keys()]) this.#end(watched)
  }
}
