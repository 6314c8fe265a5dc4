import * as v from 'valibot'
import { bytesUpTo, decode, encode, integer, sha256, toHex } from './codec.ts'
import { type ErrorCode, StickyError } from './errors.ts'
import type { Block, BlockKind, BlockReader, BlockRef, Change, HeadKind } from './kinds.ts'
import type { DhtOptions } from './options.ts'
import type { Storage, StorageOp } from './storage.ts'

/**
 * One record at its holder: the head, a write-ahead log of the deltas since the last checkpoint, and the blocks those
 * deltas made, in memory until the checkpoint. A commit appends its delta and nothing else to the disk; blocks are
 * written once, at the checkpoint. After a crash the log is replayed by the same `apply` that made it.
 */

export const headName = (kind: string, key: Uint8Array) => `head/${kind}/${toHex(key)}`
const logPrefix = (kind: string, key: Uint8Array) => `log/${kind}/${toHex(key)}/`
export const blockName = ({ kind, id }: BlockRef) => `block/${kind}/${toHex(id)}`
const logName = (kind: string, key: Uint8Array, at: number) =>
  logPrefix(kind, key) + String(at).padStart(12, '0')

const checkpointSchema = v.strictObject({
  head: bytesUpTo(4_096),
  logFrom: integer(0, Number.MAX_SAFE_INTEGER),
})
type Checkpoint = v.InferOutput<typeof checkpointSchema>
/** The first one has none, so that a start finds the record. */
const headOf = (checkpoint: Checkpoint | undefined): Uint8Array | undefined =>
  checkpoint === undefined || checkpoint.head.byteLength === 0 ? undefined : checkpoint.head
/** Nothing is wrong with the entry: its reading was ended. */
const STOPPED: ReadonlySet<ErrorCode> = new Set(['CLOSED', 'ABORTED'])
const logSchema = v.strictObject({ delta: bytesUpTo(512 * 1024) })

export interface RecordPorts {
  storage: Storage
  options: DhtOptions
  blockKinds: ReadonlyMap<string, BlockKind>
  /** Where a block may be had when this holder lacks it or its disk corrupted it. */
  fetchMissing(record: HeldRecord, ref: BlockRef): Promise<Uint8Array | undefined>
}

export class HeldRecord {
  readonly kind: HeadKind
  readonly key: Uint8Array
  readonly #ports: RecordPorts
  #head: Uint8Array | undefined
  #headId: Uint8Array | undefined
  /** Blocks made since the checkpoint, with the names of what they link to. */
  #unsaved = new Map<string, Unsaved>()
  /** Blocks no longer needed by the head, newest last, for peers still reading an older head. */
  #superseded: Map<string, Unsaved>[] = []
  #logFrom = 0
  #logNext = 0
  #logBytes = 0
  #queue: Promise<unknown> = Promise.resolve()
  #isStale = false
  #hasLostHead = false
  #losses = 0
  #lineageBreaks = 0
  /** Ids of its last heads, in hex, the oldest first: the place of each. Whatever they have the head has. */
  readonly #past = new Map<string, number>()
  #headCount = 0

  constructor(kind: HeadKind, key: Uint8Array, ports: RecordPorts) {
    this.kind = kind
    this.key = key
    this.#ports = ports
  }

  get head(): Uint8Array | undefined {
    return this.#head
  }

  get headId(): Uint8Array | undefined {
    return this.#headId
  }

  get isIdle(): boolean {
    return this.#logNext === this.#logFrom && this.#unsaved.size === 0
  }

