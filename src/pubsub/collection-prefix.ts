import { type BlockReader, encode, equalBytes, toHex } from '../dht/index.ts'
import {
  FIRST_VERSION,
  indexRefOf,
  type LeveledRef,
  openIndex,
  type PageRef,
  type Spine,
  spineRefs,
  Visits,
} from './collection.ts'
import { LIMITS } from './options.ts'
import { isFull, pagesIn, type Retention } from './retention.ts'

/** What two collections have sealed alike, from the beginning on, or from where one of them begins. */

export interface Prefix {
  common: LeveledRef[]
  restA: LeveledRef[]
  restB: LeveledRef[]
  onTheWayA: OnTheWay
  onTheWayB: OnTheWay
}

/** What was passed over or opened before the content of one side is read. */
export interface OnTheWay {
  /** References that call themselves gone. Nobody reads behind them, so they may say anything. */
  gone: Set<string>
  /** The opened indexes hold what their references say. */
  isSound: boolean
}

export interface Walk {
  topicKey: Uint8Array
  stampLimit: number
  nowMs: number
  read: BlockReader
}

export const isGone = (expiresAt: number, nowMs: number) => expiresAt + LIMITS.graceMs < nowMs

/** Everything that is said of it, not only what it names: an editor may have written a wrong range beside a right id. */
export const sameRef = (a: PageRef, b: PageRef) => equalBytes(encode(a), encode(b))

export const nameOf = ({ ref, level }: LeveledRef) => toHex(encode([level, ref]))

/** One side, from its oldest live reference on. */
class Rest {
  readonly refs: LeveledRef[]
  readonly onTheWay: OnTheWay = { gone: new Set(), isSound: true }
  readonly #walk: Walk
  readonly #visits = new Visits()

  constructor(walk: Walk, spine: Spine) {
    this.#walk = walk
    this.refs = this.#live(spineRefs(spine))
  }

  /** Puts what the first index names in its place. */
  async open(): Promise<void> {
    const index = this.refs.shift() as LeveledRef
    this.#visits.enter(index.ref.id)
    const opened = await openIndex(this.#walk.topicKey, index, this.#walk.read)
    const refs = opened.map(({ ref }) => ref)
    this.onTheWay.isSound &&= sameRef(index.ref, indexRefOf(index.ref.id, refs))
    this.refs.unshift(...this.#live(opened))
  }

  #live(refs: LeveledRef[]): LeveledRef[] {
    return refs.filter((one) => {
      const gone = isGone(one.ref.expiresAt, this.#walk.nowMs)
      if (gone) this.onTheWay.gone.add(nameOf(one))
      return !gone
    })
  }
}

export const commonPrefix = (walk: Walk, [a, b]: [Spine, Spine]): Promise<Prefix> =>
  takeCommon(walk, new Rest(walk, a), new Rest(walk, b))

/**
 * Walks both from the oldest on, opening indexes only where they differ. What is common keeps its place, so its levels
 * never rise and its stamps neither fall nor pass `stampLimit`; where they do, the rest is built anew.
 */
async function takeCommon({ stampLimit }: Walk, ofA: Rest, ofB: Rest): Promise<Prefix> {
  const { refs: restA, onTheWay: onTheWayA } = ofA
  const { refs: restB, onTheWay: onTheWayB } = ofB
  const common: LeveledRef[] = []
  for (let a = restA[0], b = restB[0]; a !== undefined && b !== undefined; a = restA[0], b = restB[0]) {
    const last = common.at(-1)
    const isSame = a.level === b.level && sameRef(a.ref, b.ref)
    if (isSame && a.level <= (last?.level ?? LIMITS.maxSpineLevels)) {
      if (!inOrder(a.ref, last?.ref.lastVersion ?? FIRST_VERSION, stampLimit)) break
      common.push(a)
      restA.shift()
      restB.shift()
    } else if (a.level === 0 && b.level === 0) break
    else await openHigher(ofA, ofB)
  }
  return { common, restA, restB, onTheWayA, onTheWayB }
}

/** Both, where they are at the same level. */
async function openHigher(ofA: Rest, ofB: Rest): Promise<void> {
  const [a, b] = [ofA.refs[0]?.level ?? 0, ofB.refs[0]?.level ?? 0]
  if (a >= b) await ofA.open()
  if (b >= a) await ofB.open()
}

const inOrder = ({ firstVersion, lastVersion }: PageRef, floor: number, limit: number): boolean =>
  floor <= firstVersion && firstVersion <= lastVersion && lastVersion <= limit

export interface PrefixBehindFront extends Prefix {
  /** The side that has more before it. */
  frontOf: 'a' | 'b'
}

/**
 * What both have alike from where one of them begins, if that is as much as a topic has to keep: then the other has only
 * what the one has trimmed before it.
 */
export async function prefixBehindFront(
  walk: Walk,
  spines: [Spine, Spine],
  retention: Retention,
): Promise<PrefixBehindFront | undefined> {
  if (!spines.every((spine) => isFull(spine, retention))) return undefined
  const [ofA, ofB] = spines.map((spine) => new Rest(walk, spine)) as [Rest, Rest]
  const frontOf = await passFront(ofA, ofB)
  if (frontOf === undefined) return undefined
  const prefix = await takeCommon(walk, ofA, ofB)
  return pagesIn(prefix.common) >= retention.keptPages ? { ...prefix, frontOf } : undefined
}

/** Passes over what is older than the beginning of the other side. Undefined where none begins with what the other has. */
async function passFront(ofA: Rest, ofB: Rest): Promise<'a' | 'b' | undefined> {
  let frontOf: 'a' | 'b' | undefined
  for (;;) {
    const [a, b] = [ofA.refs[0], ofB.refs[0]]
    if (a === undefined || b === undefined) return undefined
    if (a.level === b.level && sameRef(a.ref, b.ref)) return frontOf
    const older = isBefore(a.ref, b.ref) ? 'a' : isBefore(b.ref, a.ref) ? 'b' : undefined
    if (older !== undefined) {
      if (frontOf !== undefined && frontOf !== older) return undefined
      frontOf = older
      ;(older === 'a' ? ofA : ofB).refs.shift()
    } else if (a.level === 0 && b.level === 0) return undefined
    else await openHigher(ofA, ofB)
  }
}

const isBefore = (one: PageRef, other: PageRef): boolean =>
  one.firstVersion < other.firstVersion && one.lastVersion <= other.firstVersion
