import {
  type Dht,
  type NodeId,
  nodeIdOf,
  type Quota,
  RateLimiter,
  StickyError,
  type Timer,
  toHex,
} from '../dht/index.ts'
import type { Delivery } from './delivery.ts'
import { COORDINATOR, LIMITS, type PubSubOptions } from './options.ts'
import { openPresence, verifyPresence } from './presence-statement.ts'
import { PresenceTable } from './presence-table.ts'
import { type Roster, topicMethods } from './wire.ts'

/**
 * The replica's side of presence: takes what members say of themselves, keeps it in memory only, and tells the subscribers
 * that are attached here what changes. It never touches the topic's record: a topic does not live longer by it.
 */

/** A subscriber that has asked for the list. */
interface Watcher {
  peer: NodeId
  /** It was given all changes up to this one. */
  sent: number
  listed: number
  inFlight: boolean
  failures: number
}

interface Topic {
  name: string
  table: PresenceTable
  watchers: Map<NodeId, Watcher>
  /** For whoever expires next. */
  timer: Timer | undefined
  dueMs: number
  /** Until what changed is sent on. */
  pushTimer: Timer | undefined
}

/** What there is to say of a topic of which nothing is known. */
const NOTHING: Roster = {
  epoch: new Uint8Array(8),
  since: 0,
  counter: 0,
  latest: 0,
  entries: [],
  gone: [],
}

/** How often a topic that only has watchers is looked at: they may have gone. */
const IDLE_LOOK_MS = 60_000

/**
 * Members of topics that this node holds nothing of, for which it has to look whether it is a replica: a query of many
 * peers each, and then a place in memory. Of one peer, and of all together.
 */
const UNHELD_QUOTA: Quota = { perSecond: 1, burst: 8 }
const ALL_UNHELD_QUOTA: Quota = { perSecond: 10, burst: 40 }

export class PresenceHolder {
  readonly #dht: Dht
  readonly #unheld: RateLimiter
  readonly #delivery: Delivery
  readonly #options: PubSubOptions
  readonly #topics = new Map<string, Topic>()
  /** In how many topics a peer is, or was a moment ago. */
  readonly #ofPeer = new Map<NodeId, number>()
  #entries = 0
  #closed = false
  readonly counters = { taken: 0, changes: 0, pushes: 0, failedPushes: 0 }

