import {
  type Block,
  type BlockReader,
  compareBytes,
  encode,
  equalBytes,
  StickyError,
  toHex,
} from '../dht/index.ts'
import {
  type Entry,
  emptyRoot,
  indexRefOf,
  type LeveledRef,
  loadSpine,
  type MessageCollection,
  type MessagesRoot,
  openIndex,
  type PageRef,
  pageRefOf,
  readPage,
  type Spine,
  spineRefs,
  toEntry,
  Visits,
} from './collection.ts'
import { CollectionBuilder } from './collection-builder.ts'
import { openMessage } from './message.ts'
import { LIMITS } from './options.ts'

/**
 * The union of two message collections. What both have sealed alike is skipped unread but for its last page; beyond it
 * entries are united by id.
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

export async function uniteMessages(a: Side, b: Side, nowMs: number, read: BlockReader): Promise<Union> {
  if (equalBytes(encode(a.root), encode(b.root))) return sameOnBothSides(a, b, read)
  const [spineA, spineB] = await Promise.all([loadSpine(a.root, read), loadSpine(b.root, read)])
  const stampLimit = Math.min(a.version, b.version)
  const { common, restA, restB, onTheWayA, onTheWayB } = await commonPrefix(
    a.root.topic,
    [spineRefs(spineA), spineRefs(spineB)],
    stampLimit,
    nowMs,
    read,
  )
  const floor = common.at(-1)?.ref.lastVersion ?? 0
  const [contentA, contentB] = await Promise.all([
    contentOf(restA, onTheWayA, floor, spineA, a, nowMs, read),
    contentOf(restB, onTheWayB, floor, spineB, b, nowMs, read),
  ])
  await leaveOutRepeated(a.root.topic, common, contentA, contentB, read)
  return {
    aDominates: dominates(contentA, contentB, a, b),
    bDominates: dominates(contentB, contentA, b, a),
    build: (mergedVersion) =>
      build(
        a.root.topic,
        common,
        mergeEntries(contentA.entries, contentB.entries, a, b, mergedVersion),
        read,
      ),
  }
}

function sameOnBothSides(a: Side, b: Side, read: BlockReader): Union {
  return {
    aDominates: !a.numberIgnored,
    bDominates: !b.numberIgnored,
    build: async () => (await CollectionBuilder.from(a.root, read)).finish(),
  }
}

const isGone = (expiresAt: number, nowMs: number) => expiresAt + LIMITS.graceMs < nowMs

/** Everything that is said of it, not only what it names: an editor may have written a wrong range beside a right id. */
const sameRef = (a: PageRef, b: PageRef) => equalBytes(encode(a), encode(b))

/**
 * Walks both from the oldest on, opening indexes only where they differ. What is common keeps its place, so its levels
 * never rise and its stamps neither fall nor pass `stampLimit`; where they do, the rest is built anew.
 */
async function commonPrefix(
  topicKey: Uint8Array,
  [refsA, refsB]: [LeveledRef[], LeveledRef[]],
  stampLimit: number,
  nowMs: number,
  read: BlockReader,
) {
  const onTheWayA: OnTheWay = { gone: new Set(), isSound: true }
  const onTheWayB: OnTheWay = { gone: new Set(), isSound: true }
  const live = (refs: LeveledRef[], { gone }: OnTheWay) =>
    refs.filter((one) => {
      if (isGone(one.ref.expiresAt, nowMs)) gone.add(nameOf(one))
      return !isGone(one.ref.expiresAt, nowMs)
    })
  const restA = live(refsA, onTheWayA)
  const restB = live(refsB, onTheWayB)
  const common: LeveledRef[] = []
  const open = async (rest: LeveledRef[], onTheWay: OnTheWay) => {
    const index = rest.shift() as LeveledRef
    const opened = await openIndex(topicKey, index, read)
    const refs = opened.map(({ ref }) => ref)
    onTheWay.isSound &&= sameRef(index.ref, indexRefOf(index.ref.id, refs))
    rest.unshift(...live(opened, onTheWay))
  }
  for (let a = restA[0], b = restB[0]; a !== undefined && b !== undefined; a = restA[0], b = restB[0]) {
    const last = common.at(-1)
    const isSame = a.level === b.level && sameRef(a.ref, b.ref)
    if (isSame && a.level <= (last?.level ?? LIMITS.maxSpineLevels)) {
      if (!inOrder(a.ref, last?.ref.lastVersion ?? 0, stampLimit)) break
      common.push(a)
      restA.shift()
      restB.shift()
    } else if (a.level === 0 && b.level === 0) break
    else {
      const level = Math.max(a.level, b.level)
      if (a.level === level) await open(restA, onTheWayA)
      if (b.level === level) await open(restB, onTheWayB)
    }
  }
  return { common, restA, restB, onTheWayA, onTheWayB }
}

