import { type BlockReader, equalBytes, toHex } from '../dht/index.ts'
import type { Coordinator } from './coordinator.ts'
import { LIMITS } from './options.ts'
import { type Snapshot, snapshotsBehind } from './snapshot.ts'

/**
 * How far one reader has come. A version alone does not say it: two replicas that have not merged yet count alike and
 * mean different messages. So the reader remembers which collection it saw at which version, and goes on from the
 * newest of them that a head knows as its ancestor; what that reads again is dropped by id.
 */
export class Position {
  /** Newest last; the first is where the reader began, whatever the lineage. */
  readonly #seen: (Seen | { version: number; messages: undefined })[]
  #moves = 0

  /** Of a head without messages: nothing was added up to it, in this lineage. */
  #emptyVersion = 0

  /** `seen`: what an earlier run of this reader remembered. */
  constructor(version: number, seen: Seen[] = []) {
    this.#seen = [{ version, messages: undefined }, ...seen.map((one) => ({ ...one, move: 0 }))]
  }

  /** How often it has moved. What is read now is in nothing that was seen by an earlier move. */
  get moves(): number {
    return this.#moves
  }

  /** Where the reader began, and what it had seen after so many moves, as it is kept over a restart: the newest, and a few older ones. */
  kept(moves: number): { begin: number; seen: Seen[] } {
    const seen = this.#seen.filter((one): one is Seen => one.messages !== undefined && one.move <= moves)
    const isKept = (_: Seen, index: number) => KEPT_FROM_END.has(seen.length - index)
    return { begin: this.#seen[0]?.version ?? 0, seen: seen.filter(isKept) }
  }

  /** Everything that was added up to this version has been seen. */
  get version(): number {
    return Math.max(this.#seen.at(-1)?.version ?? 0, this.#emptyVersion)
  }

  moveTo(version: number, messages: Uint8Array | null): void {
    this.#moves += 1
    const last = this.#seen.at(-1)
    if (messages === null) {
      this.#emptyVersion = version
      return
    }
    this.#emptyVersion = 0
    if (last?.messages && equalBytes(last.messages, messages)) this.#seen.pop()
    this.#seen.push({ version, messages, move: this.#moves })
    if (this.#seen.length > MAX_REMEMBERED) this.#seen.splice(1, 1)
  }

  /** Whether the reader has stood at this collection: then it brings nothing new. */
  hasSeen(messages: Uint8Array): boolean {
    return this.#seen.some((seen) => seen.messages !== undefined && equalBytes(seen.messages, messages))
  }

  /** The numbers fell, and what was stamped meanwhile may lie below any of them: from here on all is read again. */
  beginAnew(): void {
    this.#seen.splice(1)
  }

  /** The version after which `head` holds everything that this reader lacks. */
  async knownIn(head: Coordinator, read: BlockReader): Promise<number> {
    const ids = new Set<string>(head.messages === null ? [] : [toHex(head.messages)])
    const known = () =>
      this.#seen.findLast(
        ({ version, messages }) =>
          messages !== undefined && version <= head.version && ids.has(toHex(messages)),
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

/** Counted from the newest: should a branch of the lineage be lost, an older one is still known. */
const KEPT_FROM_END: ReadonlySet<number> = new Set([1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64, 128, 255])
export const MAX_KEPT_SEEN = KEPT_FROM_END.size

/** A reader that was pushed to for long goes back this many pushes at most before it reads everything again. */
const MAX_REMEMBERED = 256
