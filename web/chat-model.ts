import { chatMessage, displayName, isImported, readChat, saidAt, subscriptionInfo } from './chat-data.ts'
import type {
  ChannelState,
  ChatNode,
  Gap,
  Message,
  Subscriber,
  Subscription,
  SyncStatus,
} from './chat-node.ts'
import { codeOf, describeProblem } from './problems.ts'

/** One room: what was said, what is being sent, who is here. No drawing; components listen to `change`. */

export interface ChatEntry {
  kind: 'message'
  /** Local and stable, also before the message has an id. */
  key: string
  id?: string
  publisher: string
  name: string
  text: string
  at: number
  own: boolean
  imported: boolean
  state: 'sending' | 'sent' | 'failed'
  /** Why it failed, in words. */
  problem?: string
}

export interface GapEntry {
  kind: 'gap'
  key: string
  publisher: string
  writer: string
  name: string
  count: number
}

export type Entry = ChatEntry | GapEntry

/** `unknown` until the first older page was asked for; `full`: this tab holds as much as it may. */
export type OlderState = 'unknown' | 'more' | 'loading' | 'failed' | 'none' | 'full'

/** Enough to fill a tall screen with short messages. */
const FIRST_MESSAGES = 60
const OLDER_PAGE_MESSAGES = 100
/** A page may hold only messages of other shapes; so many pages are read for one scroll before pausing. */
const MAX_PAGES_PER_SCROLL = 8
/** A topic keeps 50,000 by default: a whole room fits, a hostile one stays bounded. */
const MAX_ENTRIES = 50_000
/** Changes within this time are drawn together. */
const CHANGE_BATCH_MS = 16
const REJOIN_FIRST_MS = 1_500
const REJOIN_MAX_MS = 30_000

let nextKey = 0
const newKey = (): string => `m${nextKey++}`

export class RoomModel extends EventTarget {
  readonly topic: string
  /** From before the join; older pages go in front. */
  readonly past: Entry[] = []
  /** From after the join, own unsent messages included. */
  readonly present: Entry[] = []
  joined = false
  older: OlderState = 'unknown'
  sync: SyncStatus = 'joining'
  channel: ChannelState = 'ACTIVE'
  /** Why joining does not succeed at the moment. */
  joinProblem: string | undefined
  people: Subscriber[] = []
  unread = 0
  draft = ''

  readonly #node: ChatNode
  #name: string
  #active = false
  #closed = false
  #subscription: Subscription | undefined
  #unbind: (() => void)[] = []
  #rejoinTimer: ReturnType<typeof setTimeout> | undefined
  #changeTimer: ReturnType<typeof setTimeout> | undefined
  #joinVersion = Number.POSITIVE_INFINITY
  #before: string | undefined
  /** Bounded by the entries themselves: an id leaves with its entry. */
  readonly #seen = new Set<string>()
  /** Own messages without an answer yet; the subscription may bring one before its publish call returns. */
  readonly #outgoing = new Set<ChatEntry>()

  constructor(node: ChatNode, topic: string, name: string) {
    super()
    this.#node = node
    this.topic = topic
    this.#name = name
  }

  open(): void {
    void this.#join(REJOIN_FIRST_MS)
  }

  /** The shown room counts nothing as unread. */
  setActive(active: boolean): void {
    this.#active = active
    if (active && this.unread > 0) {
      this.unread = 0
      this.#changed()
    }
  }

  send(text: string): void {
    const entry: ChatEntry = {
      kind: 'message',
      key: newKey(),
      publisher: this.#node.nodeId,
      name: this.#name,
      text,
      at: Date.now(),
      own: true,
      imported: false,
      state: 'sending',
    }
    this.present.push(entry)
    this.#trim()
    void this.#publish(entry)
  }

  retry(entry: ChatEntry): void {
    if (entry.state === 'failed') void this.#publish(entry)
  }

  discard(entry: ChatEntry): void {
    const index = this.present.indexOf(entry)
    if (entry.state !== 'failed' || index < 0) return
    this.present.splice(index, 1)
    this.#outgoing.delete(entry)
    this.#changed()
  }

