import { asStickyError, type ClosestPeer, type Dht, StickyError } from '../dht/index.ts'
import type { PublishReceipt } from './api.ts'
import { verifyMessage } from './message.ts'
import { COORDINATOR, LIMITS, type PubSubOptions } from './options.ts'
import { bytesOfEntry, type Entry } from './outbox-entry.ts'
import type { OutboxStore } from './outbox-store.ts'
import type { Publisher } from './publish.ts'
import type { Sent } from './publish-request.ts'
import type { Slots } from './slots.ts'
import { MAX_MESSAGES_PER_REQUEST } from './wire.ts'

/**
 * One topic's part of the outbox: sends what waits, in order, several messages together; waits after a failure, and while
 * nobody can be reached. A message is numbered and signed once, and on disk before it is sent: whatever interrupts it,
 * the same bytes are sent again.
 */

export interface OutboxTopicInit {
  dht: Dht
  options: PubSubOptions
  publisher: Publisher
  store: OutboxStore
  slots: Slots
  topicKey: Uint8Array
  /** Throws where this node has given up the topic. */
  requireUsable(topicKey: Uint8Array): void
  onChange(entry: Entry): void
  /** It is over: the entry leaves this topic. */
  onFinal(entry: Entry, outcome: PublishReceipt | StickyError): Promise<void>
  onIdle(): void
}

export class OutboxTopic {
  readonly #init: OutboxTopicInit
  readonly #entries: Entry[] = []
  #running: Promise<void> | undefined
  #delivering: Promise<void> | undefined
  #isClosed = false
  /** Nothing is sent before, by the monotonic clock. */
  #notBeforeMs = Number.NEGATIVE_INFINITY
  #isOffline = false
  #wake: (() => void) | undefined
  readonly #resting: (() => void)[] = []
  /** The own disk refused so often in a row. */
  #refusals = 0

  constructor(init: OutboxTopicInit) {
    this.#init = init
  }

  get isEmpty(): boolean {
    return this.#entries.length === 0
  }

  /** Last in the order; it is sent from `kick` on. */
  add(entry: Entry): void {
    this.#entries.push(entry)
  }

  remove(entry: Entry): void {
    const index = this.#entries.indexOf(entry)
    if (index >= 0) this.#entries.splice(index, 1)
  }

