import type { Entry, LeveledRef, Spine } from './collection.ts'
import { LIMITS } from './options.ts'

/**
 * How much a topic keeps. It is counted in pages: those are full, of messages or of bytes, payloads among them, so that
 * their number bounds both, and it is known without reading any. Here is decided what is old enough to be let go of; a collection trims whole
 * pages and indexes from its oldest end when it writes its spine, and a union only recognises what one side has trimmed.
 */

/** The same at every node, or replicas would never agree. Another one is for tests, which would have to write 60,000 messages. */
export interface Retention {
  keptPages: number
  slackPages: number
}

export const RETENTION: Retention = { keptPages: LIMITS.keptPages, slackPages: LIMITS.trimSlackPages }

/** An index has exactly 64 of the level below, so nobody has to believe a count. */
export const pagesAt = (level: number): number => LIMITS.fanOut ** level

export const pagesIn = (refs: LeveledRef[]): number =>
  refs.reduce((sum, { level }) => sum + pagesAt(level), 0)

/** It may have trimmed something: below this nobody does. */
export const isFull = ({ levels }: Spine, { keptPages }: Retention): boolean =>
  levels.reduce((sum, refs, level) => sum + refs.length * pagesAt(level), 0) >= keptPages

/** Its oldest entry came after `version`: what came between these and is not here was trimmed, or has expired too. */
export const beginsBehind = (spine: Spine, version: number, retention: Retention): boolean => {
  const oldest = spine.levels.findLast((refs) => refs.length > 0)?.[0]
  return oldest !== undefined && oldest.firstVersion > version && isFull(spine, retention)
}

const bytesOf = (entries: Pick<Entry, 'bytes'>[]): number =>
  entries.reduce((sum, { bytes }) => sum + bytes, 0)

/** What has so many entries of so many bytes is a page, not a tail. */
export const isPageful = (entries: Pick<Entry, 'bytes'>[]): boolean =>
  entries.length >= LIMITS.pageEntries || bytesOf(entries) >= LIMITS.pageBytes

/**
 * As every honest holder seals it: full, and not so before its last entry came. With pages of one message somebody could
 * make a topic full of nothing, and with larger ones full of more than a replica takes.
 */
export const isFullPage = (entries: Entry[]): boolean =>
  isPageful(entries) && !isPageful(entries.slice(0, -1))

/**
 * What an entry counts in a join: in a page that is full of envelopes they weigh a page at least. Payloads count nothing
 * here, since many messages may name the same one, and what a join has kept too much of a commit trims.
 */
export const weightOf = ({ envelope }: Pick<Entry, 'envelope'>): number =>
  Math.max(LIMITS.pageBytes / LIMITS.pageEntries, envelope.byteLength)

export const keptWeight = ({ keptPages }: Retention): number => keptPages * LIMITS.pageBytes

/** What one side of a union has, oldest first. */
export interface Weighed {
  entries: ReadonlyMap<string, Entry>
  /** No stamp is above it. */
  version: number
  numberIgnored: boolean
}

/** Of both together, those that both have once. */
export function weightOfBoth(a: Weighed, b: Weighed): number {
  let sum = 0
  for (const entry of a.entries.values()) sum += weightOf(entry)
  for (const [id, entry] of b.entries) if (!a.entries.has(id)) sum += weightOf(entry)
  return sum
}

/**
 * What `other` has alone and `own` may stand without: in `own` there is enough that came later, in the order of `other`
 * where both have it and by the stamps where only `own` does. Who makes the order of `own` up gains nothing: of what
 * `other` has too, only the order of `other` counts.
 */
export function outlived(own: Weighed, other: Weighed, ignoresStamps: boolean, limit: number): Set<string> {
  const news = [...own.entries].filter(([id]) => !other.entries.has(id)).map(([, entry]) => entry)
  news.sort((x, y) => y.addedInVersion - x.addedInVersion)
  const gone = new Set<string>()
  let after = ignoresStamps ? news.reduce((sum, entry) => sum + weightOf(entry), 0) : 0
  let next = ignoresStamps ? news.length : 0
  for (const [id, entry] of [...other.entries].reverse()) {
    for (let one = news[next]; one && one.addedInVersion > entry.addedInVersion; one = news[++next])
      after += weightOf(one)
    if (own.entries.has(id)) after += weightOf(entry)
    else if (after >= limit) gone.add(id)
  }
  return gone
}

interface Lone {
  id: string
  side: 0 | 1
  /** Never above that of what follows on it. */
  stamp: number
  /** What both have and this side has behind it. */
  sharedAfter: number
  weight: number
}

function loneOf(side: 0 | 1, own: Weighed, other: Weighed): Lone[] {
  const lone: Lone[] = []
  let sharedAfter = 0
  let stamp = own.numberIgnored ? 0 : own.version
  for (const [id, entry] of [...own.entries].reverse()) {
    const weight = weightOf(entry)
    stamp = Math.min(stamp, entry.addedInVersion)
    if (other.entries.has(id)) sharedAfter += weight
    else lone.push({ id, side, stamp, sharedAfter, weight })
  }
  return lone
}

/**
 * What a new union leaves out, of what only one side has: the newest first is kept, until there is enough behind. What both
 * have stays, for a commit to trim: a union is then contained in whatever it is joined with again.
 */
export function leftOut(a: Weighed, b: Weighed, limit: number): Set<string> {
  const lone = [...loneOf(0, a, b), ...loneOf(1, b, a)].sort((x, y) => y.stamp - x.stamp)
  const out = new Set<string>()
  const kept: [number, number] = [0, 0]
  let keptAbove: [number, number] = [0, 0]
  let last = Number.POSITIVE_INFINITY
  for (const { id, side, stamp, sharedAfter, weight } of lone) {
    if (stamp < last) keptAbove = [...kept]
    last = stamp
    if (sharedAfter + kept[side] + keptAbove[side === 0 ? 1 : 0] >= limit) out.add(id)
    else kept[side] += weight
  }
  return out
}
