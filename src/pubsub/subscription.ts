import {
  asStickyError,
  type BlockReader,
  type Dht,
  delay,
  type Identity,
  jittered,
  type NodeId,
  StickyError,
  type Timer,
  toHex,
} from '../dht/index.ts'
import type { Gap, HistoryRequest, Message, Subscription, SubscriptionEvents, SyncStatus } from './api.ts'
import { entriesAfter, entriesBackward, loadMessages } from './collection.ts'
import { decodeCoordinator } from './coordinator.ts'
import type { VerifiedMessages } from './delta.ts'
import { Emitter } from './emitter.ts'
import { createTracker, type Tracker } from './gaps.ts'
import { openMessage, type VerifiedMessage, verifyMessage } from './message.ts'
import { COORDINATOR, type PubSubOptions } from './options.ts'
import { assignedReplicas, makeStatement, sendStatement } from './statements.ts'
import { toMessage } from './view.ts'
import { topicMethods } from './wire.ts'

/**
 * The subscriber's side: attach first and keep what is pushed, then read what was said before, then deliver both in
 * order and without duplicates, then live. A push that leaves a gap, a closed stream or the periodic check lead to the
 * same step, reading from the last seen version on; so a lost push never becomes a lost message.
 */

export interface Push {
  previous: number
  version: number
  entries: [version: number, envelope: Uint8Array][]
}

export interface SubscriptionInit {
  dht: Dht
  identity: Identity
  options: PubSubOptions
  verified: VerifiedMessages
  topic: string
  topicKey: Uint8Array
  history: HistoryRequest
  lastSeenVersion: number | undefined
  info: string
  onClosed(subscription: TopicSubscription): void
}

interface Arrived {
  message: VerifiedMessage
  addedInVersion: number
  historic: boolean
  read: BlockReader
  id: string
  publisher: string
  writer: string
  sequence: number
}

export class TopicSubscription implements Subscription {
  readonly topic: string
  readonly #init: SubscriptionInit
  readonly #emitter: Emitter<SubscriptionEvents>
  readonly #tracker: Tracker<Arrived>
  readonly #abort = new AbortController()
  /** The replica that serves this subscriber, and the next in rank. */
  #source: NodeId | undefined
  #standby: NodeId | undefined
  /** Everything this replica set added up to here has been seen. */
  #position: number
  #joined = false
  #historicCount = 0
  #status: SyncStatus = 'joining'
  #queue: Promise<unknown> = Promise.resolve()
  #timers = new Set<Timer>()
  #attaching: Promise<void> | undefined
  #attachFailures = 0

  constructor(init: SubscriptionInit) {
    this.#init = init
    this.topic = init.topic
    this.#position = init.lastSeenVersion ?? 0
    this.#emitter = new Emitter(init.options.maxUnreadMessages)
    const fromStart = init.history === 'all' && init.lastSeenVersion === undefined
    this.#tracker = createTracker({ strict: fromStart, patienceMs: init.options.gapPatienceMs })
  }

  get status(): SyncStatus {
    return this.#status
  }

  get lastSeenVersion(): number {
    return this.#position
  }

  get source(): NodeId | undefined {
    return this.#source
  }

  on<E extends keyof SubscriptionEvents>(
    event: E,
    listener: (value: SubscriptionEvents[E]) => void,
  ): () => void {
    return this.#emitter.on(event, listener)
  }

  [Symbol.asyncIterator](): AsyncIterator<Message> {
    return this.#emitter.iterate('message')
  }

  /** Attaches; history follows in a later task, so that listeners can be added first. Never rejects. */
  async start(): Promise<void> {
    void this.#announce()
    await this.#attach()
    this.#after(0, () => void this.#serially(() => this.#join()))
    this.#every(this.#init.options.checkIntervalMs, () => this.#check())
    this.#every(this.#init.options.renewMs, () =>
      this.renew().catch((error) => this.#emitter.emit('error', error)),
    )
  }

