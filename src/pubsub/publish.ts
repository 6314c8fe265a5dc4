import {
  type Acknowledgement,
  asStickyError,
  atMost,
  byPreference,
  type Dht,
  type Identity,
  type NodeId,
  requireNotAborted,
  StickyError,
  sha256,
  toHex,
} from '../dht/index.ts'
import type { PublishOptions, PublishReceipt } from './api.ts'
import { AvoidedReplicas } from './avoided.ts'
import { Confirmation } from './confirm.ts'
import { InOrder } from './in-order.ts'
import { checkTtl, createMessage } from './message.ts'
import { Offers } from './offers.ts'
import { LIMITS, type PubSubOptions } from './options.ts'
import {
  isFinal,
  MAYBE_STORED,
  NOTHING_STORED,
  newPublishCounters,
  receiptOf,
  refusal,
} from './publish-outcome.ts'
import { requestPublish, type Sent, takeBatch } from './publish-request.ts'
import { PublishWaits, type Wait } from './publish-waits.ts'
import type { Sequences } from './sequence.ts'
import type { Signed } from './wire.ts'

/**
 * The publisher's side. A message gets its id and number once; then it is sent, in order, one request per topic at a
 * time, to the closest holder, and to the next one when that fails, always the same bytes, until it is stored or the
 * caller's deadline passes.
 */

interface Outgoing extends Sent {
  readonly wait: Wait
  /** Who refused it: what only one holder says of it is not final where there are others. */
  readonly refusedBy: Set<NodeId>
}

interface Queue {
  waiting: Outgoing[]
  running: boolean
}

export class Publisher {
  readonly #dht: Dht
  readonly #identity: Identity
  readonly #sequences: Sequences
  readonly #options: PubSubOptions
  readonly #avoided: AvoidedReplicas
  readonly #topics = new Map<string, Queue>()
  /** Numbering, signing and queueing of one topic happen in call order. */
  readonly #order = new InOrder()
  readonly #waits: PublishWaits
  /** New writers on their way, after publishes that were given up. */
  readonly #beginning = new Set<Promise<void>>()
  readonly #silent: AvoidedReplicas
  readonly #offers: Offers
  /** begun = stored + failures + `waitingCount`, at every moment. */
  readonly counters = newPublishCounters()

