import type { BlockRef, Change } from '../../src/dht/kinds.ts'
import { StageTimers } from '../../src/dht/measures.ts'
import { DEFAULT_DHT_OPTIONS, type DhtOptions } from '../../src/dht/options.ts'
import type { HeldRecord } from '../../src/dht/record.ts'
import { RecordStore } from '../../src/dht/record-store.ts'
import { decodePage } from '../../src/pubsub/collection.ts'
import { encodeDelta } from '../../src/pubsub/delta.ts'
import { COORDINATOR, LIMITS } from '../../src/pubsub/options.ts'
import { FaultStorage } from './fault-storage.ts'
import { topicKey, World } from './lineage.ts'
import { ManualRuntime } from './manual-runtime.ts'

/** One node's records with the shipped kinds of topics, over a storage that a test can break. */

export const KIND = COORDINATOR

export interface HolderInit {
  world?: World
  storage?: FaultStorage
  options?: Partial<DhtOptions>
  fetchMissing?: (record: HeldRecord, ref: BlockRef) => Promise<Uint8Array | undefined>
}

export class Holder {
  readonly world: World
  readonly storage: FaultStorage
  readonly store: RecordStore
  readonly #init: HolderInit
  #sequence = 0

  constructor(init: HolderInit = {}) {
    this.#init = init
    this.world = init.world ?? new World()
    this.storage = init.storage ?? new FaultStorage()
    const runtime = new ManualRuntime(() => this.world.nowMs)
    this.store = new RecordStore({
      storage: this.storage,
      runtime,
      stages: new StageTimers(runtime),
      options: { ...DEFAULT_DHT_OPTIONS, ...init.options },
      headKinds: [this.world.kind],
      blockKinds: [...this.world.blockKinds.values()],
      fetchMissing: init.fetchMissing ?? (async () => undefined),
    })
  }

  record(key: Uint8Array = topicKey): Promise<HeldRecord> {
    return this.store.record(KIND, key)
  }

  /** A delta with `count` new messages of one writer. */
  async delta(count = 1, writer = 0, ttlMs: number = LIMITS.defaultTtlMs): Promise<Uint8Array> {
    this.world.nowMs += 1
    const messages = await this.world.messages(this.#sequence + 1, count, { writer, ttlMs })
    this.#sequence += count
    return encodeDelta({ nowMs: this.world.nowMs, messages, payloads: [], statements: [] })
  }

  /** Commits `count` new messages; resolves when the store says that they are kept. */
  async commit(count = 1, writer = 0, ttlMs?: number): Promise<Change | undefined> {
    const delta = await this.delta(count, writer, ttlMs)
    const record = await this.record()
    return record.exclusive(() => this.store.applyLocal(record, delta))
  }

  async head(key: Uint8Array = topicKey): Promise<Uint8Array | undefined> {
    return (await this.record(key)).head
  }

  /** The same disk after the process was killed: nothing was closed. */
  restart(options: Partial<HolderInit> = {}): Holder {
    return new Holder({ ...this.#init, world: this.world, storage: this.storage, ...options })
  }

  /** How many messages the head reaches, each read through the record and verified, as a peer would. */
  async messageCount(): Promise<number> {
    return countMessages(this.store, await this.record())
  }
}

export async function countMessages(store: RecordStore, record: HeldRecord): Promise<number> {
  if (record.head === undefined) return 0
  let count = 0
  const waiting: BlockRef[] = record.kind.links(record.head)
  for (let ref = waiting.pop(); ref !== undefined; ref = waiting.pop()) {
    const kind = store.blockKind(ref.kind)
    if (ref.optional && (await record.local(ref)) === undefined) continue
    const bytes = await record.read(ref)
    await kind.verify(ref.id, bytes)
    if (ref.kind === 'message') count += 1
    if (ref.kind === 'page') count += decodePage(bytes).entries.length
    waiting.push(...kind.links(bytes))
  }
  return count
}
