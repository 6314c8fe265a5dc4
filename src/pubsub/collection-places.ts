import { type BlockReader, equalBytes } from '../dht/index.ts'
import { mapAhead } from './ahead.ts'
import {
  type Entry,
  entriesBackward,
  type LeveledRef,
  loadMessages,
  loadSpine,
  type MessageCollection,
  openIndex,
  type PageRef,
  pagesOf,
  readPage,
  readTail,
  spineRefs,
  Visits,
} from './collection.ts'
import { decodeCoordinator } from './coordinator.ts'
import { publishedAtOf } from './message.ts'
import { LIMITS } from './options.ts'
import type { Cursor } from './view.ts'

/** Where in a collection of messages a reader begins that knows a message, or a time. */

/**
 * Where the message of a place is that is not at its version: a merge that brought it to the other side has stamped it
 * anew, and whatever lay around it, all with one version. Looked for is up to the first page behind its version that no
 * merge has stamped as a whole. Undefined where it is not there: it has expired, or was trimmed.
 */
export async function placeAbove(
  { root }: MessageCollection,
  place: Cursor,
  read: BlockReader,
): Promise<Cursor | undefined> {
  const inTail = root.tail.find(([id]) => equalBytes(id, place.id))
  if (inTail !== undefined) return { version: inTail[1], id: place.id }
  const refs = spineRefs(await loadSpine(root, read))
  const pages = pagesOf(root.topic, refs, ({ lastVersion }) => lastVersion > place.version, read)
  const looked = mapAhead(stampedTogether(pages, place.version), PAGES_AHEAD, async (ref) => {
    const entries = await readPage(root.topic, ref, read)
    return entries.find(({ id }) => equalBytes(id, place.id))
  })
  for await (const entry of looked)
    if (entry !== undefined) return { version: entry.addedInVersion, id: place.id }
  return undefined
}

/** The pages of the next merge, and the one in which they end. */
async function* stampedTogether(pages: AsyncIterable<PageRef>, behind: number): AsyncGenerator<PageRef> {
  let left = MAX_PAGES_ABOVE
  for await (const page of pages) {
    yield page
    left -= 1
    if (left === 0 || (page.firstVersion > behind && page.firstVersion < page.lastVersion)) return
  }
}

/** 8,192 messages, 20 MiB at most. */
const MAX_PAGES_ABOVE = 128
const PAGES_AHEAD = 6

/**
 * The first `limit` entries behind a place, in order, or from the beginning; reads only the pages that hold them.
 * `onMissing` is called where the place's message is not at its version: then all that was added later is behind it.
 */
export async function entriesForward(
  { root }: MessageCollection,
  after: Cursor | undefined,
  limit: number,
  read: BlockReader,
  onMissing: () => void = () => undefined,
): Promise<Entry[]> {
  let cut = after
  const found: Entry[] = []
  const isBehind = (version: number) => cut === undefined || version >= cut.version
  const take = (entries: Entry[]) => {
    let usable = entries
    if (cut !== undefined) {
      const { version: at, id } = cut
      const index = entries.findIndex((entry) => equalBytes(entry.id, id))
      usable = index >= 0 ? entries.slice(index + 1) : entries.filter((entry) => entry.addedInVersion > at)
      if (index >= 0) cut = undefined
      if (index >= 0 && entries[index]?.addedInVersion !== at) onMissing()
    }
    found.push(...usable.slice(0, limit - found.length))
  }
  const refs = spineRefs(await loadSpine(root, read))
  for await (const ref of pagesOf(root.topic, refs, ({ lastVersion }) => isBehind(lastVersion), read)) {
    take(await readPage(root.topic, ref, read))
    if (found.length >= limit) break
  }
  const tail = found.length < limit ? root.tail.filter(([, version]) => isBehind(version)) : []
  take(await readTail(cut === undefined ? tail.slice(0, limit - found.length) : tail, read))
  if (cut !== undefined) onMissing()
  return found
}

/**
 * The version behind which everything lies that was published at `sinceMs` or later. Commits know no times, so it is found
 * by walking back, until `LIMITS.sinceScanMessages` in a row, in `LIMITS.sinceScanVersions` commits or more, are older by
 * more than two clocks may differ.
 */
export async function versionBefore(
  { root }: MessageCollection,
  sinceMs: number,
  read: BlockReader,
): Promise<number> {
  const oldMs = sinceMs - 2 * LIMITS.maxSkewMs
  let after = Number.MAX_SAFE_INTEGER
  let oldInARow = 0
  const oldVersions = new Set<number>()
  const isOver = () => oldInARow >= LIMITS.sinceScanMessages && oldVersions.size >= LIMITS.sinceScanVersions
  const look = (entries: Entry[]) => {
    for (const { envelope, addedInVersion } of entries.toReversed()) {
      if (publishedAtOf(envelope) < oldMs) {
        oldInARow += 1
        if (!isOver()) oldVersions.add(addedInVersion)
        continue
      }
      after = addedInVersion - 1
      oldInARow = 0
      oldVersions.clear()
    }
  }
  const visits = new Visits()
  const walk = async (refs: LeveledRef[]): Promise<void> => {
    for (const { ref, level } of refs.toReversed()) {
      if (isOver()) return
      visits.enter(ref.id)
      if (level > 0) await walk(await openIndex(root.topic, { ref, level }, read))
      else look(await readPage(root.topic, ref, read))
    }
  }
  look(await readTail(root.tail, read))
  await walk(spineRefs(await loadSpine(root, read)))
  return after
}

/** The last entries of a head, the oldest first. */
export async function latestOf(head: Uint8Array | null, last: number, read: BlockReader): Promise<Entry[]> {
  const messages = head === null ? null : decodeCoordinator(head).messages
  if (messages === null || last === 0) return []
  return entriesBackward(await loadMessages(messages, read), undefined, last, read)
}
