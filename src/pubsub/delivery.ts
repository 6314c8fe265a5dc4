import {
  type Advance,
  asStickyError,
  type CodeCounts,
  countCode,
  type Dht,
  type NodeId,
  StickyError,
  toHex,
  totalOf,
} from '../dht/index.ts'
import { entriesAfter, loadMessages } from './collection.ts'
import { decodeCoordinator } from './coordinator.ts'
import { COORDINATOR, LIMITS, type PubSubOptions } from './options.ts'
import { checkStatementFreshness, verifyStatement } from './subscription-statement.ts'
import { WaitingPushes, type WaitingQueue } from './waiting-pushes.ts'
import { topicMethods } from './wire.ts'

/**
 * The replica's side of delivery. The commit that reaches a replica is also the push: what it added goes at once to the
 * subscribers attached here, to each in parallel, one push in flight per subscriber. What comes meanwhile is sent in one
 * piece afterwards; when that is more than a frame holds, the push is empty and the subscriber comes and reads.
 */

interface Attachment extends WaitingQueue {
  /** Of the topic. */
  name: string
  expiresAtMs: number
  /** Versions up to this one were pushed, or read by the subscriber before it attached. */
  pushedVersion: number
  /** Versions up to this one it reads by itself, before it attached or because a push could not hold them all. */
  unpushedVersion: number
  /** More came than `waiting` may hold: the next push is a call to come and read. */
  overflowed: boolean
  targetVersion: number
  /** The collection at that version. */
  targetMessages: Uint8Array | undefined
  inFlight: boolean
  failures: number
}

interface AttachedTopic {
  key: Uint8Array
  subscribers: Map<NodeId, Attachment>
  /** What came since the last reading began. Read in one piece and in order: nothing may be pushed past what it follows. */
  unread: Span | undefined
  isReading: boolean
}

/** A topic's way from one head to a later one. */
interface Span {
  before: Uint8Array | undefined
  latest: Advance
}

export class Delivery {
  readonly #dht: Dht
  readonly #options: PubSubOptions
  readonly #topics = new Map<string, AttachedTopic>()
  /** In how many topics a peer is attached. */
  readonly #topicsOf = new Map<NodeId, number>()
  readonly #waiting: WaitingPushes
  readonly #stop: (() => void)[] = []
  /** Whose push has been sent, and neither acknowledged nor given up; also of those who have left meanwhile. */
  readonly #inFlight = new Set<Attachment>()
  /** pushes = acknowledged + failures + `pushesInFlight`, at every moment. */
  readonly counters = {
    pushes: 0,
    acknowledged: 0,
    failures: {} as CodeCounts,
    get failedPushes() {
      return totalOf(this.failures)
    },
    pushedMessages: 0,
    dropped: 0,
    overflows: 0,
  }

  constructor(dht: Dht, options: PubSubOptions) {
    this.#dht = dht
    this.#options = options
    this.#waiting = new WaitingPushes(options.maxWaitingBytesPerPeer)
    dht.rpc.handle(topicMethods.attach, (from, { topic, statement }) => this.#attach(from, topic, statement))
    dht.rpc.handle(topicMethods.detach, (from, { topic }) => {
      this.#detach(toHex(topic), from)
      return {}
    })
    this.#stop.push(dht.store.onAdvance((advance) => this.#onAdvance(advance)))
    this.#stop.push(dht.rpc.onPeerGone((peer) => this.#dropPeer(peer)))
  }

  async #attach(from: NodeId, key: Uint8Array, statement: Uint8Array): Promise<{ version: number }> {
    const name = toHex(key)
    this.#requireRoom(name, from)
    this.#requireFewPushes(name, from)
    const verified = await verifyStatement(statement, { topicKey: key })
    checkStatementFreshness(verified, this.#dht.runtime.now())
    if (verified.nodeId !== from || verified.body.kind !== 'subscribe') {
      throw new StickyError('WRONG_IDENTITY', 'The statement is not a subscription of the peer that sent it.')
    }
    const { head } = await this.#dht.store.record(COORDINATOR, key)
    const { version, messages } = head === undefined ? NOTHING : decodeCoordinator(head)
    this.#requireRoom(name, from) // others that were asked for at the same time may have taken it
    const topic = this.#topics.get(name) ?? {
      key,
      subscribers: new Map(),
      unread: undefined,
      isReading: false,
    }
    this.#topics.set(name, topic)
    const before = topic.subscribers.get(from)
    if (before === undefined) this.#countTopic(from, 1)
    else this.#waiting.take(before)
    // what was on its way to the attachment before is not pushed to this one: who attached to go on as it was has to read
    const isCalled = before !== undefined && (before.inFlight || before.overflowed || topic.isReading)
    const attachment: Attachment = {
      name,
      peer: from,
      expiresAtMs: verified.body.expiresAt,
      pushedVersion: isCalled ? before.pushedVersion : version,
      unpushedVersion: version,
      waiting: [],
      waitingBytes: 0,
      overflowed: isCalled,
      targetVersion: version,
      targetMessages: messages ?? undefined,
      inFlight: false,
      failures: 0,
    }
    topic.subscribers.set(from, attachment)
    if (isCalled) void this.#push(topic, attachment)
    return { version }
  }

