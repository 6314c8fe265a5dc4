import { type ChatText, chatMessage, readChat } from './chat-data.ts'
import type { Message, Topic, TopicReceipt } from './chat-node.ts'
import { type ChatEntry, newKey } from './entries.ts'
import { type FailedMessage, forgetFailed, keepFailed, loadFailed, onFailedElsewhere } from './failed-kept.ts'
import { describeCode, describeProblem } from './problems.ts'
import type { RoomLog } from './room-log.ts'

/**
 * Own messages on their way. The node's outbox keeps them, also over a reload, and this browser those that failed; here
 * each is one entry of the list, whoever tells of it first: its receipt, the subscription, or the list of what still waits.
 */

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
  /** Not known to be stored; also those that failed, since one of unknown outcome may still turn up. */
  readonly #unsent = new Set<ChatEntry>()
  readonly #stopFollowing: () => void
  #lastSaidAt = 0

  constructor(init: RoomOutboxInit) {
    this.#init = init
    this.#stopFollowing = onFailedElsewhere(init.room, (kept, gone) => this.#follow(kept, gone))
  }

  /** In the tick in which the topic was opened, so that no receipt is missed. */
  async attach(topic: Topic): Promise<void> {
    topic.on('receipt', (receipt) => this.#onReceipt(receipt))
    this.#follow(loadFailed(this.#init.room), new Set())
    // what was left over from an earlier visit goes first, as it does in the outbox
    const left = await topic.outbox().catch(() => [])
    for (const receipt of left) this.#onReceipt(receipt)
    const kept = new Set(left.map(({ key }) => key))
    this.#topic = topic
    for (const entry of this.#unsent)
      if (entry.state === 'waiting' && !kept.has(entry.outboxKey ?? '')) void this.#publish(entry)
  }

  /** Said before the topic is open: no outbox has them yet. Somebody else sends them from now on. */
  takeOnlyHere(): ChatEntry[] {
    if (this.#topic !== undefined) return []
    const entries = [...this.#unsent].filter(({ state }) => state === 'waiting')
    for (const entry of entries) this.#forget(entry)
    return entries
  }

  send(name: string, text: string): void {
    // Two messages of one text in one millisecond would be told apart by nothing.
    const at = Math.max(Date.now(), this.#lastSaidAt + 1)
    this.#lastSaidAt = at
    const entry = this.#add({ name, text, at }, crypto.randomUUID())
    entry.problem = 'The room is being opened: until then it is kept by this page only'
    if (this.#topic !== undefined) void this.#publish(entry)
  }

  retry(entry: ChatEntry): void {
    if (entry.state !== 'failed') return
    entry.state = 'waiting'
    delete entry.problem
    this.#init.onChange()
    if (this.#topic !== undefined) void this.#publish(entry)
  }

  /** Only what has failed: the outbox has let go of it. */
  discard(entry: ChatEntry): void {
    if (entry.state !== 'failed') return
    this.#forget(entry)
    this.#remove(entry)
  }

  close(): void {
    this.#stopFollowing()
  }

  /** The entry of an own message that was shown here as not sent yet: from now on it is. */
  arrived(message: Message, chat: ChatText): ChatEntry | undefined {
    if (message.publisher !== this.#init.nodeId) return undefined
    for (const entry of this.#unsent) {
      if (entry.text !== chat.text || entry.said !== chat.at) continue
      this.#stored(entry, message.id)
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
      if (entry.state !== 'failed') this.#forget(entry)
      // the event tells the rest; who publishes again what was stored meanwhile hears it only here
      if (receipt?.state === 'stored' || receipt?.state === 'failed') this.#onReceipt(receipt)
    } catch (error) {
      this.#failed(entry, describeProblem(error))
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
    for (const entry of this.#unsent) if (entry.outboxKey === key) return entry
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
    this.#unsent.add(entry)
    this.#init.log.add(entry, 'present')
    this.#init.onChange()
    return entry
  }

  #stored(entry: ChatEntry, id: string): void {
    this.#unsent.delete(entry)
    entry.state = 'sent'
    delete entry.problem
    this.#forget(entry)
    this.#init.log.named(entry, id)
    this.#init.onChange()
  }

  #failed(entry: ChatEntry, problem: string): void {
    if (!this.#showFailed(entry, problem)) return
    const { name, text, said, at, outboxKey = '' } = entry
    keepFailed(this.#init.room, { chat: { name, text, at: said ?? at }, outboxKey, problem })
    this.#init.onFailed()
  }

  /** False for one that may have arrived by subscription meanwhile: then it was stored. */
  #showFailed(entry: ChatEntry, problem: string): boolean {
    if (entry.state === 'sent') return false
    entry.state = 'failed'
    entry.problem = problem
    this.#init.onChange()
    return true
  }

  /** Shows what this browser keeps, and no more what another tab has discarded, or is sending again. */
  #follow(kept: FailedMessage[], gone: Set<string>): void {
    for (const entry of this.#unsent)
      if (entry.state === 'failed' && gone.has(entry.outboxKey ?? '')) this.#remove(entry)
    const known = new Set([...this.#unsent].map(({ outboxKey }) => outboxKey))
    for (const { chat, outboxKey, problem } of kept) {
      if (known.has(outboxKey)) continue // what its receipts tell is newer
      const entry = this.#entryOf(outboxKey, chat)
      if (!this.#showFailed(entry, problem)) forgetFailed(this.#init.room, outboxKey)
    }
  }

  #forget({ outboxKey }: ChatEntry): void {
    if (outboxKey !== undefined) forgetFailed(this.#init.room, outboxKey)
  }

  #remove(entry: ChatEntry): void {
    this.#unsent.delete(entry)
    this.#init.log.remove(entry)
    this.#init.onChange()
  }
}
