import { ForwardingStorage } from './forwarding-storage.ts'
import type { StorageOp } from './storage.ts'

/**
 * A disk, and the blocks on it that no record reaches. One of these goes when it was so at two sweeps in a row and nobody has
 * wanted it in between: a transfer takes its time, may be broken off, and goes on with what it finds. But not for ever, or
 * whoever asks for what it has sent once would fill the disk.
 */
export class SweptStorage extends ForwardingStorage {
  /** At how many sweeps in a row each was out of reach. Bounded by what is on disk. */
  #unreached = new Map<string, number>()
  /** The same up to the sweep before, while one is looking. */
  #unreachedBefore = new Map<string, number>()
  /** Of those, since the last sweep. */
  #wanted = new Set<string>()
  /** These go. */
  readonly #leaving = new Map<string, number>()
  /** The disk has been told to delete them. */
  readonly #going = new Set<string>()

  override write(operations: StorageOp[]): Promise<void> {
    for (const { type, key } of operations) {
      if (type !== 'put') continue
      for (const names of [this.#unreached, this.#unreachedBefore, this.#leaving]) names.delete(key)
    }
    return super.write(operations)
  }

  /** A block is needed, or soon will be. False where it does not stay, so that it has to be written again. */
  want(name: string): boolean {
    if (this.#going.has(name)) return false
    const sweeps = this.#leaving.get(name) ?? this.#unreached.get(name) ?? this.#unreachedBefore.get(name)
    if (sweeps === undefined) return true
    if (sweeps >= MAX_SWEEPS) return false
    this.#wanted.add(name)
    if (this.#leaving.delete(name)) this.#unreached.set(name, sweeps)
    return true
  }

  /** Looks which blocks are to go. True where there are any. */
  async look(reachable: ReadonlySet<string>): Promise<boolean> {
    const wantedBefore = this.#wanted
    this.#wanted = new Set()
    this.#unreachedBefore = this.#unreached
    this.#unreached = new Map()
    this.#leaving.clear()
    for await (const name of this.keys('block/')) {
      if (reachable.has(name)) continue
      const sweeps = (this.#unreachedBefore.get(name) ?? 0) + 1
      const isWanted = wantedBefore.has(name) || this.#wanted.has(name)
      if (sweeps === 1 || isWanted) this.#unreached.set(name, sweeps)
      else this.#leaving.set(name, sweeps)
    }
    this.#unreachedBefore.clear()
    return this.#leaving.size > 0
  }

  /** Deletes those that nobody has come to need since. Gives how many. */
  async removeLeaving(reachable: ReadonlySet<string>): Promise<number> {
    let removed = 0
    for (const name of this.#leaving.keys()) if (reachable.has(name)) this.#leaving.delete(name)
    while (this.#leaving.size > 0) {
      const names = firstOf(this.#leaving.keys(), DELETED_AT_ONCE)
      for (const name of names) {
        this.#leaving.delete(name)
        this.#going.add(name)
      }
      try {
        await super.write(names.map((key) => ({ type: 'delete', key })))
      } finally {
        for (const name of names) this.#going.delete(name)
      }
      removed += names.length
    }
    return removed
  }
}

function firstOf(names: Iterable<string>, count: number): string[] {
  const first: string[] = []
  for (const name of names) {
    if (first.length === count) break
    first.push(name)
  }
  return first
}

const DELETED_AT_ONCE = 500
/** Two hours of a transfer (`DhtOptions.sweepMs`), which is a full topic at 32 KiB a second. */
const MAX_SWEEPS = 12