  /** For one more subscriber of the topic, and one more topic of this peer. Throws TOPIC_FULL or BUSY. */
  #requireRoom(name: string, from: NodeId): void {
    const topic = this.#topics.get(name)
    if (topic?.subscribers.has(from)) return
    if (topic !== undefined && topic.subscribers.size >= LIMITS.maxSubscribers)
      throw new StickyError('TOPIC_FULL', 'Too many subscribers here.')
    const { maxAttachedTopics, maxAttachedTopicsPerPeer } = this.#options
    const isFull = () => topic === undefined && this.#topics.size >= maxAttachedTopics
    const hasItsShare = () => (this.#topicsOf.get(from) ?? 0) >= maxAttachedTopicsPerPeer
    if (isFull() || hasItsShare()) this.#dropExpired()
    if (isFull()) throw new StickyError('BUSY', 'Too many topics here.')
    if (hasItsShare()) throw new StickyError('BUSY', 'Too many topics of this node.')
  }

  #countTopic(peer: NodeId, change: number): void {
    const count = (this.#topicsOf.get(peer) ?? 0) + change
    if (count > 0) this.#topicsOf.set(peer, count)
    else this.#topicsOf.delete(peer)
  }

  /**
   * Who attaches again is served at once, though a push on the link before it is still waited for; but not again and again.
   * Throws BUSY.
   */
  #requireFewPushes(name: string, from: NodeId): void {
    let underWay = 0
    for (const attachment of this.#inFlight)
      if (attachment.peer === from && attachment.name === name) underWay += 1
    if (underWay >= MAX_PUSHES_UNDER_WAY)
      throw new StickyError('BUSY', 'Pushes of this topic to this node are under way.')
  }

  #dropExpired(): void {
    const now = this.#dht.runtime.now()
    for (const topic of this.#topics.values())
      for (const { peer, expiresAtMs } of topic.subscribers.values())
        if (expiresAtMs < now) this.#drop(topic, peer)
  }

