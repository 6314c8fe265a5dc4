import { type Dht, type Identity, type NodeId, StickyError, type Timer, toHex } from '../dht/index.ts'
import type { Data, PresenceMember } from './api.ts'
import { LIMITS, type PubSubOptions } from './options.ts'
import { PresenceSpeaker } from './presence-speaker.ts'
import { encodePresenceState } from './presence-statement.ts'
import { PresenceWatcher } from './presence-watcher.ts'
import { SigningClock } from './signing-clock.ts'
import { topicMethods } from './wire.ts'

/**
 * The presence of this node: one for each topic, whatever the number of its subscriptions there. A topic in which nobody
 * shows himself or looks costs nothing.
 */

export interface PresenceUser {
  /** The replica that serves this subscription. */
  source(): NodeId | undefined
  onChange(members: PresenceMember[]): void
}

export class PresenceClient {
  readonly #dht: Dht
  readonly #identity: Identity
  readonly #options: PubSubOptions
  readonly #clock: SigningClock
  readonly #topics = new Map<string, TopicPresence>()
  readonly #leaving = new Set<Promise<void>>()

  constructor(dht: Dht, identity: Identity, options: PubSubOptions) {
    this.#dht = dht
    this.#identity = identity
    this.#options = options
    this.#clock = new SigningClock(dht)
    dht.rpc.handle(topicMethods.present, async (from, { topic, ...roster }) => {
      const presence = this.#topics.get(toHex(topic))
      if (presence === undefined) throw new StickyError('NOT_FOUND', 'Nobody here watches that.')
      await presence.receive(from, roster)
      return {}
    })
  }

  /** For one subscription, until its `leave`. */
  of(topicKey: Uint8Array, user: PresenceUser): SubscriptionPresence {
    return new SubscriptionPresence(
      user,
      () => this.#topic(topicKey),
      (leaving) => {
        this.#leaving.add(leaving)
        void leaving.finally(() => this.#leaving.delete(leaving))
      },
    )
  }

  #topic(topicKey: Uint8Array): TopicPresence {
    const name = toHex(topicKey)
    let topic = this.#topics.get(name)
    if (topic === undefined) {
      topic = new TopicPresence({
        dht: this.#dht,
        identity: this.#identity,
        options: this.#options,
        clock: this.#clock,
        topicKey,
        onUnused: () => this.#topics.delete(name),
      })
      this.#topics.set(name, topic)
    }
    return topic
  }

  /** For each topic, says at its replicas that this node is here, where it is. */
  resyncs(): (() => Promise<void>)[] {
    return [...this.#topics.values()].map((topic) => () => topic.sayAgain())
  }

  /** Topics in which this node shows itself or looks. */
  get topics(): number {
    return this.#topics.size
  }

  /** Once those who close have said so. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#leaving)
  }
}

/** One subscription's part in the presence of its topic. */
export class SubscriptionPresence {
  readonly #user: PresenceUser
  readonly #open: () => TopicPresence
  readonly #onLeaving: (leaving: Promise<void>) => void
  #topic: TopicPresence | undefined
  #isClosed = false

  constructor(user: PresenceUser, open: () => TopicPresence, onLeaving: (leaving: Promise<void>) => void) {
    this.#user = user
    this.#open = open
    this.#onLeaving = onLeaving
  }

  #used(): TopicPresence {
    this.#topic ??= this.#open()
    return this.#topic
  }

  /** Begins to watch, where it does not yet. */
  list(): PresenceMember[] {
    this.watch()
    return this.#topic?.list() ?? []
  }

  watch(): void {
    if (!this.#isClosed) this.#used().watch(this.#user)
  }

  /** Begins to watch, and tells soon who is here: of those who were before somebody listened no change will tell. */
  tell(listener: (members: PresenceMember[]) => void): () => void {
    this.watch()
    const timer = this.#topic?.soon(() => {
      const members = this.list()
      if (members.length > 0) listener(members)
    })
    return () => timer?.clear()
  }

  /** Throws CLOSED, INVALID_DATA or TOO_LARGE. */
  async set(state: Data | undefined): Promise<void> {
    if (this.#isClosed) throw new StickyError('CLOSED', 'This subscription is closed.')
    const bytes = state === undefined ? undefined : encodePresenceState(state)
    this.watch()
    await this.#used().set(this.#user, bytes)
  }

  /** The replica that serves this subscription is another one, or serves it anew. */
  attached(): void {
    this.#topic?.read()
  }

  /** Resolves when the replicas know, or cannot be waited for. */
  async leave(): Promise<void> {
    this.#isClosed = true
    const leaving = this.#topic?.leave(this.#user)
    this.#topic = undefined
    if (leaving === undefined) return
    this.#onLeaving(leaving)
    await leaving
  }
}

interface TopicPresenceInit {
  dht: Dht
  identity: Identity
  options: PubSubOptions
  clock: SigningClock
  topicKey: Uint8Array
  onUnused(): void
}

class TopicPresence {
  readonly #init: TopicPresenceInit
  readonly #users = new Set<PresenceUser>()
  /** What each subscription shows; the one set last is what others see. */
  readonly #states = new Map<PresenceUser, Uint8Array>()
  readonly #speaker: PresenceSpeaker
  readonly #watcher: PresenceWatcher
  #beatTimer: Timer | undefined

  constructor(init: TopicPresenceInit) {
    this.#init = init
    this.#speaker = new PresenceSpeaker(init)
    this.#watcher = new PresenceWatcher({
      ...init,
      source: () => [...this.#users].map((user) => user.source()).find((source) => source !== undefined),
      onChange: (members) => {
        for (const user of this.#users) user.onChange(members)
      },
    })
    this.#beat()
  }

  list(): PresenceMember[] {
    return this.#watcher.list()
  }

  watch(user: PresenceUser): void {
    if (this.#users.has(user)) return
    this.#users.add(user)
    this.read()
  }

  read(): void {
    this.#watcher.read()
  }

  soon(work: () => void): Timer {
    return this.#init.dht.runtime.setTimer(work, 0)
  }

  sayAgain(): Promise<void> {
    return this.#speaker.again()
  }

  receive(from: NodeId, roster: Parameters<PresenceWatcher['receive']>[1]): Promise<void> {
    return this.#watcher.receive(from, roster)
  }

  set(user: PresenceUser, state: Uint8Array | undefined): Promise<void> {
    const before = this.#shown
    this.#states.delete(user)
    if (state !== undefined) this.#states.set(user, state)
    if (state === undefined && this.#shown === before) return Promise.resolve()
    return this.#speaker.set(this.#shown)
  }

  async leave(user: PresenceUser): Promise<void> {
    this.#users.delete(user)
    const said = this.set(user, undefined)
    if (this.#users.size > 0) return said
    this.#init.onUnused()
    this.#beatTimer?.clear()
    this.#watcher.close()
    await Promise.all([said, this.#speaker.close()])
  }

  get #shown(): Uint8Array | undefined {
    return [...this.#states.values()].at(-1)
  }

  /** Never later than the interval: a replica forgets after two of them. */
  #beat(): void {
    const { runtime } = this.#init.dht
    this.#beatTimer = runtime.setTimer(
      () => {
        this.#beat()
        void this.#speaker.say().catch(() => undefined)
        this.#watcher.read()
      },
      LIMITS.presenceHeartbeatMs * (1 - HEARTBEAT_JITTER * runtime.random()),
    )
  }
}

/** Up to this share earlier, so that the members of a topic do not all speak at once. */
const HEARTBEAT_JITTER = 0.2
