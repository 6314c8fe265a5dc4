import { type Block, type BlockReader, compareBytes, equalBytes, toHex } from '../dht/index.ts'
import {
  CollectionBuilder,
  decodeIndex,
  type Entry,
  loadSpine,
  type MessageCollection,
  type MessagesRoot,
  type PageRef,
  readPage,
  readTail,
  type Spine,
} from './collection.ts'
import { openMessage } from './message.ts'
import { LIMITS } from './options.ts'

/**
 * The union of two message collections. What both have sealed alike is skipped unread; beyond it entries are united by id.
 * An entry that only one side had is stamped with the merged version, so that a subscriber of either side is sent it.
 */

export interface Side {
  root: MessagesRoot
  /** The version of its coordinator. */
  version: number
  /** Its stamps and version are ignored: an implausible jump (threat 12). */
  numberIgnored: boolean
}

export interface Union {
  /** Has everything of the other side, stamped so that nobody who saw the other side misses anything. */
  aDominates: boolean
  bDominates: boolean
  build(mergedVersion: number): Promise<{ collection: MessageCollection; blocks: Block[] }>
}

interface LeveledRef {
  ref: PageRef
  level: number
}

export async function uniteMessages(a: Side, b: Side, nowMs: number, read: BlockReader): Promise<Union> {
  if (rootsEqual(a.root, b.root)) return sameOnBothSides(a, b, read)
  const [spineA, spineB] = await Promise.all([loadSpine(a.root, read), loadSpine(b.root, read)])
  const { common, restA, restB } = await commonPrefix(refsOf(spineA), refsOf(spineB), nowMs, read)
  const [entriesA, entriesB] = await Promise.all([
    entriesOf(restA, a.root, nowMs, read),
    entriesOf(restB, b.root, nowMs, read),
  ])
  return {
    aDominates: dominates(entriesA, entriesB, a, b),
    bDominates: dominates(entriesB, entriesA, b, a),
    build: (mergedVersion) =>
      build(a.root.topic, common, mergeEntries(entriesA, entriesB, a, b, mergedVersion), read),
  }
}

const rootsEqual = (a: MessagesRoot, b: MessagesRoot) =>
  a.count === b.count &&
  (a.spine === null ? b.spine === null : b.spine !== null && equalBytes(a.spine, b.spine)) &&
  a.tail.length === b.tail.length &&
  a.tail.every(
    (entry, i) => equalBytes(entry[0], (b.tail[i] as typeof entry)[0]) && entry[1] === b.tail[i]?.[1],
  )

function sameOnBothSides(a: Side, b: Side, read: BlockReader): Union {
  return {
    aDominates: !a.numberIgnored,
    bDominates: !b.numberIgnored,
    build: async () => (await CollectionBuilder.from(a.root, read)).finish(),
  }
}

/** Highest level first, so oldest first. */
const refsOf = (spine: Spine): LeveledRef[] =>
  spine.levels.flatMap((refs, level) => refs.map((ref) => ({ ref, level }))).sort((x, y) => y.level - x.level)

const isGone = (expiresAt: number, nowMs: number) => expiresAt + LIMITS.graceMs < nowMs

/** Walks both from the oldest on, opening indexes only where they differ. */
async function commonPrefix(refsA: LeveledRef[], refsB: LeveledRef[], nowMs: number, read: BlockReader) {
  const live = (refs: LeveledRef[]) => refs.filter(({ ref }) => !isGone(ref.expiresAt, nowMs))
  const restA = live(refsA)
  const restB = live(refsB)
  const common: LeveledRef[] = []
  const open = async (rest: LeveledRef[]) => {
    const { ref, level } = rest.shift() as LeveledRef
    const { refs } = decodeIndex(await read({ kind: 'index', id: ref.id }))
    rest.unshift(...live(refs.map((child) => ({ ref: child, level: level - 1 }))))
  }
  for (let a = restA[0], b = restB[0]; a !== undefined && b !== undefined; a = restA[0], b = restB[0]) {
    if (a.level === b.level && equalBytes(a.ref.id, b.ref.id)) {
      common.push(a)
      restA.shift()
      restB.shift()
    } else if (a.level === 0 && b.level === 0) break
    else {
      const level = Math.max(a.level, b.level)
      if (a.level === level) await open(restA)
      if (b.level === level) await open(restB)
    }
  }
  return { common, restA, restB }
}

