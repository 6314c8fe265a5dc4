import * as v from 'valibot'
import {
  bytesOf,
  decode,
  encode,
  equalBytes,
  integer,
  type Runtime,
  type Storage,
  timestampMs,
  toHex,
} from '../dht/index.ts'

/**
 * Numbers a publisher's messages, gapless from 1, per topic and writer. A writer is one stretch of numbering: it goes on
 * after a clean stop, and a new one begins after a crash, a lost disk, a publish that was given up, with another identity
 * in the same storage, or on another device with the same identity. So a number is never used twice, and no flush to disk
 * stands before each publish: one marks the topic as in use. That two processes do not open one storage at once is the
 * storage's affair.
 */

const savedSchema = v.strictObject({
  writer: bytesOf(8),
  next: integer(1, Number.MAX_SAFE_INTEGER),
  clean: v.boolean(),
  /** When the last of its messages has expired; absent in what an earlier version of this program wrote. */
  lapsesAt: v.optional(timestampMs),
})
type Saved = v.InferOutput<typeof savedSchema>

export interface Numbering {
  writer: Uint8Array
  sequence: number
  lapsed: boolean
  publishedAt: number
}

export class Sequences {
  readonly #storage: Storage
  /** Keys of this publisher begin with it: an identity that replaces another never goes on with its numbers. */
  readonly #prefix: string
  readonly #runtime: Runtime
  readonly #topics = new Map<string, Promise<Saved>>()

  constructor(storage: Storage, publisher: Uint8Array, runtime: Runtime) {
    this.#storage = storage
    this.#prefix = `sequence/${toHex(publisher)}/`
    this.#runtime = runtime
  }

  /**
   * The next number of this node in the topic. Taken once per message, before anything is sent. `lapsed`: all that the
   * writer has said before has expired.
   */
  async next(topicKey: Uint8Array, ttlMs: number): Promise<Numbering> {
    const name = this.#nameOf(topicKey)
    let topic = this.#topics.get(name)
    if (topic === undefined) {
      topic = this.#open(name)
      topic.catch(() => this.#topics.delete(name))
      this.#topics.set(name, topic)
    }
    const state = await topic
    const sequence = state.next
    state.next += 1
    const { writer, lapsesAt } = state
    const publishedAt = this.#runtime.now()
    if (lapsesAt !== undefined) state.lapsesAt = Math.max(lapsesAt, publishedAt + ttlMs)
    const lapsed = sequence > 1 && lapsesAt !== undefined && lapsesAt <= publishedAt
    return { writer, sequence, lapsed, publishedAt }
  }

  /**
   * Begins a new writer after a message of `writer` was given up: its number stays empty, and readers would wait for it
   * before they show what follows.
   */
  async beginAnew(topicKey: Uint8Array, writer: Uint8Array): Promise<void> {
    const state = await this.#topics.get(this.#nameOf(topicKey))
    if (state === undefined || !equalBytes(state.writer, writer)) return
    Object.assign(state, this.#newWriter())
  }

  #newWriter(): Omit<Saved, 'clean'> {
    return { writer: this.#runtime.randomBytes(8), next: 1, lapsesAt: 0 }
  }

  #nameOf(topicKey: Uint8Array): string {
    return this.#prefix + toHex(topicKey)
  }

  async #open(name: string): Promise<Saved> {
    const bytes = await this.#storage.get(name)
    const saved = bytes === undefined ? undefined : decode(bytes, 1_024, savedSchema)
    const state = saved?.clean ? { ...saved, clean: false } : { ...this.#newWriter(), clean: false }
    await this.#storage.write([{ type: 'put', key: name, value: encode(state) }])
    return state
  }

  /** Records where each writer stopped, so that the next start goes on from there. */
  async close(): Promise<void> {
    const topics = [...this.#topics]
    this.#topics.clear() // first: whoever asks from here on opens anew, and no number is given that is not recorded
    const states = await Promise.all(topics.map(([, topic]) => topic.catch(() => undefined)))
    const operations = topics.flatMap(([name], i) => {
      const state = states[i]
      return state ? [{ type: 'put' as const, key: name, value: encode({ ...state, clean: true }) }] : []
    })
    if (operations.length > 0) await this.#storage.write(operations)
  }
}
