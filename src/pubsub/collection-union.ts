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
  FIRST_VERSION,
  indexRefOf,
  type LeveledRef,
  loadSpine,
  type MessageCollection,
  type MessagesRoot,
  openIndex,
  pageRefOf,
  readPage,
  type Spine,
  spineRefs,
  toEntry,
  Visits,
} from './collection.ts'
import { CollectionBuilder } from './collection-builder.ts'
import {
  commonPrefix,
  isGone,
  nameOf,
  type OnTheWay,
  type Prefix,
  type PrefixBehindFront,
  prefixBehindFront,
  sameRef,
} from './collection-prefix.ts'
import { leaveOutRepeated } from './collection-repeated.ts'
import { openMessage } from './message.ts'
import { LIMITS } from './options.ts'
import {
  isFullPage,
  isPageful,
  keptWeight,
  leftOut,
  outlived,
  RETENTION,
  type Retention,
  type Weighed,
  weightOfBoth,
} from './retention.ts'

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

export async function uniteMessages(
  a: Side,
  b: Side,
  nowMs: number,
  read: BlockReader,
  retention: Retention = RETENTION,
): Promise<Union> {
  if (equalBytes(encode(a.root), encode(b.root))) return sameOnBothSides(a, b, read)
  const spines: [Spine, Spine] = await Promise.all([loadSpine(a.root, read), loadSpine(b.root, read)])
  const pair: Pair = { a, b, spines, nowMs, read, retention }
  const walk = { topicKey: a.root.topic, stampLimit: Math.min(a.version, b.version), nowMs, read }
  const prefix = await commonPrefix(walk, spines)
  const behindFront =
    prefix.common.length === 0 ? await prefixBehindFront(walk, spines, retention) : undefined
  return (behindFront && (await uniteTrimmed(pair, behindFront))) ?? uniteBehind(pair, prefix)
}

interface Pair {
  a: Side
  b: Side
  spines: [Spine, Spine]
  nowMs: number
  read: BlockReader
  retention: Retention
}

async function contentsOf({ a, b, spines, nowMs, read }: Pair, prefix: Prefix): Promise<[Content, Content]> {
  const { common, restA, restB, onTheWayA, onTheWayB } = prefix
  const floor = common.at(-1)?.ref.lastVersion ?? FIRST_VERSION
  return Promise.all([
    contentOf(restA, onTheWayA, floor, spines[0], a, nowMs, read),
    contentOf(restB, onTheWayB, floor, spines[1], b, nowMs, read),
  ])
}

/**
 * One side has trimmed what the other still has, and what both have behind that is enough: it is let go of unread.
 * Undefined where more has to be known, because there is so much beyond that some of it may have to go too, or because the
 * side that has trimmed is not one that may stand for itself.
 */
async function uniteTrimmed(pair: Pair, prefix: PrefixBehindFront): Promise<Union | undefined> {
  const { a, b, read, retention } = pair
  const { common, frontOf } = prefix
  const [contentA, contentB] = await contentsOf(pair, prefix)
  const [trimmer, { numberIgnored }] = frontOf === 'a' ? [contentB, b] : [contentA, a]
  await leaveOutRepeated(a.root.topic, common, contentA, contentB, read)
  const beyond = weightOfBoth(weighed(contentA, a), weighed(contentB, b))
  if (!mayStand(trimmer) || numberIgnored || beyond >= keptWeight(retention)) return undefined
  const none = new Set<string>()
  return {
    aDominates: frontOf !== 'a' && dominates(contentA, contentB, a, b, none),
    bDominates: frontOf !== 'b' && dominates(contentB, contentA, b, a, none),
    build: (mergedVersion) => build(pair, common, contentA, contentB, none, mergedVersion),
  }
}

async function uniteBehind(pair: Pair, prefix: Prefix): Promise<Union> {
  const { a, b, read, retention } = pair
  const { common } = prefix
  const [contentA, contentB] = await contentsOf(pair, prefix)
  await leaveOutRepeated(a.root.topic, common, contentA, contentB, read)
  const limit = keptWeight(retention)
  const weights = () => [weighed(contentA, a), weighed(contentB, b)] as const
  let isTooMuch = weightOfBoth(...weights()) >= limit
  if (isTooMuch && common.length > 0) {
    // nothing is left out because of what the prefix has already, however far back
    await leaveOutRepeated(a.root.topic, common, contentA, contentB, read, true)
    isTooMuch = weightOfBoth(...weights()) >= limit
  }
  const [ofA, ofB] = weights()
  const outlivedBy = (own: Weighed, other: Weighed, isSound: boolean) =>
    isTooMuch ? outlived(own, other, !isSound || other.numberIgnored, limit) : new Set<string>()
  const out = isTooMuch ? leftOut(ofA, ofB, limit) : new Set<string>()
  return {
    aDominates: dominates(contentA, contentB, a, b, outlivedBy(ofA, ofB, contentB.isSound)),
    bDominates: dominates(contentB, contentA, b, a, outlivedBy(ofB, ofA, contentA.isSound)),
    build: (mergedVersion) => build(pair, common, contentA, contentB, out, mergedVersion),
  }
}

