import { asStickyError } from '../dht/index.ts'
import {
  type Data,
  Emitter,
  type Message,
  type PresenceMember,
  type SubscribeOptions,
  type Subscription,
  type SubscriptionEvents,
  type SyncStatus,
} from '../pubsub/index.ts'
import { type SUBSCRIPTION_CALLS, SUBSCRIPTION_EVENTS, type SubscriptionMirror, WATCH } from './tab-calls.ts'
import type { RemoteObject, TabClient } from './tab-client.ts'
import { type Failure, fromFailure } from './tab-frames.ts'

/**
 * A subscription that lives in the tab that leads, with the face of one that lives here. When the leader changes it is
 * opened again from where it was; what this tab has had is dropped by id, so that nothing comes twice.
 */

type PlainOptions = Omit<SubscribeOptions, 'onMessage' | 'signal'>

const NOTHING: SubscriptionMirror = {
  status: 'joining',
  lastSeenVersion: 0,
  position: '',
  remaining: undefined,
}

/** After a change of leaders: whoever was here and has not been told of by then has gone meanwhile. */
const PRESENT_AGAIN_MS = 5_000

/** A position, and how many messages had been handed over with it. */
interface Place {
  position: string
  emitted: number
}
/** A reader that is further behind goes back to the oldest of them. */
const MAX_PLACES = 1_024

export interface TabSubscriptionInit {
  client: TabClient
  topic: string
  options: SubscribeOptions
  maxSeenIds: number
  maxUnread: number
}

export class TabSubscription implements Subscription, RemoteObject {
  readonly topic: string
  readonly #client: TabClient
  readonly #number: number
  readonly #options: PlainOptions
  readonly #signal: AbortSignal | undefined
  readonly #events: Emitter<SubscriptionEvents>
  readonly #seen = new Set<string>()
  /** Events that are told because somebody here listens. */
  readonly #watched = new Set<string>()
  readonly #maxSeenIds: number
  readonly #places: Place[] = []
  #mirror: SubscriptionMirror = NOTHING
  #presence: Data | undefined
  #present: PresenceMember[] = []
  #presentTimer: ReturnType<typeof setTimeout> | undefined
  #emitted = 0
  #status: SyncStatus = 'joining'
  #hasBegun = false
  #isJoined = false
  #historicCount = 0

  constructor({ client, topic, options, maxSeenIds, maxUnread }: TabSubscriptionInit) {
    const { onMessage, signal, ...plain } = options
    this.topic = topic
    this.#client = client
    this.#options = plain
    this.#presence = plain.presence
    this.#signal = signal
    this.#maxSeenIds = maxSeenIds
    this.#events = new Emitter(maxUnread)
    this.#number = client.register(this)
    if (onMessage) this.on('message', onMessage)
  }

  get status(): SyncStatus {
    return this.#status
  }

  get lastSeenVersion(): number {
    return this.#mirror.lastSeenVersion
  }

  /** What this tab was given: without what its iterations have not come to. */
  get position(): string {
    const given = this.#emitted - this.#events.unread('message').length
    return (
      this.#places.findLast(({ emitted }) => emitted <= given)?.position ?? this.#places[0]?.position ?? ''
    )
  }

  get remaining(): number | undefined {
    return this.#mirror.remaining
  }

  get present(): PresenceMember[] {
    this.#watch('presence')
    return this.#present
  }

  async setPresence(state: Data | undefined): Promise<void> {
    this.#presence = state
    await this.#call('setPresence', state)
  }

  /** Resolves once it is open at the leader; rejects when it cannot be. */
  async start(): Promise<void> {
    this.#signal?.addEventListener('abort', this.#onAbort, { once: true })
    try {
      await this.#open(this.#options, this.#signal)
    } catch (error) {
      this.#finish()
      throw error
    }
  }

