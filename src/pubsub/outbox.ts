import {
  asStickyError,
  type CodeCounts,
  countCode,
  type Dht,
  StickyError,
  type Storage,
  type StorageOp,
  sha256,
  type Timer,
  toHex,
} from '../dht/index.ts'
import type { EnqueueOptions, OutboxError, PublishReceipt, Receipt } from './api.ts'
import { DeliveredWatch } from './delivered-watch.ts'
import { InOrder } from './in-order.ts'
import { checkTtl } from './message.ts'
import { LIMITS, type PubSubOptions } from './options.ts'
import {
  bytesOfEntry,
  type Entry,
  finalError,
  type NewEntry,
  newEntry,
  restoredEntry,
  toReceipt,
} from './outbox-entry.ts'
import { OutboxStore, orderOf, placeOf } from './outbox-store.ts'
import { OutboxTopic } from './outbox-topic.ts'
import type { Publisher } from './publish.ts'
import { Receipts } from './receipts.ts'
import {
  duplicateOf,
  type KeyChange,
  nameOfKey,
  RememberedKeys,
  requireSame,
  type SavedKey,
  storedKey,
} from './remembered-keys.ts'
import { Slots } from './slots.ts'

/**
 * What an application wants published, kept at this node until it is stored or has failed for good, through restarts and
 * times without a network. This file takes it in and lets it go; outbox-topic.ts sends.
 */

export interface OutboxInit {
  dht: Dht
  storage: Storage
  /** Public key. */
  publisherKey: Uint8Array
  publisher: Publisher
  options: PubSubOptions
  requireUsable(topicKey: Uint8Array): void
}

export class Outbox {
  readonly #init: OutboxInit
  readonly #store: OutboxStore
  readonly #receipts: Receipts
  readonly #delivered: DeliveredWatch
  readonly #slots: Slots
  readonly #topics = new Map<string, OutboxTopic>()
  /** By the name of the key, in order. */
  readonly #entries = new Map<string, Entry>()
  readonly #finals = new Map<Entry, PromiseWithResolvers<PublishReceipt>>()
  /** Of those, and of what has failed and nobody was told of. */
  #bytes = 0
  #untoldFailures = 0
  /** taken = stored + failures + unwritten + `size`, at every moment. unwritten: this node's disk refused it. */
  readonly counters = { taken: 0, stored: 0, failures: {} as CodeCounts, unwritten: 0 }
  #nextPlace = 0
  #loading: Promise<void> | undefined
  #loadTimer: Timer | undefined
  /** Entries of a topic come in in the order of the calls; one that waits for a key holds up no other topic. */
  readonly #order = new InOrder()
  #isClosed = false
  readonly #stopListening: () => void
  readonly keys: RememberedKeys