  constructor(dht: Dht, delivery: Delivery, options: PubSubOptions) {
    this.#dht = dht
    this.#unheld = new RateLimiter(dht.runtime)
    this.#delivery = delivery
    this.#options = options
    dht.rpc.handle(topicMethods.presence, (from, { topic, statement }) => this.#take(from, topic, statement))
    dht.rpc.handle(topicMethods.roster, (from, { topic, epoch, since, listed }) =>
      this.#answer(from, topic, { epoch, since, listed }),
    )
  }

  /** The cheap first: whose and of when it is, whether it is news and there is room; then the signature; then it counts. */
  async #take(from: NodeId, key: Uint8Array, envelope: Uint8Array): Promise<Record<string, never>> {
    const claimed = openPresence(envelope, key, this.#dht.runtime.now())
    if (nodeIdOf(claimed.body.client) !== from)
      throw new StickyError('WRONG_IDENTITY', 'The presence of somebody else than the peer that sent it.')
    const name = toHex(key)
    const isNew = () => this.#topics.get(name)?.table.isNew(from, claimed) ?? true
    if (!isNew()) return {}
    this.#requireRoom(name, from)
    if (!this.#topics.has(name)) await this.#requireReplica(key, from)
    const statement = await verifyPresence(claimed)
    if (this.#closed || !isNew()) return {} // it, or something newer, came meanwhile
    this.#requireRoom(name, from)
    const topic = this.#topicOf(name, key)
    const isNewcomer = !topic.table.has(from)
    const outcome = topic.table.take(statement, this.#dht.runtime.monotonicNow())
    if (isNewcomer) this.#countEntry(from, 1)
    this.counters.taken += 1
    this.#settle(topic, outcome)
    return {}
  }

  /** Throws BUSY. What is known already may always be said anew. */
  #requireRoom(name: string, from: NodeId): void {
    const { maxPresenceTopics, maxPresenceEntries, maxPresenceEntriesPerPeer } = this.#options
    const topic = this.#topics.get(name)
    if (topic?.table.has(from)) return
    if (topic === undefined && this.#topics.size >= maxPresenceTopics)
      throw new StickyError('BUSY', 'Too many topics with members here.')
    if (this.#entries >= maxPresenceEntries)
      throw new StickyError('BUSY', 'Too many members in all topics here.')
    if ((this.#ofPeer.get(from) ?? 0) >= maxPresenceEntriesPerPeer)
      throw new StickyError('BUSY', 'This node is a member of too many topics here.')
  }

  /** Who holds the topic, or has just become a replica and is yet to be given it. Throws NOT_FOUND. */
  async #requireReplica(key: Uint8Array, from: NodeId): Promise<void> {
    const { replicas, self, store } = this.#dht
    const { head } = await store.record(COORDINATOR, key)
    if (head !== undefined) return
    if (!this.#unheld.take(from, UNHELD_QUOTA) || !this.#unheld.take('', ALL_UNHELD_QUOTA))
      throw new StickyError('NOT_FOUND', 'This node holds nothing of that topic, and does not look now.')
    await replicas.set(key)
    await replicas.refreshing(key)
    const set = await replicas.set(key)
    if (!set.some(({ nodeId }) => nodeId === self))
      throw new StickyError('NOT_FOUND', 'This node is no replica of that topic, as far as it knows.')
  }

  /** Who is attached here is told of changes from now on; whoever else asks gets the list and no more. */
  #answer(
    from: NodeId,
    key: Uint8Array,
    asked: { epoch: Uint8Array; since: number; listed: number },
  ): Roster {
    const name = toHex(key)
    const isServed = this.#delivery.serves(key, from)
    const hasRoom = this.#topics.size < this.#options.maxPresenceTopics
    if (!this.#topics.has(name) && !(isServed && hasRoom)) return NOTHING
    const topic = this.#topicOf(name, key)
    const isFollowing = toHex(asked.epoch) === toHex(topic.table.epoch)
    const roster = topic.table.changesSince(isFollowing ? asked.since : 0, asked.listed)
    if (!isServed) return roster
    const listed = roster.since === 0 ? roster.latest : asked.listed
    const news = { sent: roster.counter, listed, failures: 0 }
    const watcher = topic.watchers.get(from)
    if (watcher === undefined) topic.watchers.set(from, { peer: from, inFlight: false, ...news })
    else Object.assign(watcher, news)
    return roster
  }

  #topicOf(name: string, key: Uint8Array): Topic {
    const known = this.#topics.get(name)
    if (known !== undefined) return known
    const table = new PresenceTable(key, this.#dht.runtime.randomBytes(8))
    const topic = { name, table, watchers: new Map(), timer: undefined, dueMs: 0, pushTimer: undefined }
    this.#topics.set(name, topic)
    this.#arm(topic)
    return topic
  }

  #settle(topic: Topic, { isChange, forgotten }: { isChange: boolean; forgotten: NodeId[] }): void {
    for (const nodeId of forgotten) this.#countEntry(nodeId, -1)
    if (isChange) {
      this.counters.changes += 1
      this.#pushSoon(topic, LIMITS.presencePushMs)
    }
    this.#arm(topic)
  }

  #countEntry(nodeId: NodeId, by: 1 | -1): void {
    this.#entries += by
    const count = (this.#ofPeer.get(nodeId) ?? 0) + by
    if (count > 0) this.#ofPeer.set(nodeId, count)
    else this.#ofPeer.delete(nodeId)
  }

  // --- time

  /** Heartbeats only put it off, so a timer that is set is mostly early enough. */
  #arm(topic: Topic): void {
    if (this.#closed) return
    const { runtime } = this.#dht
    const now = runtime.monotonicNow()
    const dueMs = Math.min(topic.table.nextMs ?? Number.POSITIVE_INFINITY, now + IDLE_LOOK_MS)
    if (topic.timer !== undefined && topic.dueMs <= dueMs) return
    topic.timer?.clear()
    topic.dueMs = dueMs
    topic.timer = runtime.setTimer(
      () => {
        topic.timer = undefined
        this.#look(topic)
      },
      Math.max(0, dueMs - now),
    )
  }

  #look(topic: Topic): void {
    const outcome = topic.table.expire(this.#dht.runtime.monotonicNow())
    for (const peer of topic.watchers.keys())
      if (!this.#delivery.serves(topic.table.key, peer)) topic.watchers.delete(peer)
    this.#settle(topic, outcome)
    if (topic.table.size > 0 || topic.watchers.size > 0) return
    this.#topics.delete(topic.name)
    topic.timer?.clear()
    topic.pushTimer?.clear()
  }

  // --- telling

  #pushSoon(topic: Topic, waitMs: number): void {
    if (this.#closed) return
    topic.pushTimer ??= this.#dht.runtime.setTimer(() => {
      topic.pushTimer = undefined
      const made = new Map<number, Roster>() // mostly the same for all
      for (const watcher of topic.watchers.values()) void this.#push(topic, watcher, made)
    }, waitMs)
  }

  /** One at a time to each, so that one who is slow waits alone. What changes meanwhile goes with the next one. */
  async #push(topic: Topic, watcher: Watcher, made: Map<number, Roster>): Promise<void> {
    const { table, watchers } = topic
    if (watcher.inFlight || watcher.sent >= table.latest) return
    const isServed = this.#delivery.serves(table.key, watcher.peer)
    // who has missed too much asks for the whole list by itself
    if (!isServed || !table.canFollow(watcher.sent, watcher.listed)) {
      watchers.delete(watcher.peer)
      return
    }
    const roster = made.get(watcher.sent) ?? table.changesSince(watcher.sent, watcher.listed)
    made.set(watcher.sent, roster)
    watcher.inFlight = true
    this.counters.pushes += 1
    try {
      await this.#dht.rpc.request(watcher.peer, topicMethods.present, { topic: table.key, ...roster })
      watcher.sent = Math.max(watcher.sent, roster.counter)
      watcher.failures = 0
    } catch {
      this.counters.failedPushes += 1
      watcher.failures += 1
      if (watcher.failures >= this.#options.maxPushFailures) watchers.delete(watcher.peer)
    }
    watcher.inFlight = false
    if (watcher.sent < table.latest) this.#pushSoon(topic, LIMITS.presencePushMs)
  }

  get topics(): number {
    return this.#topics.size
  }

  /** Entries of all topics, those who left a moment ago included. */
  get entries(): number {
    return this.#entries
  }

  close(): void {
    this.#closed = true
    for (const { timer, pushTimer } of this.#topics.values()) {
      timer?.clear()
      pushTimer?.clear()
    }
    this.#topics.clear()
    this.#ofPeer.clear()
    this.#entries = 0
  }
}
