import { equalBytes, fromHex, toHex } from './codec.ts'
import { StickyError } from './errors.ts'
import type { BlockKind, BlockRef, Change, HeadKind } from './kinds.ts'
import type { StageTimers } from './measures.ts'
import type { DhtOptions } from './options.ts'
import { blockName, HeldRecord, headName } from './record.ts'
import type { Runtime } from './runtime.ts'
import type { Storage } from './storage.ts'
import { SweptStorage } from './swept-storage.ts'

/** The records this node holds: loading, local changes, and leaving the disk when they have expired. */

/** Told after a held record moved on; `delta` when it moved by one, absent after a join. */
export interface Advance {
  kind: string
  key: Uint8Array
  before: Uint8Array | undefined
  after: Uint8Array
  delta: Uint8Array | undefined
  record: HeldRecord
}

export interface RecordStoreInit {
  storage: Storage
  runtime: Runtime
  options: DhtOptions
  headKinds: HeadKind[]
  blockKinds: BlockKind[]
  fetchMissing(record: HeldRecord, ref: BlockRef): Promise<Uint8Array | undefined>
  readonly stages: StageTimers
}

/** Records that are counted as lost. */
const MAX_LOST = 10_000

export class RecordStore {
  readonly storage: SweptStorage
  readonly runtime: Runtime
  readonly options: DhtOptions
  readonly headKinds: ReadonlyMap<string, HeadKind>
  readonly blockKinds: ReadonlyMap<string, BlockKind>
  readonly #fetchMissing: RecordStoreInit['fetchMissing']
  readonly stages: StageTimers
  /** Joins that made a new head of two; taking over a newer one is none. */
  readonly counters = { merges: 0, lostHeads: 0 }
  readonly #lost = new Set<string>()
  readonly #loaded = new Map<string, Promise<HeldRecord>>()
  /** On their way out of memory: who asks for one meanwhile is given the same object, unless it has become stale. */
  readonly #unloading = new Map<string, Promise<HeldRecord>>()
  /** Unloaded, but perhaps still in somebody's hands: a record must never exist twice. */
  readonly #released = new Map<string, WeakRef<HeldRecord>>()
  readonly #forgotten = new FinalizationRegistry<string>((name) => {
    if (this.#released.get(name)?.deref() === undefined) this.#released.delete(name)
  })
  readonly #listeners = new Set<(advance: Advance) => void>()

  constructor(init: RecordStoreInit) {
    this.storage = new SweptStorage(init.storage)
    this.runtime = init.runtime
    this.options = init.options
    this.headKinds = new Map(init.headKinds.map((kind) => [kind.name, kind]))
    this.blockKinds = new Map(init.blockKinds.map((kind) => [kind.name, kind]))
    this.#fetchMissing = init.fetchMissing
    this.stages = init.stages
  }

  onAdvance(listener: (advance: Advance) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  headKind(name: string): HeadKind {
    const kind = this.headKinds.get(name)
    if (kind === undefined) throw new StickyError('UNKNOWN_KIND', `No records of kind ${name} are kept here.`)
    return kind
  }

  blockKind(name: string): BlockKind {
    const kind = this.blockKinds.get(name)
    if (kind === undefined) throw new StickyError('UNKNOWN_KIND', `No blocks of kind ${name} are kept here.`)
    return kind
  }

  /** The record, empty when nothing is held under the key. */
  record(kindName: string, key: Uint8Array): Promise<HeldRecord> {
    const kind = this.headKind(kindName)
    const name = headName(kindName, key)
    let loading = this.#loaded.get(name)
    if (loading === undefined) {
      loading = this.#findAgain(name, kind, key) ?? this.#load(kind, key)
      loading.catch(() => this.#loaded.delete(name))
    } else {
      this.#loaded.delete(name)
    }
    this.#loaded.set(name, loading) // last in the order of use
    if (this.#loaded.size > this.options.maxLoadedRecords) void this.#unloadOldest()
    return loading
  }

  #findAgain(name: string, kind: HeadKind, key: Uint8Array): Promise<HeldRecord> | undefined {
    const unloading = this.#unloading.get(name)
    if (unloading !== undefined)
      return unloading.then((record) => (record.isStale ? this.#load(kind, key) : record))
    const record = this.#released.get(name)?.deref()
    return record === undefined || record.isStale ? undefined : Promise.resolve(record)
  }

  async #load(kind: HeadKind, key: Uint8Array): Promise<HeldRecord> {
    const record = new HeldRecord(kind, key, {
      storage: this.storage,
      options: this.options,
      blockKinds: this.blockKinds,
      fetchMissing: (held, ref) => this.#fetchMissing(held, ref),
    })
    await this.stages.watch('load', () => record.load())
    if (record.hasLostHead) this.#noteLost(`${kind.name}/${toHex(key)}`)
    return record
  }

  /** Each once, however often it is read: what is lost stays so until the next checkpoint. */
  #noteLost(name: string): void {
    if (this.#lost.size >= MAX_LOST) return
    this.#lost.add(name)
    this.counters.lostHeads = this.#lost.size
  }

  /** Folds the longest unused record into its checkpoint and forgets it. */
  async #unloadOldest(): Promise<void> {
    const [name, loading] = this.#loaded.entries().next().value as [string, Promise<HeldRecord>]
    this.#loaded.delete(name)
    this.#unloading.set(name, loading)
    try {
      const record = await loading
      await record.exclusive(() => record.checkpoint()).catch(() => undefined) // the log has what it has not
      this.#released.set(name, new WeakRef(record))
      this.#forgotten.register(record, name)
    } catch {
      // it could not be loaded, so there is nothing to keep
    } finally {
      if (this.#unloading.get(name) === loading) this.#unloading.delete(name)
    }
  }

  /**
   * Applies `delta` to the record's head. `whileWriting` sees the new head before it is on disk, so that a proposal can
   * travel while the disk works. Gives undefined when the delta changes nothing.
   */
  async applyLocal(
    record: HeldRecord,
    delta: Uint8Array,
    whileWriting?: (change: Change, base: Uint8Array | undefined) => void,
  ): Promise<Change | undefined> {
    const before = record.head
    const change = await this.apply(record, delta)
    if (before !== undefined && equalBytes(before, change.head)) return undefined
    whileWriting?.(change, record.headId)
    await this.applyPrepared(record, delta, change)
    return change
  }

  /** What a delta, ours or a peer's, makes of the record's head; nothing is changed yet. */
  apply({ kind, key, head, read }: HeldRecord, delta: Uint8Array): Promise<Change> {
    return this.stages.watch('apply', () => kind.apply(key, head, delta, read, 'peer'))
  }

  /** Makes `change`, which `delta` gave of the current head, durable and known. */
  async applyPrepared(record: HeldRecord, delta: Uint8Array, change: Change): Promise<void> {
    const before = record.head
    await record.append(delta, change)
    this.#announce(record, before, delta)
  }

  /** Joins `other`, whose blocks are all readable, into the record. True when the head changed. */
  async joinLocal(record: HeldRecord, other: Uint8Array): Promise<boolean> {
    const before = record.head
    const change =
      before === undefined ? await this.#adopt(record, other) : await this.#join(record, before, other)
    if (before !== undefined && equalBytes(before, change.head)) return false
    try {
      await record.replace(change)
    } catch (error) {
      this.#dropStale(record)
      throw error
    }
    if (before !== undefined && !equalBytes(change.head, other)) this.counters.merges += 1
    this.#announce(record, before, undefined)
    return true
  }

  /** It is read again; one that somebody has read again by now stays, or there would be two. */
  #dropStale(record: HeldRecord): void {
    const name = headName(record.kind.name, record.key)
    const loading = this.#loaded.get(name)
    const drop = (loaded: HeldRecord) => {
      if (loaded === record && this.#loaded.get(name) === loading) this.#loaded.delete(name)
    }
    loading?.then(drop, () => undefined)
  }

  async #adopt(record: HeldRecord, other: Uint8Array): Promise<Change> {
    await record.kind.checkLinked(record.key, other, record.read)
    return { head: other, blocks: [] }
  }

  /** What `other` reaches is here. So when a block is missing it is the own head's: it was lost, and nobody has it. */
  async #join(record: HeldRecord, own: Uint8Array, other: Uint8Array): Promise<Change> {
    try {
      return await record.kind.join(record.key, own, other, record.read)
    } catch (error) {
      if (!(error instanceof StickyError) || error.code !== 'NOT_FOUND') throw error
      const change = await this.#adopt(record, other)
      record.noteLoss()
      return change
    }
  }

  #announce(record: HeldRecord, before: Uint8Array | undefined, delta: Uint8Array | undefined): void {
    const advance = {
      kind: record.kind.name,
      key: record.key,
      before,
      after: record.head as Uint8Array,
      delta,
      record,
    }
    for (const listener of this.#listeners) listener(advance)
  }

  /** Keys of the records held, from the disk. */
  async *heldKeys(kindName: string): AsyncIterable<Uint8Array> {
    const prefix = `head/${kindName}/`
    for await (const name of this.storage.keys(prefix)) yield fromHex(name.slice(prefix.length))
  }

  /** Removes expired records and every block that no held record reaches. Gives how many keys went. */
  async sweep(): Promise<number> {
    const marked: Marked = { reachable: new Set(), heads: new Map(), isWhole: true }
    let removed = await this.#mark(marked)
    // what a record that cannot be read now needs is not known
    const isAnyLeaving = marked.isWhole && (await this.storage.look(marked.reachable))
    // what was committed or joined meanwhile may lead to one of them again
    if (isAnyLeaving) removed += await this.#mark(marked)
    if (isAnyLeaving && marked.isWhole) removed += await this.storage.removeLeaving(marked.reachable)
    this.#removedSinceCompaction += removed
    if (this.#removedSinceCompaction > marked.reachable.size * this.options.compactAfterShare) {
      this.#removedSinceCompaction = 0
      await this.storage.compact?.()
    }
    return removed
  }

  /** Marks what records reach whose head is not marked yet, and forgets the expired ones: gives how many keys went. */
  async #mark(marked: Marked): Promise<number> {
    let removed = 0
    for (const [kindName, kind] of this.headKinds) {
      for await (const key of this.heldKeys(kindName)) {
        try {
          const record = await this.record(kindName, key)
          removed += await record.exclusive(() => this.#markOrForget(kind, record, marked))
        } catch {
          marked.isWhole = false // one bad record must not keep the others from being swept
        }
      }
    }
    return removed
  }

  async #markOrForget(kind: HeadKind, record: HeldRecord, { reachable, heads }: Marked): Promise<number> {
    const name = headName(kind.name, record.key)
    if (await this.#isExpired(kind, record)) return this.#forget(name, record)
    if (record.headId !== undefined && heads.get(name) !== toHex(record.headId)) {
      await this.#markReachable(record, reachable)
      heads.set(name, toHex(record.headId))
    }
    return 0
  }

  /** Who asks for it meanwhile waits, and reads what the disk has then: it must not find what is just being deleted. */
  async #forget(name: string, record: HeldRecord): Promise<number> {
    const removing = record.forget()
    const gone = removing.then(
      () => record,
      () => record,
    )
    this.#loaded.delete(name)
    this.#unloading.set(name, gone)
    try {
      return await removing
    } finally {
      if (this.#unloading.get(name) === gone) this.#unloading.delete(name)
    }
  }

  async #isExpired(kind: HeadKind, record: HeldRecord): Promise<boolean> {
    if (record.head === undefined) return false
    try {
      const { expiresAtMs } = await kind.verify(record.key, record.head)
      return expiresAtMs < this.runtime.now()
    } catch {
      return false // e.g. the clock went back, and the head is from ahead of it
    }
  }

  async #markReachable(record: HeldRecord, reachable: Set<string>): Promise<void> {
    // a full disk takes none, but lets go of blocks, and then has room: a start needs those of the old checkpoint
    await record.checkpoint().catch(() => undefined)
    const heads = [record.head, record.isIdle ? undefined : await record.savedHead()]
    for (const head of heads) if (head !== undefined) await this.#markReachableFrom(head, record, reachable)
  }

  async #markReachableFrom(head: Uint8Array, record: HeldRecord, reachable: Set<string>): Promise<void> {
    const kept = await record.kind.kept(head, record.readHere, this.runtime.now())
    const waiting = [...record.kind.links(head), ...kept]
    for (let ref = waiting.pop(); ref !== undefined; ref = waiting.pop()) {
      const name = blockName(ref)
      if (reachable.has(name)) continue
      reachable.add(name)
      const kind = this.blockKinds.get(ref.kind)
      if (kind === undefined || kind.isLeaf) continue
      const bytes = await record.local(ref)
      if (bytes !== undefined) waiting.push(...kind.links(bytes))
    }
  }

  #removedSinceCompaction = 0

  get loadedCount(): number {
    return this.#loaded.size
  }

  /** Records on this node's disk, as they were some seconds ago: it goes through their names, for a hundredth of the time at most. */
  heldCount(): Promise<number> {
    if (this.runtime.monotonicNow() > this.#countAgainAtMs) this.#held = this.#countHeld()
    return this.#held
  }

  async #countHeld(): Promise<number> {
    const startedAtMs = this.runtime.monotonicNow()
    this.#countAgainAtMs = Number.POSITIVE_INFINITY
    let againMs = 0 // after an error
    try {
      let count = 0
      for await (const _name of this.storage.keys('head/')) count += 1
      againMs = Math.max(COUNT_AGAIN_MS, 100 * (this.runtime.monotonicNow() - startedAtMs))
      return count
    } finally {
      this.#countAgainAtMs = startedAtMs + againMs
    }
  }

  #held: Promise<number> = Promise.resolve(0)
  #countAgainAtMs = Number.NEGATIVE_INFINITY

  /** Folds what is in memory into checkpoints, so that the next start replays nothing. */
  async close(): Promise<void> {
    for (const loading of this.#loaded.values()) {
      const record = await loading.catch(() => undefined)
      await record?.exclusive(() => record.checkpoint()).catch(() => undefined)
    }
    this.#loaded.clear()
  }
}

const COUNT_AGAIN_MS = 10_000

/** What a sweep knows so far: names of the blocks that are needed, and the head of each record that led to them. */
interface Marked {
  reachable: Set<string>
  heads: Map<string, string>
  /** False when a record could not be looked at: then no block is known to be needed by nobody. */
  isWhole: boolean
}