  constructor(init: OutboxInit) {
    this.#init = init
    this.#store = new OutboxStore(init.storage, init.publisherKey)
    this.#receipts = new Receipts(init.options.maxUntoldReceipts)
    this.#delivered = new DeliveredWatch(init.dht, init.options)
    this.#slots = new Slots(init.options.maxOutboxTopicsAtOnce)
    this.keys = new RememberedKeys(init.options)
    this.#stopListening = init.dht.onTopologyChange(() => {
      for (const topic of this.#topics.values()) topic.topologyChanged()
    })
    this.#start()
  }

  get size(): number {
    return this.#entries.size
  }

  /** What is bounded: also what has failed, until somebody was told. */
  get held(): { entries: number; bytes: number } {
    return { entries: this.#entries.size + this.#untoldFailures, bytes: this.#bytes }
  }

  /** Messages of which somebody wants to hear to how many they are delivered. */
  get deliveredWatched(): number {
    return this.#delivered.size
  }

  onReceipt(listener: (receipt: Receipt) => void, topic?: string): () => void {
    return this.#receipts.onReceipt(listener, topic)
  }

  onError(listener: (error: OutboxError) => void): () => void {
    return this.#receipts.onError(listener)
  }

  async enqueue(
    topic: string,
    topicKey: Uint8Array,
    data: Uint8Array,
    { key, ttlMs = LIMITS.defaultTtlMs, delivered = false, ...others }: EnqueueOptions,
  ): Promise<Receipt> {
    if ('expect' in others && others.expect !== undefined)
      throw new StickyError('INVALID_DATA', 'What may wait cannot expect a version: publish it.')
    checkTtl(ttlMs)
    const { runtime } = this.#init.dht
    const given = key ?? toHex(runtime.randomBytes(16))
    const entry = await this.#order.run(topicKey, async () => {
      await this.ready()
      const [keyName, hash] = await Promise.all([nameOfKey(topicKey, given), sha256(data)])
      await this.keys.settled(keyName)
      if (this.#isClosed) throw new StickyError('CLOSED', 'This node is closed.')
      const now = runtime.now()
      return this.#take({
        topic,
        topicKey,
        key: given,
        keyName,
        isNamed: key !== undefined,
        data,
        hash,
        queuedAt: now,
        expiresAt: now + ttlMs,
        asksDelivered: delivered,
      })
    })
    await entry.written
    return toReceipt(entry)
  }

  /** The entry under this key: a new one, the one that waits already, or one that says that it is stored. */
  #take(given: NewEntry): Entry {
    const waiting = this.#entries.get(given.keyName)
    if (waiting !== undefined) {
      requireSame(waiting.hash, given.hash)
      return waiting
    }
    const kept = this.keys.get(given.keyName, given.hash, given.queuedAt)
    const stored = kept && duplicateOf(kept)
    if (stored !== undefined) return { ...newEntry('', withLifeOf(kept, given)), state: 'stored', stored }
    this.#requireRoom(bytesOfEntry(given))
    const entry = newEntry(orderOf(this.#nextPlace++), withLifeOf(kept, given))
    if (kept?.outcome.status === 'unknown') {
      entry.envelope = kept.outcome.envelope
      entry.mayBeStored = true
    }
    this.#insert(entry)
    entry.written = this.#write(entry)
    entry.written.catch(() => undefined)
    return entry
  }

  /** Failures keep the room that nobody else needs: those of a topic that nobody opens again are not to stop all others. */
  #requireRoom(bytes: number): void {
    const { maxOutboxEntries, maxOutboxBytes } = this.#init.options
    const isFull = () => this.held.entries >= maxOutboxEntries || this.#bytes + bytes > maxOutboxBytes
    while (isFull())
      if (!this.#receipts.forgetFailure())
        throw new StickyError('BUSY', `${this.#entries.size} messages wait in the outbox already.`)
  }

  #insert(entry: Entry): void {
    this.counters.taken += 1
    this.#entries.set(entry.keyName, entry)
    this.#bytes += bytesOfEntry(entry)
    this.#topic(entry.topicKey).add(entry)
  }

  /** Nothing of it is left when the disk refuses it. */
  async #write(entry: Entry): Promise<void> {
    const { topic, key, isNamed, data, queuedAt, expiresAt, order, envelope } = entry
    const saved = { v: 1 as const, topic, key, isNamed, data, queuedAt, expiresAt }
    try {
      await this.#store.add(order, entry.asksDelivered ? { ...saved, asksDelivered: true } : saved, envelope)
    } catch (error) {
      this.#release(entry)
      this.counters.unwritten += 1
      const topic = this.#topic(entry.topicKey)
      topic.remove(entry)
      topic.kick() // nothing is left of it, either
      this.#finals.get(entry)?.reject(error)
      this.#finals.delete(entry)
      throw error
    }
    entry.isWritten = true
    this.#receipts.change(toReceipt(entry))
    this.#topic(entry.topicKey).kick()
  }

  /** One that has failed has its room until somebody was told. */
  #release(entry: Entry): void {
    this.#entries.delete(entry.keyName)
    if (entry.state === 'failed') this.#untoldFailures += 1
    else this.#bytes -= bytesOfEntry(entry)
  }

  /** Oldest first. */
  async list(topicKey?: Uint8Array): Promise<Receipt[]> {
    await this.ready()
    const name = topicKey && toHex(topicKey)
    return [...this.#entries.values()]
      .filter(({ isWritten, topicKey }) => isWritten && (name === undefined || toHex(topicKey) === name))
      .map((entry) => toReceipt(entry))
  }

  /** What becomes of the message that waits under a key; undefined when none does. Throws KEY_CONFLICT for other data. */
  outcomeOf(keyName: string, hash: Uint8Array): Promise<PublishReceipt> | undefined {
    const entry = this.#entries.get(keyName)
    if (entry === undefined) return undefined
    requireSame(entry.hash, hash)
    const final = this.#finals.get(entry) ?? Promise.withResolvers<PublishReceipt>()
    final.promise.catch(() => undefined)
    this.#finals.set(entry, final)
    return final.promise
  }

  /** Changes of the remembered keys, on disk when it resolves. */
  writeKeys(changes: KeyChange[]): Promise<void> {
    return this.#store.write(changes.map((change) => this.#store.keyChange(change)))
  }

  drain(): void {
    if (this.#isClosed) return
    this.#start()
    for (const topic of this.#topics.values()) topic.drain()
  }

  /** Resolves once nothing is being sent: all is final, or waits for its time. */
  async atRest(): Promise<void> {
    await this.ready().catch(() => undefined)
    await Promise.all([...this.#topics.values()].map((topic) => topic.atRest()))
  }

  #topic(topicKey: Uint8Array): OutboxTopic {
    const name = toHex(topicKey)
    let topic = this.#topics.get(name)
    if (topic === undefined) {
      topic = new OutboxTopic({
        ...this.#init,
        topicKey,
        store: this.#store,
        slots: this.#slots,
        onChange: (entry) => this.#receipts.change(toReceipt(entry)),
        onFinal: (entry, outcome) => this.#finish(entry, outcome),
        onIdle: () => void this.#topics.delete(name),
      })
      this.#topics.set(name, topic)
    }
    return topic
  }

  async #finish(entry: Entry, outcome: PublishReceipt | StickyError): Promise<void> {
    const isStored = !(outcome instanceof StickyError)
    const error = isStored ? undefined : finalError(entry, outcome)
    entry.state = isStored ? 'stored' : 'failed'
    entry.error = error
    entry.stored = isStored ? outcome : undefined
    this.#release(entry)
    if (error === undefined) this.counters.stored += 1
    else countCode(this.counters.failures, error.code)
    const operations = this.#rememberedOf(entry, outcome, error)
    // a failure stays on disk until somebody was told, also after a restart
    operations.push(...(error ? [this.#store.failure(entry.order, error)] : this.#store.removal(entry.order)))
    await this.#store.settle(operations)
    const final = this.#finals.get(entry)
    this.#finals.delete(entry)
    if (isStored) final?.resolve(outcome)
    else final?.reject(error)
    this.#tell(entry)
    if (isStored && entry.asksDelivered) this.#watchDelivered(entry)
  }

  #watchDelivered(entry: Entry): void {
    const { topicKey, sent } = entry
    if (sent === undefined) return
    this.#delivered.watch(topicKey, sent.message.id, (delivered) =>
      this.#receipts.change({ ...toReceipt(entry), state: 'delivered', delivered }),
    )
  }

  #tell(entry: Entry): void {
    this.#receipts.final(toReceipt(entry), () => {
      if (entry.state !== 'failed') return
      this.#untoldFailures -= 1
      this.#bytes -= bytesOfEntry(entry)
      void this.#store.settle(this.#store.removal(entry.order))
    })
  }

  /** A key that the application chose is remembered with its receipt, and any whose outcome nobody knows with the message. */
  #rememberedOf(
    entry: Entry,
    outcome: PublishReceipt | StickyError,
    error: StickyError | undefined,
  ): StorageOp[] {
    const { keyName, hash, expiresAt, isNamed } = entry
    const now = this.#init.dht.runtime.now()
    const envelope = entry.sent?.message.envelope ?? entry.envelope
    let changes: KeyChange[] = this.keys.drop(keyName)
    if (!(outcome instanceof StickyError)) {
      if (isNamed) changes = this.keys.put(keyName, storedKey(hash, now, expiresAt, outcome))
    } else if (error?.code === 'OUTCOME_UNKNOWN' && envelope !== undefined) {
      const unknown = { status: 'unknown' as const, envelope }
      changes = this.keys.put(keyName, { hash, atMs: now, expiresAt, outcome: unknown })
    }
    return changes.map((change) => this.#store.keyChange(change))
  }

  // --- starting and ending

  /** What an earlier process left is there. Rejects when the disk cannot be read; the next call tries again. */
  ready(): Promise<void> {
    this.#loading ??= this.#load().catch((error: unknown) => {
      this.#loading = undefined
      throw asStickyError(error, 'STORAGE_FAILED')
    })
    return this.#loading
  }

  #start(): void {
    this.#loadTimer?.clear()
    this.#loadTimer = undefined
    this.ready().catch((error: StickyError) => {
      if (this.#isClosed) return
      this.#receipts.error(error)
      const { dht, options } = this.#init
      this.#loadTimer ??= dht.runtime.setTimer(() => this.#start(), options.offlineCheckMs)
    })
  }

  async #load(): Promise<void> {
    const loaded = await this.#store.load()
    const entries = await Promise.all(loaded.entries.map((saved) => restoredEntry(saved)))
    const forgotten = this.keys.load(loaded.keys, this.#init.dht.runtime.now())
    await this.#store.settle(forgotten.map((change) => this.#store.keyChange(change)))
    for (const error of loaded.unreadable) this.#receipts.error(error)
    this.#nextPlace = 1 + Math.max(-1, ...entries.map(({ order }) => placeOf(order)))
    if (this.#isClosed) return
    for (const entry of entries) {
      if (entry.state !== 'failed') this.#insert(entry)
      else {
        this.#untoldFailures += 1
        this.#bytes += bytesOfEntry(entry)
        this.#tell(entry)
      }
    }
    for (const topic of this.#topics.values()) topic.kick()
  }

  /** Nothing more is sent; what is under way ends with the publisher. */
  stop(): void {
    this.#isClosed = true
    this.#stopListening()
    this.#delivered.close()
    this.#loadTimer?.clear()
    for (const topic of this.#topics.values()) topic.stop()
    for (const { reject } of this.#finals.values())
      reject(new StickyError('OUTCOME_UNKNOWN', 'This node is closed; the message waits in its outbox.'))
    this.#finals.clear()
  }

  /** What waits is on disk, for the next start. After the publisher. */
  async close(): Promise<void> {
    await this.#order.ended()
    await Promise.all([...this.#topics.values()].map((topic) => topic.delivered()))
    await this.#store.settle([])
    this.#receipts.end()
  }
}

/** A message that was sent before keeps the end of its life. */
const withLifeOf = (kept: SavedKey | undefined, given: NewEntry): NewEntry => ({
  ...given,
  expiresAt: kept?.expiresAt ?? given.expiresAt,
})
