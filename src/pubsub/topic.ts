import {
  asStickyError,
  type Runtime,
  requireNotAborted,
  StickyError,
  systemRuntime,
  type Timer,
} from '../dht/index.ts'
import type {
  Data,
  HistoryRequest,
  Message,
  PresenceMember,
  PubSub,
  Subscription,
  SyncStatus,
} from './api.ts'
import { onClosing } from './closing.ts'
import { Emitter } from './emitter.ts'
import { historyOf } from './history-of.ts'
import type {
  Topic,
  TopicEvents,
  TopicHistoryOptions,
  TopicMessage,
  TopicOptions,
  TopicPublishOptions,
  TopicReceipt,
} from './topic-api.ts'
import { createTopicContent, type TopicContent } from './topic-content.ts'
import { placeOf, TopicCursor } from './topic-cursor.ts'
import { TopicInbox } from './topic-inbox.ts'
import { TopicOutbox } from './topic-outbox.ts'
import { TopicPresence } from './topic-presence.ts'
import { TopicReaders } from './topic-readers.ts'

/**
 * A topic as an application wants it: typed, encrypted where asked for, and read on from where this reader left off. It
 * is made of what any `PubSub` offers, so it works the same over a node of this process and over one in another tab.
 * Rejects as `subscribe` does, with BAD_KEY or UNSUPPORTED_PLATFORM for the secret, and with INVALID_DATA for `info` with
 * a secret or a `reader` that is not 1 to 64 characters.
 */
export async function openTopic<T = Data>(
  pubsub: PubSub,
  name: string,
  options: TopicOptions<T> = {},
): Promise<Topic<T>> {
  requireNotAborted(options.signal, 'Opening the topic')
  const content = await createTopicContent<T>(name, options)
  const topic = new OpenTopic<T>(pubsub, name, content, options)
  try {
    await topic.start()
    return topic
  } catch (error) {
    await topic.close()
    throw error
  }
}

class OpenTopic<T> implements Topic<T> {
  readonly name: string
  readonly #pubsub: PubSub
  readonly #content: TopicContent<T>
  readonly #options: TopicOptions<T>
  readonly #runtime: Runtime
  readonly #emitter = new Emitter<TopicEvents<T>>(0)
  readonly #readers = new TopicReaders<TopicMessage<T>>()
  readonly #inbox: TopicInbox<T>
  readonly #outbox: TopicOutbox<T>
  readonly #presence: TopicPresence
  #subscription: Subscription | undefined
  #cursor: TopicCursor | undefined
  /** Where to go on once the reader has caught up; until then nothing is read. */
  #pausedAt: string | undefined
  #isMarking = false
  #isGoingOn = false
  #historicCount = 0
  #hasHistoryEnded = false
  /** Of the topic: after a pause its subscription begins from a place in any case, and knows of no gap before that. */
  #beganFromPlace: boolean | undefined
  #hasToldGap = false
  #keepTimer: Timer | undefined
  #stopWaiting: (() => void) | undefined
  #kept: string | undefined
  #ending: Promise<void> | undefined

