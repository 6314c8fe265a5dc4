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
import { DEFAULT_PUBSUB_OPTIONS, LIMITS, type PubSubOptions } from './options.ts'

/**
 * Numbers a publisher's messages, gapless from 1, per topic and writer. A writer is one stretch of numbering: it goes on
 * after a clean stop, and a new one begins after a crash, a lost disk, a publish that was given up, with another identity
 * in the same storage, or on another device with the same identity. So a number is never used twice, and no flush to disk
 * stands before each publish: one marks the topic as in use. That two processes do not open one storage at once is the
 * storage's affair.
 * What is let go of is not gone on with: a new writer begins. So letting go is safe at any time, whatever of the old
 * writer's is alive; it costs that nobody is told of the last that this one said, as after a crash.
 */

const savedSchema = v.strictObject({
  writer: bytesOf(8),
  next: integer(1, Number.MAX_SAFE_INTEGER),
  clean: v.boolean(),
  /** When the last of its messages has expired; absent in what an earlier version of this program wrote. */
  lapsesAt: v.optional(timestampMs),
})
type Saved = v.InferOutput<typeof savedSchema>

/** `state`: once it is open. */
interface Topic {
  opening: Promise<Saved>
  state?: Saved
}

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
  readonly #maxTopics: number
  /** Those of this run, the one that was used last at the end. */
  readonly #topics = new Map<string, Topic>()
  #sweeping: Promise<void> | undefined

  constructor(
    storage: Storage,
    publisher: Uint8Array,
    runtime: Runtime,
    { maxNumberedTopics }: Pick<PubSubOptions, 'maxNumberedTopics'> = DEFAULT_PUBSUB_OPTIONS,
  ) {
    this.#storage = storage
    this.#prefix = `sequence/${toHex(publisher)}/`
    this.#runtime = runtime
    this.#maxTopics = maxNumberedTopics
  }

  get size(): number {
    return this.#topics.size
  }

  /**
   * The next number of this node in the topic. Taken once per message, before anything is sent. `lapsed`: all that the
   * writer has said before has expired.
   */
  async next(topicKey: Uint8Array, ttlMs: number): Promise<Numbering> {
    this.#sweeping ??= this.#sweep()
    const name = this.#nameOf(topicKey)
    const topic = this.#topics.get(name) ?? this.#begin(name)
    this.#topics.delete(name)
    this.#topics.set(name, topic)
    const state = await topic.opening
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
    const state = await this.#topics.get(this.#nameOf(topicKey))?.opening
    if (state === undefined || !equalBytes(state.writer, writer)) return
    Object.assign(state, this.#newWriter())
  }

  #newWriter(): Omit<Saved, 'clean'> {
    return { writer: this.#runtime.randomBytes(8), next: 1, lapsesAt: 0 }
  }

  #nameOf(topicKey: Uint8Array): string {
    return this.#prefix + toHex(topicKey)
  }

  #begin(name: string): Topic {
    const topic: Topic = { opening: this.#open(name) }
    topic.opening.then(
      (state) => {
        topic.state = state
        this.#letGo()
      },
      () => {
        if (this.#topics.get(name) === topic) this.#topics.delete(name)
      },
    )
    return topic
  }

  async #open(name: string): Promise<Saved> {
    const bytes = await this.#storage.get(name)
    const saved = bytes && this.#goingOn(bytes)
    const state = { ...(saved ?? this.#newWriter()), clean: false }
    await this.#storage.write([{ type: 'put', key: name, value: encode(state) }])
    return state
  }

  // --- letting go

  /** Of what has long lapsed, and of what was not used for longest where there are too many. */
  #letGo(): void {
    let tooMany = this.#topics.size - this.#maxTopics
    const gone: string[] = []
    for (const [name, { state }] of this.#topics) {
      if (state === undefined) continue // being opened, and put on disk
      if (tooMany <= 0 && !this.#hasLongLapsed(state)) continue
      tooMany -= 1
      gone.push(name)
    }
    for (const name of gone) this.#topics.delete(name)
    this.#erase(gone).catch(() => undefined) // what is not marked as clean counts for nothing
  }

  /** The same on disk, once: with what a crash left behind, and what cannot be read. */
  async #sweep(): Promise<void> {
    try {
      const gone: string[] = []
      const kept: { name: string; lapsesAt: number }[] = []
      for await (const [name, bytes] of this.#storage.entries(this.#prefix)) {
        const saved = this.#goingOn(bytes)
        if (saved === undefined) gone.push(name)
        else kept.push({ name, lapsesAt: saved.lapsesAt ?? 0 })
      }
      kept.sort((a, b) => b.lapsesAt - a.lapsesAt)
      for (const { name } of kept.slice(this.#maxTopics)) gone.push(name)
      await this.#erase(gone.filter((name) => !this.#topics.has(name)))
    } catch {
      // the next start tries again
    }
  }

  async #erase(names: string[]): Promise<void> {
    if (names.length > 0) await this.#storage.write(names.map((key) => ({ type: 'delete', key })))
  }

  /** Undefined where nobody knows how far it had come, or wants to any more. */
  #goingOn(bytes: Uint8Array): Saved | undefined {
    try {
      const saved = decode(bytes, 1_024, savedSchema)
      return saved.clean && !this.#hasLongLapsed(saved) ? saved : undefined
    } catch {
      return undefined
    }
  }

  #hasLongLapsed({ lapsesAt = 0 }: Saved): boolean {
    return lapsesAt > 0 && lapsesAt + KEPT_LAPSED_MS <= this.#runtime.now()
  }

  /** Records where each writer stopped, so that the next start goes on from there. */
  async close(): Promise<void> {
    const topics = [...this.#topics]
    this.#topics.clear() // first: whoever asks from here on opens anew, and no number is given that is not recorded
    const states = await Promise.all(topics.map(([, { opening }]) => opening.catch(() => undefined)))
    await this.#sweeping // it may be about to erase one of them
    const operations = topics.flatMap(([name], i) => {
      const state = states[i]
      return state ? [{ type: 'put' as const, key: name, value: encode({ ...state, clean: true }) }] : []
    })
    if (operations.length > 0) await this.#storage.write(operations)
  }
}

/**
 * A writer that comes back says that what it said before has expired, so that readers who were away are told what they
 * missed (decision 0022). For as long as a message may live, after the last has expired.
 */
const KEPT_LAPSED_MS = LIMITS.maxTtlMs
