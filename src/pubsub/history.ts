import { asStickyError, type BlockReader } from '../dht/index.ts'
import type { HistoryPage } from './api.ts'
import { entriesBackward, loadMessages } from './collection.ts'
import type { Coordinator } from './coordinator.ts'
import { openMessage } from './message.ts'
import { LIMITS } from './options.ts'
import { readCurrent } from './read-current.ts'
import { decodePosition, encodePosition, toMessage } from './view.ts'

/** Pages of a topic's history, newest first. */

/** A head, and verified readers of what it links to: one for each who waits, ended by its own signal. */
export interface Loaded {
  coordinator: Coordinator
  head: Uint8Array
  reader(signal?: AbortSignal): BlockReader
}

export interface HistoryQuery {
  topic: string
  topicKey: Uint8Array
  limit: number | undefined
  before: string | undefined
  nowMs: number
}

const DEFAULT_LIMIT = 50

async function historyPage(
  { coordinator, reader }: Loaded,
  query: HistoryQuery,
  signal: AbortSignal | undefined,
): Promise<HistoryPage> {
  const { topic, topicKey, nowMs } = query
  const read = reader(signal)
  if (coordinator.messages === null) return { messages: [] }
  const limit = Math.max(1, Math.min(query.limit ?? DEFAULT_LIMIT, LIMITS.maxHistoryLimit))
  const before = query.before === undefined ? undefined : decodePosition(query.before)
  const entries = await entriesBackward(await loadMessages(coordinator.messages, read), before, limit, read)
  const messages = await Promise.all(
    entries.map(async ({ envelope, addedInVersion }) => {
      const message = await openMessage(envelope, topicKey)
      if (message.body.expiresAt <= nowMs) return undefined
      return toMessage(message, { topic, addedInVersion, historic: true }, read)
    }),
  )
  const oldest = entries[0]
  const page = { messages: messages.filter((message) => message !== undefined) }
  if (oldest === undefined || entries.length < limit) return page
  return { ...page, before: encodePosition({ version: oldest.addedInVersion, id: oldest.id }) }
}

/**
 * Reads the first page of a topic from a majority and the older ones that are asked for soon after from the same head:
 * who pages through a topic sees one state of it, and does not ask everybody again for each page.
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
    if (query.before !== undefined && isFresh) {
      try {
        return await historyPage(recent.loaded, query, signal)
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