  /** Called for each push that arrives for this topic; the acknowledgement does not wait for the application. */
  receive(push: Push, from: NodeId): void {
    if (this.#abort.signal.aborted || from !== this.#source) return
    void this.#serially(() => this.#takePush(push, from))
  }

  peerGone(peer: NodeId): void {
    if (peer === this.#source && !this.#abort.signal.aborted) void this.#reattach()
  }

  async renew(): Promise<void> {
    const { dht, topicKey, options } = this.#init
    const statement = await this.#statement('subscribe')
    await sendStatement(dht, topicKey, statement, options)
    if (this.#source !== undefined) await this.#attachTo(this.#source)
  }

  async unsubscribe(): Promise<void> {
    const { dht, topicKey, options } = this.#init
    const statement = await this.#statement('unsubscribe')
    await this.close()
    await sendStatement(dht, topicKey, statement, options)
  }

  async close(): Promise<void> {
    if (this.#abort.signal.aborted) return
    this.#abort.abort(new StickyError('CLOSED', 'This subscription is closed.'))
    for (const timer of this.#timers) timer.clear()
    this.#timers.clear()
    this.#setStatus('closed')
    this.#init.onClosed(this)
    this.#emitter.end()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  get detachFrom(): NodeId | undefined {
    return this.#source
  }

  // --- attaching

  #statement(kind: 'subscribe' | 'unsubscribe') {
    const { dht, identity, topicKey, info } = this.#init
    return makeStatement(dht, identity, topicKey, kind, info)
  }

  /** Makes the subscription known to the topic. Delivery does not wait for it; failures are retried with the check. */
  async #announce(): Promise<void> {
    const { dht, topicKey, options } = this.#init
    for (let attempt = 0; !this.#abort.signal.aborted; attempt++) {
      try {
        await sendStatement(dht, topicKey, await this.#statement('subscribe'), options)
        return
      } catch (error) {
        const failure = asStickyError(error, 'UNREACHABLE')
        if (!failure.retryable) {
          this.#emitter.emit('error', failure)
          return
        }
        await this.#pause(attempt)
      }
    }
  }

  /** One attempt over the ranked replicas; sets the source, or the status 'degraded' and a later attempt. */
  #attach(): Promise<void> {
    this.#attaching ??= this.#attachRanked().finally(() => {
      this.#attaching = undefined
    })
    return this.#attaching
  }

  async #attachRanked(): Promise<void> {
    const { dht, topicKey } = this.#init
    this.#source = undefined
    const set = await dht.replicas.set(topicKey).catch(() => [])
    const ranked = await assignedReplicas(dht.self, topicKey, set)
    for (const [i, peer] of ranked.entries()) {
      if (this.#abort.signal.aborted) return
      try {
        await this.#attachTo(peer)
        this.#source = peer
        this.#standby = ranked.find((other, rank) => rank !== i && other !== dht.self)
        this.#attachFailures = 0
        return
      } catch (error) {
        dht.replicas.noteFailure(peer, asStickyError(error, 'UNREACHABLE'))
      }
    }
    this.#setStatus('degraded')
    this.#attachFailures += 1
    this.#after(this.#backoffMs(this.#attachFailures), () => void this.#reattach())
  }

  async #attachTo(peer: NodeId): Promise<void> {
    const { dht, topicKey } = this.#init
    const { envelope } = await this.#statement('subscribe')
    await dht.rpc.request(peer, topicMethods.attach, { topic: topicKey, statement: envelope })
  }

