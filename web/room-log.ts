import { type ChatText, displayName, isImported, readChat, saidAt } from './chat-data.ts'
import type { Gap, Message } from './chat-node.ts'
import { type ChatEntry, type Entry, type GapEntry, newKey } from './entries.ts'

/**
 * All that a room shows, each message once, in the order of the topic; own messages that are on their way stand behind the
 * others. Bounded: the oldest leave.
 */

/** A topic keeps 50,000 by default: a whole room fits, a hostile one stays bounded. */
const MAX_ENTRIES = 50_000
/** Of one entry; what is missing beyond that has another. */
const MAX_RANGES = 64
/** Of one publisher: who has left out more than that has the newest of them filled. */
const MAX_OPEN_GAPS = 64

type Where = 'past' | 'present'

export class RoomLog {
  /** From before the join, or before what was unread; older pages go in front. */
  readonly past: Entry[] = []
  /** What came after that, own unsent messages included. */
  readonly present: Entry[] = []
  /** This tab holds as much as it may. */
  isFull = false

  readonly #self: string
  /** What the topic has brought. Bounded by the entries themselves: an id leaves with its entry. */
  readonly #seen = new Set<string>()
  /** By publisher. */
  readonly #gaps = new Map<string, GapEntry[]>()

  constructor(self: string) {
    this.#self = self
  }

  /** The topic has brought it. */
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

  add(entry: Entry, where: Where): void {
    if (entry.kind === 'message' && entry.id !== undefined) this.#seen.add(entry.id)
    const entries = this[where]
    entries.splice(isOnItsWay(entry) ? entries.length : this.#endOf(where), 0, entry)
    this.#trim()
  }

  /** An own message that stood here before the topic brought it: now it stands where all others have it. */
  place(entry: ChatEntry, where: Where): void {
    if (this.remove(entry)) this.add(entry, where)
  }

  /** False for one that had left before. */
  remove(entry: Entry): boolean {
    for (const entries of [this.present, this.past]) {
      const index = entries.lastIndexOf(entry)
      if (index < 0) continue
      entries.splice(index, 1)
      return true
    }
    return false
  }

  /**
   * Newest first: each goes before the one that is newer, the first of them to `place`. Those that are shown already, or
   * are no chat messages, are left out. `arrived` gives the entry of an own message that stood here before. Gives how many
   * were added.
   */
  insertOlder(
    messages: Message[],
    arrived: (message: Message, chat: ChatText) => ChatEntry | undefined,
    place: 'front' | 'end' = 'front',
  ): number {
    const { past } = this
    const placeOf = new Map<string, number>()
    if (place === 'end')
      for (const [n, entry] of past.entries()) if (entry.kind === 'message') placeOf.set(entry.id ?? '', n)
    let before = place === 'front' ? 0 : past.length
    let added = 0
    for (const message of messages) {
      before = Math.min(before, placeOf.get(message.id) ?? before)
      const chat = readChat(message.data)
      if (chat === undefined || this.#seen.has(message.id)) continue
      this.#seen.add(message.id)
      const shown = arrived(message, chat)
      if (shown !== undefined) this.remove(shown)
      past.splice(before, 0, shown ?? this.entryOf(message, chat))
      added += 1
    }
    for (const message of messages) this.fillGap(message)
    return added
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

  noteGap({ publisher, writer, fromSequence, toSequence }: Gap, where: Where, name: string): void {
    const range = { writer, from: fromSequence, to: toSequence }
    const count = toSequence - fromSequence + 1
    const last = this[where][this.#endOf(where) - 1]
    if (last?.kind === 'gap' && last.publisher === publisher && last.ranges.length < MAX_RANGES) {
      last.count += count
      last.ranges.push(range)
      return
    }
    const gap: GapEntry = { kind: 'gap', key: newKey(), publisher, name, count, ranges: [range] }
    this.#gaps.set(publisher, [...(this.#gaps.get(publisher) ?? []), gap].slice(-MAX_OPEN_GAPS))
    this.add(gap, where)
  }

  /** It is not missing any more, if it was told to be. */
  fillGap({ publisher, writer, sequence }: Message): void {
    for (const gap of this.#gaps.get(publisher) ?? []) {
      const at = gap.ranges.findIndex(
        (range) => range.writer === writer && range.from <= sequence && sequence <= range.to,
      )
      const range = gap.ranges[at]
      if (range === undefined) continue
      const left = [
        { ...range, to: sequence - 1 },
        { ...range, from: sequence + 1 },
      ]
      gap.ranges.splice(at, 1, ...left.filter(({ from, to }) => from <= to))
      gap.count -= 1
      if (gap.count > 0) return
      this.remove(gap)
      this.#forgetGap(gap)
      return
    }
  }

  /** What somebody was called last. */
  nameOf(publisher: string): string | undefined {
    for (const entries of [this.present, this.past]) {
      const said = entries.findLast((entry) => entry.kind === 'message' && entry.publisher === publisher)
      if (said !== undefined) return said.name
    }
    return undefined
  }

  /** Before own messages that are on their way. */
  #endOf(where: Where): number {
    const entries = this[where]
    return entries.findLastIndex((entry) => !isOnItsWay(entry)) + 1
  }

  #forgetGap(gap: GapEntry): void {
    const others = (this.#gaps.get(gap.publisher) ?? []).filter((other) => other !== gap)
    if (others.length > 0) this.#gaps.set(gap.publisher, others)
    else this.#gaps.delete(gap.publisher)
  }

  #trim(): void {
    while (this.past.length + this.present.length > MAX_ENTRIES) {
      const dropped = this.past.shift() ?? this.present.shift()
      if (dropped?.kind === 'gap') this.#forgetGap(dropped)
      else if (dropped?.id !== undefined) this.#seen.delete(dropped.id)
      this.isFull = true
    }
  }
}

const isOnItsWay = (entry: Entry): boolean =>
  entry.kind === 'message' && (entry.state === 'waiting' || entry.state === 'sending')
