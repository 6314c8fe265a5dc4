import { asStickyError, type BlockReader, equalBytes, toHex } from '../dht/index.ts'
import type { HistoryPage, HistoryPageOptions } from './api.ts'
import { type Entry, entriesBackward, loadMessages, type MessageCollection } from './collection.ts'
import { entriesForward, placeAbove } from './collection-places.ts'
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
  /** The place next to which it lies, where that is not at its version any more. */
  moved?: Cursor | undefined
  /** A place that it was asked for is not in the topic, or not yet. */
  isGone?: boolean
}

async function historyPage(
  { coordinator, reader }: Loaded,
  query: HistoryQuery,
  signal: AbortSignal | undefined,
): Promise<{ page: HistoryPage; isGone?: boolean | undefined }> {
  const { topic, topicKey, nowMs, reverse = false } = query
  const read = once(reader(signal))
  if (coordinator.messages === null) return { page: { messages: [] } }
  const { entries, hasOlder, hasNewer, moved, isGone } = await stretchOf(coordinator.messages, query, read)
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
  if (moved) page.moved = encodeCursor(moved)
  return { page, isGone }
}

/** A page in which a place was looked for is read from next. */
function once(read: BlockReader): BlockReader {
  const blocks = new Map<string, Promise<Uint8Array>>()
  return (ref) => {
    const name = `${ref.kind}/${toHex(ref.id)}`
    const block = blocks.get(name) ?? read(ref)
    blocks.set(name, block)
    return block
  }
}

const cursorTo = ({ addedInVersion, id }: Entry): Cursor => ({ version: addedInVersion, id })

/** Next to `after` and onward, or next to `before` (the end, where that is not given) and backward. */
async function stretchOf(messages: Uint8Array, query: HistoryQuery, read: BlockReader): Promise<Stretch> {
  const limit = Math.max(1, Math.min(query.limit ?? DEFAULT_LIMIT, LIMITS.maxHistoryLimit))
  const before = query.before === undefined ? undefined : decodeCursor(query.before)
  const after = query.after === undefined || query.after === BEGINNING ? undefined : decodeCursor(query.after)
  const asked: Asked = { collection: await loadMessages(messages, read), before, after, limit, read }
  const isForward = query.after !== undefined && !(before !== undefined && query.reverse)
  return isForward ? forward(asked) : backward(asked)
}

interface Asked {
  collection: MessageCollection
  before: Cursor | undefined
  after: Cursor | undefined
  limit: number
  read: BlockReader
}

/** Behind a place that is gone lies what was added with it or since. */
async function forward({ collection, before, after, limit, read }: Asked): Promise<Stretch> {
  const behind = (place: Cursor | undefined, onMissing?: () => void) =>
    entriesForward(collection, place, limit, read, onMissing)
  const next = await nextTo(collection, after, read, behind)
  const { moved } = next
  const found = next.isGone && after ? await behind({ ...after, version: after.version - 1 }) : next.found
  const { entries, isGone = next.isGone } = await upTo(found, before, collection, read)
  const hasNewer = found.length === limit && entries.length === limit
  return { entries, hasOlder: after !== undefined, hasNewer, moved, isGone }
}

/** Before a place that is gone lies what was added before it, as far as no merge has put that elsewhere since. */
async function backward({ collection, before, after, limit, read }: Asked): Promise<Stretch> {
  const { found, moved, isGone } = await nextTo(collection, before, read, (place, onMissing) =>
    entriesBackward(collection, place, limit, read, onMissing),
  )
  const entries = after === undefined ? found : downTo(found, after)
  const hasOlder = found.length === limit && entries.length === limit
  return { entries, hasOlder, hasNewer: before !== undefined, moved, isGone }
}

/** The entries next to a place: first where it says that it is, then where a merge has put it. */
async function nextTo(
  collection: MessageCollection,
  place: Cursor | undefined,
  read: BlockReader,
  entriesAt: (place: Cursor | undefined, onMissing: () => void) => Promise<Entry[]>,
): Promise<{ found: Entry[]; moved?: Cursor; isGone: boolean }> {
  let isMissing = false
  const found = await entriesAt(place, () => {
    isMissing = true
  })
  if (!isMissing || place === undefined) return { found, isGone: false }
  const moved = await placeAbove(collection, place, read)
  if (moved === undefined) return { found, isGone: true }
  return { found: await entriesAt(moved, () => undefined), moved, isGone: false }
}

async function upTo(
  entries: Entry[],
  before: Cursor | undefined,
  collection: MessageCollection,
  read: BlockReader,
): Promise<{ entries: Entry[]; isGone?: boolean }> {
  if (before === undefined) return { entries }
  const index = entries.findIndex((entry) => equalBytes(entry.id, before.id))
  if (index >= 0) return { entries: entries.slice(0, index) }
  if (entries.every(({ addedInVersion }) => addedInVersion <= before.version)) return { entries }
  const moved = await placeAbove(collection, before, read)
  const { version } = moved ?? before
  const within = entries.filter(({ addedInVersion }) => addedInVersion <= version)
  return moved ? { entries: within } : { entries: within, isGone: true }
}

function downTo(entries: Entry[], { version, id }: Cursor): Entry[] {
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
        const { page, isGone } = await historyPage(recent.loaded, query, signal)
        // at its end the topic may have gone on since
        const isAtEnd = query.before === undefined && page.after === undefined
        if (!isGone && (!isAtEnd || recent.readAtMs === query.nowMs)) return page
      } catch (error) {
        // its holder is gone, or has moved on and no longer has the blocks of that head
        if (!asStickyError(error, 'UNREACHABLE').retryable) throw error
      }
    }
    return readCurrent(async () => {
      const loaded = await this.#load(query.topic, signal)
      if (loaded === undefined) return { messages: [] }
      this.#remember(query, loaded)
      return (await historyPage(loaded, query, signal)).page
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
