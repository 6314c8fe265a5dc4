import * as v from 'valibot'
import {
  type BlockReader,
  bytesOf,
  bytesUpTo,
  decode,
  equalBytes,
  integer,
  objectId,
  remembered,
  StickyError,
  timestampMs,
  toHex,
} from '../dht/index.ts'
import { mapAhead } from './ahead.ts'
import { openMessage, type VerifiedMessage } from './message.ts'
import { LIMITS } from './options.ts'

/**
 * The messages of a topic: an append-only vector, ordered by the version that added each. Recent entries are named in the
 * root's tail; every 64 are sealed into a page, and 64 pages into an index, so that a publish rewrites the small root and
 * nothing else, and two collections share every page they have in common.
 *
 *   root { tail, spine } -> spine { levels } -> index … -> page { entries }
 */

export interface Entry {
  id: Uint8Array
  /** Stamped by the commit that added it; not signed, and raised when a merge brings it to the other side. */
  addedInVersion: number
  expiresAt: number
  /** Of the envelope, and of the payload that it names: what it takes at a holder. */
  bytes: number
  envelope: Uint8Array
}

/** The first commit's. Readers begin above 0: what is stamped with that is hidden from them. */
export const FIRST_VERSION = 1

const version = integer(0, LIMITS.maxVersion)

/** What is known of a sealed page, or of an index over 64 of them, without reading it. */
const pageRef = v.strictObject({
  id: objectId,
  count: integer(1, Number.MAX_SAFE_INTEGER),
  firstVersion: version,
  lastVersion: version,
  /** Latest inside. */
  expiresAt: timestampMs,
})
export type PageRef = v.InferOutput<typeof pageRef>

/** [message id, addedInVersion, bytes of envelope and payload, expiresAt] */
const tailEntry = v.strictTuple([
  objectId,
  version,
  integer(1, LIMITS.maxEnvelopeBytes + LIMITS.maxPayloadBytes),
  timestampMs,
])
export type TailEntry = v.InferOutput<typeof tailEntry>

const rootSchema = v.strictObject({
  v: v.literal(1),
  topic: bytesOf(32),
  count: integer(0, Number.MAX_SAFE_INTEGER),
  spine: v.nullable(objectId),
  tail: v.pipe(v.array(tailEntry), v.maxLength(LIMITS.pageEntries)),
})
export type MessagesRoot = v.InferOutput<typeof rootSchema>

/** levels[0]: pages not yet indexed, oldest first; levels[i]: indexes of level i. */
const spineSchema = v.strictObject({
  v: v.literal(1),
  topic: bytesOf(32),
  levels: v.pipe(
    v.array(v.pipe(v.array(pageRef), v.maxLength(LIMITS.fanOut))),
    v.maxLength(LIMITS.maxSpineLevels),
  ),
})
export type Spine = v.InferOutput<typeof spineSchema>

const indexSchema = v.strictObject({
  v: v.literal(1),
  topic: bytesOf(32),
  level: integer(1, LIMITS.maxSpineLevels),
  refs: v.pipe(v.array(pageRef), v.length(LIMITS.fanOut)),
})
const pageSchema = v.strictObject({
  v: v.literal(1),
  topic: bytesOf(32),
  entries: v.pipe(
    v.array(v.strictTuple([version, bytesUpTo(LIMITS.maxEnvelopeBytes)])),
    v.minLength(1),
    v.maxLength(LIMITS.pageEntries),
  ),
})
export type Page = v.InferOutput<typeof pageSchema>

export const decodeRoot = remembered((bytes) => decode(bytes, LIMITS.maxRootBytes, rootSchema))
export const decodeSpine = remembered((bytes) => decode(bytes, LIMITS.maxSpineBytes, spineSchema))
export const decodeIndex = remembered((bytes) => decode(bytes, LIMITS.maxSpineBytes, indexSchema))
export const decodePage = remembered((bytes) => decode(bytes, LIMITS.maxPageBytes, pageSchema))

export interface MessageCollection {
  rootId: Uint8Array
  root: MessagesRoot
}

export async function loadMessages(rootId: Uint8Array, read: BlockReader): Promise<MessageCollection> {
  return { rootId, root: decodeRoot(await read({ kind: 'messages', id: rootId })) }
}

export const emptyRoot = (topicKey: Uint8Array): MessagesRoot => ({
  v: 1,
  topic: topicKey,
  count: 0,
  spine: null,
  tail: [],
})