  #onAdvance(advance: Advance): void {
    const topic = advance.kind === COORDINATOR ? this.#topics.get(toHex(advance.key)) : undefined
    if (topic === undefined) return
    topic.unread = { before: topic.unread ? topic.unread.before : advance.before, latest: advance }
    if (!topic.isReading) void this.#readOn(topic)
  }

  async #readOn(topic: AttachedTopic): Promise<void> {
    topic.isReading = true
    for (let span = topic.unread; span !== undefined; span = topic.unread) {
      topic.unread = undefined
      await this.#deliver(topic, span)
    }
    topic.isReading = false
  }

  async #deliver(topic: AttachedTopic, { before, latest }: Span): Promise<void> {
    const from = before === undefined ? undefined : decodeCoordinator(before)
    const head = decodeCoordinator(latest.after)
    if (head.messages === null) return
    if (from?.messages && toHex(from.messages) === toHex(head.messages)) return
    const added = await this.#added(head.messages, from?.version ?? 0, latest)
    const now = this.#dht.runtime.now()
    for (const attachment of topic.subscribers.values()) {
      if (attachment.expiresAtMs < now) this.#drop(topic, attachment.peer)
      else this.#enqueue(topic, attachment, head.version, head.messages, added)
    }
  }

  /** What was added after a version, undefined when that is more than a push carries or cannot be read here. */
  async #added(
    messages: Uint8Array,
    after: number,
    { record }: Advance,
  ): Promise<[number, Uint8Array][] | undefined> {
    const added: [number, Uint8Array][] = []
    let bytes = 0
    try {
      const collection = await loadMessages(messages, record.read)
      for await (const entry of entriesAfter(collection, after, record.read)) {
        bytes += entry.envelope.byteLength
        if (bytes > LIMITS.maxPushBytes || added.length >= LIMITS.maxPushMessages) return undefined
        added.push([entry.addedInVersion, entry.envelope])
      }
    } catch {
      return undefined // e.g. superseded while it was read: the subscriber reads the current head itself
    }
    return added
  }

  #enqueue(
    topic: AttachedTopic,
    attachment: Attachment,
    version: number,
    messages: Uint8Array,
    added: [number, Uint8Array][] | undefined,
  ): void {
    if (attachment.pushedVersion > version + LIMITS.forgedLead) {
      attachment.pushedVersion = 0 // the number was a forged one, and a merge has dropped it
      attachment.unpushedVersion = version
      attachment.targetVersion = 0
    }
    if (version >= attachment.targetVersion) {
      attachment.targetVersion = version
      attachment.targetMessages = messages
    }
    if (added === undefined || !this.#waiting.add(attachment, added)) {
      this.#waiting.take(attachment)
      attachment.overflowed = true
      this.counters.overflows += 1
    }
    if (!attachment.inFlight) void this.#push(topic, attachment)
  }

  async #push(topic: AttachedTopic, attachment: Attachment): Promise<void> {
    attachment.inFlight = true
    while (
      attachment.targetVersion > attachment.pushedVersion &&
      topic.subscribers.get(attachment.peer) === attachment
    ) {
      const { targetVersion: version, targetMessages: messages } = attachment
      if (messages === undefined) break
      const isCall = attachment.overflowed
      const waiting = this.#waiting.take(attachment)
      const entries = isCall ? [] : waiting
      const previous = isCall ? version : attachment.pushedVersion
      attachment.overflowed = false
      const push = { topic: topic.key, previous, version, messages, entries }
      this.counters.pushes += 1
      this.#inFlight.add(attachment)
      try {
        await this.#dht.stages.watch('fanOut', () =>
          this.#dht.rpc.request(attachment.peer, topicMethods.push, push),
        )
        this.#inFlight.delete(attachment)
        this.counters.acknowledged += 1
        this.counters.pushedMessages += entries.length
        attachment.pushedVersion = version
        if (isCall) attachment.unpushedVersion = version
        attachment.failures = 0
      } catch (error) {
        // Unacknowledged: it may or may not have arrived, so the subscriber is asked to come and read.
        this.#inFlight.delete(attachment)
        countCode(this.counters.failures, asStickyError(error, 'UNREACHABLE').code)
        attachment.failures += 1
        attachment.overflowed = true
        const isLost =
          attachment.failures >= this.#options.maxPushFailures || !this.#dht.rpc.isConnected(attachment.peer)
        // it may have attached anew meanwhile, which this says nothing of
        if (isLost && topic.subscribers.get(attachment.peer) === attachment)
          this.#drop(topic, attachment.peer)
      }
    }
    attachment.inFlight = false
  }

  #dropPeer(peer: NodeId): void {
    for (const topic of this.#topics.values()) this.#drop(topic, peer)
  }

  #detach(name: string, peer: NodeId): void {
    const topic = this.#topics.get(name)
    if (topic !== undefined) this.#drop(topic, peer)
  }

  /** Also ends the pushing to that peer, which goes on as long as it is a subscriber here. */
  #drop(topic: AttachedTopic, peer: NodeId): void {
    const dropped = topic.subscribers.get(peer)
    if (dropped === undefined) return
    topic.subscribers.delete(peer)
    this.#countTopic(peer, -1)
    this.#waiting.take(dropped)
    this.counters.dropped += 1
    const name = toHex(topic.key)
    if (topic.subscribers.size === 0 && this.#topics.get(name) === topic) this.#topics.delete(name)
  }

  attachedTo(key: Uint8Array): NodeId[] {
    return [...(this.#topics.get(toHex(key))?.subscribers.keys() ?? [])]
  }

  serves(key: Uint8Array, peer: NodeId): boolean {
    return this.#topics.get(toHex(key))?.subscribers.has(peer) ?? false
  }

  /** Who has acknowledged the messages that were added after one version, up to another. */
  acknowledged(key: Uint8Array): { peer: NodeId; after: number; upTo: number }[] {
    return [...(this.#topics.get(toHex(key))?.subscribers.values() ?? [])].map(
      ({ peer, unpushedVersion, pushedVersion }) => ({ peer, after: unpushedVersion, upTo: pushedVersion }),
    )
  }

  get attachedTopics(): number {
    return this.#topics.size
  }

  /** Subscribers served, counted once for each of their topics. */
  get attachedSubscribers(): number {
    return [...this.#topics.values()].reduce((sum, { subscribers }) => sum + subscribers.size, 0)
  }

  get pushesInFlight(): number {
    return this.#inFlight.size
  }

  /** Waiting for the push under way of their subscriber, all topics together, and at most in one queue. */
  get waiting(): { messages: number; bytes: number; mostMessages: number } {
    const waiting = { messages: 0, bytes: 0, mostMessages: 0 }
    for (const { subscribers } of this.#topics.values())
      for (const attachment of subscribers.values()) {
        waiting.messages += attachment.waiting.length
        waiting.bytes += attachment.waitingBytes
        waiting.mostMessages = Math.max(waiting.mostMessages, attachment.waiting.length)
      }
    return waiting
  }

  close(): void {
    for (const stop of this.#stop) stop()
    for (const topic of this.#topics.values()) topic.subscribers.clear()
    this.#topics.clear()
    this.#topicsOf.clear()
  }
}

const NOTHING = { version: 0, messages: null }

/** To one subscriber in one topic: one of its attachment, and one of the attachment before it. */
const MAX_PUSHES_UNDER_WAY = 2
