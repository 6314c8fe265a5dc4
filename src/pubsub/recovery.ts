import { type Dht, StickyError, type Timer, toHex } from '../dht/index.ts'
import type { ChannelState } from './api.ts'
import { COORDINATOR } from './options.ts'

/**
 * The health of each topic at this node only; nobody else's state is ever taken over. Ten merges in a row that did not
 * lead to a commit make a topic RECOVERING: its heads are read from its holders and everything loadable is joined.
 * When nothing at all loads it is FAILED here until `recover()`, or the retry in the background, succeeds. Content that
 * fails verification never counts: garbage cannot bring a topic here.
 */
export class Recovery {
  readonly #dht: Dht
  readonly #retryMs: number
  readonly #maxFailedMerges: number
  /** Topics not in order; all others are ACTIVE. Bounded by MAX_TRACKED, oldest forgotten. */
  readonly #topics = new Map<string, { state: ChannelState; failedMerges: number }>()
  readonly #retries = new Map<string, Timer>()
  #closed = false

  constructor(dht: Dht, options: { maxFailedMerges: number; recoveryRetryMs: number }) {
    this.#dht = dht
    this.#retryMs = options.recoveryRetryMs
    this.#maxFailedMerges = options.maxFailedMerges
  }

  state(topicKey: Uint8Array): ChannelState {
    return this.#topics.get(toHex(topicKey))?.state ?? 'ACTIVE'
  }

  /** Throws ChannelFailedError while the topic is FAILED at this node. */
  requireUsable(topicKey: Uint8Array): void {
    if (this.state(topicKey) !== 'FAILED') return
    throw new ChannelFailedError()
  }

  mergeSucceeded(topicKey: Uint8Array): void {
    const name = toHex(topicKey)
    if (this.#topics.get(name)?.state === 'ACTIVE') this.#topics.delete(name)
  }

  async mergeFailed(topicKey: Uint8Array): Promise<void> {
    const name = toHex(topicKey)
    const topic = this.#topics.get(name) ?? { state: 'ACTIVE' as const, failedMerges: 0 }
    topic.failedMerges += 1
    this.#remember(name, topic)
    if (topic.failedMerges < this.#maxFailedMerges || topic.state !== 'ACTIVE') return
    await this.recover(topicKey).catch(() => undefined)
  }

  #remember(name: string, topic: { state: ChannelState; failedMerges: number }): void {
    this.#topics.delete(name)
    if (this.#topics.size >= MAX_TRACKED) this.#topics.delete(this.#topics.keys().next().value as string)
    this.#topics.set(name, topic)
  }

  /**
   * Reads the heads of all reachable holders and joins what loads. Rejects with CHANNEL_FAILED when nothing does; it is
   * then tried again in the background.
   */
  async recover(topicKey: Uint8Array): Promise<void> {
    const name = toHex(topicKey)
    const topic = { state: 'RECOVERING' as ChannelState, failedMerges: 0 }
    this.#remember(name, topic)
    try {
      await this.#joinWhatLoads(topicKey)
      this.#topics.delete(name)
    } catch (error) {
      topic.state = 'FAILED'
      this.#retryLater(name, topicKey)
      throw new ChannelFailedError({ cause: error })
    }
  }

  /** Rejects when not one head could be joined, unless there is none: then the topic is merely empty. */
  async #joinWhatLoads(topicKey: Uint8Array): Promise<void> {
    const answers = await this.#dht.replicas.heads(COORDINATOR, topicKey)
    const asked = answers.filter((answer) => answer.error === undefined)
    const shown = asked.flatMap(({ head, peer }) => (head === undefined ? [] : [{ head, peer }]))
    // side by side: one that shows its blocks one at a time keeps nobody from the others
    const pulls = shown.map(({ head, peer }) => this.#dht.pull(COORDINATOR, topicKey, head, peer))
    const loads = await Promise.allSettled(pulls)
    const isLoaded = loads.some(({ status }) => status === 'fulfilled')
    const isEmptyTopic = asked.length > 0 && asked.every((answer) => answer.head === undefined)
    if (isLoaded || isEmptyTopic) return
    const failed = loads.findLast((load) => load.status === 'rejected')
    throw failed?.reason ?? answers[0]?.error
  }

  #retryLater(name: string, topicKey: Uint8Array): void {
    if (this.#closed || this.#retries.has(name)) return
    const timer = this.#dht.runtime.setTimer(() => {
      this.#retries.delete(name)
      if (this.state(topicKey) === 'FAILED') this.recover(topicKey).catch(() => undefined)
    }, this.#retryMs)
    this.#retries.set(name, timer)
  }

  close(): void {
    this.#closed = true
    for (const timer of this.#retries.values()) timer.clear()
    this.#retries.clear()
  }
}

/** The topic is FAILED at this node: code CHANNEL_FAILED. */
export class ChannelFailedError extends StickyError {
  override readonly name = 'ChannelFailedError'

  constructor(options?: ErrorOptions) {
    super(
      'CHANNEL_FAILED',
      'Nothing of this topic could be loaded at this node. Call recover(), or wait for its retry.',
      options,
    )
  }
}

const MAX_TRACKED = 4_096
