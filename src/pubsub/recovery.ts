import { type Dht, StickyError, toHex } from '../dht/index.ts'
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
  #closed = false

  constructor(dht: Dht, options: { maxFailedMerges: number; recoveryRetryMs: number }) {
    this.#dht = dht
    this.#retryMs = options.recoveryRetryMs
    this.#maxFailedMerges = options.maxFailedMerges
  }

  state(topicKey: Uint8Array): ChannelState {
    return this.#topics.get(toHex(topicKey))?.state ?? 'ACTIVE'
  }

  /** Throws CHANNEL_FAILED while the topic is FAILED at this node. */
  requireUsable(topicKey: Uint8Array): void {
    if (this.state(topicKey) !== 'FAILED') return
    throw new StickyError(
      'CHANNEL_FAILED',
      'Nothing of this topic could be loaded at this node. Call recover(), or wait for its retry.',
    )
  }

  mergeSucceeded(topicKey: Uint8Array): void {
    const name = toHex(topicKey)
    if (this.#topics.get(name)?.state === 'ACTIVE') this.#topics.delete(name)
  }

  async mergeFailed(topicKey: Uint8Array): Promise<void> {
    const name = toHex(topicKey)
    const topic = this.#topics.get(name) ?? { state: 'ACTIVE' as const, failedMerges: 0 }
    topic.failedMerges += 1
    if (this.#topics.size >= MAX_TRACKED) this.#topics.delete(this.#topics.keys().next().value as string)
    this.#topics.set(name, topic)
    if (topic.failedMerges < this.#maxFailedMerges || topic.state !== 'ACTIVE') return
    topic.state = 'RECOVERING'
    await this.recover(topicKey).catch(() => this.#retryLater(topicKey))
  }

  /** Reads the heads of all reachable holders and joins what loads. Rejects with CHANNEL_FAILED when nothing does. */
  async recover(topicKey: Uint8Array): Promise<void> {
    const name = toHex(topicKey)
    const topic = { state: 'RECOVERING' as ChannelState, failedMerges: 0 }
    this.#topics.set(name, topic)
    const answers = await this.#dht.replicas.heads(COORDINATOR, topicKey)
    const asked = answers.filter((answer) => answer.error === undefined)
    let loaded = 0
    for (const { head, peer } of asked) {
      if (head === undefined) continue
      const ok = await this.#dht.pull(COORDINATOR, topicKey, head, peer).then(
        () => true,
        () => false,
      )
      if (ok) loaded += 1
    }
    const isEmptyTopic = asked.length > 0 && asked.every((answer) => answer.head === undefined)
    if (loaded > 0 || isEmptyTopic) {
      this.#topics.delete(name)
      return
    }
    topic.state = 'FAILED'
    throw new StickyError('CHANNEL_FAILED', 'No replica of this topic could be loaded.')
  }

  #retryLater(topicKey: Uint8Array): void {
    if (this.#closed) return
    this.#dht.runtime.setTimer(() => {
      if (this.#closed || this.state(topicKey) !== 'FAILED') return
      this.recover(topicKey).catch(() => this.#retryLater(topicKey))
    }, this.#retryMs)
  }

  close(): void {
    this.#closed = true
  }
}

const MAX_TRACKED = 4_096