const nameOf = ({ ref, level }: LeveledRef) => toHex(encode([level, ref]))

/** What was passed over or opened before the content of one side is read. */
interface OnTheWay {
  /** References that call themselves gone. Nobody reads behind them, so they may say anything. */
  gone: Set<string>
  /** The opened indexes hold what their references say. */
  isSound: boolean
}

const inOrder = ({ firstVersion, lastVersion }: PageRef, floor: number, limit: number): boolean =>
  floor <= firstVersion && firstVersion <= lastVersion && lastVersion <= limit

/** What one side has beyond the common prefix. */
interface Content {
  entries: Map<string, Entry>
  /** Its references say what their pages hold, and its stamps rise and stay within its version. */
  isSound: boolean
  /** References that call themselves gone, met anywhere but inside what both have alike. */
  gone: Set<string>
}

async function contentOf(
  refs: LeveledRef[],
  onTheWay: OnTheWay,
  floor: number,
  spine: Spine,
  side: Side,
  nowMs: number,
  read: BlockReader,
): Promise<Content> {
  const entries = new Map<string, Entry>()
  const { gone } = onTheWay
  let isRepeated = false
  const isSound = await walkSide(refs, floor, spine, side, nowMs, read, {
    onEntry: (entry) => {
      const id = toHex(entry.id)
      isRepeated ||= entries.has(id)
      entries.set(id, entry)
    },
    onGone: (ref) => gone.add(nameOf(ref)),
  })
  return { entries, isSound: isSound && onTheWay.isSound && !isRepeated, gone }
}

/**
 * What one side has beyond the common prefix and the other has not was mostly published after it. Where it was not, an
 * editor may have written it a second time: the end of the prefix is looked through, and what is there is left out here.
 */
async function leaveOutRepeated(
  topicKey: Uint8Array,
  common: LeveledRef[],
  a: Content,
  b: Content,
  read: BlockReader,
): Promise<void> {
  const old = new Map<string, Entry>()
  for (const [own, other] of [
    [a, b],
    [b, a],
  ] as const)
    for (const [id, entry] of own.entries) if (!other.entries.has(id)) old.set(id, entry)
  let looked = 0
  for await (const page of pagesBackward(topicKey, common, read)) {
    if (looked === 0) {
      const newestMs = await newestOf(page)
      for (const [id, entry] of old) if ((await publishedAtOf(entry)) >= newestMs) old.delete(id)
    }
    if (old.size === 0 || looked >= LIMITS.maxDuplicateScan) return
    looked += page.length
    for (const entry of page) {
      const id = toHex(entry.id)
      if (!old.delete(id)) continue
      for (const side of [a, b]) if (side.entries.delete(id)) side.isSound = false
    }
  }
}

/** The newest page first. */
async function* pagesBackward(
  topicKey: Uint8Array,
  refs: LeveledRef[],
  read: BlockReader,
): AsyncGenerator<Entry[]> {
  for (const one of refs.toReversed())
    if (one.level === 0) yield await readPage(topicKey, one.ref, read)
    else yield* pagesBackward(topicKey, await openIndex(topicKey, one, read), read)
}

const publishedAtOf = async ({ envelope }: Entry): Promise<number> =>
  (await openMessage(envelope)).body.publishedAt

const newestOf = async (page: Entry[]): Promise<number> =>
  Math.max(...(await Promise.all(page.map(publishedAtOf))))

interface Visitor {
  onEntry(entry: Entry): void
  onGone(ref: LeveledRef): void
}

