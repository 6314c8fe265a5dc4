import { asStickyError, type Dht, delay, type NodeId, StickyError } from '../dht/index.ts'
import { Announcement } from './announcement.ts'
import type {
  Data,
  HistoryRequest,
  Message,
  PresenceMember,
  Subscription,
  SubscriptionEvents,
  SyncStatus,
} from './api.ts'
import { Attachment } from './attachment.ts'
import { AvoidedReplicas } from './avoided.ts'
import { countEvent, type SubscriptionCounters } from './diagnostics.ts'
import { Emitter } from './emitter.ts'
import { FirstOthers } from './first-others.ts'
import { GivenPosition } from './given.ts'
import type { VerifiedMessages } from './message.ts'
import type { PubSubOptions } from './options.ts'
import type { PresenceClient, SubscriptionPresence } from './presence-client.ts'
import { PushWatch } from './push-watch.ts'
import { TopicReader } from './reader.ts'
import type { Retention } from './retention.ts'
import { Retry, untilDone } from './retry.ts'
import type { SavedPosition } from './saved-position.ts'
import { type Elsewhere, SourceWatch } from './source-watch.ts'
import type { Statements } from './statements.ts'
import { SyncState } from './sync-state.ts'
import { Timers } from './timers.ts'
import type { Push } from './wire.ts'

/**
 * The subscriber's side: attach first and keep what is pushed, then read what was said before, then deliver both in
 * order and without duplicates, then live. A push that leaves a gap, a closed stream or the periodic check lead to the
 * same step, reading from the last seen version on; so a lost push never becomes a lost message.
 */

export interface SubscriptionInit {
  dht: Dht
  statements: Statements
  presence: PresenceClient
  options: PubSubOptions
  verified: VerifiedMessages
  topic: string
  topicKey: Uint8Array
  history: HistoryRequest
  lastSeenVersion: number | undefined
  from: SavedPosition | undefined
  retention: Retention
  info: string
  counters: SubscriptionCounters
  /** Whether another subscription of this node to the topic is open. */
  hasOthers(): boolean
  /** Another replica serves it now. */
  onMoved(from: NodeId): void
  onClosed(subscription: TopicSubscription): void
}

export class TopicSubscription implements Subscription {
  readonly topic: string
  readonly #init: SubscriptionInit
  readonly #emitter: Emitter<SubscriptionEvents>
  readonly #reader: TopicReader
  readonly #watch: SourceWatch
  readonly #pushWatch: PushWatch
  readonly #given: GivenPosition
  readonly #others: FirstOthers
  readonly #abort = new AbortController()
  readonly #announcement: Announcement
  readonly #attachment: Attachment
  /** Until then nothing is delivered: nobody listens yet. */
  #isStarted = false
  readonly #begun = Promise.withResolvers<void>()
  readonly #state: SyncState
  #queue: Promise<unknown> = Promise.resolve()
  readonly #timers: Timers
  readonly #retry: Retry
  readonly #stopListening: () => void
  #waitingPushes = 0
  /** There were more than may wait: what they brought is read once those before them are delivered. */
  #droppedPush = false
  readonly #avoided: AvoidedReplicas
  readonly #presence: SubscriptionPresence
  #closing: Promise<void> | undefined