async function entriesOf(
  refs: LeveledRef[],
  root: MessagesRoot,
  nowMs: number,
  read: BlockReader,
): Promise<Map<string, Entry>> {
  const entries = new Map<string, Entry>()
  const add = (entry: Entry) => {
    if (!isGone(entry.expiresAt, nowMs)) entries.set(toHex(entry.id), entry)
  }
  const walk = async ({ ref, level }: LeveledRef): Promise<void> => {
    if (isGone(ref.expiresAt, nowMs)) return
    if (level === 0) {
      for (const entry of await readPage(ref, read)) add(entry)
      return
    }
    const { refs: children } = decodeIndex(await read({ kind: 'index', id: ref.id }))
    for (const child of children) await walk({ ref: child, level: level - 1 })
  }
  for (const ref of refs) await walk(ref)
  for (const entry of await readTail(root.tail, read)) add(entry)
  return entries
}

/** May `own` stand for the merge? A reader of `other` at any version must find all that it lacks among later stamps. */
function dominates(
  own: Map<string, Entry>,
  other: Map<string, Entry>,
  ownSide: Side,
  otherSide: Side,
): boolean {
  if (ownSide.numberIgnored) return false
  for (const [id, entry] of other) {
    const mine = own.get(id)
    if (mine === undefined) return false
    if (!otherSide.numberIgnored && mine.addedInVersion < entry.addedInVersion) return false
  }
  if (otherSide.numberIgnored) return true
  for (const [id, entry] of own) {
    if (!other.has(id) && entry.addedInVersion <= otherSide.version) return false
  }
  return true
}

function mergeEntries(
  a: Map<string, Entry>,
  b: Map<string, Entry>,
  sideA: Side,
  sideB: Side,
  mergedVersion: number,
): Entry[] {
  const merged: Entry[] = []
  const stampOf = (mine: Entry, other: Entry | undefined) => {
    if (other === undefined) return mergedVersion
    if (sideA.numberIgnored) return other.addedInVersion
    if (sideB.numberIgnored) return mine.addedInVersion
    return Math.max(mine.addedInVersion, other.addedInVersion)
  }
  for (const [id, entry] of a) {
    const other = b.get(id)
    // one id, two signatures over the same body: both sides choose the same bytes
    const chosen = other !== undefined && compareBytes(other.envelope, entry.envelope) < 0 ? other : entry
    merged.push({ ...chosen, addedInVersion: stampOf(entry, other) })
  }
  for (const [id, entry] of b) if (!a.has(id)) merged.push({ ...entry, addedInVersion: mergedVersion })
  return merged
}

async function build(topicKey: Uint8Array, common: LeveledRef[], entries: Entry[], read: BlockReader) {
  const levels: PageRef[][] = []
  for (const { ref, level } of common) {
    while (levels.length <= level) levels.push([])
    ;(levels[level] as PageRef[]).push(ref)
  }
  const count = common.reduce((sum, { ref }) => sum + ref.count, 0)
  const start: MessagesRoot = { v: 1, topic: topicKey, count, spine: null, tail: [] }
  const builder = await CollectionBuilder.from(start, read, { v: 1, topic: topicKey, levels })
  builder.markSpineChanged()
  for (const entry of await inOrder(entries)) await builder.append(entry, true)
  return builder.finish()
}

/** By version, then in an order that is the same at every node and keeps each writer's own. */
async function inOrder(entries: Entry[]): Promise<Entry[]> {
  const keyed = await Promise.all(
    entries.map(async (entry) => ({ entry, body: (await openMessage(entry.envelope)).body })),
  )
  keyed.sort(
    (x, y) =>
      x.entry.addedInVersion - y.entry.addedInVersion ||
      x.body.publishedAt - y.body.publishedAt ||
      compareBytes(x.body.publisher, y.body.publisher) ||
      compareBytes(x.body.writer, y.body.writer) ||
      x.body.sequence - y.body.sequence ||
      compareBytes(x.entry.id, y.entry.id),
  )
  return keyed.map(({ entry }) => entry)
}