/** Gives every entry that is not gone; true when references and stamps are what an honest holder writes. */
async function walkSide(
  refs: LeveledRef[],
  floor: number,
  spine: Spine,
  { root, version }: Pick<Side, 'root' | 'version'>,
  nowMs: number,
  read: BlockReader,
  { onEntry, onGone }: Visitor,
): Promise<boolean> {
  const sealedCount = spine.levels.flat().reduce((sum, { count }) => sum + count, 0)
  let isSound = root.count === sealedCount + root.tail.length
  let last = floor
  const add = (entry: Entry) => {
    isSound &&= last <= entry.addedInVersion && entry.addedInVersion <= version
    last = entry.addedInVersion
    if (!isGone(entry.expiresAt, nowMs)) onEntry(entry)
  }
  const visits = new Visits()
  const walk = async ({ ref, level }: LeveledRef): Promise<void> => {
    if (isGone(ref.expiresAt, nowMs)) return onGone({ ref, level })
    visits.enter(ref.id)
    if (level === 0) {
      const page = await readPage(root.topic, ref, read)
      isSound &&= sameRef(ref, pageRefOf(ref.id, page))
      for (const entry of page) add(entry)
      return
    }
    const children = await openIndex(root.topic, { ref, level }, read)
    const childRefs = children.map((child) => child.ref)
    isSound &&= sameRef(ref, indexRefOf(ref.id, childRefs))
    for (const child of children) await walk(child)
  }
  for (const ref of refs) await walk(ref)
  for (const [id, addedInVersion, bytes, expiresAt] of root.tail) {
    const entry = await toEntry(root.topic, addedInVersion, await read({ kind: 'message', id }))
    isSound &&= entry.envelope.byteLength === bytes && entry.expiresAt === expiresAt
    add(entry)
  }
  return isSound
}

/**
 * For a collection that is taken over whole: throws unless it is what an honest holder writes. What is not would be given
 * to others, and built upon.
 */
export async function checkMessages(root: MessagesRoot, version: number, read: BlockReader): Promise<void> {
  const spine = await loadSpine(root, read)
  const ids = new Set<string>()
  let count = 0
  const isSound = await walkSide(spineRefs(spine), 0, spine, { root, version }, 0, read, {
    onEntry: ({ id }) => {
      ids.add(toHex(id))
      count += 1
    },
    onGone: () => undefined,
  })
  if (!isSound || ids.size !== count)
    throw new StickyError('MALFORMED', 'A collection of messages that says of itself what is not so.')
}

/**
 * May `own` stand for the merge? A reader of `other` at any version must find all that it lacks among later stamps.
 * What an editor has written wrong never stands, whatever its version: its messages are taken and the rest is not.
 */
function dominates(own: Content, other: Content, ownSide: Side, otherSide: Side): boolean {
  if (ownSide.numberIgnored || !own.isSound) return false
  for (const name of own.gone) if (!other.gone.has(name)) return false
  const ignoresStamps = otherSide.numberIgnored || !other.isSound
  for (const [id, entry] of other.entries) {
    const mine = own.entries.get(id)
    if (mine === undefined) return false
    if (!ignoresStamps && mine.addedInVersion < entry.addedInVersion) return false
  }
  if (ignoresStamps) return true
  for (const [id, entry] of own.entries) {
    if (!other.entries.has(id) && entry.addedInVersion <= otherSide.version) return false
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
    const ofA = sideA.numberIgnored ? 0 : mine.addedInVersion
    const ofB = sideB.numberIgnored ? 0 : other.addedInVersion
    return Math.min(Math.max(ofA, ofB), mergedVersion) // beyond its own version a stamp is not an honest one
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
  const builder = await CollectionBuilder.from(emptyRoot(topicKey), read)
  for (const { ref, level } of common) await builder.appendSealed(level, ref)
  for (const entry of await sorted(entries)) await builder.append(entry, true)
  return builder.finish()
}

/**
 * By version, then in an order that is the same at every node. Each writer's messages stay in the writer's own order: one
 * that follows another in its numbering never has the lower stamp (raising a stamp is harmless, it is only sent again)
 * nor, where the writer's clock went back, the earlier place.
 */
async function sorted(entries: Entry[]): Promise<Entry[]> {
  const opened = await Promise.all(
    entries.map(async (entry) => {
      const { publisher, writer, sequence, publishedAt } = (await openMessage(entry.envelope)).body
      const name = `${toHex(publisher)}/${toHex(writer)}`
      return { entry, name, sequence, at: publishedAt, stamp: entry.addedInVersion }
    }),
  )
  opened.sort((x, y) => x.sequence - y.sequence)
  const last = new Map<string, { stamp: number; at: number }>()
  for (const one of opened) {
    const before = last.get(one.name)
    if (before !== undefined) {
      one.stamp = Math.max(one.stamp, before.stamp)
      one.at = Math.max(one.at, before.at)
    }
    last.set(one.name, one)
  }
  opened.sort(
    (x, y) =>
      x.stamp - y.stamp ||
      x.at - y.at ||
      (x.name === y.name ? x.sequence - y.sequence : x.name < y.name ? -1 : 1) ||
      compareBytes(x.entry.id, y.entry.id),
  )
  return opened.map(({ entry, stamp }) => ({ ...entry, addedInVersion: stamp }))
}
