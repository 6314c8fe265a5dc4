import type { AntiEntropy } from './anti-entropy.ts'
import { askInTurn } from './ask-in-turn.ts'
import { equalBytes, sha256 } from './codec.ts'
import { asStickyError, StickyError } from './errors.ts'
import { HeadComparer } from './head-comparer.ts'
import type { holdRecords } from './holding.ts'
import type { NodeId } from './identity.ts'
import type { BlockKind, BlockReader, BlockRef, HeadKind } from './kinds.ts'
import { StageTimers } from './measures.ts'
import type { ClosestPeer, PeerNetwork } from './network.ts'
import { DEFAULT_DHT_OPTIONS, type DhtOptions } from './options.ts'
import { ReadRepair } from './read-repair.ts'
import { blockName, type HeldRecord } from './record.ts'
import { RecordStore } from './record-store.ts'
import { remoteReader } from './remote-record.ts'
import { type HeadAnswer, Replicas } from './replicas.ts'
import { Rpc } from './rpc.ts'
import { jittered, type Runtime, systemRuntime, type Timer } from './runtime.ts'
import type { Storage } from './storage.ts'
import { requestBlocks, syncFrom } from './sync.ts'
import { recordMethods } from './wire.ts'

export interface DhtInit {
  network: PeerNetwork
  storage: Storage
  headKinds: HeadKind[]
  blockKinds: BlockKind[]
  runtime?: Runtime
  options?: Partial<DhtOptions>
  stages?: StageTimers
  /** Needed where the network stores. */
  holdRecords?: typeof holdRecords
}

/** A head that a holder is thought to have; to ask whether it has may wait so long for other such questions to it. */
export interface ExpectedHead {
  head: Uint8Array
  gatherMs: number
}

/** This room's parts, wired together. Pubsub speaks to these and to nothing below them. */
export class Dht {
  readonly network: PeerNetwork
  readonly runtime: Runtime
  readonly options: DhtOptions
  readonly stages: StageTimers
  readonly rpc: Rpc
  readonly replicas: Replicas
  readonly store: RecordStore
  readonly #comparer: HeadComparer
  readonly #antiEntropy: AntiEntropy | undefined
  readonly #topologyListeners = new Set<() => void>()
  readonly #startedAtMs: number
  #sweepTimer: Timer | undefined
  #sweeping: Promise<unknown> = Promise.resolve()
  #closed = false

