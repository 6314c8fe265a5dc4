import { type ChatText, displayName, isImported, readChat, saidAt } from './chat-data.ts'
import type { Gap, Message } from './chat-node.ts'
import { type ChatEntry, type Entry, newKey } from './entries.ts'

/** All that a room shows, each message once. Bounded: the oldest leave. */

/** A topic keeps 50,000 by default: a whole room fits, a hostile one stays bounded. */
const MAX_ENTRIES = 50_000

export class RoomLog {
  /** From before the join, or before what was unread; older pages go in front. */
  readonly past: Entry[] = []
  /** What came after that, own unsent messages included. */
  readonly present: Entry[] = []
  /** This tab holds as much as it may. */
  isFull = false

  readonly #self: string
  /** Bounded by the entries themselves: an id leaves with its entry. */
  readonly #seen = new Set<string>()

  constructor(self: string) {
    this.#self = self
  }

  has(id: string): boolean {
    return this.#seen.has(id)
  }

  get hasRoom(): boolean {
    return this.past.length + this.present.length < MAX_ENTRIES
  }

  entryOf(message: Message, chat: ChatText): ChatEntry {
    const at = saidAt(message, chat)
    const imported = isImported(message, chat, at)
    return {
      kind: 'message',
      key: newKey(),
      id: message.id,
      publisher: message.publisher,
      name: displayName(chat.name, message.publisher),
      text: chat.text,
      at,
      ...(chat.at === undefined ? {} : { said: chat.at }),
      own: message.publisher === this.#self && !imported,
      imported,
      state: 'sent',
    }
  }

  add(entry: Entry, where: 'past' | 'present'): void {
    if (entry.kind === 'message' && entry.id !== undefined) this.#seen.add(entry.id)
    this[where].push(entry)
    this.#trim()
  }

  /** Of an own message that was shown before it had an id. */
  named(entry: ChatEntry, id: string): void {
    entry.id = id
    this.#seen.add(id)
  }

  remove(entry: ChatEntry): void {
    const index = this.present.indexOf(entry)
    if (index >= 0) this.present.splice(index, 1)
  }

  /**
   * Newest first; those that are shown already, or are no chat messages, are left out. `arrived` gives the entry of an own
   * message that was shown as not sent yet: it goes to the place that the message has.
   */
  prepend(messages: Message[], arrived: (message: Message, chat: ChatText) => ChatEntry | undefined): void {
    const entries: Entry[] = []
    for (const message of messages) {
      const chat = readChat(message.data)
      if (chat === undefined || this.#seen.has(message.id)) continue
      this.#seen.add(message.id)
      const own = arrived(message, chat)
      if (own !== undefined) this.remove(own)
      entries.unshift(own ?? this.entryOf(message, chat))
    }
    this.past.unshift(...entries)
  }

  /** An own message by what it says; nobody else knows its key. */
  findOwn({ text, at }: ChatText): ChatEntry | undefined {
    for (const entries of [this.present, this.past]) {
      for (let index = entries.length - 1; index >= 0; index -= 1) {
        const entry = entries[index]
        if (entry?.kind !== 'message' || entry.publisher !== this.#self) continue
        if (entry.text === text && entry.said === at) return entry
      }
    }
    return undefined
  }

  noteGap(
    { publisher, writer, fromSequence, toSequence }: Gap,
    where: 'past' | 'present',
    name: string,
  ): void {
    const count = toSequence - fromSequence + 1
    const last = this[where].at(-1)
    if (last?.kind === 'gap' && last.publisher === publisher) last.count += count
    else this.add({ kind: 'gap', key: newKey(), publisher, writer, name, count }, where)
  }

  /** What somebody was called last. */
  nameOf(publisher: string): string | undefined {
    for (const entries of [this.present, this.past]) {
      const said = entries.findLast((entry) => entry.kind === 'message' && entry.publisher === publisher)
      if (said !== undefined) return said.name
    }
    return undefined
  }

  #trim(): void {
    while (this.past.length + this.present.length > MAX_ENTRIES) {
      const dropped = this.past.shift() ?? this.present.shift()
      if (dropped?.kind === 'message' && dropped.id !== undefined) this.#seen.delete(dropped.id)
      this.isFull = true
    }
  }
}
