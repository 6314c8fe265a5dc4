import { type ChatText, chatMessage, readChat } from './chat-data.ts'
import type { Message, Topic, TopicReceipt } from './chat-node.ts'
import { type ChatEntry, newKey } from './entries.ts'
import { codeOf, describeCode, describeProblem } from './problems.ts'
import type { RoomLog } from './room-log.ts'
import { forgetUnsent, keepUnsent, loadUnsent, onUnsentElsewhere, type UnsentMessage } from './unsent-kept.ts'

/**
 * Own messages on their way. The node's outbox keeps them, also over a reload, and this browser those that it does not
 * have; here each is one entry of the list, whoever tells of it first: its receipt, the subscription, or the list of what
 * still waits.
 */

/** As long as the node's outbox keeps what nobody can be told. */
const MAX_WAIT_MS = 24 * 60 * 60_000

export interface RoomOutboxInit {
  room: string
  nodeId: string
  log: RoomLog
  onChange(): void
  onFailed(): void
}

export class RoomOutbox {
  readonly #init: RoomOutboxInit
  #topic: Topic | undefined
  /** Shown, and not brought by the topic: on their way, failed, or stored by the word of a receipt. */
  readonly #own = new Set<ChatEntry>()
  /** Of those: no outbox has them yet. */
  readonly #onlyHere = new Set<ChatEntry>()
  /** Somebody else's from now on, unless this node's outbox has taken it. */
  #heir: ((entry: ChatEntry) => void) | undefined
  #isLeft = false
  readonly #stopFollowing: () => void
  #lastSaidAt = 0

  constructor(init: RoomOutboxInit) {
    this.#init = init
    this.#stopFollowing = onUnsentElsewhere(init, (kept, gone) => this.#follow(kept, gone))
    this.#restore(loadUnsent(init))
  }

