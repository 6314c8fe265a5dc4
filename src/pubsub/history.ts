import { asStickyError, type BlockReader, equalBytes } from '../dht/index.ts'
import type { HistoryPage, HistoryPageOptions } from './api.ts'
import { type Entry, entriesBackward, loadMessages } from './collection.ts'
import { entriesForward } from './collection-places.ts'
import type { Coordinator } from './coordinator.ts'
import { openMessage } from './message.ts'
import { LIMITS } from './options.ts'
import { readCurrent } from './read-current.ts'
import { type Cursor, decodeCursor, encodeCursor, toMessage } from './view.ts'

/** Pages of a topic's history, in both directions. */

/** A head, and verified readers of what it links to: one for each who waits, ended by its own signal. */
export interface Loaded {
  coordinator: Coordinator
  head: Uint8Array
  reader(signal?: AbortSignal): BlockReader
}

export interface HistoryQuery extends Omit<HistoryPageOptions, 'signal'> {
  topic: string
  topicKey: Uint8Array
  nowMs: number
}

const DEFAULT_LIMIT = 50

/** For `after`: before the first message of the topic. */
export const BEGINNING = ''

/** What lies between two places, next to one of them. */
interface Stretch {
  entries: Entry[]
  /** More of the topic lies beyond the entries on this side. */
  hasOlder: boolean
  hasNewer: boolean
}

async function historyPage(
  { coordinator, reader }: Loaded,
  query: HistoryQuery,
  signal: AbortSignal | undefined,
): Promise<HistoryPage> {
  const { topic, topicKey, nowMs, reverse = false } = query
  const read = reader(signal)
  if (coordinator.messages === null) return { messages: [] }
  const { entries, hasOlder, hasNewer } = await stretchOf(coordinator.messages, query, read)
  const messages = await Promise.all(
    entries.map(async ({ envelope, addedInVersion }) => {
      const message = await openMessage(envelope, topicKey)
      if (message.body.expiresAt <= nowMs) return undefined
      return toMessage(message, { topic, addedInVersion, historic: true }, read)
    }),
  )
  const page: HistoryPage = { messages: messages.filter((message) => message !== undefined) }
  if (reverse) page.messages.reverse()
  const [oldest, newest] = [entries[0], entries.at(-1)]
  if (hasOlder && oldest) page.before = encodeCursor(cursorTo(oldest))
  if (hasNewer && newest) page.after = encodeCursor(cursorTo(newest))
  return page
}

const cursorTo = ({ addedInVersion, id }: Entry): Cursor => ({ version: addedInVersion, id })

/** Next to `after` and onward, or next to `before` (the end, where that is not given) and backward. */
async function stretchOf(messages: Uint8Array, query: HistoryQuery, read: BlockReader): Promise<Stretch> {
  const limit = Math.max(1, Math.min(query.limit ?? DEFAULT_LIMIT, LIMITS.maxHistoryLimit))
  const before = query.before === undefined ? undefined : decodeCursor(query.before)
  const after = query.after === undefined || query.after === BEGINNING ? undefined : decodeCursor(query.after)
  const collection = await loadMessages(messages, read)
  if (query.after !== undefined && !(query.before !== undefined && query.reverse)) {
    const found = await entriesForward(collection, after, limit, read)
    const entries = before === undefined ? found : upTo(found, before)
    return {
      entries,
      hasOlder: after !== undefined,
      hasNewer: found.length === limit && entries.length === limit,
    }
  }
  const found = await entriesBackward(collection, before, limit, read)
  const entries = after === undefined ? found : behind(found, after)
  return {
    entries,
    hasOlder: found.length === limit && entries.length === limit,
    hasNewer: before !== undefined,
  }
}

function upTo(entries: Entry[], { version, id }: Cursor): Entry[] {
  const index = entries.findIndex((entry) => equalBytes(entry.id, id))
  return index >= 0 ? entries.slice(0, index) : entries.filter((entry) => entry.addedInVersion <= version)
}

function behind(entries: Entry[], { version, id }: Cursor): Entry[] {
  const index = entries.findIndex((entry) => equalBytes(entry.id, id))
  return index >= 0 ? entries.slice(index + 1) : entries.filter((entry) => entry.addedInVersion >= version)
}

/**
 * Reads the first page of a topic from a majority and those that are asked for soon after from the same head: who pages
 * through a topic sees one state of it, and does not ask everybody again for each page.
 */
export class HistoryReader {
  readonly #load: (topic: string, signal?: AbortSignal) => Promise<Loaded | undefined>
  readonly #recent = new Map<string, { loaded: Loaded; readAtMs: number }>()

  constructor(load: (topic: string, signal?: AbortSignal) => Promise<Loaded | undefined>) {
    this.#load = load
  }

  async page(query: HistoryQuery, signal?: AbortSignal): Promise<HistoryPage> {
    const recent = this.#recent.get(query.topic)
    const isFresh = recent !== undefined && query.nowMs - recent.readAtMs < HEAD_REUSE_MS
    const goesOn = query.before !== undefined || (query.after !== undefined && query.after !== BEGINNING)
    if (goesOn && isFresh) {
      try {
        const page = await historyPage(recent.loaded, query, signal)
        // at its end the topic may have gone on since
        const isAtEnd = query.before === undefined && page.after === undefined
        if (!isAtEnd || recent.readAtMs === query.nowMs) return page
      } catch (error) {
        // its holder is gone, or has moved on and no longer has the blocks of that head
        if (!asStickyError(error, 'UNREACHABLE').retryable) throw error
      }
    }
    return readCurrent(async () => {
      const loaded = await this.#load(query.topic, signal)
      if (loaded === undefined) return { messages: [] }
      this.#remember(query, loaded)
      return historyPage(loaded, query, signal)
    })
  }

  #remember({ topic, nowMs }: HistoryQuery, loaded: Loaded): void {
    this.#recent.delete(topic)
    this.#recent.set(topic, { loaded, readAtMs: nowMs })
    if (this.#recent.size > MAX_RECENT_HEADS) this.#recent.delete(this.#recent.keys().next().value as string)
  }
}

/** A holder still serves the blocks of a head this old (DhtOptions.keptOldCommits), unless the topic is very busy. */
const HEAD_REUSE_MS = 30_000
const MAX_RECENT_HEADS = 64