export async function loadSpine(root: MessagesRoot, read: BlockReader): Promise<Spine> {
  if (root.spine === null) return { v: 1, topic: root.topic, levels: [] }
  const spine = decodeSpine(await read({ kind: 'spine', id: root.spine }))
  requireTopic(root.topic, spine.topic)
  return spine
}

/** Throws WRONG_TOPIC for anything of another topic. */
export async function readPage(topicKey: Uint8Array, ref: PageRef, read: BlockReader): Promise<Entry[]> {
  const { topic, entries } = decodePage(await read({ kind: 'page', id: ref.id }))
  requireTopic(topicKey, topic)
  return Promise.all(entries.map(([addedInVersion, envelope]) => toEntry(topicKey, addedInVersion, envelope)))
}

export async function toEntry(
  topicKey: Uint8Array,
  addedInVersion: number,
  envelope: Uint8Array,
): Promise<Entry> {
  return entryOf(await openMessage(envelope, topicKey), addedInVersion)
}

export const entryOf = ({ id, envelope, body }: VerifiedMessage, addedInVersion: number): Entry => ({
  ...{ id, addedInVersion, expiresAt: body.expiresAt, envelope },
  bytes: envelope.byteLength + (body.payload?.bytes ?? 0),
})

function requireTopic(topicKey: Uint8Array, topic: Uint8Array): void {
  if (!equalBytes(topic, topicKey)) throw new StickyError('WRONG_TOPIC', 'Messages of another topic.')
}

/**
 * A collection is a tree. One in which a part hangs in two places was made by hand, and a few blocks of it could take for
 * ever to walk: MALFORMED.
 */
export class Visits {
  readonly #seen = new Set<string>()

