import * as v from 'valibot'
import {
  bytesOf,
  bytesUpTo,
  equalBytes,
  framed,
  integer,
  StickyError,
  sha256,
  timestampMs,
  toHex,
} from '../dht/index.ts'
import type { PublishReceipt } from './api.ts'
import { LIMITS, type PubSubOptions } from './options.ts'

/**
 * Keys under which this node has published: with the receipt, or with the signed message where nobody knows whether it is
 * stored, so that the next publish under the key sends the same bytes. Bounded in number, bytes and time.
 */

const text = new TextEncoder()

export const keySchema = v.pipe(
  v.string(),
  v.check((key) => isKey(key), `expected 1 to ${LIMITS.maxKeyBytes} bytes of text`),
)

export const keptSchema = v.strictObject({
  /** Of the data, so that nothing else goes out under the key. */
  hash: bytesOf(32),
  atMs: timestampMs,
  /** Of the message. */
  expiresAt: timestampMs,
  outcome: v.variant('status', [
    v.strictObject({
      status: v.literal('stored'),
      id: v.pipe(v.string(), v.maxLength(128)),
      sequence: integer(1, Number.MAX_SAFE_INTEGER),
      writer: v.pipe(v.string(), v.length(16)),
      publishedAt: timestampMs,
      version: integer(0, Number.MAX_SAFE_INTEGER),
      replicas: integer(0, Number.MAX_SAFE_INTEGER),
      durableReplicas: integer(0, Number.MAX_SAFE_INTEGER),
    }),
    v.strictObject({ status: v.literal('unknown'), envelope: bytesUpTo(LIMITS.maxEnvelopeBytes) }),
  ]),
})
export type SavedKey = v.InferOutput<typeof keptSchema>

export const MAX_KEPT_BYTES = LIMITS.maxEnvelopeBytes + 1_024

/** Undefined: the key is forgotten. */
export type KeyChange = [name: string, saved: SavedKey | undefined]

export interface Running {
  hash: Uint8Array
  outcome: Promise<PublishReceipt>
}

export class RememberedKeys {
  readonly #options: PubSubOptions
  /** Oldest first. */
  readonly #kept = new Map<string, SavedKey>()
  readonly #running = new Map<string, Running>()
  #bytes = 0

  constructor(options: PubSubOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#kept.size
  }

  /** From disk, in any order. Gives what is forgotten already. */
  load(all: [name: string, saved: SavedKey][], nowMs: number): KeyChange[] {
    const byAge = all.toSorted(([, a], [, b]) => a.atMs - b.atMs)
    const changes = byAge.flatMap(([name, saved]) => this.put(name, saved, nowMs))
    const over = byAge.flatMap(([name, saved]) => (this.#isOver(saved, nowMs) ? this.#drop(name) : []))
    return [...changes, ...over].filter(([, saved]) => saved === undefined)
  }

  /** A publish under a key, while it is under way: another one gets its outcome. */
  running(name: string): Running | undefined {
    return this.#running.get(name)
  }

  setRunning(name: string, running: Running): void {
    this.#running.set(name, running)
    const over = () => void this.#running.delete(name)
    running.outcome.then(over, over)
  }

  async settled(name: string): Promise<void> {
    while (this.#running.has(name)) await this.#running.get(name)?.outcome.catch(() => undefined)
  }

  /** What is kept for a name while that counts. Throws KEY_CONFLICT when it was for other data. */
  get(name: string, hash: Uint8Array, nowMs: number): SavedKey | undefined {
    const saved = this.#kept.get(name)
    if (saved === undefined || this.#isOver(saved, nowMs)) return undefined
    requireSame(saved.hash, hash)
    return saved
  }

  /** The changes to be written: this one, and those forgotten for it. */
  put(name: string, saved: SavedKey, nowMs: number = saved.atMs): KeyChange[] {
    const changes: KeyChange[] = [...this.#drop(name), [name, saved]]
    this.#kept.set(name, saved)
    this.#bytes += bytesOfSaved(saved)
    const { maxRememberedKeys, maxRememberedKeyBytes } = this.#options
    for (const [oldest, old] of this.#kept) {
      const isTooMuch = this.#kept.size > maxRememberedKeys || this.#bytes > maxRememberedKeyBytes
      if (!isTooMuch && !this.#isOver(old, nowMs)) break
      if (oldest !== name) changes.push(...this.#drop(oldest))
    }
    return changes
  }

  /** Nothing was published under it after all. */
  drop(name: string): KeyChange[] {
    return this.#drop(name)
  }

  #drop(name: string): KeyChange[] {
    const saved = this.#kept.get(name)
    if (saved === undefined) return []
    this.#kept.delete(name)
    this.#bytes -= bytesOfSaved(saved)
    return [[name, undefined]]
  }

  /** A key counts as long as its message lives, and a while at least; of unknown outcome no longer than the message. */
  #isOver({ atMs, expiresAt, outcome }: SavedKey, nowMs: number): boolean {
    if (outcome.status === 'unknown') return nowMs >= expiresAt
    return nowMs >= Math.max(expiresAt, atMs + this.#options.rememberedKeyMs)
  }
}

export const storedKey = (
  hash: Uint8Array,
  atMs: number,
  expiresAt: number,
  { duplicate: _, ...receipt }: PublishReceipt,
): SavedKey => ({ hash, atMs, expiresAt, outcome: receipt })

/** Of what is kept: the receipt, to be given again. */
export const duplicateOf = ({ outcome }: SavedKey): PublishReceipt | undefined =>
  outcome.status === 'stored' ? { ...outcome, duplicate: true } : undefined

export function requireSame(known: Uint8Array, given: Uint8Array): void {
  if (!equalBytes(known, given))
    throw new StickyError('KEY_CONFLICT', 'Other data were published under this key already.')
}

/** How a key of a topic is called here. Throws INVALID_DATA. */
export async function nameOfKey(topicKey: Uint8Array, key: string): Promise<string> {
  if (!isKey(key))
    throw new StickyError('INVALID_DATA', `A key has 1 to ${LIMITS.maxKeyBytes} bytes of text.`)
  return toHex(await sha256(framed('sticky-pubsub/key/1', topicKey, text.encode(key))))
}

const isKey = (key: unknown): boolean =>
  typeof key === 'string' &&
  key.length > 0 &&
  key.length <= LIMITS.maxKeyBytes &&
  text.encode(key).byteLength <= LIMITS.maxKeyBytes

const bytesOfSaved = ({ outcome }: SavedKey): number =>
  512 + (outcome.status === 'unknown' ? outcome.envelope.byteLength : 0)