  /** In the tick in which the topic was opened, so that no receipt is missed. */
  async attach(topic: Topic): Promise<void> {
    topic.on('receipt', (receipt) => this.#onReceipt(receipt))
    const left = await topic.outbox().catch(() => [])
    if (this.#isLeft || this.#heir !== undefined) return
    for (const receipt of left) this.#onReceipt(receipt)
    const kept = new Set(left.map(({ key }) => key))
    this.#topic = topic
    for (const entry of this.#own) {
      if (kept.has(entry.outboxKey ?? '')) this.#taken(entry)
      else if (entry.state === 'waiting') void this.#publish(entry)
    }
  }

  /** Leaving the room deletes them. */
  get hasOnlyHere(): boolean {
    return [...this.#own].some((entry) => entry.state === 'failed' || this.#isNobodysYet(entry))
  }

  /** The node sends them also when the room is left. */
  get hasWaiting(): boolean {
    return [...this.#own].some(
      (entry) => (entry.state === 'waiting' || entry.state === 'sending') && !this.#isNobodysYet(entry),
    )
  }

  /** The node was not asked to send it. */
  #isNobodysYet(entry: ChatEntry): boolean {
    return this.#topic === undefined && this.#onlyHere.has(entry)
  }

  /** What no outbox has taken, now or when it turns out, is somebody else's to send. */
  handOver(heir: (entry: ChatEntry) => void): void {
    this.#heir = heir
    if (this.#topic !== undefined) return // the node tells of each that was not taken
    for (const entry of [...this.#onlyHere]) if (entry.state === 'waiting') this.#bequeath(entry)
  }

  send(name: string, text: string): void {
    // Two messages of one text in one millisecond would be told apart by nothing.
    const at = Math.max(Date.now(), this.#lastSaidAt + 1)
    this.#lastSaidAt = at
    const entry = this.#add({ name, text, at }, crypto.randomUUID())
    this.#onlyHere.add(entry)
    keepUnsent(this.#init, keptOf(entry))
    if (this.#topic !== undefined) void this.#publish(entry)
    else entry.problem = 'The room is being opened.'
  }

  retry(entry: ChatEntry): void {
    if (entry.state !== 'failed') return
    entry.state = 'waiting'
    delete entry.problem
    this.#onlyHere.add(entry)
    this.#init.log.place(entry, 'present')
    this.#init.onChange()
    if (this.#topic !== undefined) void this.#publish(entry)
  }

  /** Only what has failed: the outbox has let go of it. */
  discard(entry: ChatEntry): void {
    if (entry.state !== 'failed') return
    this.#taken(entry)
    this.#remove(entry)
  }

  close(): void {
    this.#stopFollowing()
  }

  /** Nothing of it is kept in this browser, whatever becomes of what is on its way. */
  leave(): void {
    this.#isLeft = true
    this.close()
  }

  /** The entry of an own message that was shown here before the topic brought it: from now on it is sent. */
  arrived(message: Message, chat: ChatText): ChatEntry | undefined {
    if (message.publisher !== this.#init.nodeId) return undefined
    for (const entry of this.#own) {
      const isSame =
        entry.id === undefined ? entry.text === chat.text && entry.said === chat.at : entry.id === message.id
      if (!isSame) continue
      this.#own.delete(entry)
      if (entry.id === undefined) this.#stored(entry, message.id)
      return entry
    }
    return undefined
  }

  async #publish(entry: ChatEntry): Promise<void> {
    const data = chatMessage(entry.name, entry.text, entry.said ?? entry.at)
    const key = entry.outboxKey
    try {
      const receipt = await this.#topic?.publish(data, {
        delivered: true,
        ...(key === undefined ? {} : { key }),
      })
      // not before: from here on the outbox has it over a reload
      if (entry.state !== 'failed') this.#taken(entry)
      // the event tells the rest; who publishes again what was stored meanwhile hears it only here
      if (receipt?.state === 'stored' || receipt?.state === 'failed') this.#onReceipt(receipt)
    } catch (error) {
      // the node is somebody else's by now, and has not taken it
      if (codeOf(error) === 'WRONG_IDENTITY' && this.#heir !== undefined) this.#bequeath(entry)
      else this.#failed(entry, describeProblem(error))
    }
  }

  #onReceipt(receipt: TopicReceipt): void {
    const chat = receipt.data === undefined ? undefined : readChat(receipt.data)
    if (chat === undefined) return // another application's
    if (receipt.state === 'delivered') return this.#delivered(chat, receipt.delivered ?? 0)
    const entry = this.#entryOf(receipt.key, chat)
    const { stored, error } = receipt
    if (stored !== undefined) {
      entry.replicas = stored.replicas
      this.#stored(entry, stored.id)
    } else if (entry.state === 'sent') {
      return // it is in the topic, whatever the receipt says
    } else if (receipt.state === 'failed') {
      this.#failed(entry, error === undefined ? 'Something went wrong.' : describeCode(error))
    } else {
      entry.state = receipt.state === 'sending' ? 'sending' : 'waiting'
      if (error === undefined) delete entry.problem
      else entry.problem = describeCode(error)
      this.#init.onChange()
    }
  }

  #delivered(chat: ChatText, count: number): void {
    const entry = this.#init.log.findOwn(chat)
    if (entry === undefined) return // scrolled out of what is kept
    entry.delivered = count
    this.#init.onChange()
  }

  #entryOf(key: string, chat: ChatText): ChatEntry {
    for (const entry of this.#own) if (entry.outboxKey === key) return entry
    return this.#init.log.findOwn(chat) ?? this.#add(chat, key)
  }

  #add(chat: ChatText, outboxKey: string): ChatEntry {
    const at = chat.at ?? Date.now()
    const entry: ChatEntry = {
      kind: 'message',
      key: newKey(),
      publisher: this.#init.nodeId,
      name: chat.name,
      text: chat.text,
      at,
      ...(chat.at === undefined ? {} : { said: chat.at }),
      own: true,
      imported: false,
      state: 'waiting',
      outboxKey,
    }
    this.#own.add(entry)
    this.#init.log.add(entry, 'present')
    this.#init.onChange()
    return entry
  }

  #stored(entry: ChatEntry, id: string): void {
    entry.state = 'sent'
    entry.id = id
    delete entry.problem
    this.#taken(entry)
    this.#init.onChange()
  }

  #failed(entry: ChatEntry, problem: string): void {
    if (this.#isLeft || !this.#showFailed(entry, problem)) return
    this.#onlyHere.delete(entry)
    keepUnsent(this.#init, keptOf(entry))
    this.#init.onFailed()
  }

  /** False for one that may have arrived by subscription meanwhile: then it was stored. */
  #showFailed(entry: ChatEntry, problem: string): boolean {
    if (entry.state === 'sent') return false
    const isNews = entry.state !== 'failed'
    entry.state = 'failed'
    entry.problem = problem
    if (isNews) this.#init.log.place(entry, 'present')
    this.#init.onChange()
    return true
  }

  /** Shows what has failed in another tab, and no more what that one has discarded, or is sending again. */
  #follow(kept: UnsentMessage[], gone: Set<string>): void {
    for (const entry of this.#own)
      if (entry.state === 'failed' && gone.has(entry.outboxKey ?? '')) this.#remove(entry)
    this.#restore(kept.filter(({ problem }) => problem !== undefined)) // the others are on their way there
  }

  #restore(kept: UnsentMessage[]): void {
    for (const { chat, outboxKey, problem = this.#tooLate(chat) } of kept) {
      const entry = this.#entryOf(outboxKey, chat)
      if (entry.state === 'sent') this.#taken(entry)
      else if (problem === undefined) this.#onlyHere.add(entry)
      else if (!this.#onlyHere.has(entry)) this.#showFailed(entry, problem) // what is done here is newer
    }
  }

  #tooLate({ at = 0 }: ChatText): string | undefined {
    return Date.now() - at > MAX_WAIT_MS ? describeCode({ code: 'EXPIRED', message: '' }) : undefined
  }

  #bequeath(entry: ChatEntry): void {
    this.#taken(entry)
    this.#own.delete(entry)
    this.#heir?.(entry)
  }

  /** It need not be kept here any more. */
  #taken(entry: ChatEntry): void {
    this.#onlyHere.delete(entry)
    if (entry.outboxKey !== undefined) forgetUnsent(this.#init, entry.outboxKey)
  }

  #remove(entry: ChatEntry): void {
    this.#own.delete(entry)
    this.#init.log.remove(entry)
    this.#init.onChange()
  }
}

const keptOf = ({ name, text, said, at, outboxKey = '', problem }: ChatEntry): UnsentMessage => ({
  chat: { name, text, at: said ?? at },
  outboxKey,
  ...(problem === undefined ? {} : { problem }),
})