  on<E extends keyof SubscriptionEvents>(
    event: E,
    listener: (value: SubscriptionEvents[E]) => void,
  ): () => void {
    const stop = this.#events.on(event, listener)
    if (event === 'presence' && this.#present.length > 0)
      queueMicrotask(() => listener(this.#present as SubscriptionEvents[E]))
    if (SUBSCRIPTION_EVENTS[event] !== 'always') this.#watch(event)
    return stop
  }

  [Symbol.asyncIterator](): AsyncIterator<Message> {
    return this.#events.iterate('message')
  }

  async renew(): Promise<void> {
    await this.#call('renew')
  }

  async unsubscribe(): Promise<void> {
    if (this.#status === 'closed') return
    try {
      await this.#call('unsubscribe')
    } finally {
      this.#finish()
    }
  }

  async close(): Promise<void> {
    this.#finish()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  readonly #onAbort = (): void => this.#finish()

  // --- what the client tells

  take(events: [event: string, value: unknown][], mirror: unknown): void {
    this.#moveTo(mirror as SubscriptionMirror, events.filter(([event]) => event === 'message').length)
    for (const [event, value] of events) {
      if (this.#status === 'closed') return
      if (event === 'message') this.#message(value as Message)
      else if (event === 'history-end') this.#historyEnd(value as SubscriptionEvents['history-end'])
      else if (event === 'sync') this.#sync(value as SyncStatus)
      else if (event === 'presence') this.#setPresent(value as PresenceMember[])
      else if (event === 'error') this.#events.emit('error', fromFailure(value as Failure))
      else this.#events.emit(event as keyof SubscriptionEvents, value as never)
    }
  }

  interrupted(): void {
    if (this.#hasBegun) this.#setStatus(this.#isJoined ? 'catching-up' : 'joining')
  }

  reopen(): void {
    clearTimeout(this.#presentTimer)
    if (this.#present.length > 0)
      this.#presentTimer = setTimeout(() => this.#setPresent([]), PRESENT_AGAIN_MS)
    this.#open(this.#resumed()).catch((error: unknown) => {
      if (this.#status === 'closed') return
      this.#events.emit('error', asStickyError(error, 'UNREACHABLE'))
      this.#finish()
    })
    for (const event of this.#watched) this.#tellWatched(event) // waits there until it is open
  }

  end(): void {
    this.#finish()
  }

  // ---

  async #open(options: PlainOptions, signal?: AbortSignal): Promise<void> {
    const opening = { opens: this.#number, ...(signal ? { signal } : {}) }
    const mirror = await this.#client.call('subscribe', [this.topic, options], opening)
    this.#moveTo(mirror as SubscriptionMirror, 0)
    if (!this.#hasBegun) for (const event of this.#watched) this.#tellWatched(event)
    this.#hasBegun = true
    this.#sync(this.#mirror.status)
  }

  #watch(event: string): void {
    if (this.#watched.has(event)) return
    this.#watched.add(event)
    if (this.#hasBegun) this.#tellWatched(event)
  }

  #tellWatched(event: string): void {
    this.#client.call(WATCH, [event], { object: this.#number }).catch(() => undefined) // at the next leader again
  }

  /** From where this tab is. */
  #resumed(): PlainOptions {
    const { lastSeenVersion: _, receiveHistory: __, presence: ___, ...options } = this.#options
    return {
      ...options,
      history: { from: this.#mirror.position },
      ...(this.#presence === undefined ? {} : { presence: this.#presence }),
    }
  }

  /** `messages`: how many are being handed over with it. */
  #moveTo(mirror: SubscriptionMirror, messages: number): void {
    this.#mirror = mirror
    this.#emitted += messages
    this.#places.push({ position: mirror.position, emitted: this.#emitted })
    // without iterations that are behind, the one before is where the tab is until these have been handed over
    const isBehind = this.#events.unread('message').length > 0
    if (!isBehind) this.#places.splice(0, this.#places.length - 2)
    else if (this.#places.length > MAX_PLACES) this.#places.splice(1, 1)
  }

  #setPresent(members: PresenceMember[]): void {
    clearTimeout(this.#presentTimer)
    this.#present = members
    this.#events.emit('presence', members)
  }

  #message(message: Message): void {
    if (this.#seen.has(message.id)) return
    this.#seen.add(message.id)
    if (this.#seen.size > this.#maxSeenIds) this.#seen.delete(this.#seen.values().next().value as string)
    // this subscription began before the leader's did
    const historic = message.historic && !this.#isJoined
    if (historic) this.#historicCount += 1
    this.#events.emit('message', { ...message, historic })
  }

  #historyEnd(end: SubscriptionEvents['history-end']): void {
    if (this.#isJoined) return
    this.#isJoined = true
    this.#events.emit('history-end', { ...end, count: this.#historicCount })
  }

  /** When it closes there, the leader is closing, and another one follows. */
  #sync(status: SyncStatus): void {
    if (status !== 'closed') this.#setStatus(status)
  }

  #call(method: keyof typeof SUBSCRIPTION_CALLS, ...args: unknown[]): Promise<unknown> {
    return this.#client.call(method, args, { object: this.#number })
  }

  #setStatus(status: SyncStatus): void {
    // the leader opened it anew, which this tab's listeners need not know
    const shown = status === 'joining' && this.#isJoined ? 'catching-up' : status
    if (this.#status === shown || this.#status === 'closed') return
    this.#status = shown
    this.#events.emit('sync', shown)
  }

  #finish(): void {
    if (this.#status === 'closed') return
    clearTimeout(this.#presentTimer)
    this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#client.forget(this.#number)
    this.#setStatus('closed')
    this.#events.end()
  }
}