  async #reattach(): Promise<void> {
    if (this.#abort.signal.aborted || this.#attaching !== undefined) return
    this.#setStatus(this.#joined ? 'catching-up' : 'joining')
    await this.#attach()
    if (this.#source !== undefined)
      await this.#serially(() => (this.#joined ? this.#catchUp(true) : this.#join()))
  }

  // --- reading and delivering, one thing at a time

  #serially(work: () => Promise<void>): Promise<void> {
    const run = this.#queue.then(async () => {
      if (this.#abort.signal.aborted) return
      try {
        await work()
      } catch (error) {
        this.#onFailure(asStickyError(error, 'UNREACHABLE'))
      }
    })
    this.#queue = run
    return run
  }

  #onFailure(error: StickyError): void {
    if (this.#abort.signal.aborted) return
    this.#emitter.emit('error', error)
    this.#setStatus('degraded')
    this.#attachFailures += 1
    this.#after(this.#backoffMs(this.#attachFailures), () => void this.#reattach())
  }

  /** Reads what was published before the join, then reports the boundary. What is pushed meanwhile waits behind this. */
  async #join(): Promise<void> {
    if (this.#joined || this.#source === undefined) return
    const { history, lastSeenVersion } = this.#init
    if (history !== 'all' && lastSeenVersion === undefined) await this.#joinLate(history)
    else await this.#catchUp(true)
    this.#joined = true
    this.#tracker.goLive()
    this.#emitter.emit('history-end', { version: this.#position, count: this.#historicCount })
    this.#setStatus('synced')
  }

  async #joinLate(history: 'none' | { last: number } | 'all'): Promise<void> {
    const source = this.#source as NodeId
    const head = await this.#headAt(source, true)
    if (head === undefined) return
    const { messages, version } = decodeCoordinator(head)
    if (messages !== null && typeof history === 'object') {
      const read = this.#reader(source)
      const entries = await entriesBackward(await loadMessages(messages, read), undefined, history.last, read)
      for (const entry of entries)
        await this.#take(await openMessage(entry.envelope), entry.addedInVersion, read)
    }
    this.#position = version
  }

  /** Delivers everything added after the position. `quorum`: first ask a majority, and repair the source from it. */
  async #catchUp(quorum: boolean): Promise<void> {
    const source = this.#source
    if (source === undefined) return
    if (this.#joined) this.#setStatus('catching-up')
    const head = await this.#headAt(source, quorum)
    if (head !== undefined) {
      const { messages, version } = decodeCoordinator(head)
      // A position from another lineage says nothing here: everything is read, and what is known is dropped by id.
      const after = this.#position > version ? 0 : this.#position
      if (messages !== null) {
        const read = this.#reader(source)
        for await (const entry of entriesAfter(await loadMessages(messages, read), after, read)) {
          await this.#take(await openMessage(entry.envelope), entry.addedInVersion, read)
          if (this.#abort.signal.aborted) return
        }
      }
      this.#position = version
    }
    this.#attachFailures = 0
    if (this.#joined) this.#setStatus('synced')
  }

  async #headAt(source: NodeId, quorum: boolean): Promise<Uint8Array | undefined> {
    const { dht, topicKey } = this.#init
    if (!quorum) return (await this.#headOf(source)) ?? undefined
    const answers = await dht.readHeads(COORDINATOR, topicKey, this.#abort.signal)
    const answer = answers.find(({ peer }) => peer === source)
    if (answer?.error !== undefined) throw answer.error
    return answer === undefined ? ((await this.#headOf(source)) ?? undefined) : answer.head
  }

  async #headOf(peer: NodeId): Promise<Uint8Array | null> {
    return this.#init.dht.headAt(COORDINATOR, this.#init.topicKey, peer)
  }

  async #takePush({ previous, version, entries }: Push, from: NodeId): Promise<void> {
    if (from !== this.#source) return
    if (!this.#joined || version <= this.#position) return // the join reads it, or it was read already
    if (previous > this.#position) return this.#catchUp(false)
    const { topicKey, verified } = this.#init
    const messages = await Promise.all(
      entries.map(([, envelope]) => verifyMessage(envelope, { topicKey, verified })),
    )
    const read = this.#reader(from)
    for (const [i, message] of messages.entries())
      await this.#take(message, (entries[i] as [number, Uint8Array])[0], read)
    this.#position = version
  }

  #reader(source: NodeId): BlockReader {
    return this.#init.dht.reader(COORDINATOR, this.#init.topicKey, source, this.#abort.signal)
  }

  async #take(message: VerifiedMessage, addedInVersion: number, read: BlockReader): Promise<void> {
    const { publisher, writer, sequence } = message.body
    const arrived: Arrived = {
      message,
      addedInVersion,
      historic: !this.#joined,
      read,
      id: message.cid,
      publisher: toHex(publisher),
      writer: toHex(writer),
      sequence,
    }
    const { deliver } = this.#tracker.offer(arrived, this.#init.dht.runtime.monotonicNow())
    for (const next of deliver) await this.#deliver(next)
  }

  async #deliver({ message, addedInVersion, historic, read }: Arrived): Promise<void> {
    if (message.body.expiresAt <= this.#init.dht.runtime.now()) return
    const view = await toMessage(message, { topic: this.topic, addedInVersion, historic }, read)
    if (historic) this.#historicCount += 1
    this.#emitter.emit('message', view)
  }

  // --- watching

  /** The safety net under pushes: has the source, or the next in rank, gone further than what was seen? */
  async #check(): Promise<void> {
    if (this.#source === undefined || this.#attaching !== undefined) return
    await this.#serially(() => this.#releaseHeld())
    const [own, other] = await Promise.all([
      this.#versionAt(this.#source),
      this.#standby === undefined ? undefined : this.#versionAt(this.#standby).catch(() => undefined),
    ]).catch((): [undefined, undefined] => [undefined, undefined])
    if (own === undefined) return this.#reattach()
    if (own > this.#position || (other ?? 0) > Math.max(own, this.#position)) {
      await this.#serially(() => this.#catchUp((other ?? 0) > own))
    }
  }

  async #versionAt(peer: NodeId): Promise<number> {
    const head = await this.#headOf(peer)
    return head === null ? 0 : decodeCoordinator(head).version
  }

  /** Gives up on messages that no replica has had for a while, and says so. */
  async #releaseHeld(): Promise<void> {
    const { deliver, gaps } = this.#tracker.release(this.#init.dht.runtime.monotonicNow())
    for (const gap of gaps) this.#emitter.emit('gap', gap as Gap)
    for (const next of deliver) await this.#deliver(next)
  }

  #setStatus(status: SyncStatus): void {
    if (this.#status === status || this.#status === 'closed') return
    this.#status = status
    this.#emitter.emit('sync', status)
  }

  #backoffMs(failures: number): number {
    const { retryMs, maxCheckMs } = this.#init.options
    return Math.min(retryMs * 2 ** Math.min(failures, 10), maxCheckMs)
  }

  #pause(attempt: number): Promise<void> {
    return delay(
      this.#init.dht.runtime,
      jittered(this.#init.dht.runtime, this.#backoffMs(attempt + 1)),
      this.#abort.signal,
    ).catch(() => undefined)
  }

  #after(delayMs: number, work: () => void): void {
    if (this.#abort.signal.aborted) return
    const timer = this.#init.dht.runtime.setTimer(() => {
      this.#timers.delete(timer)
      work()
    }, delayMs)
    this.#timers.add(timer)
  }

  /** Repeats with jitter; a run that overslept happens once, not as often as it was missed. 0: never. */
  #every(intervalMs: number, work: () => Promise<void>): void {
    if (intervalMs <= 0) return
    this.#after(jittered(this.#init.dht.runtime, intervalMs), () => {
      void work().finally(() => this.#every(intervalMs, work))
    })
  }
}