  /** Runs one change of this record at a time, in call order. */
  exclusive<T>(work: () => Promise<T>): Promise<T> {
    const run = this.#queue.then(() => {
      if (this.#isStale) throw new StickyError('STORAGE_FAILED', 'This record must be read from disk again.')
      return work()
    })
    this.#queue = run.catch(() => undefined)
    return run
  }

  /** What is optional is asked of nobody else: a change of the record would wait for whoever is silent. */
  readonly read: BlockReader = async (ref) => {
    const bytes = await this.local(ref)
    return present(ref, bytes ?? (ref.optional ? undefined : await this.#ports.fetchMissing(this, ref)))
  }

  /** Asks nobody else. */
  readonly readHere: BlockReader = async (ref) => present(ref, await this.local(ref))

  /** The block where it is in memory: not on the disk, unless it came there in another way. */
  unsaved(ref: BlockRef): Uint8Array | undefined {
    const name = blockName(ref)
    const found =
      this.#unsaved.get(name) ?? this.#superseded.findLast((blocks) => blocks.has(name))?.get(name)
    return found?.block.bytes
  }

  /** The block from memory or this holder's disk. What the disk corrupted is removed and counts as missing. */
  async local(ref: BlockRef): Promise<Uint8Array | undefined> {
    const unsaved = this.unsaved(ref)
    if (unsaved !== undefined) return unsaved
    const name = blockName(ref)
    const bytes = await this.#ports.storage.get(name)
    if (bytes === undefined || (await this.#ports.blockKinds.get(ref.kind)?.matches(ref.id, bytes)))
      return bytes
    await this.#ports.storage.write([{ type: 'delete', key: name }])
    return undefined
  }

  /**
   * Reads the checkpoint and replays the log. A delta is made of signed facts, so what can be applied is, whatever is
   * wrong with the entries before it: a head that differs from the one before the crash is merged with the replicas'.
   */
  async load(): Promise<void> {
    const checkpoint = await this.#savedCheckpoint()
    this.#logFrom = checkpoint?.logFrom ?? 0
    const head = headOf(checkpoint)
    if (head !== undefined) await this.#setHead(head)
    try {
      await this.#replayLog()
    } catch (error) {
      // The disk has lost what the checkpoint's head names, and nobody has it any more: the replicas have gone on, and
      // what the log adds becomes a beginning of its own, which is joined with theirs.
      if (head === undefined || !(error instanceof StickyError) || error.code !== 'NOT_FOUND') throw error
      this.#hasLostHead = true
      this.#head = this.#headId = undefined
      this.#past.clear()
      this.#unsaved.clear()
      this.#superseded = []
      await this.#replayLog()
    }
  }

  async #replayLog(): Promise<void> {
    this.#logNext = this.#logFrom
    this.#logBytes = 0
    const prefix = logPrefix(this.kind.name, this.key)
    for await (const [name, value] of this.#ports.storage.entries(prefix)) {
      const at = Number(name.slice(prefix.length))
      if (at < this.#logFrom) continue
      this.#logNext = at + 1
      this.#logBytes += value.byteLength
      const change = await this.#replay(value)
      if (change !== undefined) await this.#install(change)
    }
  }

  /** The head from which a start replays the log. */
  async savedHead(): Promise<Uint8Array | undefined> {
    return headOf(await this.#savedCheckpoint())
  }

  /** Undefined when there is none, or the disk has corrupted it: the replicas have the head, and the log what it has. */
  async #savedCheckpoint(): Promise<Checkpoint | undefined> {
    const saved = await this.#ports.storage.get(headName(this.kind.name, this.key))
    try {
      const checkpoint = saved && decode(saved, 8_192, checkpointSchema)
      if (checkpoint && checkpoint.head.byteLength > 0) this.kind.links(checkpoint.head)
      return checkpoint
    } catch {
      this.#hasLostHead = true
      return undefined
    }
  }

  /** Whether the disk could not give back what the record was at its last checkpoint, so that it began anew. */
  get hasLostHead(): boolean {
    return this.#hasLostHead
  }

  /** How often it was given up for another's since it was read, because a block of it was lost: it may hold less since. */
  get losses(): number {
    return this.#losses
  }

  /** How often a head has come that does not name the one before it among its ancestors. */
  get lineageBreaks(): number {
    return this.#lineageBreaks
  }

  noteLoss(): void {
    this.#losses += 1
    this.#past.clear()
  }

  /** Whether it has or had the head of this id, lately, and `earlier` not after it. */
  hasHad(id: Uint8Array, earlier = id): boolean {
    const earliest = this.#past.get(toHex(earlier)) ?? Number.POSITIVE_INFINITY
    return (this.#past.get(toHex(id)) ?? -1) >= earliest
  }

  /** Undefined for an entry that the disk has corrupted. Throws when it may succeed later, e.g. NOT_FOUND. */
  async #replay(value: Uint8Array): Promise<Change | undefined> {
    try {
      const { delta } = decode(value, 600 * 1024, logSchema)
      return await this.kind.apply(this.key, this.#head, delta, this.read, 'disk')
    } catch (error) {
      if (error instanceof StickyError && (error.retryable || STOPPED.has(error.code))) throw error
      return undefined
    }
  }

  /** Appends `delta`, which made `change` of the current head, to the log; resolves when it is on disk. */
  async append(delta: Uint8Array, change: Change): Promise<void> {
    const value = encode({ delta })
    const operations: StorageOp[] = [
      { type: 'put', key: logName(this.kind.name, this.key, this.#logNext), value },
    ]
    if (this.#head === undefined) operations.push(this.#checkpointOp(new Uint8Array(), this.#logFrom)) // lets a boot find the record
    await this.#ports.storage.write(operations)
    this.#logNext += 1
    this.#logBytes += value.byteLength
    await this.#install(change)
    const { checkpointCommits, checkpointBytes } = this.#ports.options
    if (this.#logNext - this.#logFrom >= checkpointCommits || this.#logBytes >= checkpointBytes)
      await this.checkpoint().catch(() => undefined) // the log has it; the next append tries again
  }

  /** Replaces the head by a join's result: written whole, as a checkpoint, before anybody is shown it. */
  async replace(change: Change): Promise<void> {
    const unsaved = new Map(this.#unsaved)
    for (const block of change.blocks) this.#addTo(unsaved, block)
    try {
      await this.#writeCheckpoint(change.head, unsaved)
    } catch (error) {
      this.#isStale = true // whether the disk has it is not known
      throw error
    }
    await this.#setHead(change.head)
  }

  /**
   * Removes head and log from the disk; the blocks are left to the sweep. Whoever still waits to change this record is told
   * to read it again: what it knew would come back. Gives how many keys went.
   */
  async forget(): Promise<number> {
    this.#isStale = true
    const names = [headName(this.kind.name, this.key)]
    for await (const log of this.#ports.storage.keys(logPrefix(this.kind.name, this.key))) names.push(log)
    await this.#ports.storage.write(names.map((key) => ({ type: 'delete', key })))
    return names.length
  }

  get isStale(): boolean {
    return this.#isStale
  }

  /** Folds the log into the head and its blocks, where there is one. */
  async checkpoint(): Promise<void> {
    if (this.#head !== undefined && !this.isIdle) await this.#writeCheckpoint(this.#head, this.#unsaved)
  }

  /** Writes head and blocks, and drops the log, in one atomic step. */
  async #writeCheckpoint(head: Uint8Array, unsaved: Map<string, Unsaved>): Promise<void> {
    const operations: StorageOp[] = []
    for (const [name, { block }] of this.#reachable(head, unsaved))
      operations.push({ type: 'put', key: name, value: block.bytes })
    operations.push(this.#checkpointOp(head, this.#logNext))
    for (let at = this.#logFrom; at < this.#logNext; at++) {
      operations.push({ type: 'delete', key: logName(this.kind.name, this.key, at) })
    }
    await this.#ports.storage.write(operations)
    this.#logFrom = this.#logNext
    this.#logBytes = 0
    this.#supersede(unsaved)
    this.#unsaved = new Map()
  }

  #checkpointOp(head: Uint8Array, logFrom: number): StorageOp {
    return { type: 'put', key: headName(this.kind.name, this.key), value: encode({ head, logFrom }) }
  }

  async #setHead(head: Uint8Array): Promise<void> {
    if (this.#head !== undefined && !['same', 'behind'].includes(this.kind.compare(this.#head, head)))
      this.#lineageBreaks += 1
    this.#headId = await sha256(head)
    this.#head = head
    const name = toHex(this.#headId)
    this.#past.delete(name)
    this.#past.set(name, this.#headCount++)
    if (this.#past.size > MAX_PAST) this.#past.delete(this.#past.keys().next().value as string)
  }

  async #install(change: Change): Promise<void> {
    await this.#setHead(change.head)
    for (const block of change.blocks) this.#addTo(this.#unsaved, block)
    const needed = this.#reachable(change.head, this.#unsaved)
    const dropped = new Map<string, Unsaved>()
    for (const [name, unsaved] of this.#unsaved) {
      if (needed.has(name)) continue
      this.#unsaved.delete(name)
      dropped.set(name, unsaved)
    }
    this.#supersede(dropped)
  }

  #addTo(unsaved: Map<string, Unsaved>, block: Block): void {
    const links = this.#ports.blockKinds.get(block.kind)?.links(block.bytes) ?? []
    unsaved.set(blockName(block), { block, links: links.map(blockName) })
  }

  #supersede(blocks: Map<string, Unsaved>): void {
    if (blocks.size === 0) return
    this.#superseded.push(blocks)
    if (this.#superseded.length > this.#ports.options.keptOldCommits) this.#superseded.shift()
  }

  /** Unsaved blocks that the head reaches; saved ones are not walked, because what is below them is saved too. */
  #reachable(head: Uint8Array, unsaved: Map<string, Unsaved>): Map<string, Unsaved> {
    const found = new Map<string, Unsaved>()
    const waiting = this.kind.links(head).map(blockName)
    for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
      const one = unsaved.get(name)
      if (one === undefined || found.has(name)) continue
      found.set(name, one)
      waiting.push(...one.links)
    }
    return found
  }
}

function present(ref: BlockRef, bytes: Uint8Array | undefined): Uint8Array {
  if (bytes !== undefined) return bytes
  throw new StickyError('NOT_FOUND', `Block ${ref.kind} ${toHex(ref.id).slice(0, 16)} is missing.`)
}

/** Of one record. A request that is late by more commits is compared by what the heads say of themselves. */
const MAX_PAST = 128

interface Unsaved {
  block: Block
  links: string[]
}
