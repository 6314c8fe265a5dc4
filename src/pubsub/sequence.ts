import * as v from 'valibot'
import {
  bytesOf,
  decode,
  encode,
  equalBytes,
  integer,
  type Runtime,
  type Storage,
  toHex,
} from '../dht/index.ts'

/**
 * Numbers a publisher's messages, gapless from 1, per topic and writer. A writer is one stretch of numbering: it goes on
 * after a clean stop, and a new one begins after a crash, a lost disk, a publish that was given up, or on another device
 * with the same identity. So a
 * number is never used twice, and no flush to disk stands before each publish: one marks the topic as in use.
 */

const savedSchema = v.strictObject({
  writer: bytesOf(8),
  next: integer(1, Number.MAX_SAFE_INTEGER),
  clean: v.boolean(),
})
type Saved = v.InferOutput<typeof savedSchema>

export class Sequences {
  readonly #storage: Storage
  readonly #runtime: Runtime
  readonly #topics = new Map<string, Promise<Saved>>()

  constructor(storage: Storage, runtime: Runtime) {
    this.#storage = storage
    this.#runtime = runtime
  }

  /** The next number of this node in the topic. Taken once per message, before anything is sent. */
  async next(topicKey: Uint8Array): Promise<{ writer: Uint8Array; sequence: number }> {
    const name = `sequence/${toHex(topicKey)}`
    let topic = this.#topics.get(name)
    if (topic === undefined) {
      topic = this.#open(name)
      topic.catch(() => this.#topics.delete(name))
      this.#topics.set(name, topic)
    }
    const state = await topic
    const sequence = state.next
    state.next += 1
    return { writer: state.writer, sequence }
  }

  /**
   * Begins a new writer after a message of `writer` was given up: its number stays empty, and readers would wait for it
   * before they show what follows.
   */
  async beginAnew(topicKey: Uint8Array, writer: Uint8Array): Promise<void> {
    const state = await this.#topics.get(`sequence/${toHex(topicKey)}`)
    if (state === undefined || !equalBytes(state.writer, writer)) return
    state.writer = this.#runtime.randomBytes(8)
    state.next = 1
  }

  async #open(name: string): Promise<Saved> {
    const bytes = await this.#storage.get(name)
    const saved = bytes === undefined ? undefined : decode(bytes, 1_024, savedSchema)
    const state = saved?.clean
      ? { ...saved, clean: false }
      : { writer: this.#runtime.randomBytes(8), next: 1, clean: false }
    await this.#storage.write([{ type: 'put', key: name, value: encode(state) }])
    return state
  }

  /** Records where each writer stopped, so that the next start goes on from there. */
  async close(): Promise<void> {
    const operations = []
    for (const [name, topic] of this.#topics) {
      const state = await topic.catch(() => undefined)
      if (state)
        operations.push({ type: 'put' as const, key: name, value: encode({ ...state, clean: true }) })
    }
    this.#topics.clear()
    if (operations.length > 0) await this.#storage.write(operations)
  }
}
