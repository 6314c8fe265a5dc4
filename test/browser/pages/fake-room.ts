import { decodeAny, encode, fromHex, toHex } from '../../../src/dht/codec.ts'
import type {
  ChannelState,
  Data,
  HistoryPage,
  HistoryPageOptions,
  Message,
  PresenceMember,
  Receipt,
  SubscribeOptions,
  Subscription,
  SubscriptionEvents,
  SyncStatus,
} from '../../../src/pubsub/api.ts'

/** One topic in memory. What a real node has on disk, or the network has, survives a reload of the page. */

const PEOPLE = [
  'Ana Duarte',
  'Bo',
  'Chidi Okafor',
  'Dagny',
  'Emre Yıldız',
  'Farah',
  'Gwen',
  'Linnéa Å',
  'נועה',
]
const LINES = [
  'Morning all.',
  'The build on the second machine is green again, it was the clock.',
  'Does anybody know why the search box keeps its old value after going back? I can reproduce it every time: open a record, change the title, press back.',
  'Yes, that is the cache. We should key it by the record and not by the page.',
  'Notes of yesterday are at https://wiki.example.org/meetings/notes?day=tuesday, please add what I forgot.',
  'ok',
  'Thanks!',
  'I would rather keep the old behaviour for one more release and say so in the notes.',
  'Two things before I forget:\n– the export has no header row\n– the colours of the chart are the wrong way round',
  'Lunch?',
  'I can look at it this afternoon.',
  'Works for me.',
]
const ALPHABET = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'
const MINUTE_MS = 60_000
const START = Date.now() - 30 * MINUTE_MS
const MAX_SAVED_BYTES = 1_000_000

export const personId = (index: number): string => {
  let state = (index + 1) * 2654435761
  let id = '12D3KooW'
  for (let position = 0; position < 44; position += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    id += ALPHABET[(state >>> 8) % ALPHABET.length]
  }
  return id
}

/** A key's: what is encrypted is bound to it. */
export const SELF = '12D3KooWSrKnMZUcSxK8G7wmBbXdU8nFEfWGhLu6H8xjn8LmCSJb'

/** Open: sent at once. Held: stays on its way. Offline: stays in the outbox. */
export type Sending = 'open' | 'held' | 'offline'

interface Saved {
  said: { publisher: string; data: Data; at: number }[]
  outbox: { key: string; data: Data; queuedAt: number }[]
  sending: Sending
}

type Listeners = { [E in keyof SubscriptionEvents]: Set<(value: SubscriptionEvents[E]) => void> }

