import * as v from 'valibot'
import {
  asStickyError,
  bytesUpTo,
  decode,
  decodeAny,
  type ErrorCode,
  encode,
  integer,
  isErrorCode,
  StickyError,
  type Storage,
  type StorageOp,
  timestampMs,
  toHex,
} from '../dht/index.ts'
import { LIMITS } from './options.ts'
import { keptSchema, keySchema, MAX_KEPT_BYTES, type SavedKey } from './remembered-keys.ts'

/**
 * The outbox on disk, under `outbox/<publisher>/`: `entry/<order>` is what was enqueued, `sent/<order>` the signed message
 * from just before it is sent for the first time, `failed/<order>` why it is over, until somebody was told, `key/<name>` a
 * key that is remembered, `aside/<order>` what could not be read.
 * An identity that replaces another finds its own.
 */

const entrySchema = v.strictObject({
  v: v.literal(1),
  topic: v.pipe(v.string(), v.minLength(1), v.maxLength(LIMITS.maxTopicNameLength)),
  key: keySchema,
  /** The application chose the key, and may come back with it. */
  isNamed: v.boolean(),
  data: bytesUpTo(LIMITS.maxPayloadBytes),
  queuedAt: timestampMs,
  expiresAt: timestampMs,
  /** Absent: no. */
  asksDelivered: v.optional(v.literal(true)),
})
export type SavedEntry = v.InferOutput<typeof entrySchema>

const sentSchema = v.strictObject({
  envelope: bytesUpTo(LIMITS.maxEnvelopeBytes),
  attempts: integer(0, Number.MAX_SAFE_INTEGER),
})
export type SavedSent = v.InferOutput<typeof sentSchema>

const failedSchema = v.strictObject({
  code: v.pipe(
    v.string(),
    v.check((code) => isErrorCode(code), 'expected an error code'),
  ),
  message: v.pipe(v.string(), v.maxLength(1_024)),
})

/** The largest data, and a topic, a key and the rest. */
const MAX_ENTRY_BYTES = LIMITS.maxPayloadBytes + 4_096
const MAX_SENT_BYTES = LIMITS.maxEnvelopeBytes + 256
const MAX_FAILED_BYTES = 8_192

/** What could not be read is kept for whoever looks into it, so many of them. */
const MAX_ASIDE = 16

export interface Loaded {
  /** Oldest first. */
  entries: {
    order: string
    entry: SavedEntry
    sent: SavedSent | undefined
    failed: StickyError | undefined
  }[]
  keys: [name: string, saved: SavedKey][]
  unreadable: StickyError[]
}

export class OutboxStore {
  readonly #storage: Storage
  readonly #prefix: string
  /** Removals that the disk refused: they go with the next write, so that nothing is sent anew after a restart. */
  #refused: StorageOp[] = []

  constructor(storage: Storage, publisher: Uint8Array) {
    this.#storage = storage
    this.#prefix = `outbox/${toHex(publisher)}/`
  }