  /** Puts one page of older messages in front, or finds that there is none. */
  async loadOlder(): Promise<void> {
    if (!this.joined || this.older === 'loading' || this.older === 'none' || this.older === 'full') return
    this.older = 'loading'
    this.#changed()
    try {
      this.older = await this.#readOlder()
    } catch {
      this.older = 'failed'
    }
    this.#changed()
  }

  async refreshPeople(): Promise<void> {
    try {
      this.people = await this.#node.pubsub.subscribers(this.topic)
      this.#changed()
    } catch {
      // The list stays as it was; the connection state says why.
    }
  }

  async refreshChannel(): Promise<void> {
    try {
      const channel = await this.#node.pubsub.channelState(this.topic)
      if (channel === this.channel) return
      this.channel = channel
      this.#changed()
    } catch {
      // A closing node answers nothing; the last state stands.
    }
  }

  async recover(): Promise<void> {
    try {
      await this.#node.pubsub.recover(this.topic)
    } finally {
      await this.refreshChannel()
    }
  }

  /** A new name is told to the others by a new subscription; what is already here is not delivered twice. */
  async rename(name: string): Promise<void> {
    this.#name = name
    await this.#detach((subscription) => subscription.close())
    if (!this.#closed) await this.#join(REJOIN_FIRST_MS)
  }

  async leave(): Promise<void> {
    this.#closed = true
    await this.#detach((subscription) => subscription.unsubscribe())
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#detach((subscription) => subscription.close())
  }

  async #join(retryAfterMs: number): Promise<void> {
    this.sync = 'joining'
    try {
      const subscription = await this.#node.pubsub.subscribe(this.topic, {
        history: { last: FIRST_MESSAGES },
        info: subscriptionInfo(this.#name),
        onMessage: (message) => this.#receive(message),
      })
      this.#attach(subscription)
    } catch (error) {
      this.joinProblem = describeProblem(error)
      this.sync = 'degraded'
      if (this.#closed) return
      const nextMs = Math.min(retryAfterMs * 2, REJOIN_MAX_MS)
      this.#rejoinTimer = setTimeout(() => void this.#join(nextMs), retryAfterMs)
    }
    void this.refreshChannel()
    this.#changed()
  }