  enter(id: Uint8Array): void {
    const name = toHex(id)
    if (this.#seen.has(name)) throw new StickyError('MALFORMED', 'One part of a topic in two places.')
    this.#seen.add(name)
  }
}

export interface LeveledRef {
  ref: PageRef
  /** 0: a page. */
  level: number
}

/** What an index names, one level below it. */
export async function openIndex(
  topicKey: Uint8Array,
  { ref, level }: LeveledRef,
  read: BlockReader,
): Promise<LeveledRef[]> {
  const index = decodeIndex(await read({ kind: 'index', id: ref.id }))
  requireTopic(topicKey, index.topic)
  if (index.level !== level) throw new StickyError('MALFORMED', 'An index at a level that is not its own.')
  return index.refs.map((child) => ({ ref: child, level: level - 1 }))
}

export const readTail = (tail: TailEntry[], read: BlockReader): Promise<Entry[]> =>
  Promise.all(
    tail.map(async ([id, addedInVersion, bytes, expiresAt]) => ({
      ...{ id, addedInVersion, expiresAt, bytes },
      envelope: await read({ kind: 'message', id }),
    })),
  )

/** The refs in order, oldest first: the highest level comes first. */
export const spineRefs = (spine: Spine): LeveledRef[] =>
  spine.levels.flatMap((refs, level) => refs.map((ref) => ({ ref, level }))).sort((a, b) => b.level - a.level)

/** Pages below the refs that `wanted` lets pass, oldest first; indexes that it does not are never read. */
export async function* pagesOf(
  topicKey: Uint8Array,
  refs: LeveledRef[],
  wanted: (ref: PageRef) => boolean,
  read: BlockReader,
  onSkipped: (ref: PageRef) => void = () => undefined,
  visits = new Visits(),
): AsyncGenerator<PageRef> {
  for (const { ref, level } of refs) {
    if (!wanted(ref)) {
      onSkipped(ref)
      continue
    }
    visits.enter(ref.id)
    if (level === 0) yield ref
    else {
      const below = await openIndex(topicKey, { ref, level }, read)
      yield* pagesOf(topicKey, below, wanted, read, onSkipped, visits)
    }
  }
}

/** Pages fetched ahead of the one that is being delivered. */
const READ_AHEAD_PAGES = 6

/**
 * Entries added after `after`, in order. Pages wholly before it are not read. `onExpected` is told how many there will be,
 * and each time that they turn out to be fewer; `onSpine` what there is, before the first is given.
 */
export async function* entriesAfter(
  { root }: MessageCollection,
  after: number,
  read: BlockReader,
  onExpected: (change: number) => void = () => undefined,
  onSpine: (spine: Spine) => void = () => undefined,
): AsyncGenerator<Entry> {
  const isWanted = (ref: PageRef) => ref.lastVersion > after
  const tail = root.tail.filter(([, addedInVersion]) => addedInVersion > after)
  const spine = await loadSpine(root, read)
  onSpine(spine)
  const refs = spineRefs(spine).filter(({ ref }) => isWanted(ref))
  onExpected(refs.reduce((sum, { ref }) => sum + ref.count, tail.length))
  const pages = pagesOf(root.topic, refs, isWanted, read, (skipped) => onExpected(-skipped.count))
  const readNext = (ref: PageRef) => readPage(root.topic, ref, read)
  for await (const entries of mapAhead(pages, READ_AHEAD_PAGES, readNext)) {
    const wanted = entries.filter(({ addedInVersion }) => addedInVersion > after)
    if (wanted.length < entries.length) onExpected(wanted.length - entries.length)
    yield* wanted
  }
  yield* await readTail(tail, read)
}

/**
 * The last `limit` entries before a position, in order; reads only the pages that hold them. `onMissing` is called where the
 * position's message is not at its version: then all that was added earlier is before it.
 */
export async function entriesBackward(
  { root }: MessageCollection,
  before: { version: number; id: Uint8Array } | undefined,
  limit: number,
  read: BlockReader,
  onMissing: () => void = () => undefined,
): Promise<Entry[]> {
  let cut = before
  const found: Entry[] = []
  const isBefore = (entryVersion: number) => cut === undefined || entryVersion <= cut.version
  const take = (entries: Entry[]) => {
    let usable = entries
    if (cut !== undefined) {
      const { version: at, id } = cut
      const index = entries.findIndex((entry) => equalBytes(entry.id, id))
      usable = index >= 0 ? entries.slice(0, index) : entries.filter((entry) => entry.addedInVersion < at)
      if (index >= 0) cut = undefined
      if (index >= 0 && entries[index]?.addedInVersion !== at) onMissing()
    }
    found.unshift(...usable.slice(Math.max(0, usable.length - (limit - found.length))))
  }
  const tail = root.tail.filter(([, entryVersion]) => isBefore(entryVersion))
  // where the tail cannot be enough, both are fetched in one request
  const spine = tail.length < limit ? loadSpine(root, read) : undefined
  spine?.catch(() => undefined)
  if (tail.length > 0) take(await readTail(before === undefined ? tail.slice(-limit) : tail, read))
  const visits = new Visits()
  const walk = async (refs: LeveledRef[]): Promise<void> => {
    for (const { ref, level } of refs.toReversed()) {
      if (found.length >= limit) return
      if (!isBefore(ref.firstVersion)) continue
      visits.enter(ref.id)
      if (level > 0) await walk(await openIndex(root.topic, { ref, level }, read))
      else take(await readPage(root.topic, ref, read))
    }
  }
  if (found.length < limit) await walk(spineRefs(await (spine ?? loadSpine(root, read))))
  if (cut !== undefined) onMissing()
  return found
}

/** All page refs, oldest first (reads the indexes). */
export async function collectionPages({ root }: MessageCollection, read: BlockReader): Promise<PageRef[]> {
  const pages: PageRef[] = []
  const refs = spineRefs(await loadSpine(root, read))
  for await (const page of pagesOf(root.topic, refs, () => true, read)) pages.push(page)
  return pages
}

/** Latest expiry of everything inside, 0 when empty. */
export const latestExpiry = (root: MessagesRoot, spine: Spine): number =>
  Math.max(0, ...root.tail.map((entry) => entry[3]), ...spine.levels.flat().map((ref) => ref.expiresAt))

/** What a reference says of a page that holds these entries. */
export const pageRefOf = (
  id: Uint8Array,
  entries: Pick<Entry, 'addedInVersion' | 'expiresAt'>[],
): PageRef => ({
  id,
  count: entries.length,
  firstVersion: entries[0]?.addedInVersion ?? 0,
  lastVersion: entries.at(-1)?.addedInVersion ?? 0,
  expiresAt: Math.max(0, ...entries.map(({ expiresAt }) => expiresAt)),
})

/** What a reference says of an index over these. */
export const indexRefOf = (id: Uint8Array, refs: PageRef[]): PageRef => ({
  id,
  count: refs.reduce((sum, { count }) => sum + count, 0),
  firstVersion: refs[0]?.firstVersion ?? 0,
  lastVersion: refs.at(-1)?.lastVersion ?? 0,
  expiresAt: Math.max(0, ...refs.map(({ expiresAt }) => expiresAt)),
})
