import { type BlockReader, equalBytes, toHex } from '../dht/index.ts'
import type { Coordinator } from './coordinator.ts'
import { LIMITS } from './options.ts'
import { type Snapshot, snapshotsBehind } from './snapshot.ts'

/**
 * How far one reader has come. A version alone does not say it: two replicas that have not merged yet count alike and
 * mean different messages. So the reader remembers which collection it saw at which version, and goes on from the
 * newest of them that a head knows as its ancestor; what that reads again is dropped by id.
 *
 * A collection that was read is whole, for its name is its hash. What a push says to be all of one is a claim until
 * another replica was asked: who pushes can leave something out.
 */
export class Position {
  /** Newest last; the first is where the reader began, whatever the lineage. */
  readonly #seen: Remembered[]
  #moves = 0

  /** Of a head without messages: nothing was added up to it, in this lineage. */
  #emptyVersion = 0

  /** `seen`: what an earlier run of this reader remembered. */
  constructor(version: number, seen: Seen[] = []) {
    this.#seen = [
      { version, messages: undefined },
      ...seen.map((one) => ({ ...one, move: 0, isClaim: false })),
    ]
  }

  /** How often it has moved. What is read now is in nothing that was seen by an earlier move. */
  get moves(): number {
    return this.#moves
  }

  /** Where the reader began, and what it had seen after so many moves, as it is kept over a restart: the newest, and a few older ones. */
  kept(moves: number): { begin: number; seen: Seen[] } {
    const seen = this.#seen.filter(
      (one): one is SeenNow => one.messages !== undefined && one.move <= moves && !one.isClaim,
    )
    const isKept = (_: Seen, index: number) => KEPT_FROM_END.has(seen.length - index)
    return { begin: this.#seen[0]?.version ?? 0, seen: seen.filter(isKept) }
  }

  /** Everything that was added up to this version has been seen. */
  get version(): number {
    return Math.max(this.#seen.at(-1)?.version ?? 0, this.#emptyVersion)
  }

  /** `isClaim`: somebody pushed what he says to be all of it; else everything in it was read. */
  moveTo(version: number, messages: Uint8Array | null, isClaim = false): void {
    this.#moves += 1
    if (!isClaim) this.#drop((one) => one.messages !== undefined && one.isClaim)
    const last = this.#seen.at(-1)
    if (messages === null) {
      this.#emptyVersion = version
      return
    }
    this.#emptyVersion = 0
    const isSame = last?.messages !== undefined && equalBytes(last.messages, messages)
    if (isSame) this.#seen.pop()
    this.#seen.push({ version, messages, move: this.#moves, isClaim: isClaim && (!isSame || last.isClaim) })
    if (this.#seen.length <= MAX_REMEMBERED) return
    const oldestClaim = this.#seen.findIndex((one) => one.messages !== undefined && one.isClaim)
    this.#seen.splice(Math.max(1, oldestClaim), 1)
  }

  /** The newest claim that a head knows, for who has read all that it lacks of that head to confirm. */
  claimIn({ messages, messageHistory }: Coordinator): Claim | undefined {
    const ids = new Set([...(messages === null ? [] : [messages]), ...messageHistory].map(toHex))
    return this.#seen.findLast(
      (one): one is SeenNow => one.messages !== undefined && one.isClaim && ids.has(toHex(one.messages)),
    )
  }

  /** All of a head of this version was read, which knows it; a claim to be a later one would hide what comes until then. */
  confirm(claim: Claim, headVersion: number): void {
    const one = this.#seen.find(({ messages }) => messages === claim.messages)
    if (one?.messages === undefined) return
    this.#moves += 1
    Object.assign(one, { isClaim: false, move: this.#moves, version: Math.min(one.version, headVersion) })
  }

  #drop(isOver: (one: Remembered) => boolean): void {
    for (let i = this.#seen.length - 1; i > 0; i--)
      if (isOver(this.#seen[i] as Remembered)) this.#seen.splice(i, 1)
  }

  /** Whether the reader has stood at this collection: then it brings nothing new, or so was claimed. */
  hasSeen(messages: Uint8Array): boolean {
    return this.#seen.some((seen) => seen.messages !== undefined && equalBytes(seen.messages, messages))
  }

  /** The numbers fell, and what was stamped meanwhile may lie below any of them: from here on all is read again. */
  beginAnew(): void {
    this.#seen.splice(1)
  }

  /** The version after which `head` holds everything that this reader lacks; with `withClaims`, if they are true. */
  async knownIn(head: Coordinator, read: BlockReader, withClaims = false): Promise<number> {
    const ids = new Set<string>(head.messages === null ? [] : [toHex(head.messages)])
    const known = () =>
      this.#seen.findLast(
        (one) =>
          one.messages !== undefined &&
          (withClaims || !one.isClaim) &&
          one.version <= head.version &&
          ids.has(toHex(one.messages)),
      )
    const add = (level: { messageHistory: Uint8Array[] }) => {
      for (const id of level.messageHistory) ids.add(toHex(id))
    }
    add(head)
    let from = known()
    const behind = new BehindHead(head)
    // one that the source lacks only costs: what is read then was mostly seen already
    const walk = { maxDepth: LIMITS.maxHistoryDepth, optional: true }
    if (from === undefined)
      for await (const { snapshots } of snapshotsBehind(head.previous, read, walk)) {
        for (const { id, snapshot } of snapshots) {
          add(snapshot)
          behind.add(id, snapshot)
        }
        from = known()
        if (from !== undefined) break
      }
    if (from !== undefined) return from.version
    const oldest = this.#seen.slice(1).reduce((least, { version }) => Math.min(least, version), NOWHERE)
    if (behind.endsAbove(oldest)) return oldest
    const begin = this.#seen[0]?.version ?? 0
    return begin <= head.version ? begin : 0
  }
}

/**
 * What is known of the lineage behind a head. Where it ends above what a reader has seen, the head is most likely a later
 * one of the same lineage, whose older history has been let go of: then all that the reader lacks is stamped after what it
 * has seen. Where it goes further back and does not name that, the two have gone apart.
 */
class BehindHead {
  readonly #named: Set<string>
  readonly #found = new Set<string>()
  #lowest: number

  constructor(head: Coordinator) {
    this.#named = new Set(head.previous.map(toHex))
    this.#lowest = lowestIn(head)
  }

  add(id: Uint8Array, snapshot: Snapshot): void {
    this.#found.add(toHex(id))
    for (const older of snapshot.previous) this.#named.add(toHex(older))
    this.#lowest = Math.min(this.#lowest, lowestIn(snapshot))
  }

  /** Whether it goes on further back, and what was found of it does not reach back to this version. */
  endsAbove(version: number): boolean {
    return version < this.#lowest && [...this.#named].some((id) => !this.#found.has(id))
  }
}

/** Not above the version of the oldest collection that it names: a commit adds an id to one history or to both. */
function lowestIn(lineage: Pick<Coordinator, 'version' | 'messageHistory' | 'subscriberHistory'>): number {
  return lineage.version - lineage.messageHistory.length - lineage.subscriberHistory.length
}

const NOWHERE = Number.POSITIVE_INFINITY

export interface Seen {
  version: number
  messages: Uint8Array
  /** Which of this run's moves led to it; 0: an earlier run's. */
  move: number
}

interface SeenNow extends Seen {
  isClaim: boolean
}
type Remembered = SeenNow | { version: number; messages: undefined }
export type Claim = Pick<Seen, 'version' | 'messages'>

/** Counted from the newest: should a branch of the lineage be lost, an older one is still known. */
const KEPT_FROM_END: ReadonlySet<number> = new Set([1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64, 128, 255])
export const MAX_KEPT_SEEN = KEPT_FROM_END.size

/** A reader that was pushed to for long goes back this many pushes at most before it reads everything again. */
const MAX_REMEMBERED = 256
