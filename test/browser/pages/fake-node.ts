import type {
  ChannelState,
  ChatNode,
  Data,
  HistoryPage,
  Message,
  NodeStatus,
  PublishReceipt,
  Subscriber,
  Subscription,
  SubscriptionEvents,
  SyncStatus,
} from '../../../web/chat-node.ts'
import { fakeInspection, fakeKeyspace } from './fake-inspection.ts'

/** A network in memory that does what it is told: for the interface tests and for looking at the interface. */

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

export const personId = (index: number): string => {
  let state = (index + 1) * 2654435761
  let id = '12D3KooW'
  for (let position = 0; position < 44; position += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    id += ALPHABET[(state >>> 8) % ALPHABET.length]
  }
  return id
}

export const SELF = personId(99)

type Listeners = { [E in keyof SubscriptionEvents]: Set<(value: SubscriptionEvents[E]) => void> }

export class FakeNode implements ChatNode {
  readonly nodeId = SELF
  readonly keyspace = fakeKeyspace
  readonly #rooms = new Map<string, FakeRoom>()
  readonly #history: number
  readonly #listeners = new Set<(status: NodeStatus) => void>()
  #status: NodeStatus = {
    state: 'online',
    bridge: true,
    peers: [0, 1, 2, 3, 4].map((index) => ({
      nodeId: personId(index),
      direct: index !== 3,
      webrtc: index > 1 && index !== 3,
    })),
  }
  readonly pubsub: ChatNode['pubsub']

  constructor(history: number) {
    this.#history = history
    this.pubsub = {
      publish: (topic, data) => this.room(topic).publish(data),
      subscribe: async (topic, options) => {
        const history = options?.history
        const last =
          typeof history === 'object' && 'last' in history
            ? history.last
            : history === 'none'
              ? 0
              : Number.MAX_SAFE_INTEGER
        return this.room(topic).subscribe(options?.info ?? '', last, options?.onMessage)
      },
      history: async (topic, options) => this.room(topic).page(options?.limit ?? 50, options?.before),
      subscribers: async (topic) => this.room(topic).people,
      channelState: async (topic) => this.room(topic).channel,
      recover: async (topic) => {
        this.room(topic).channel = 'ACTIVE'
      },
      ...fakeInspection((topic) => this.room(topic), [0, 1, 2, 3].map(personId)),
    }
  }

  /** Rooms called `quiet…` have no history. */
  room(topic: string): FakeRoom {
    const existing = this.#rooms.get(topic)
    if (existing !== undefined) return existing
    const room = new FakeRoom(topic, topic.startsWith('quiet') ? 0 : this.#history)
    this.#rooms.set(topic, room)
    return room
  }

  status(): NodeStatus {
    return this.#status
  }

  setStatus(status: NodeStatus): void {
    this.#status = status
    for (const listener of this.#listeners) listener(status)
  }

  onStatus(listener: (status: NodeStatus) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  async exportIdentity(): Promise<string> {
    return 'sticky-identity/1 fixture'
  }

  async importIdentity(_text: string, passphrase: string): Promise<void> {
    if (passphrase !== 'correct horse') throw coded('WRONG_PASSPHRASE')
  }

  async close(): Promise<void> {}
}

export class FakeRoom {
  readonly topic: string
  readonly messages: Message[] = []
  people: Subscriber[]
  channel: ChannelState = 'ACTIVE'
  pagesRead = 0
  /** How often its replicas were asked for. */
  inspections = 0
  /** So many versions is the last of its replicas behind. */
  laggingBy = 0
  /** While true, publishing waits; setting it to false lets everything through. */
  held = false
  #lost: Data = null
  #failNext: string[] = []
  #release: (() => void)[] = []
  #onMessage: ((message: Message) => void) | undefined
  readonly #listeners: Listeners = {
    message: new Set(),
    'history-end': new Set(),
    gap: new Set(),
    sync: new Set(),
    presence: new Set(),
    error: new Set(),
  }

  constructor(topic: string, history: number) {
    this.topic = topic
    this.people = PEOPLE.slice(0, 6).map((info, index) => ({
      nodeId: personId(index),
      info,
      since: START,
      expiresAt: START + 60 * MINUTE_MS,
    }))
    for (let index = 0; index < history; index += 1) this.#say(index, history)
  }

  async publish(data: Data): Promise<PublishReceipt> {
    if (this.held) await new Promise<void>((resolve) => this.#release.push(resolve))
    const code = this.#failNext.shift()
    if (code !== undefined) {
      this.#lost = data
      throw coded(code)
    }
    const message = this.#add(SELF, data, Date.now())
    // As in the real network, the subscription is usually faster than the answer.
    this.#onMessage?.(message)
    const version = this.messages.length
    return {
      status: 'stored',
      id: message.id,
      sequence: version,
      writer: '0',
      publishedAt: message.publishedAt,
      version,
      replicas: 5,
      durableReplicas: 3,
      duplicate: false,
    }
  }

  failNext(code: string): void {
    this.#failNext.push(code)
  }

  release(): void {
    this.held = false
    for (const resolve of this.#release.splice(0)) resolve()
  }

  arriveLate(): void {
    this.receive(this.#lost, SELF)
  }

  /** Someone else says something, in whatever shape. */
  receive(data: Data, publisher = personId(1)): string {
    const message = this.#add(publisher, data, Date.now())
    this.#onMessage?.(message)
    return message.id
  }

  emit<E extends keyof SubscriptionEvents>(event: E, value: SubscriptionEvents[E]): void {
    for (const listener of this.#listeners[event]) listener(value)
  }

  subscribe(info: string, last: number, onMessage: ((message: Message) => void) | undefined): Subscription {
    this.#onMessage = onMessage
    this.people = [...this.people.filter(({ nodeId }) => nodeId !== SELF), self(info)]
    const historic = last === 0 ? [] : this.messages.slice(-last)
    const version = this.messages.length
    let status: SyncStatus = 'catching-up'
    setTimeout(() => {
      for (const message of historic) onMessage?.({ ...message, historic: true })
      this.emit('history-end', { version, count: historic.length, recovered: true })
      status = 'synced'
      this.emit('sync', status)
    })
    const close = async () => {
      this.#onMessage = undefined
      for (const listeners of Object.values(this.#listeners)) listeners.clear()
    }
    return {
      topic: this.topic,
      get status() {
        return status
      },
      lastSeenVersion: version,
      present: [],
      setPresence: async () => {},
      position: '',
      remaining: undefined,
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

  page(limit: number, before: string | undefined): HistoryPage {
    this.pagesRead += 1
    const end = before === undefined ? this.messages.length : Number(before)
    const start = Math.max(0, end - limit)
    const messages = this.messages.slice(start, end)
    return start === 0 ? { messages } : { messages, before: String(start) }
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

const self = (info: string): Subscriber => ({
  nodeId: SELF,
  info,
  since: Date.now(),
  expiresAt: Date.now() + 30 * MINUTE_MS,
})

const coded = (code: string): Error => Object.assign(new Error(`Fixture: ${code}`), { code })
