import { asStickyError } from '../dht/index.ts'
import type {
  Data,
  Message,
  PresenceMember,
  SubscribeOptions,
  Subscription,
  SubscriptionEvents,
  SyncStatus,
} from '../pubsub/index.ts'
import { Emitter, GivenPosition, ToldReader } from '../pubsub/parts.ts'
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

export interface TabSubscriptionInit {
  client: TabClient
  topic: string
  topicKey: Uint8Array
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
  readonly #told: ToldReader
  readonly #given: GivenPosition
  #mirror: SubscriptionMirror = NOTHING
  #presence: Data | undefined
  #present: PresenceMember[] = []
  #presentTimer: ReturnType<typeof setTimeout> | undefined
  #status: SyncStatus = 'joining'
  #hasBegun = false
  #isJoined = false
  #historicCount = 0

  constructor({ client, topic, topicKey, options, maxSeenIds, maxUnread }: TabSubscriptionInit) {
    const { onMessage, signal, ...plain } = options
    this.topic = topic
    this.#client = client
    this.#options = plain
    this.#presence = plain.presence
    this.#signal = signal
    this.#maxSeenIds = maxSeenIds
    this.#events = new Emitter(maxUnread)
    this.#told = new ToldReader(topicKey)
    this.#given = new GivenPosition(topicKey, this.#told, this.#events)
    this.#number = client.register(this)
    if (onMessage) this.on('message', onMessage)
  }

  get status(): SyncStatus {
    return this.#status
  }

  get lastSeenVersion(): number {
    return this.#mirror.lastSeenVersion
  }

  /** What this tab was given: the leader's stands for more. */
  get position(): string {
    return this.#given.text
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
    if (event === 'message') this.#given.beginsAnew()
    const stop = this.#events.on(event, listener)
    if (event === 'presence' && this.#present.length > 0)
      queueMicrotask(() => listener(this.#present as SubscriptionEvents[E]))
    if (SUBSCRIPTION_EVENTS[event] !== 'always') this.#watch(event)
    return stop
  }

  [Symbol.asyncIterator](): AsyncIterator<Message> {
    return this.#given.iterate()
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
    const messages = events.flatMap(([event, value]) => (event === 'message' ? [value as Message] : []))
    this.#moveTo(mirror as SubscriptionMirror, messages)
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
    this.#moveTo(mirror as SubscriptionMirror, [])
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

  /** `messages` are being handed over with it. */
  #moveTo(mirror: SubscriptionMirror, messages: Message[]): void {
    this.#mirror = mirror
    const fresh = messages.filter(({ id }) => !this.#seen.has(id))
    this.#told.tell(mirror.position, fresh, this.#events.unread('message').length > 0)
  }

  #setPresent(members: PresenceMember[]): void {
    clearTimeout(this.#presentTimer)
    this.#present = members
    this.#events.emit('presence', members)
  }

  #message(message: Message): void {
    this.#told.hand(message)
    if (this.#seen.has(message.id)) return
    this.#seen.add(message.id)
    if (this.#seen.size > this.#maxSeenIds) this.#seen.delete(this.#seen.values().next().value as string)
    // this subscription began before the leader's did
    message.historic &&= !this.#isJoined
    if (message.historic) this.#historicCount += 1
    this.#events.emit('message', message)
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
