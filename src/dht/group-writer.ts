import { StickyError } from './errors.ts'
import type { StorageOp } from './storage.ts'

/**
 * Writes in groups: everything that arrives while one flush is under way goes, in order, into the next one. Each caller
 * hears when its own operations are on disk; a group that fails fails for its callers, and the next one is tried anew.
 */
export class GroupWriter {
  readonly #flush: (operations: StorageOp[]) => Promise<void>
  #waiting: { operations: StorageOp[]; resolve(): void; reject(error: unknown): void }[] = []
  #running: Promise<void> | undefined
  #closed = false
  readonly counters = { writes: 0, flushes: 0 }

  constructor(flush: (operations: StorageOp[]) => Promise<void>) {
    this.#flush = flush
  }

  write(operations: StorageOp[]): Promise<void> {
    if (this.#closed) return Promise.reject(new StickyError('CLOSED', 'This storage is closed.'))
    this.counters.writes += 1
    return new Promise((resolve, reject) => {
      this.#waiting.push({ operations, resolve, reject })
      this.#running ??= this.#run()
    })
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      const group = this.#waiting.splice(0)
      this.counters.flushes += 1
      try {
        await this.#flush(group.flatMap(({ operations }) => operations))
        for (const { resolve } of group) resolve()
      } catch (error) {
        for (const { reject } of group) reject(error)
      }
    }
    this.#running = undefined
  }

  /** Refuses new writes and waits for those accepted. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#running
  }
}