  constructor(init: SubscriptionInit) {
    this.#init = init
    this.topic = init.topic
    this.#timers = new Timers(init.dht.runtime)
    this.#retry = new Retry(this.#timers, init.options, () => void this.#reattach())
    this.#avoided = new AvoidedReplicas(init.dht.runtime, init.options.avoidMs)
    this.#emitter = new Emitter(init.options.maxUnreadMessages)
    this.#state = new SyncState(init.dht, (status) => this.#emitter.emit('sync', status))
    this.#presence = init.presence.of(init.topicKey, {
      source: () => this.#attachment.source,
      onChange: (members) => this.#emitter.emit('presence', members),
    })
    this.#reader = new TopicReader({
      ...init,
      signal: this.#abort.signal,
      emit: (event, value) => {
        countEvent(init.counters, event, value)
        this.#emitter.emit(event, value)
      },
      onStatus: (status) => {
        if (status === 'synced') this.#retry.succeeded() // all has been read
        this.#state.set(status)
      },
    })
    this.#watch = new SourceWatch(init.dht, this.#reader, this.#avoided, this.#abort.signal)
    this.#pushWatch = new PushWatch(init.dht, this.#timers, () => void this.#bePushedAgain())
    this.#given = new GivenPosition(init.topicKey, this.#reader, this.#emitter)
    this.#others = new FirstOthers(init, () => void this.resync())
    this.#announcement = new Announcement({
      ...init,
      signal: this.#abort.signal,
      onError: (error) => this.#emitter.emit('error', error),
    })
    this.#attachment = new Attachment({
      dht: init.dht,
      topicKey: init.topicKey,
      signal: this.#abort.signal,
      avoided: this.#avoided,
      others: this.#others,
      statement: () => this.#announcement.statement(),
      onAttached: (left) => this.#onAttached(left),
      onNone: (refusal) => {
        if (refusal !== undefined) this.#emitter.emit('error', refusal)
        this.#tryLater()
      },
    })
    this.#stopListening = init.dht.onTopologyChange(() => {
      if (this.source === undefined) this.#retry.now() // it may be one who can be reached
    })
  }

  get status(): SyncStatus {
    return this.#state.status
  }

  get lastSeenVersion(): number {
    return this.#reader.position
  }

  get position(): string {
    return this.#given.text
  }

  get remaining(): number | undefined {
    return this.#reader.remaining
  }

  get source(): NodeId | undefined {
    return this.#attachment.source
  }

  get present(): PresenceMember[] {
    return this.#presence.list()
  }

  setPresence(state: Data | undefined): Promise<void> {
    return this.#presence.set(state)
  }

  on<E extends keyof SubscriptionEvents>(
    event: E,
    listener: (value: SubscriptionEvents[E]) => void,
  ): () => void {
    if (event === 'message') this.#given.beginsAnew()
    const stop = this.#emitter.on(event, listener)
    if (event !== 'presence') return stop
    const stopFirst = this.#presence.tell(listener as (members: PresenceMember[]) => void)
    return () => {
      stopFirst()
      stop()
    }
  }

  [Symbol.asyncIterator](): AsyncIterator<Message> {
    return this.#given.iterate()
  }

  /**
   * Attaches; history follows in a later task, so that listeners can be added first. Where it begins is known then, unless
   * no replica could be reached within `beginMs`: then it begins with the status `synced`. Never rejects.
   */
  async start(): Promise<void> {
    const { dht, options } = this.#init
    void this.#others.unawaited.then(() => this.#announcement.persist())
    await this.#attachment.attach()
    await this.#serially(() => this.#read())
    if (this.#reader.beginsAtEnd) {
      const waited = delay(dht.runtime, options.beginMs, this.#abort.signal).catch(() => undefined)
      await Promise.race([this.#begun.promise, waited])
    }
    this.#isStarted = true
    this.#timers.after(0, () => void this.#serially(() => this.#read()))
    this.#timers.every(options.checkIntervalMs, () => this.#check())
    this.#timers.every(RELEASE_INTERVAL_MS, () => this.#serially(() => this.#reader.releaseHeld()))
    this.#timers.every(options.renewMs, async () => {
      void this.#announcement.persist() // each for itself: one whose statement nobody takes is served all the same
      const attached = untilDone(() => this.#attachment.renew(), { dht, options, signal: this.#abort.signal })
      await attached.catch((error) => this.#emitter.emit('error', error))
    })
  }

  /** Called for each push that arrives for this topic; the acknowledgement does not wait for the application. */
  receive(push: Push, from: NodeId): void {
    if (this.#abort.signal.aborted || from !== this.source) return
    this.#pushWatch.heard(push.previous === push.version) // which is a call to come and read
    if (this.#waitingPushes >= MAX_WAITING_PUSHES) {
      this.#droppedPush = true
      return
    }
    this.#waitingPushes += 1
    void this.#serially(async () => {
      this.#waitingPushes -= 1
      if (from !== this.source) return
      await this.#reader.takePush(push, from)
      if (!this.#droppedPush || this.#waitingPushes > 0) return
      this.#droppedPush = false
      await this.#reader.catchUp(from, false)
    })
  }

  peerGone(peer: NodeId): void {
    if (peer === this.source && !this.#abort.signal.aborted) void this.#reattach()
    else this.#state.look()
  }

  /** Attaches anew and reads what was missed. Never rejects: what fails is tried again with the check. */
  async resync(): Promise<void> {
    await this.#attachment.underWay
    await this.#reattach()
  }

  async renew(): Promise<void> {
    await Promise.all([this.#announcement.say(), this.#attachment.renew()])
  }

  /** The statement that leaves is the node's, which stays while it has another subscription to the topic. */
  async unsubscribe(): Promise<void> {
    const isLast = !this.#init.hasOthers()
    const closing = this.close() // first: no renewal follows on what leaves
    await Promise.all([closing, isLast ? this.#announcement.say('unsubscribe') : undefined])
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#abort.abort(new StickyError('CLOSED', 'This subscription is closed.'))
    this.#timers.end()
    this.#stopListening()
    this.#others.close()
    this.#state.set('closed')
    this.#init.onClosed(this)
    this.#emitter.end()
    await this.#presence.leave()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  // --- attaching

  #onAttached(left: NodeId | undefined): void {
    this.#reader.attached()
    this.#pushWatch.heard()
    if (left !== undefined) this.#init.onMoved(left)
    this.#presence.attached()
  }

  #tryLater(): void {
    this.#state.set('degraded')
    this.#retry.later()
  }

  async #reattach(): Promise<void> {
    if (this.#abort.signal.aborted || this.#attachment.underWay !== undefined) return
    this.#retry.begun()
    this.#state.set(this.#reader.joined ? 'catching-up' : 'joining')
    await this.#attachment.attach()
    await this.#serially(() => this.#read())
  }

  /** From the current source: the history asked for the first time, what was missed later. */
  async #read(): Promise<void> {
    const { source } = this
    if (source === undefined) return
    if (!this.#isStarted) {
      await this.#reader.prepare(source)
      return this.#begun.resolve()
    }
    if (this.#reader.joined) await this.#reader.catchUp(source, true)
    else await this.#reader.join(source)
  }

  /** By the same replica. What it has had since it let go is read; should it not answer, the next check finds the same. */
  async #bePushedAgain(): Promise<void> {
    const { source } = this
    const version = (await this.#attachment.renew().catch(() => undefined)) ?? 0
    if (source !== undefined && source === this.source && version > this.#reader.position)
      await this.#catchUp(source, false)
  }

  // --- reading and delivering, one thing at a time (reader.ts)

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
    const { dht, counters } = this.#init
    countEvent(counters, 'error', error)
    if (this.source !== undefined) this.#avoided.add(this.source)
    // a source that hands out what does not verify is not asked again for a while
    if (error.action === 'penalise' && this.source !== undefined) dht.replicas.markDown(this.source)
    this.#emitter.emit('error', error)
    this.#tryLater()
  }

  // --- watching

  /** The safety net under pushes: is the source a replica still, and has it, or another of them, gone further? */
  async #check(): Promise<void> {
    const { source } = this
    // an attempt that waits does all of this and more
    if (source === undefined || this.#attachment.underWay !== undefined || this.#retry.isWaiting) return
    const { dht, topicKey } = this.#init
    if (this.status === 'offline' && dht.rpc.connectedPeers.length > 0) return this.#reattach()
    this.#state.look()
    const set = await dht.replicas.set(topicKey).catch(() => [])
    if (set.length > 0 && !set.some(({ nodeId }) => nodeId === source)) return this.#reattach()
    const askedMs = dht.runtime.monotonicNow()
    const looking = this.#watch.look(set, source)
    const own = await this.#reader.coordinatorAt(source, 'its own').then(
      (at) => at?.version ?? 0,
      () => undefined,
    )
    if (own === undefined) return this.#reattach()
    // whoever is slow to show what it has does not keep what the source has waiting
    const isBehind = own > (this.#reader.versionAt(source) ?? 0)
    if (isBehind && (await this.#catchUp(source, false))) this.#pushWatch.unheard(askedMs)
    const other = await looking
    const newest = Math.max(own, other?.coordinator.version ?? 0)
    if (newest > this.#reader.position || this.#reader.isForged(newest))
      await this.#catchUp(source, newest > own)
    if (other !== undefined) await this.#serially(() => this.#compare(source, other))
  }

  /** True where it had anything that was not known. */
  async #catchUp(source: NodeId, quorum: boolean): Promise<boolean> {
    let isNew = false
    await this.#serially(async () => {
      isNew = await this.#reader.catchUp(source, quorum)
    })
    return isNew
  }

  /** Whoever withholds is left; one that merely lacks something is looked at once more. */
  async #compare(source: NodeId, elsewhere: Elsewhere): Promise<void> {
    const finding = await this.#watch.compare(elsewhere)
    if (finding === 'level' || source !== this.source) return
    if (finding === 'lacks') {
      this.#timers.after(RECHECK_MS, () => void this.#check())
      return
    }
    this.#avoided.add(source)
    void this.#reattach()
  }
}

/** How exactly the patience with holes is kept; it costs nothing where nothing waits. */
const RELEASE_INTERVAL_MS = 1_000

/** Until a source that lacked something is looked at again: an honest one has joined by then what it was shown. */
const RECHECK_MS = 1_000

/** Pushes taken while something else is read: each may hold 256 KiB. */
const MAX_WAITING_PUSHES = 32