  constructor(dht: Dht, identity: Identity, sequences: Sequences, options: PubSubOptions) {
    this.#dht = dht
    this.#identity = identity
    this.#sequences = sequences
    this.#options = options
    this.#avoided = new AvoidedReplicas(dht.runtime, options.avoidMs)
    this.#silent = new AvoidedReplicas(dht.runtime, options.silentMs)
    this.#offers = new Offers(dht, options, this.counters)
    this.#waits = new PublishWaits({
      runtime: dht.runtime,
      deadlineMs: options.publishDeadlineMs,
      counters: this.counters,
      onRejected: (topicKey, writer) => this.#beginAnew(topicKey, writer),
    })
  }

  async publish(topicKey: Uint8Array, data: Uint8Array, options: PublishOptions): Promise<PublishReceipt> {
    checkTtl(options.ttlMs ?? LIMITS.defaultTtlMs)
    requireNotAborted(options.signal, 'The publish')
    const name = toHex(topicKey)
    this.#requireRoom(this.#waits.countOf(name))
    const { wait, receipt } = this.#waits.begin(name, topicKey, options)
    this.inOrder(topicKey, () => this.#enqueue(name, topicKey, data, wait, options)).catch((error) =>
      wait.reject(asStickyError(error, 'STORAGE_FAILED')),
    )
    return receipt
  }

  /** What numbers or sends messages of a topic happens one after the other, in the order of the calls. */
  inOrder<T>(topicKey: Uint8Array, work: () => Promise<T>): Promise<T> {
    return this.#order.run(topicKey, work)
  }

  /** Numbers and signs a message. Called in order (`inOrder`); what is not sent after all is handed to `abandon`. */
  async prepare(topicKey: Uint8Array, data: Uint8Array, ttlMs: number): Promise<Sent> {
    const numbering = await this.#sequences.next(topicKey, ttlMs)
    try {
      const isLarge = data.byteLength > LIMITS.maxInlineBytes
      const message = await createMessage({
        topicKey,
        identity: this.#identity,
        ...numbering,
        ttlMs,
        ...(isLarge ? { payload: { id: await sha256(data), bytes: data.byteLength } } : { data }),
      })
      return { message, payload: isLarge ? data : undefined }
    } catch (error) {
      this.#beginAnew(topicKey, numbering.writer)
      throw error
    }
  }

  /** The number of a prepared message stays empty: it was sent to nobody and never will be. */
  abandon(topicKey: Uint8Array, { message }: Sent): void {
    this.#beginAnew(topicKey, message.body.writer)
  }

  /**
   * Sends prepared messages, together where they fit: one receipt each, under the deadline and signal of all. They may
   * have been sent before, in this process or an earlier one. Throws BUSY.
   */
  send(topicKey: Uint8Array, messages: readonly Sent[], options: PublishOptions): Promise<PublishReceipt>[] {
    const name = toHex(topicKey)
    this.#requireRoom(this.#waits.countOf(name))
    const receipts: Promise<PublishReceipt>[] = []
    const outgoing = messages.map((sent): Outgoing => {
      const { wait, receipt } = this.#waits.begin(name, topicKey, options, sent.message.body.writer)
      receipts.push(receipt)
      return { ...sent, expect: options.expect?.version, wait, refusedBy: new Set() }
    })
    this.#push(name, topicKey, outgoing)
    return receipts
  }

  /** Callers that have not heard yet. */
  get waitingCount(): number {
    return this.#waits.count
  }

  /** Topics with messages that were not sent yet, or whose request is under way. */
  get queuedTopics(): number {
    return this.#topics.size
  }

  #requireRoom(waiting: number): void {
    if (waiting >= this.#options.maxQueuedPerTopic)
      throw new StickyError('BUSY', `${waiting} publishes wait in this topic already.`)
  }

  /** Numbers the message, once, and puts it last in the queue. */
  async #enqueue(
    name: string,
    topicKey: Uint8Array,
    data: Uint8Array,
    wait: Wait,
    { ttlMs = LIMITS.defaultTtlMs, expect }: PublishOptions,
  ): Promise<void> {
    if (wait.settled) return
    this.#requireRoom(this.#topics.get(name)?.waiting.length ?? 0) // given up, some of them, and not taken out yet
    const sent = await this.prepare(topicKey, data, ttlMs)
    if (wait.settled) return this.abandon(topicKey, sent)
    wait.writer = sent.message.body.writer
    this.#push(name, topicKey, [{ ...sent, expect: expect?.version, wait, refusedBy: new Set() }])
  }

  #push(name: string, topicKey: Uint8Array, outgoing: Outgoing[]): void {
    const queue = this.#topics.get(name) ?? { waiting: [], running: false }
    queue.waiting.push(...outgoing)
    this.#topics.set(name, queue)
    if (!queue.running) void this.#drain(name, topicKey, queue)
  }

  /** A number that no message gets would be a hole for every reader, so a new writer follows. */
  #beginAnew(topicKey: Uint8Array, writer: Uint8Array): void {
    const begun = this.#sequences.beginAnew(topicKey, writer).catch(() => undefined)
    this.#beginning.add(begun)
    void begun.finally(() => this.#beginning.delete(begun))
  }

  /** Ends every wait; resolves once no number is left that belongs to a message which may never appear. */
  async close(): Promise<void> {
    this.#offers.close()
    this.#waits.close()
    await this.#order.ended()
    await Promise.all(this.#beginning)
  }

  async #drain(name: string, topicKey: Uint8Array, queue: Queue): Promise<void> {
    queue.running = true
    while (queue.waiting.length > 0) {
      const batch = takeBatch(queue.waiting, ({ wait }) => !wait.settled)
      if (batch.length > 0) await this.#send(topicKey, batch)
    }
    queue.running = false
    this.#topics.delete(name)
  }

  /** One batch, until every message of it is settled. */
  async #send(topicKey: Uint8Array, batch: Outgoing[]): Promise<void> {
    const tried = new Set<NodeId>()
    let busyReturns = 0
    for (let attempt = 0; ; attempt++) {
      if (batch.every(({ wait }) => wait.settled)) return
      const initiator = await this.#nextInitiator(topicKey, tried)
      // only now: what was given up while holders were looked for, as failed, must not be sent
      const open = batch.filter(({ wait }) => !wait.settled)
      if (open.length === 0) return
      const sentAtMs = this.#dht.runtime.monotonicNow()
      try {
        if (initiator === undefined)
          throw new StickyError('NO_REPLICAS', 'No node that stores topics can be reached.')
        await this.#request(topicKey, initiator, open)
      } catch (error) {
        const failure = asStickyError(error, 'UNREACHABLE')
        if (initiator !== undefined) this.#noteFailure(initiator, failure)
        if (failure.code === 'BUSY' && initiator !== undefined) {
          const comesBack =
            busyReturns < this.#options.maxBusyReturns && this.#comesBack(initiator, sentAtMs, open)
          busyReturns = comesBack ? busyReturns + 1 : 0
          if (comesBack) tried.delete(initiator)
          else this.#avoided.add(initiator)
        }
        if (failure.retryable || initiator === undefined) await this.#backOff(attempt, open)
        else await this.#refuse(topicKey, initiator, open, () => failure)
      }
    }
  }

  /**
   * To a replica that was busy, because another one would only be in its way; but it may say so to everybody. So only while
   * more is left of everybody's time than two such answers take. One that batches come back to in vain is asked last, as one
   * that says nothing: it could take as long to say that it is busy, and each batch would lose that time.
   */
  #comesBack(initiator: NodeId, sentAtMs: number, batch: Outgoing[]): boolean {
    const now = this.#dht.runtime.monotonicNow()
    const endMs = Math.min(...batch.map(({ wait }) => wait.endMs))
    return !this.#avoided.has(initiator) && endMs - now > 2 * (now - sentAtMs)
  }

  async #request(topicKey: Uint8Array, initiator: NodeId, batch: Outgoing[]): Promise<void> {
    this.counters.requests += 1
    for (const { wait } of batch) wait.unanswered += 1
    const answer = await requestPublish(this.#dht, this.#options, initiator, topicKey, batch).catch(
      (error: unknown) => {
        const { code, retryable } = asStickyError(error, 'LINK_CLOSED')
        if ((!retryable && !MAYBE_STORED.has(code)) || NOTHING_STORED.has(code))
          for (const { wait } of batch) wait.unanswered -= 1
        throw error
      },
    )
    const refused = new Map<Outgoing, StickyError>()
    for (const [i, outgoing] of batch.entries()) {
      const code = answer.results[i]
      if (code === null) continue
      outgoing.wait.unanswered -= 1
      refused.set(outgoing, refusal(code, answer.version, outgoing.expect))
    }
    const errorOf = (outgoing: Outgoing) => refused.get(outgoing) as StickyError
    if (refused.size > 0) await this.#refuse(topicKey, initiator, [...refused.keys()], errorOf)
    const stored = batch.filter((outgoing) => !refused.has(outgoing))
    if (stored.length === 0) return
    // a node that was the initiator itself has heard the others
    const ack =
      initiator === this.#dht.self ? answer : await this.#confirmed(topicKey, initiator, stored, answer)
    for (const { wait, message } of stored) {
      wait.unanswered -= 1
      wait.resolve(receiptOf(message, { ...ack, version: answer.version }))
    }
  }

  /** Throws QUORUM_FAILED where the others do not have what the initiator says is stored: it is asked last from now on. */
  async #confirmed(
    topicKey: Uint8Array,
    initiator: NodeId,
    batch: Outgoing[],
    { signed }: { signed?: Signed | undefined },
  ): Promise<Acknowledgement> {
    const set = await this.#dht.replicas.set(topicKey).catch(() => [])
    const init = { dht: this.#dht, options: this.#options, topicKey, set, initiator, batch, signed }
    const { ack, others } = await new Confirmation({ ...init, silent: this.#silent }).run()
    if (!this.#waits.isClosed) for (const peer of others) this.#offers.add(topicKey, peer, batch)
    if (ack !== undefined) return ack
    this.#avoided.add(initiator)
    this.counters.unconfirmed += 1
    throw new StickyError('QUORUM_FAILED', `${initiator} says that it is stored; the other replicas lack it.`)
  }

  /** Final once a second holder says the same, or there is no second one. */
  async #refuse(
    topicKey: Uint8Array,
    initiator: NodeId,
    refused: Outgoing[],
    errorOf: (outgoing: Outgoing) => StickyError,
  ): Promise<void> {
    const holders = await this.#dht.replicas.set(topicKey).catch(() => [])
    const enough = Math.min(2, holders.length)
    for (const outgoing of refused) {
      const error = errorOf(outgoing)
      const isRepeated = outgoing.refusedBy.has(initiator) || isFinal(error, outgoing.expect)
      outgoing.refusedBy.add(initiator)
      if (isRepeated || outgoing.refusedBy.size >= enough) outgoing.wait.giveUp(error)
    }
  }

  /** Whoever stands still costs one attempt, not one for each batch. */
  #noteFailure(initiator: NodeId, failure: StickyError): void {
    this.#dht.replicas.noteFailure(initiator, failure)
    if (failure.code === 'TIMEOUT') this.#avoided.add(initiator)
  }

  /**
   * Everybody prefers the same holder, the closest durable one, so that publishes of a topic meet in one group commit
   * instead of in conflicts; the others follow when it fails.
   */
  async #nextInitiator(topicKey: Uint8Array, tried: Set<NodeId>): Promise<NodeId | undefined> {
    const set = await this.#dht.replicas.set(topicKey).catch(() => [])
    const durableFirst = byPreference(set)
    const ranked = this.#avoided.last(durableFirst, ({ nodeId }) => nodeId)
    const next = ranked.find((peer) => !tried.has(peer.nodeId)) ?? ranked[0]
    if (next !== undefined && tried.has(next.nodeId)) tried.clear()
    if (next !== undefined) tried.add(next.nodeId)
    return next?.nodeId
  }

  /** Not longer than anybody waits: the messages after these have their own deadlines. */
  async #backOff(attempt: number, batch: Outgoing[]): Promise<void> {
    const { retryMs, maxRetryMs } = this.#options
    const waitMs = Math.min(retryMs * 2 ** attempt, maxRetryMs) * (0.5 + this.#dht.runtime.random())
    await atMost(this.#dht.runtime, waitMs, Promise.all(batch.map(({ wait }) => wait.over)))
  }
}
