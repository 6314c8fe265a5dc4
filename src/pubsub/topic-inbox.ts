import { asStickyError, type StickyError } from '../dht/index.ts'
import type { Data, Message, SubscriptionEvents } from './api.ts'
import type { TopicMessage } from './topic-api.ts'
import type { TopicReaders } from './topic-readers.ts'

/**
 * What a subscription has handed over and the application has not taken yet, in order: opened a few at a time, given one
 * by one. What cannot be opened is told in its place and never stops what follows.
 */

type Opened<T> = { data: T } | { error: StickyError }
interface ArrivedMessage<T> {
  event: 'message'
  message: Message
  opened?: Promise<Opened<T>>
}
type Arrival<T> =
  | ArrivedMessage<T>
  | { event: 'gap'; value: SubscriptionEvents['gap'] }
  | { event: 'history-end'; value: SubscriptionEvents['history-end'] }

export interface TopicInboxInit<T> {
  readers: TopicReaders<TopicMessage<T>>
  maxUnread: number
  open(message: Message): Promise<T>
  /** In order, each in the moment in which it is given. */
  onTaken(message: Message): void
  onInvalid(message: Message, error: StickyError): void
  onGap(gap: SubscriptionEvents['gap']): void
  onHistoryEnd(end: SubscriptionEvents['history-end']): void
  /** There is room again after it was full. */
  onRoom(): void
}

export class TopicInbox<T> {
  readonly #init: TopicInboxInit<T>
  readonly #waiting: Arrival<T>[] = []
  #waitingBytes = 0
  #isRunning = false

  constructor(init: TopicInboxInit<T>) {
    this.#init = init
  }

  get isFull(): boolean {
    return this.#waiting.length >= this.#init.maxUnread || this.#waitingBytes >= MAX_UNREAD_BYTES
  }

  get #hasRoom(): boolean {
    return this.#waiting.length <= this.#init.maxUnread / 4 && this.#waitingBytes <= MAX_UNREAD_BYTES / 4
  }

  add(arrival: Arrival<T>): void {
    this.#waiting.push(arrival)
    if (arrival.event === 'message') this.#waitingBytes += sizeOf(arrival.message.data)
    if (!this.#isRunning) void this.#run()
  }

  /** Ends in the turn in which it finds nothing more: what comes after that begins anew. */
  async #run(): Promise<void> {
    this.#isRunning = true
    let isOpen = true
    try {
      for (let next = this.#waiting[0]; isOpen && next !== undefined; next = this.#waiting[0])
        isOpen = await this.#giveNext(next)
    } finally {
      this.#isRunning = false
    }
  }

  /** False when the topic is closed. */
  async #giveNext(next: Arrival<T>): Promise<boolean> {
    if (!(await this.#init.readers.present())) return false
    for (const soon of this.#waiting.slice(0, OPENED_AHEAD))
      if (soon.event === 'message') soon.opened ??= this.#open(soon.message)
    if (!(await this.#give(next))) return false
    this.#waiting.shift()
    if (next.event === 'message') this.#waitingBytes -= sizeOf(next.message.data)
    if (this.#hasRoom) this.#init.onRoom()
    return true
  }

  /** False when the topic is closed. */
  async #give(arrival: Arrival<T>): Promise<boolean> {
    const { readers, onTaken, onInvalid, onGap, onHistoryEnd } = this.#init
    if (arrival.event === 'gap') onGap(arrival.value)
    else if (arrival.event === 'history-end') onHistoryEnd(arrival.value)
    else {
      const { message } = arrival
      const opened = await (arrival.opened ?? this.#open(message))
      if ('data' in opened) return readers.give({ ...message, data: opened.data }, () => onTaken(message))
      onTaken(message)
      onInvalid(message, opened.error)
    }
    return true
  }

  #open(message: Message): Promise<Opened<T>> {
    return this.#init.open(message).then(
      (data) => ({ data }),
      (error) => ({ error: asStickyError(error, 'INVALID_DATA') }),
    )
  }
}

/** Opening takes a turn through the platform's cryptography, or a validator's time; a few of them at once. */
const OPENED_AHEAD = 32
/** Messages may be 128 KiB each: their number alone bounds little. */
const MAX_UNREAD_BYTES = 16 * 1024 * 1024

/** About the memory that it takes. */
function sizeOf(data: Data): number {
  if (typeof data === 'string') return 2 * data.length
  if (data instanceof Uint8Array) return data.byteLength
  if (typeof data !== 'object' || data === null) return 8
  let size = 16
  for (const [key, part] of Object.entries(data)) size += key.length + sizeOf(part)
  return size
}