  #attach(subscription: Subscription): void {
    if (this.#closed) {
      void subscription.unsubscribe().catch(() => undefined)
      return
    }
    this.#subscription = subscription
    this.joinProblem = undefined
    this.sync = subscription.status
    this.#unbind = [
      subscription.on('history-end', ({ version }) => {
        // After a rename the first join stays the boundary.
        if (!this.joined) this.#joinVersion = version
        this.joined = true
        void this.refreshPeople() // by now the others know of this subscription
        this.#changed()
      }),
      subscription.on('gap', (gap) => this.#noteGap(gap)),
      subscription.on('sync', (sync) => {
        this.sync = sync
        void this.refreshChannel()
        this.#changed()
      }),
    ]
    void this.refreshPeople()
  }

  async #detach(end: (subscription: Subscription) => Promise<void>): Promise<void> {
    clearTimeout(this.#rejoinTimer)
    for (const unbind of this.#unbind.splice(0)) unbind()
    const subscription = this.#subscription
    this.#subscription = undefined
    if (subscription === undefined) return
    try {
      await end(subscription)
    } catch {
      // Closed locally in any case; the statement at the replicas expires by itself.
    }
  }

  #receive(message: Message): void {
    if (this.#closed || this.#seen.has(message.id)) return
    const chat = readChat(message.data)
    if (chat === undefined) return
    const entry = this.#entryOf(message, chat)
    const waiting = entry.own ? this.#findOutgoing(chat.text, chat.at) : undefined
    if (waiting !== undefined) {
      this.#markSent(waiting, message.id)
      return
    }
    this.#seen.add(message.id)
    // Historic messages after the join come from a new subscription or a healed partition: they are news here.
    const historic = message.historic && !this.joined
    if (historic) this.past.push(entry)
    else this.present.push(entry)
    if (!historic && !entry.own && !this.#active) this.unread += 1
    this.#trim()
    this.#changed()
  }

  #entryOf(message: Message, chat: { name: string; text: string; at?: number }): ChatEntry {
    const at = saidAt(message, chat)
    const imported = isImported(message, at)
    return {
      kind: 'message',
      key: newKey(),
      id: message.id,
      publisher: message.publisher,
      name: displayName(chat.name, message.publisher),
      text: chat.text,
      at,
      own: message.publisher === this.#node.nodeId && !imported,
      imported,
      state: 'sent',
    }
  }

  #findOutgoing(text: string, at: number | undefined): ChatEntry | undefined {
    for (const entry of this.#outgoing) if (entry.text === text && entry.at === at) return entry
    return undefined
  }

  async #publish(entry: ChatEntry): Promise<void> {
    entry.state = 'sending'
    delete entry.problem
    this.#outgoing.add(entry)
    this.#changed()
    try {
      const data = chatMessage(entry.name, entry.text, entry.at)
      const receipt = await this.#node.pubsub.publish(this.topic, data)
      if (entry.id === undefined) this.#markSent(entry, receipt.id)
    } catch (error) {
      // It may have arrived by subscription meanwhile: then it was stored, whatever the call says.
      if (entry.id !== undefined) return
      entry.state = 'failed'
      entry.problem = describeProblem(error)
      // Only an unknown outcome can still turn into a stored message.
      if (codeOf(error) !== 'OUTCOME_UNKNOWN') this.#outgoing.delete(entry)
      void this.refreshChannel()
      this.#changed()
    }
  }

  #markSent(entry: ChatEntry, id: string): void {
    entry.id = id
    entry.state = 'sent'
    delete entry.problem
    this.#outgoing.delete(entry)
    this.#seen.add(id)
    this.#changed()
  }

  async #readOlder(): Promise<OlderState> {
    for (let page = 0; page < MAX_PAGES_PER_SCROLL; page += 1) {
      if (this.past.length + this.present.length >= MAX_ENTRIES) return 'full'
      const { messages, before } = await this.#node.pubsub.history(this.topic, {
        limit: OLDER_PAGE_MESSAGES,
        ...(this.#before === undefined ? {} : { before: this.#before }),
      })
      const added = this.#prepend(messages)
      this.#before = before
      if (before === undefined) return 'none'
      if (added > 0) return 'more'
    }
    return 'more'
  }

  /** The first page overlaps what the subscription brought; what is newer than the join is the subscription's to bring. */
  #prepend(messages: Message[]): number {
    const entries: Entry[] = []
    for (const message of messages) {
      if (this.#seen.has(message.id) || message.addedInVersion > this.#joinVersion) continue
      const chat = readChat(message.data)
      if (chat === undefined) continue
      this.#seen.add(message.id)
      entries.push(this.#entryOf(message, chat))
    }
    this.past.unshift(...entries)
    return entries.length
  }

  #noteGap({ publisher, writer, fromSequence, toSequence, reason }: Gap): void {
    // Older messages of a writer that had expired before the join are no loss.
    if (reason === 'expired') return
    const entries = this.joined ? this.present : this.past
    const count = toSequence - fromSequence + 1
    const last = entries.at(-1)
    if (last?.kind === 'gap' && last.publisher === publisher) {
      last.count += count
    } else {
      const name = this.#nameOf(publisher)
      entries.push({ kind: 'gap', key: newKey(), publisher, writer, name, count })
      this.#trim()
    }
    this.#changed()
  }

  #nameOf(publisher: string): string {
    for (const entries of [this.present, this.past]) {
      const said = entries.findLast((entry) => entry.kind === 'message' && entry.publisher === publisher)
      if (said !== undefined) return said.name
    }
    return displayName(this.people.find(({ nodeId }) => nodeId === publisher)?.info ?? '', publisher)
  }

  #trim(): void {
    while (this.past.length + this.present.length > MAX_ENTRIES) {
      const dropped = this.past.shift() ?? this.present.shift()
      if (dropped?.kind === 'message' && dropped.id !== undefined) this.#seen.delete(dropped.id)
      this.older = 'full'
    }
  }

  #changed(): void {
    if (this.#changeTimer !== undefined) return
    this.#changeTimer = setTimeout(() => {
      this.#changeTimer = undefined
      this.dispatchEvent(new Event('change'))
    }, CHANGE_BATCH_MS)
  }
}