  constructor(init: DhtInit) {
    this.network = init.network
    this.runtime = init.runtime ?? systemRuntime
    this.#startedAtMs = this.runtime.monotonicNow()
    this.options = { ...DEFAULT_DHT_OPTIONS, ...init.options }
    this.stages = init.stages ?? new StageTimers(this.runtime)
    this.rpc = new Rpc(this.network, this.runtime, this.options, this.stages)
    this.replicas = new Replicas(this.network, this.rpc, this.runtime, this.options)
    this.#comparer = new HeadComparer(this.rpc, this.runtime)
    this.store = new RecordStore({
      storage: init.storage,
      runtime: this.runtime,
      options: this.options,
      headKinds: init.headKinds,
      blockKinds: init.blockKinds,
      fetchMissing: (record, ref) => this.#fetchMissing(record, ref),
      stages: this.stages,
    })
    if (this.network.stores) {
      if (init.holdRecords === undefined) throw new Error('What stores for others needs holdRecords.')
      this.#antiEntropy = init.holdRecords(this)
      this.#scheduleSweep()
    }
    this.network.onTopologyChange(() => {
      this.replicas.topologyChanged()
      this.#antiEntropy?.soon()
      for (const listener of this.#topologyListeners) listener()
    })
  }

  /** Called when peers came or went. */
  onTopologyChange(listener: () => void): () => void {
    this.#topologyListeners.add(listener)
    return () => this.#topologyListeners.delete(listener)
  }

  get self(): NodeId {
    return this.network.self
  }

  /** Compares heads with the other holders now. */
  async reconcileNow(): Promise<void> {
    await this.#antiEntropy?.round()
  }

  /** Has `peer` join this node's head, and joins what comes of it; each may take so long. */
  async reconcile(record: HeldRecord, peer: NodeId, withinMs: number): Promise<void> {
    await this.#antiEntropy?.reconcile(record, peer, withinMs)
  }

  get antiEntropyCounters(): AntiEntropy['counters'] | undefined {
    return this.#antiEntropy?.counters
  }

  /** Fetches `head` from `source` and joins it into this node's record. */
  async pull(
    kind: string,
    key: Uint8Array,
    head: Uint8Array,
    source: NodeId,
    withinMs: number = this.options.maxSyncMs,
  ): Promise<boolean> {
    const record = await this.store.record(kind, key)
    return syncFrom(this.store, this.rpc, record, head, source, withinMs)
  }

  /** The head one holder has now, null when it holds none. Throws what `verify` of its kind throws. */
  async headAt(
    kind: string,
    key: Uint8Array,
    peer: NodeId,
    expected?: ExpectedHead,
  ): Promise<Uint8Array | null> {
    if (expected !== undefined && peer !== this.self) {
      const { head, gatherMs } = expected
      if (!(await this.#comparer.differs(peer, kind, key, await sha256(head), gatherMs))) return head
    }
    const { head } = await this.rpc.request(peer, recordMethods.head, { kind, key })
    if (head !== null) await this.store.headKind(kind).verify(key, head)
    return head
  }

  /** A verified reader of a record's blocks: the own store, or else `source`, and for what it lacks the other holders. */
  reader(kind: string, key: Uint8Array, source: NodeId, signal?: AbortSignal): BlockReader {
    if (source === this.self) return async (ref) => (await this.store.record(kind, key)).read(ref)
    const read = remoteReader(this.rpc, this.store.blockKinds, kind, key, source, signal)
    return async (ref) => {
      try {
        return await read(ref)
      } catch (error) {
        if (!(error instanceof StickyError) || error.code !== 'NOT_FOUND' || ref.optional) throw error
        const bytes = await this.#fromHolders(kind, key, ref, [source, this.self], signal)
        if (bytes === undefined) throw error
        return bytes
      }
    }
  }

  /**
   * The heads of a key at a majority of its holders, with those behind repaired: after this every holder that answered
   * has joined every head that was found and is one. `agree`: whether two heads say the same of what the caller reads,
   * for one that is not interested in all of them; where all agree nothing is repaired.
   */
  async readHeads(
    kind: string,
    key: Uint8Array,
    signal?: AbortSignal,
    agree: (a: Uint8Array, b: Uint8Array) => boolean = equalBytes,
  ): Promise<HeadAnswer[]> {
    const answers = await this.replicas.heads(kind, key, signal)
    await new ReadRepair(this.store, this.rpc, kind, key, signal).run(answers, agree)
    return answers
  }

  /** A block of an own record that its disk has lost or corrupted; from then on it is there again. */
  async #fetchMissing(record: HeldRecord, ref: BlockRef): Promise<Uint8Array | undefined> {
    await this.#requireOthers(record.key)
    const isWhole = this.replicas.isWhole(record.key)
    const bytes = await this.#fromHolders(record.kind.name, record.key, ref, [this.self])
    if (bytes === undefined && !isWhole)
      throw new StickyError('UNREACHABLE', 'A holder that could have it cannot be asked now.')
    if (bytes !== undefined)
      await this.store.storage
        .write([{ type: 'put', key: blockName(ref), value: bytes }])
        .catch(() => undefined)
    return bytes
  }

  /** Nobody had it because nobody was asked: a node that has just started does not know the others yet. */
  async #requireOthers(key: Uint8Array): Promise<void> {
    const isNew = this.runtime.monotonicNow() - this.#startedAtMs < this.options.aloneMs
    const others = (await this.replicas.set(key)).filter(({ nodeId }) => nodeId !== this.self)
    if (isNew && others.length === 0)
      throw new StickyError('UNREACHABLE', 'No other holder is known yet that could have it.')
  }

  /** Undefined when all holders say that they have not; rejects when one could not be asked. */
  async #fromHolders(
    recordKind: string,
    key: Uint8Array,
    ref: BlockRef,
    except: NodeId[],
    signal?: AbortSignal,
  ): Promise<Uint8Array | undefined> {
    const kind = this.store.blockKind(ref.kind)
    const others = (await this.replicas.set(key)).filter(({ nodeId }) => !except.includes(nodeId))
    const ask = async ({ nodeId }: ClosestPeer, over: AbortSignal) => {
      if (this.#closed) throw new StickyError('CLOSED', 'This node is closed.')
      signal?.throwIfAborted()
      const ends = signal === undefined ? over : AbortSignal.any([over, signal])
      try {
        const [bytes] = await requestBlocks(
          this.rpc,
          this.store.blockKinds,
          recordKind,
          key,
          [ref],
          nodeId,
          ends,
        )
        if (bytes === null || bytes === undefined) return undefined
        await kind.verify(ref.id, bytes)
        return bytes
      } catch (error) {
        const failure = asStickyError(error, 'UNREACHABLE')
        this.replicas.noteFailure(nodeId, failure)
        throw failure
      }
    }
    const { scores } = this.rpc
    return askInTurn(
      scores.last(others, ({ nodeId }) => nodeId),
      ask,
      {
        runtime: this.runtime,
        patienceMs: this.options.stragglerMs,
        onSlow: ({ nodeId }) => scores.silent(nodeId),
      },
    )
  }

  #scheduleSweep(): void {
    this.#sweepTimer = this.runtime.setTimer(
      () => {
        this.#sweeping = this.sweep().catch(() => 0)
        this.#scheduleSweep()
      },
      jittered(this.runtime, this.options.sweepMs),
    )
  }

  /** Removes what has expired from memory and disk. Gives how many stored keys went. */
  sweep(): Promise<number> {
    return this.store.sweep()
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#sweepTimer?.clear()
    this.replicas.close()
    this.#comparer.close()
    this.rpc.close()
    await this.#antiEntropy?.close()
    await this.#sweeping
    await this.store.close()
  }
}
