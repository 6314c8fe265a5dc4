import { sha256 } from './codec.ts'
import { asStickyError, type ErrorCode, type StickyError } from './errors.ts'
import type { NodeId } from './identity.ts'
import { publicKeyOf } from './identity.ts'
import type { HeldRecord } from './record.ts'
import type { RecordStore } from './record-store.ts'
import type { Replicas } from './replicas.ts'
import type { Rpc } from './rpc.ts'
import { atMost, jittered, type Runtime, type Timer } from './runtime.ts'
import { syncFrom } from './sync.ts'
import { MAX_RECORDS_PER_COMPARE, recordMethods } from './wire.ts'

/**
 * Holders of the same record compare heads now and then, and soon after the set of holders changed: who lacks a record
 * is handed it, who has another head joins. A node outside the set hands over what it still holds in the same way.
 */
export class AntiEntropy {
  readonly #store: RecordStore
  readonly #replicas: Replicas
  readonly #rpc: Rpc
  readonly #runtime: Runtime
  readonly #self: NodeId
  readonly #selfKey: Uint8Array
  #timer: Timer | undefined
  #dueMs = 0
  /** When the last round after a change began, and how long the next one keeps off. */
  #hastenedMs = Number.NEGATIVE_INFINITY
  #pauseMs = SOON_MS
  /** Peers came or went since the last round began. */
  #isAfterChange = false
  #running: Promise<void> | undefined
  /** Also from rounds before: who takes its time is asked again when it is done. */
  readonly #comparing = new Map<NodeId, Promise<void>>()
  #again = false
  #closed = false
  readonly counters = { rounds: 0, offers: 0, repaired: 0, failures: 0 }

  constructor(store: RecordStore, replicas: Replicas, rpc: Rpc, runtime: Runtime, self: NodeId) {
    this.#store = store
    this.#replicas = replicas
    this.#rpc = rpc
    this.#runtime = runtime
    this.#self = self
    this.#selfKey = publicKeyOf(self)
    this.#schedule(store.options.antiEntropyMs)
  }

  /**
   * Asks for a round soon: peers came or went. One that is near is not put off, or it never came while peers come and go;
   * but then it comes more and more seldom, as each looks up the holders of every record anew.
   */
  soon(): void {
    if (this.#wasQuiet) this.#pauseMs = SOON_MS
    this.#isAfterChange = true
    this.#hasten()
  }

  get #wasQuiet(): boolean {
    return this.#runtime.monotonicNow() - this.#hastenedMs > 2 * this.#pauseMs
  }

  #hasten(): void {
    const delayMs = Math.min(this.#pauseMs, this.#store.options.antiEntropyMs)
    const leftMs = this.#dueMs - this.#runtime.monotonicNow()
    if (leftMs > MOST_JITTER * delayMs) this.#schedule(delayMs)
  }