export class FakeRoom {
  readonly topic: string
  readonly messages: Message[] = []
  present: PresenceMember[]
  channel: ChannelState = 'ACTIVE'
  pagesRead = 0
  /** How often its replicas were asked for. */
  inspections = 0
  /** So many versions is the last of its replicas behind. */
  laggingBy = 0
  readonly #saved: Saved
  readonly #onReceipt: (receipt: Receipt) => void
  #lost: Data = null
  #lastStored: Receipt | undefined
  #failNext: string[] = []
  #isDraining = false
  readonly #listeners: Listeners = {
    message: new Set(),
    'history-end': new Set(),
    gap: new Set(),
    sync: new Set(),
    presence: new Set(),
    error: new Set(),
  }

  constructor(topic: string, history: number, onReceipt: (receipt: Receipt) => void) {
    this.topic = topic
    this.#onReceipt = onReceipt
    this.#saved = this.#load()
    this.present = PEOPLE.slice(0, 6).map((name, index) => ({
      nodeId: personId(index),
      state: { name, away: index === 2 },
      since: START,
    }))
    for (let index = 0; index < history; index += 1) this.#say(index, history)
    for (const { publisher, data, at } of this.#saved.said) this.#add(publisher, data, at)
  }

  // --- what a test does to it

  setSending(sending: Sending): void {
    this.#saved.sending = sending
    this.#save()
    void this.#drain()
  }

  failNext(code: string): void {
    this.#failNext.push(code)
  }

  /** The last publication that failed turns out to have been stored. */
  arriveLate(): void {
    this.receive(this.#lost, SELF)
  }

  /** What was stored last has come to so many. */
  deliver(delivered: number): void {
    if (this.#lastStored !== undefined)
      this.#onReceipt({ ...this.#lastStored, state: 'delivered', delivered })
  }

  /** Someone says something, in whatever shape. */
  receive(data: Data, publisher = personId(1)): string {
    return this.#publish(publisher, data).id
  }

  /** As `receive`, but nobody is told before the page is opened again. */
  receiveMeanwhile(data: Data, publisher = personId(1)): void {
    this.#saved.said.push({ publisher, data, at: Date.now() })
    this.#save()
  }

  emit<E extends keyof SubscriptionEvents>(event: E, value: SubscriptionEvents[E]): void {
    for (const listener of this.#listeners[event]) listener(value)
  }

  // --- what a node does with it

  enqueue(data: Data, key: string): Receipt {
    const entry = { key, data, queuedAt: Date.now() }
    this.#saved.outbox.push(entry)
    this.#save()
    queueMicrotask(() => {
      this.#onReceipt(this.#receipt(entry, { state: 'queued' }))
      void this.#drain()
    })
    return this.#receipt(entry, { state: 'queued' })
  }

  outbox(): Receipt[] {
    const state = this.#saved.sending === 'held' ? 'sending' : 'queued'
    return this.#saved.outbox.map((entry) => this.#receipt(entry, { state }))
  }

  subscribe({ history, presence }: SubscribeOptions): Subscription {
    const begin = this.#beginOf(history)
    const historic = this.messages.slice(begin)
    let given = begin
    let status: SyncStatus = 'catching-up'
    const count = (message: Message) => {
      given = Math.max(given, message.addedInVersion)
    }
    this.#listeners.message.add(count)
    if (presence !== undefined) this.#setPresence(presence)
    setTimeout(() => {
      for (const message of historic) this.emit('message', { ...message, historic: true })
      this.emit('history-end', { version: this.messages.length, count: historic.length, recovered: true })
      status = 'synced'
      this.emit('sync', status)
      void this.#drain() // what an earlier visit left in the outbox
    })
    const close = async () => {
      for (const listeners of Object.values(this.#listeners)) listeners.clear()
      this.#setPresence(undefined)
    }
    const room = this
    return {
      topic: this.topic,
      get status() {
        return status
      },
      get position() {
        return `position-${given}`
      },
      get present() {
        return room.present
      },
      lastSeenVersion: begin,
      remaining: undefined,
      setPresence: async (state) => this.#setPresence(state),
      on: (event, listener) => {
        this.#listeners[event].add(listener)
        return () => this.#listeners[event].delete(listener)
      },
      renew: async () => {},
      unsubscribe: close,
      close,
      [Symbol.asyncDispose]: close,
      async *[Symbol.asyncIterator]() {},
    }
  }

  page({ limit = 50, before, reverse = false }: HistoryPageOptions): HistoryPage {
    this.pagesRead += 1
    const end = before === undefined ? this.messages.length : Number(before)
    const start = Math.max(0, end - limit)
    const messages = this.messages.slice(start, end)
    if (reverse) messages.reverse()
    return start === 0 ? { messages } : { messages, before: String(start) }
  }

  // --- inside

  #beginOf(history: SubscribeOptions['history']): number {
    if (history === 'none') return this.messages.length
    if (typeof history !== 'object') return 0
    if ('last' in history) return Math.max(0, this.messages.length - history.last)
    if (!('from' in history)) return 0
    const from = /^position-(\d+)$/.exec(history.from)
    if (from === null) throw coded('INVALID_DATA')
    return Number(from[1])
  }

  #setPresence(state: Data | undefined): void {
    const others = this.present.filter(({ nodeId }) => nodeId !== SELF)
    this.present = state === undefined ? others : [...others, { nodeId: SELF, state, since: START }]
    this.emit('presence', this.present)
  }

  #publish(publisher: string, data: Data): Message {
    const at = Date.now()
    this.#saved.said.push({ publisher, data, at })
    this.#save()
    const message = this.#add(publisher, data, at)
    this.emit('message', message)
    return message
  }

  async #drain(): Promise<void> {
    if (this.#isDraining) return
    this.#isDraining = true
    const { outbox } = this.#saved
    for (let entry = outbox[0]; entry !== undefined; entry = outbox[0]) {
      const { sending } = this.#saved
      if (sending === 'offline') break
      this.#onReceipt(this.#receipt(entry, { state: 'sending' }))
      if (sending === 'held') break
      await Promise.resolve()
      outbox.shift()
      this.#save()
      const code = this.#failNext.shift()
      // As in the real network, the subscription is usually faster than the answer.
      if (code === undefined) {
        this.#lastStored = this.#stored(entry, this.#publish(SELF, entry.data))
        this.#onReceipt(this.#lastStored)
      } else this.#fail(entry, code)
    }
    this.#isDraining = false
  }

  #fail(entry: Saved['outbox'][number], code: string): void {
    this.#lost = entry.data
    const error = { code: code as 'TIMEOUT', message: `Fixture: ${code}` }
    this.#onReceipt(this.#receipt(entry, { state: 'failed', error }))
  }

  #stored(entry: Saved['outbox'][number], { id, sequence, writer, publishedAt }: Message): Receipt {
    const place = { id, sequence, writer, publishedAt, version: sequence }
    const stored = { status: 'stored' as const, ...place, replicas: 5, durableReplicas: 3, duplicate: false }
    return this.#receipt(entry, { state: 'stored', stored })
  }

  #receipt(
    { key, data, queuedAt }: Saved['outbox'][number],
    state: Pick<Receipt, 'state' | 'stored' | 'error'>,
  ): Receipt {
    const expiresAt = queuedAt + 24 * 60 * MINUTE_MS
    return { key, topic: this.topic, data, queuedAt, attempts: 1, expiresAt, ...state }
  }

  get #place(): string {
    return `fake-room/${this.topic}`
  }

  #load(): Saved {
    const saved = sessionStorage.getItem(this.#place)
    return saved === null
      ? { said: [], outbox: [], sending: 'open' }
      : (decodeAny(fromHex(saved), MAX_SAVED_BYTES) as unknown as Saved)
  }

  #save(): void {
    sessionStorage.setItem(this.#place, toHex(encode(this.#saved)))
  }

  #say(index: number, total: number): void {
    const person = Math.floor(index / 3) * 7 + (index % 11 === 0 ? 1 : 0)
    const who = person % PEOPLE.length
    const at = START - (total - index) * 4 * MINUTE_MS
    const text = `${LINES[(index * 5) % LINES.length]}${index % 10 === 0 ? ` (${index})` : ''}`
    this.#add(personId(who), { kind: 'chat', name: PEOPLE[who] ?? '', text }, at)
  }

  #add(publisher: string, data: Data, at: number): Message {
    const version = this.messages.length + 1
    const message: Message = {
      id: `bafy-${this.topic}-${version}`,
      topic: this.topic,
      publisher,
      writer: '0000000000000000',
      sequence: version,
      publishedAt: at,
      expiresAt: at + 24 * 60 * MINUTE_MS,
      data,
      addedInVersion: version,
      historic: false,
    }
    this.messages.push(message)
    return message
  }
}

export const coded = (code: string): Error => Object.assign(new Error(`Fixture: ${code}`), { code })
