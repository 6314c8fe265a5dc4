import * as v from 'valibot'
import {
  decode,
  encode,
  framed,
  type Runtime,
  StickyError,
  type Storage,
  type StorageOp,
  sha256,
  timestampMs,
  toHex,
} from '../dht/index.ts'
import { topicKeyOf } from './topic-key.ts'

/**
 * Where readers of topics left off, on this node's disk. A position is a text that its reader made and only its reader
 * understands. So many are kept; for a new one the one that was kept longest ago goes.
 */

const PREFIX = 'position/'
/** Topics times readers of one node; a chat has one reader for each room. */
export const MAX_KEPT_POSITIONS = 1_024
/** 64 KiB at most as base64url, and the ids behind it (topic-cursor.ts); mostly it is a few hundred. */
const MAX_POSITION_CHARACTERS = 128 * 1024
const MAX_READER_CHARACTERS = 64

const savedSchema = v.strictObject({ v: v.literal(1), keptAt: timestampMs, position: v.string() })

export class PositionsKept {
  readonly #storage: Storage
  readonly #runtime: Runtime
  /** Storage keys in the order of keeping; read from the disk once. */
  #kept: Promise<Set<string>> | undefined
  #last: Promise<unknown> = Promise.resolve()
  #isClosed = false

  constructor(storage: Storage, runtime: Runtime) {
    this.#storage = storage
    this.#runtime = runtime
  }

  /**
   * Resolves once it is on disk. In the order of the calls, and none is missed that was called before `close`: a topic
   * keeps its place in the moment in which its node closes.
   */
  keep(topic: string, reader: string, position: string): Promise<void> {
    if (this.#isClosed) return Promise.reject(new StickyError('CLOSED', 'This node is closed.'))
    const kept = this.#last.then(() => this.#keep(topic, reader, position))
    this.#last = kept.catch(() => undefined)
    return kept
  }

  /** Undefined also when what is there cannot be read: then the reader begins anew. */
  async kept(topic: string, reader: string): Promise<string | undefined> {
    await this.#last
    const bytes = await this.#storage.get(await storageKeyOf(topic, reader))
    return bytes && readSaved(bytes)?.position
  }

  /** Takes no more, and waits for what is being written. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.#last
  }

  async #keep(topic: string, reader: string, position: string): Promise<void> {
    if (typeof position !== 'string' || position.length > MAX_POSITION_CHARACTERS)
      throw new StickyError('TOO_LARGE', `A position has at most ${MAX_POSITION_CHARACTERS} characters.`)
    const key = await storageKeyOf(topic, reader)
    const keptAt = this.#runtime.now()
    const kept = await this.#index()
    const oldest = kept.has(key) ? [] : [...kept].slice(0, Math.max(0, kept.size + 1 - MAX_KEPT_POSITIONS))
    const operations: StorageOp[] = oldest.map((old) => ({ type: 'delete', key: old }))
    operations.push({ type: 'put', key, value: encode({ v: 1, keptAt, position }) })
    await this.#storage.write(operations)
    for (const old of [...oldest, key]) kept.delete(old)
    kept.add(key)
  }

  #index(): Promise<Set<string>> {
    this.#kept ??= this.#readIndex().catch((error) => {
      this.#kept = undefined
      throw error
    })
    return this.#kept
  }

  async #readIndex(): Promise<Set<string>> {
    const found: [key: string, keptAt: number][] = []
    for await (const [key, bytes] of this.#storage.entries(PREFIX))
      found.push([key, readSaved(bytes)?.keptAt ?? 0])
    return new Set(found.sort(([, a], [, b]) => a - b).map(([key]) => key))
  }
}

function readSaved(bytes: Uint8Array): v.InferOutput<typeof savedSchema> | undefined {
  try {
    return decode(bytes, 2 * MAX_POSITION_CHARACTERS, savedSchema)
  } catch {
    return undefined
  }
}

async function storageKeyOf(topic: string, reader: string): Promise<string> {
  if (typeof reader !== 'string' || reader.length === 0 || reader.length > MAX_READER_CHARACTERS)
    throw new StickyError(
      'INVALID_DATA',
      `The name of a reader has 1 to ${MAX_READER_CHARACTERS} characters.`,
    )
  const name = framed('sticky-pubsub/position/1', await topicKeyOf(topic), new TextEncoder().encode(reader))
  return PREFIX + toHex(await sha256(name))
}