  #schedule(delayMs: number): void {
    if (this.#closed) return
    this.#timer?.clear()
    const waitMs = jittered(this.#runtime, delayMs)
    this.#dueMs = this.#runtime.monotonicNow() + waitMs
    this.#timer = this.#runtime.setTimer(() => {
      this.#schedule(this.#store.options.antiEntropyMs)
      void this.round()
    }, waitMs)
  }

  /** One round over every held record. Calls during a round ask for one more after it. */
  round(): Promise<void> {
    if (this.#running !== undefined) {
      this.#again = true
      return this.#running
    }
    this.#running = this.#repeat().finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  async #repeat(): Promise<void> {
    do {
      this.#again = false
      await this.#roundOnce().catch(() => {
        this.counters.failures += 1
      })
    } while (this.#again && !this.#closed)
  }

  async #roundOnce(): Promise<void> {
    this.counters.rounds += 1
    const isAfterChange = this.#isAfterChange
    this.#isAfterChange = false
    if (isAfterChange) {
      this.#pauseMs = this.#wasQuiet
        ? SOON_MS
        : Math.min(2 * this.#pauseMs, this.#store.options.antiEntropyMs)
      this.#hastenedMs = this.#runtime.monotonicNow()
    }
    let isOutdated = false
    for (const kind of this.#store.headKinds.keys()) {
      const byPeer = new Map<NodeId, HeldRecord[]>()
      for await (const key of this.#store.heldKeys(kind)) {
        if (this.#closed) return
        const record = await this.#store.record(kind, key).catch(() => undefined)
        if (record?.head === undefined) continue // what cannot be read now keeps nobody else waiting
        const set = await this.#replicas.set(key)
        isOutdated ||= this.#replicas.refreshing(key) !== undefined
        for (const { nodeId } of set) {
          if (nodeId === this.#self) continue
          const records = byPeer.get(nodeId) ?? []
          records.push(record)
          byPeer.set(nodeId, records)
          if (records.length < MAX_RECORDS_PER_COMPARE) continue
          byPeer.delete(nodeId)
          await this.#compareInTime(nodeId, kind, records)
        }
      }
      await Promise.all([...byPeer].map(([peer, records]) => this.#compareInTime(peer, kind, records)))
    }
    // whoever came is in the sets that are being looked up, and was not asked
    if (isAfterChange && isOutdated) this.#hasten()
  }

  /** The round does not wait for long: what one peer takes over its part would keep the others from being repaired. */
  async #compareInTime(peer: NodeId, kind: string, records: HeldRecord[]): Promise<void> {
    if (this.#comparing.has(peer)) return
    const comparing = this.#compareWith(peer, kind, records).finally(() => this.#comparing.delete(peer))
    this.#comparing.set(peer, comparing)
    await atMost(this.#runtime, MAX_WAIT_FOR_PEER_MS, comparing)
  }

  async #compareWith(peer: NodeId, kind: string, records: HeldRecord[]): Promise<void> {
    try {
      const known = records.filter((record) => record.headId !== undefined)
      const wire = known.map((record): [Uint8Array, Uint8Array] => [record.key, record.headId as Uint8Array])
      const { differing } = await this.#rpc.request(peer, recordMethods.compare, { kind, records: wire })
      const endMs = this.#runtime.monotonicNow() + this.#store.options.maxPeerRoundMs
      // a newcomer hears of all of them from each holder: what one hands over first the others need not
      const first = Math.floor(this.#runtime.random() * differing.length)
      for (const i of differing.keys()) {
        const record = known[differing[(first + i) % differing.length] as number]
        if (this.#runtime.monotonicNow() > endMs) return // the next round goes on
        if (record !== undefined && !(await this.#tryReconcile(record, peer))) return
      }
    } catch (error) {
      this.#noteFailure(peer, error)
    }
  }

  /** False when the peer itself seems to be gone; what is wrong with one record says nothing of the others. */
  async #tryReconcile(record: HeldRecord, peer: NodeId): Promise<boolean> {
    try {
      await this.reconcile(record, peer)
      return true
    } catch (error) {
      return !PEER_IS_GONE.has(this.#noteFailure(peer, error).code)
    }
  }

  #noteFailure(peer: NodeId, error: unknown): StickyError {
    const failure = asStickyError(error, 'UNREACHABLE')
    this.counters.failures += 1
    this.#replicas.noteFailure(peer, failure)
    return failure
  }

  /** Offers the own head to a peer, which joins it within `offerMs`, and joins what it answers: then both hold the same. */
  async reconcile(record: HeldRecord, peer: NodeId, offerMs = OFFER_TIMEOUT_MS): Promise<void> {
    if (record.head === undefined) return
    this.counters.offers += 1
    const request = { kind: record.kind.name, key: record.key, head: record.head, source: this.#selfKey }
    const { head } = await this.#rpc.request(peer, recordMethods.offer, request, {
      timeoutMs: offerMs,
    })
    if (record.hasHad(await sha256(head))) return // it has joined this one, which has gone on meanwhile
    const joinMs = Math.min(offerMs, this.#store.options.maxSyncMs)
    if (await syncFrom(this.#store, this.#rpc, record, head, peer, joinMs)) this.counters.repaired += 1
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#timer?.clear()
    await this.#running
    await Promise.all(this.#comparing.values())
  }
}

const PEER_IS_GONE: ReadonlySet<ErrorCode> = new Set(['UNREACHABLE', 'LINK_CLOSED', 'TIMEOUT', 'CLOSED'])

/** What most take in full; a newcomer with much to fetch, or a liar, goes on beside the rounds that follow. */
const MAX_WAIT_FOR_PEER_MS = 5_000
/** Until holders compare after peers came or went. */
const SOON_MS = 1_000
/** No timer is longer than this times what was asked for (`jittered`). */
const MOST_JITTER = 1.5

/** A newcomer fetches the whole record before it answers. */
const OFFER_TIMEOUT_MS = 60_000