  /** Rejects when the disk cannot be read at all. */
  async load(): Promise<Loaded> {
    const loaded: Loaded = { entries: [], keys: [], unreadable: [] }
    const operations = [...(await this.#loadEntries(loaded)), ...(await this.#loadKeys(loaded))]
    await this.settle(operations)
    return loaded
  }

  /** Gives what sets aside those that cannot be read. */
  async #loadEntries(loaded: Loaded): Promise<StorageOp[]> {
    const [sent, failed] = await Promise.all([this.#partsOf('sent'), this.#partsOf('failed')])
    let aside = (await Array.fromAsync(this.#storage.keys(`${this.#prefix}aside/`))).length
    const operations: StorageOp[] = []
    for await (const [key, bytes] of this.#storage.entries(`${this.#prefix}entry/`)) {
      const order = lastOf(key)
      try {
        loaded.entries.push({ order, ...readEntry(order, bytes, sent.get(order), failed.get(order)) })
      } catch (error) {
        loaded.unreadable.push(unreadable(order, error))
        operations.push(...this.removal(order))
        if (aside++ < MAX_ASIDE) operations.push(put(`${this.#prefix}aside/${order}`, bytes))
      }
      sent.delete(order)
      failed.delete(order)
    }
    for (const order of [...sent.keys(), ...failed.keys()]) operations.push(...this.removal(order))
    return operations
  }

  async #partsOf(part: 'sent' | 'failed'): Promise<Map<string, Uint8Array>> {
    const parts = await Array.fromAsync(this.#storage.entries(`${this.#prefix}${part}/`))
    return new Map(parts.map(([key, bytes]) => [lastOf(key), bytes]))
  }

  async #loadKeys(loaded: Loaded): Promise<StorageOp[]> {
    const operations: StorageOp[] = []
    for await (const [key, bytes] of this.#storage.entries(`${this.#prefix}key/`)) {
      try {
        loaded.keys.push([lastOf(key), decode(bytes, MAX_KEPT_BYTES, keptSchema)])
      } catch (error) {
        loaded.unreadable.push(unreadable(lastOf(key), error))
        operations.push({ type: 'delete', key })
      }
    }
    return operations
  }

  /** On disk when it resolves; not at all when it rejects. */
  add(order: string, entry: SavedEntry, envelope: Uint8Array | undefined): Promise<void> {
    const sent = envelope && put(`${this.#prefix}sent/${order}`, encode({ envelope, attempts: 0 }))
    return this.write([put(`${this.#prefix}entry/${order}`, encode(entry)), ...(sent ? [sent] : [])])
  }

  /** The messages themselves, before anything is sent, and how often each was sent. */
  keepSent(all: { order: string; sent: SavedSent }[]): Promise<void> {
    return this.write(all.map(({ order, sent }) => put(`${this.#prefix}sent/${order}`, encode(sent))))
  }

  /** It is over: it is not sent again, whenever somebody is told. */
  failure(order: string, { code, message }: StickyError): StorageOp {
    return put(`${this.#prefix}failed/${order}`, encode({ code, message: message.slice(0, 1_024) }))
  }

  removal(order: string): StorageOp[] {
    return ['entry', 'sent', 'failed'].map((part) => ({
      type: 'delete',
      key: `${this.#prefix}${part}/${order}`,
    }))
  }

  /** Of a key that is remembered, or forgotten where there is no value. */
  keyChange([name, saved]: [string, SavedKey | undefined]): StorageOp {
    const key = `${this.#prefix}key/${name}`
    return saved === undefined ? { type: 'delete', key } : put(key, encode(saved))
  }

  /** Of what is over: the outcome stands though the disk refuses it, and is written with what comes next. */
  async settle(operations: StorageOp[]): Promise<void> {
    if (operations.length === 0 && this.#refused.length === 0) return
    await this.write(operations).catch(() => {
      this.#refused.push(...operations)
    })
  }

  async write(operations: StorageOp[]): Promise<void> {
    const refused = this.#refused
    this.#refused = []
    try {
      await this.#storage.write([...refused, ...operations])
    } catch (error) {
      this.#refused.unshift(...refused)
      throw asStickyError(error, 'STORAGE_FAILED')
    }
  }
}

function readEntry(order: string, bytes: Uint8Array, sentBytes?: Uint8Array, failedBytes?: Uint8Array) {
  if (!ORDER.test(order)) throw new StickyError('MALFORMED', 'Not a place in the order.')
  const entry = decode(bytes, MAX_ENTRY_BYTES, entrySchema)
  decodeAny(entry.data, LIMITS.maxPayloadBytes)
  const sent = sentBytes && decode(sentBytes, MAX_SENT_BYTES, sentSchema)
  const saved = failedBytes && decode(failedBytes, MAX_FAILED_BYTES, failedSchema)
  return { entry, sent, failed: saved && new StickyError(saved.code as ErrorCode, saved.message) }
}

const ORDER = /^[0-9a-f]{12}$/

/** The name of a place: as text in the order of the places. */
export const orderOf = (place: number): string => place.toString(16).padStart(12, '0')
export const placeOf = (order: string): number => Number.parseInt(order, 16)

const lastOf = (key: string): string => key.slice(key.lastIndexOf('/') + 1)

const put = (key: string, value: Uint8Array): StorageOp => ({ type: 'put', key, value })

function unreadable(name: string, cause: unknown): StickyError {
  const { code, message } = asStickyError(cause, 'MALFORMED')
  return new StickyError(code, `Entry ${name} of the outbox cannot be read: ${message}`, { cause })
}