  kick(): void {
    this.#wakeUp() // what came may expire before that time
    if (!this.#isClosed) this.#running ??= this.#run()
  }

  /** Without waiting any longer. */
  drain(): void {
    this.#notBeforeMs = Number.NEGATIVE_INFINITY
    this.kick()
  }

  /** Peers came: who was offline need not wait until it looks. */
  topologyChanged(): void {
    if (this.#isOffline) this.drain()
  }

  /** Nothing more is sent. What is under way ends with the publisher. */
  stop(): void {
    this.#isClosed = true
    this.#wakeUp()
  }

  /** What was being sent at the call has an answer, or the publisher has ended. */
  async delivered(): Promise<void> {
    await this.#delivering
  }

  /** Resolves once all is final or waits for its time. */
  atRest(): Promise<void> {
    if (this.#running === undefined || this.#wake !== undefined) return Promise.resolve()
    return new Promise((resolve) => this.#resting.push(resolve))
  }

  #rest(): void {
    for (const resolve of this.#resting.splice(0)) resolve()
  }

  #wakeUp(): void {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    try {
      while (!this.#isClosed) {
        await this.#dropExpired()
        const batch = this.#next()
        if (batch.length === 0 || this.#isClosed) return
        if (this.#waitMs() > 0) await this.#pause()
        else await this.#init.slots.run(() => this.#attempt(batch))
      }
    } finally {
      this.#running = undefined
      this.#rest()
      if (this.isEmpty && !this.#isClosed) this.#init.onIdle()
    }
  }

  /** As many from the front as one request carries; a large payload travels alone. */
  #next(): Entry[] {
    const batch: Entry[] = []
    let bytes = 0
    for (const entry of this.#entries) {
      bytes += bytesOfEntry(entry)
      const isFull = batch.length === MAX_MESSAGES_PER_REQUEST || bytes > LIMITS.maxDeltaBytes / 2
      if (!entry.isWritten || (batch.length > 0 && isFull)) break
      batch.push(entry)
    }
    return batch
  }

  async #dropExpired(): Promise<void> {
    const now = this.#init.dht.runtime.now()
    for (const entry of this.#entries.filter(({ isWritten, expiresAt }) => isWritten && expiresAt <= now))
      await this.#end(entry, tooLate())
  }

  #waitMs(): number {
    return this.#notBeforeMs - this.#init.dht.runtime.monotonicNow()
  }

  /** Until it is time, something expires, or somebody calls `drain`. */
  async #pause(): Promise<void> {
    const { runtime } = this.#init.dht
    const soonestExpiry = Math.min(...this.#entries.map(({ expiresAt }) => expiresAt)) - runtime.now()
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = runtime.setTimer(resolve, Math.max(1, Math.min(this.#waitMs(), soonestExpiry)))
    this.#wake = resolve
    this.#rest()
    await promise
    this.#wake = undefined
    timer.clear()
  }

  #holdOff(waitMs: number): void {
    this.#notBeforeMs = this.#init.dht.runtime.monotonicNow() + waitMs
  }

  async #attempt(batch: Entry[]): Promise<void> {
    const { dht, options, topicKey } = this.#init
    if (this.#isClosed) return
    const set = await dht.replicas.set(topicKey).catch(() => [])
    const isOffline = this.#isAlone && !(await this.#reachesOneOf(set))
    if (this.#isClosed) return
    const others = set.filter(({ nodeId }) => nodeId !== dht.self)
    this.#isOffline = isOffline || (options.outboxAwaitsPeers ? others : set).length === 0
    if (this.#isOffline) return this.#holdOff(options.offlineCheckMs)
    this.#delivering = this.#deliver(batch)
    await this.#delivering
  }

  /** Its own storage is no peer, but is there. */
  get #isAlone(): boolean {
    const { network, rpc } = this.#init.dht
    return !network.stores && rpc.connectedPeers.length === 0
  }

  /** Replicas that were known before the connection was lost may be there again. */
  #reachesOneOf(set: ClosestPeer[]): Promise<boolean> {
    const { dht, topicKey } = this.#init
    return Promise.any(set.map(({ nodeId }) => dht.headAt(COORDINATOR, topicKey, nodeId))).then(
      () => true,
      () => !this.#isAlone,
    )
  }

  async #deliver(all: Entry[]): Promise<void> {
    const batch = await this.#readable(all)
    for (const entry of batch) {
      entry.state = 'sending'
      entry.attempts += 1
      entry.error = undefined
      this.#init.onChange(entry)
    }
    try {
      const { settled } = await this.#send(batch)
      this.#refusals = 0
      await this.#judge(batch, await settled)
    } catch (error) {
      // the own disk: it is no fault of the message's, which waits
      for (const entry of batch) this.#putBack(entry, asStickyError(error, 'STORAGE_FAILED'), false)
      this.#holdOff(this.#backOffMs(++this.#refusals))
    }
  }

  /** Messages that an earlier process, or an earlier call under the key, has sent are opened; what is damaged is over. */
  async #readable(all: Entry[]): Promise<Entry[]> {
    const batch: Entry[] = []
    const now = this.#init.dht.runtime.now()
    for (const entry of all) {
      const isSigned = entry.sent !== undefined || entry.envelope !== undefined
      try {
        if (!isSigned && entry.expiresAt <= now) throw tooLate() // while it waited for its turn
        if (entry.envelope !== undefined) entry.sent ??= await this.#reopened(entry.envelope, entry.data)
        batch.push(entry)
      } catch (error) {
        await this.#end(entry, asStickyError(error, 'MALFORMED'))
      }
    }
    return batch
  }

  async #reopened(envelope: Uint8Array, data: Uint8Array): Promise<Sent> {
    const message = await verifyMessage(envelope, { topicKey: this.#init.topicKey })
    return { message, payload: message.body.payload === undefined ? undefined : data }
  }

  /** Numbers what has no number yet, has all of it on disk, and only then sends it. */
  async #send(batch: Entry[]): Promise<{ settled: Promise<PromiseSettledResult<PublishReceipt>[]> }> {
    const { publisher, topicKey, requireUsable } = this.#init
    return publisher.inOrder(topicKey, async () => {
      await this.#number(batch.filter(({ sent }) => sent === undefined))
      const all = batch.map(({ sent }) => sent as Sent)
      try {
        requireUsable(topicKey)
        return { settled: Promise.allSettled(publisher.send(topicKey, all, {})) }
      } catch (error) {
        for (const sent of all) publisher.abandon(topicKey, sent) // what comes later does not wait behind it
        return { settled: Promise.allSettled(all.map(() => Promise.reject(error))) }
      }
    })
  }

  async #number(fresh: Entry[]): Promise<void> {
    const { publisher, store, topicKey } = this.#init
    const prepared: Sent[] = []
    try {
      for (const entry of fresh) prepared.push(await this.#prepared(entry))
      await store.keepSent(fresh.map(({ order }, i) => toSaved(order, 0, prepared[i] as Sent)))
    } catch (error) {
      for (const sent of prepared) publisher.abandon(topicKey, sent)
      throw error
    }
    for (const [i, entry] of fresh.entries()) entry.sent = prepared[i]
  }

  #prepared({ data, expiresAt, queuedAt }: Entry): Promise<Sent> {
    const { publisher, dht, topicKey } = this.#init
    const leftMs = Math.min(expiresAt - dht.runtime.now(), expiresAt - queuedAt)
    return publisher.prepare(topicKey, data, Math.max(1, leftMs))
  }

  /** Whether one replica alone has it, and that may be this node: no other with a disk. */
  #isOwnOnly({ replicas, durableReplicas }: PublishReceipt): boolean {
    const { dht, options } = this.#init
    return options.outboxAwaitsPeers && dht.network.stores && replicas < 2 && durableReplicas === 0
  }

  async #judge(batch: Entry[], results: PromiseSettledResult<PublishReceipt>[]): Promise<void> {
    const { options, store } = this.#init
    this.#isOffline = this.#isAlone
    const again: Entry[] = []
    for (const [i, entry] of batch.entries()) {
      const result = results[i] as PromiseSettledResult<PublishReceipt>
      // the others may have gone after they were looked for
      const isOwnOnly = result.status === 'fulfilled' && this.#isOwnOnly(result.value)
      if (result.status === 'fulfilled' && !isOwnOnly) {
        await this.#end(entry, result.value)
        continue
      }
      this.#isOffline ||= isOwnOnly
      const error = result.status === 'fulfilled' ? ownOnly() : asStickyError(result.reason, 'UNREACHABLE')
      if (isOwnOnly || error.code === 'OUTCOME_UNKNOWN') entry.mayBeStored = true
      const isCounted = !this.#isClosed && !this.#isOffline
      const isFinal = isCounted && (!error.retryable || entry.attempts >= options.outboxAttempts)
      if (isFinal) await this.#end(entry, error)
      else again.push(entry)
      if (!isFinal) this.#putBack(entry, error, isCounted)
    }
    if (again.length === 0 || this.#isClosed) return
    this.#holdOff(this.#isOffline ? options.offlineCheckMs : this.#backOffMs(again[0]?.attempts ?? 1))
    const kept = again.map(({ order, attempts, sent }) => toSaved(order, attempts, sent as Sent))
    await store.keepSent(kept).catch(() => undefined) // it is sent once more than is allowed after a crash, no worse
  }

  /** It waits for the next attempt. */
  #putBack(entry: Entry, error: StickyError, isCounted: boolean): void {
    entry.state = 'queued'
    entry.error = error
    if (!isCounted) entry.attempts -= 1
    this.#init.onChange(entry)
  }

  async #end(entry: Entry, outcome: PublishReceipt | StickyError): Promise<void> {
    this.remove(entry)
    await this.#init.onFinal(entry, outcome)
  }

  #backOffMs(attempt: number): number {
    const { outboxRetryMs, maxOutboxRetryMs } = this.#init.options
    return Math.min(outboxRetryMs * 2 ** (attempt - 1), maxOutboxRetryMs)
  }
}

const toSaved = (order: string, attempts: number, { message }: Sent) => ({
  order,
  sent: { envelope: message.envelope, attempts },
})

const tooLate = () => new StickyError('EXPIRED', 'Its time to live passed before it could be stored.')
const ownOnly = () => new StickyError('NO_REPLICAS', 'Nobody but this node has it.')