  constructor(pubsub: PubSub, name: string, content: TopicContent<T>, options: TopicOptions<T>) {
    this.name = name
    this.#pubsub = pubsub
    this.#content = content
    this.#options = options
    this.#runtime = options.runtime ?? systemRuntime
    this.#inbox = new TopicInbox<T>({
      readers: this.#readers,
      maxUnread: options.maxUnread ?? 4_096,
      open: ({ data, publisher }) => content.incoming(data, publisher),
      onTaken: (message) => this.#onTaken(message),
      onInvalid: (message, error) => this.#onInvalid(message, error),
      onGap: (gap) => this.#emitter.emit('gap', gap),
      onHistoryEnd: (end) => this.#emitter.emit('history-end', { ...end, count: this.#historicCount }),
      onRoom: () => void this.#goOn(),
    })
    this.#outbox = new TopicOutbox<T>({
      name,
      pubsub,
      content,
      onReceipt: (receipt) => this.#emitter.emit('receipt', receipt),
    })
    this.#presence = new TopicPresence({
      pubsub,
      content,
      onChange: (members) => this.#emitter.emit('presence', members),
    })
  }

  async start(): Promise<void> {
    const { presence, signal } = this.#options
    await this.#presence.show(presence)
    const history = await this.#wantedHistory()
    signal?.addEventListener('abort', this.#onAbort, { once: true })
    try {
      await this.#subscribe(history)
    } catch (error) {
      const isKept = this.#options.history === undefined || this.#options.history === 'resume'
      if (!isKept || asStickyError(error, 'UNREACHABLE').code !== 'INVALID_DATA') throw error
      await this.#subscribe('all') // what was kept is of another version
    }
  }

  get networkName(): string {
    return this.#content.topic
  }

  get status(): SyncStatus {
    if (this.#ending !== undefined) return 'closed'
    return this.#pausedAt === undefined ? (this.#subscription?.status ?? 'joining') : 'catching-up'
  }

  get remaining(): number | undefined {
    return this.#subscription?.remaining
  }

  get position(): string {
    this.#mark()
    return this.#cursor?.text ?? ''
  }

  get present(): PresenceMember[] {
    return this.#presence.members
  }

  on<E extends keyof TopicEvents<T>>(event: E, listener: (value: TopicEvents<T>[E]) => void): () => void {
    if (this.#ending !== undefined) return () => undefined
    if (event === 'message') return this.#readers.listen(listener as (message: TopicMessage<T>) => void)
    if (event === 'presence') this.#presence.watch()
    const stop = this.#emitter.on(event, listener)
    if (event !== 'receipt') return stop
    this.#outbox.listen()
    return () => {
      stop()
      if (this.#emitter.listeners('receipt') === 0) this.#outbox.close() // what comes then waits for the next one
    }
  }

  [Symbol.asyncIterator](): AsyncIterator<TopicMessage<T>> {
    return this.#readers.iterate()
  }

  async publish(value: T, options: TopicPublishOptions = {}): Promise<TopicReceipt<T>> {
    this.#requireOpen()
    const { ttlMs } = this.#options
    return this.#outbox.publish(value, { ...(ttlMs === undefined ? {} : { ttlMs }), ...options })
  }

  async outbox(): Promise<TopicReceipt<T>[]> {
    this.#requireOpen()
    return this.#outbox.list()
  }

  async *history(options: TopicHistoryOptions = {}): AsyncGenerator<TopicMessage<T>> {
    this.#requireOpen()
    for await (const message of historyOf(this.#pubsub, this.#content.topic, options)) {
      const opened = await this.#opened({ ...message, topic: this.name })
      if (opened !== undefined) yield opened
    }
  }

  async #opened(message: Message): Promise<TopicMessage<T> | undefined> {
    try {
      return { ...message, data: await this.#content.incoming(message.data, message.publisher) }
    } catch (error) {
      this.#onInvalid(message, asStickyError(error, 'INVALID_DATA'))
      return undefined
    }
  }

  async setPresence(state: Data | undefined): Promise<void> {
    this.#requireOpen()
    await this.#presence.show(state)
  }

  async unsubscribe(): Promise<void> {
    if (this.#ending !== undefined) return this.#ending
    try {
      await this.#subscription?.unsubscribe()
    } finally {
      await this.close()
    }
  }

  close(): Promise<void> {
    if (this.#ending !== undefined) return this.#ending
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#ending = promise // first: what happens on the way calls this again
    resolve(this.#end())
    return promise
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  // --- reading

  async #wantedHistory(): Promise<HistoryRequest> {
    const { history = 'resume', reader = 'default' } = this.#options
    if (history !== 'resume') return history
    const from = await this.#pubsub.keptPosition(this.#content.topic, reader)
    return from === undefined ? 'all' : { from }
  }

  async #subscribe(history: HistoryRequest): Promise<void> {
    const { info, signal } = this.#options
    const place = typeof history === 'object' && 'from' in history ? placeOf(history.from) : undefined
    const subscription = await this.#pubsub.subscribe(this.#content.topic, {
      history: place ? { from: place.position } : history,
      ...(info === undefined ? {} : { info }),
      ...(this.#presence.sealed === undefined ? {} : { presence: this.#presence.sealed }),
      ...(signal === undefined ? {} : { signal }),
    })
    if (this.#ending !== undefined) return subscription.close()
    if (subscription.status === 'closed') throw new StickyError('CLOSED', 'This node is closed.')
    this.#subscription = subscription
    this.#pausedAt = undefined
    this.#stopWaiting?.()
    this.#beganFromPlace ??= place !== undefined
    this.#cursor ??= new TopicCursor({ position: subscription.position, beyond: place?.beyond ?? [] })
    this.#listenTo(subscription)
  }

  #listenTo(subscription: Subscription): void {
    const isCurrent = () => this.#subscription === subscription && this.#pausedAt === undefined
    subscription.on('message', (message) => {
      if (isCurrent()) this.#onMessage(message)
    })
    subscription.on('gap', (value) => {
      if (!isCurrent()) return
      this.#hasToldGap = true
      this.#inbox.add({ event: 'gap', value })
    })
    subscription.on('history-end', (value) => {
      if (this.#hasHistoryEnded || !isCurrent()) return
      this.#hasHistoryEnded = true
      this.#cursor?.endHistory()
      const recovered = !this.#beganFromPlace || (value.recovered && !this.#hasToldGap)
      this.#inbox.add({ event: 'history-end', value: { ...value, recovered } })
    })
    subscription.on('sync', (status) => {
      if (!isCurrent()) return
      if (status === 'closed')
        void this.close() // the node closes, or the signal was aborted
      else {
        this.#presence.showAgain().catch(() => undefined) // the subscription says it again by itself
        this.#emitter.emit('sync', status)
      }
    })
    this.#presence.attach(subscription)
    subscription.on('error', (error) => this.#emitter.emit('error', error))
  }

  #onMessage(message: Message): void {
    if (this.#cursor?.passesOver(message.id)) return
    const historic = message.historic && !this.#hasHistoryEnded
    this.#inbox.add({ event: 'message', message: { ...message, topic: this.name, historic } })
    if (!this.#cursor?.arrive() && !this.#inbox.isFull) return
    if (this.#isMarking) return
    this.#isMarking = true
    // a subscription hands over several messages in one go, and its position stands for all of them
    queueMicrotask(() => {
      this.#isMarking = false
      this.#mark()
      if (this.#inbox.isFull) this.#pause()
    })
  }

  #mark(): void {
    if (this.#subscription !== undefined && this.#pausedAt === undefined)
      this.#cursor?.mark(this.#subscription.position)
  }

  /** The reader is far behind: what follows stays where it is until there is room. */
  #pause(): void {
    const subscription = this.#subscription
    if (subscription === undefined || this.#pausedAt !== undefined || this.#ending !== undefined) return
    this.#pausedAt = subscription.position
    this.#presence.detach()
    this.#emitter.emit('sync', 'catching-up')
    // which would tell that the node closes
    this.#stopWaiting = onClosing(this.#pubsub, () => this.close())
    subscription.close().catch((error) => this.#emitter.emit('error', error))
  }

  async #goOn(): Promise<void> {
    const from = this.#pausedAt
    if (from === undefined || this.#ending !== undefined || this.#isGoingOn) return
    this.#isGoingOn = true
    try {
      await this.#subscribe({ from })
    } catch (error) {
      this.#emitter.emit('error', asStickyError(error, 'UNREACHABLE'))
      void this.close()
    } finally {
      this.#isGoingOn = false
    }
  }

  // --- what was taken, and keeping it

  #onTaken(message: Message): void {
    this.#cursor?.take(message.id)
    if (message.historic) this.#historicCount += 1
    if (this.#keepTimer !== undefined || this.#ending !== undefined) return
    this.#keepTimer = this.#runtime.setTimer(() => {
      this.#keepTimer = undefined
      this.#keepPosition().catch((error) => this.#emitter.emit('error', error))
    }, this.#options.keepPositionMs ?? 1_000)
  }

  #onInvalid({ data: _, ...message }: Message, error: StickyError): void {
    this.#emitter.emit('invalid', { ...message, error })
  }

  async #keepPosition(): Promise<void> {
    const { history = 'resume', reader = 'default' } = this.#options
    const position = this.position
    if (history !== 'resume' || this.#cursor === undefined || position === this.#kept) return
    this.#kept = position
    try {
      await this.#pubsub.keepPosition(this.#content.topic, reader, position)
    } catch (error) {
      this.#kept = undefined
      throw error
    }
  }

  // --- the end

  #requireOpen(): void {
    if (this.#ending !== undefined) throw new StickyError('CLOSED', 'This topic is closed.')
  }

  readonly #onAbort = () => void this.close()

  /** The first step is done before this returns: a node that closes takes the position only until it has closed its subscriptions. */
  async #end(): Promise<void> {
    const kept = this.#keepPosition().catch((error) => this.#emitter.emit('error', error))
    this.#keepTimer?.clear()
    this.#stopWaiting?.()
    this.#outbox.close()
    this.#presence.detach()
    this.#options.signal?.removeEventListener('abort', this.#onAbort)
    this.#readers.end()
    try {
      await this.#subscription?.close()
    } finally {
      await kept
      this.#emitter.emit('sync', 'closed')
      this.#emitter.end()
    }
  }
}