const weighed = ({ entries }: Content, { version, numberIgnored }: Side): Weighed => ({
  entries,
  version,
  numberIgnored,
})

function sameOnBothSides(a: Side, b: Side, read: BlockReader): Union {
  return {
    aDominates: !a.numberIgnored,
    bDominates: !b.numberIgnored,
    build: async () => (await CollectionBuilder.from(a.root, read)).finish(),
  }
}

/** What one side has beyond the common prefix. */
interface Content {
  entries: Map<string, Entry>
  /** Its references say what their pages hold, and its stamps rise and stay within its version. */
  isSound: boolean
  /** Has a message twice, as when one was sent again to a holder that did not know any more that it has it. */
  hasRepeated: boolean
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
  let hasRepeated = false
  const isSound = await walkSide(refs, floor, spine, side, nowMs, read, {
    onEntry: (entry) => {
      const id = toHex(entry.id)
      hasRepeated ||= entries.has(id)
      entries.set(id, entry)
    },
    onGone: (ref) => gone.add(nameOf(ref)),
  })
  return { entries, isSound: isSound && onTheWay.isSound, hasRepeated, gone }
}

interface Visitor {
  onEntry(entry: Entry): void
  onGone(ref: LeveledRef): void
}

/** What is full is sealed at once: on top of more, the next commit would make a page or an index that nobody takes. */
const isUnsealed = ({ tail }: MessagesRoot, { levels }: Spine): boolean =>
  !isPageful(tail.map(([, , bytes]) => ({ bytes }))) && levels.every(({ length }) => length < LIMITS.fanOut)

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
  let isSound = root.count === sealedCount + root.tail.length && isUnsealed(root, spine)
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
      isSound &&= sameRef(ref, pageRefOf(ref.id, page)) && isFullPage(page)
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
    isSound &&= entry.bytes === bytes && entry.expiresAt === expiresAt
    add(entry)
  }
  return isSound
}

/**
 * For a collection that is taken over whole: throws unless it is what an honest holder writes, who may have a message twice.
 * What is not would be given to others, and built upon.
 */
export async function checkMessages(root: MessagesRoot, version: number, read: BlockReader): Promise<void> {
  const spine = await loadSpine(root, read)
  const isSound = await walkSide(spineRefs(spine), FIRST_VERSION, spine, { root, version }, 0, read, {
    onEntry: () => undefined,
    onGone: () => undefined,
  })
  if (!isSound)
    throw new StickyError('MALFORMED', 'A collection of messages that says of itself what is not so.')
}

/**
 * May `own` stand for the merge? A reader of `other` at any version must find all that it lacks among later stamps.
 * What an editor has written wrong never stands, whatever its version: its messages are taken and the rest is not. What only
 * has a message twice does not stand either, and its stamps count: its readers have followed them.
 * What would be trimmed from both together it need not have.
 */
function dominates(
  own: Content,
  other: Content,
  ownSide: Side,
  otherSide: Side,
  outlivedInOwn: Set<string>,
): boolean {
  if (ownSide.numberIgnored || !mayStand(own)) return false
  for (const name of own.gone) if (!other.gone.has(name)) return false
  const ignoresStamps = otherSide.numberIgnored || !other.isSound
  for (const [id, entry] of other.entries) {
    const mine = own.entries.get(id)
    if (mine === undefined && outlivedInOwn.has(id)) continue
    if (mine === undefined) return false
    if (!ignoresStamps && mine.addedInVersion < entry.addedInVersion) return false
  }
  if (ignoresStamps) return true
  for (const [id, entry] of own.entries) {
    if (!other.entries.has(id) && entry.addedInVersion <= otherSide.version) return false
  }
  return true
}

const mayStand = ({ isSound, hasRepeated }: Content): boolean => isSound && !hasRepeated

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
    // below the first version and beyond its own a stamp is not an honest one
    return Math.min(Math.max(FIRST_VERSION, ofA, ofB), mergedVersion)
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

async function build(
  { a, b, read }: Pair,
  common: LeveledRef[],
  ofA: Content,
  ofB: Content,
  out: Set<string>,
  mergedVersion: number,
) {
  const { topic } = a.root
  const builder = await CollectionBuilder.from(emptyRoot(topic), read)
  for (const { ref, level } of common) await builder.appendSealed(level, ref)
  const merged = mergeEntries(ofA.entries, ofB.entries, a, b, mergedVersion)
  const kept = out.size === 0 ? merged : merged.filter(({ id }) => !out.has(toHex(id)))
  for (const entry of await sorted(kept)) await builder.append(entry, true)
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
