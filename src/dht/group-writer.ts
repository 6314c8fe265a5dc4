import { StickyError } from './errors.ts'
import type { StorageOp } from './storage.ts'

export interface GroupWriterOptions {
  /** Bytes that may wait for a flush; beyond it writes are refused as BUSY, so that a slow disk cannot fill the memory. */
  maxWaitingBytes?: number
}

const DEFAULT_MAX_WAITING_BYTES = 64 * 1024 * 1024

interface Waiting {
  operations: StorageOp[]
  bytes: number
  resolve(): void
  reject(error: unknown): void
}

/**
 * Writes in groups: everything that arrives while one flush is under way goes, in order, into the next one. Each caller
 * hears when its own operations are on disk; a group that fails fails for its callers, and the next one is tried anew.
 */
export class GroupWriter {
  readonly #flush: (operations: StorageOp[]) => Promise<void>
  readonly #maxWaitingBytes: number
  #waiting: Waiting[] = []
  #waitingBytes = 0
  #running: Promise<void> | undefined
  #closed = false
  readonly counters = { writes: 0, flushes: 0, failedFlushes: 0 }

  constructor(flush: (operations: StorageOp[]) => Promise<void>, options: GroupWriterOptions = {}) {
    this.#flush = flush
    this.#maxWaitingBytes = options.maxWaitingBytes ?? DEFAULT_MAX_WAITING_BYTES
  }

  get waitingBytes(): number {
    return this.#waitingBytes
  }

  write(operations: StorageOp[]): Promise<void> {
    if (this.#closed) return Promise.reject(new StickyError('CLOSED', 'This storage is closed.'))
    const bytes = bytesOf(operations)
    // One write alone is taken whatever its size: refusing it would be for ever.
    if (this.#waiting.length > 0 && this.#waitingBytes + bytes > this.#maxWaitingBytes) {
      return Promise.reject(
        new StickyError('BUSY', 'More is waiting to be stored than this disk keeps up with.'),
      )
    }
    this.counters.writes += 1
    return new Promise((resolve, reject) => {
      this.#waiting.push({ operations, bytes, resolve, reject })
      this.#waitingBytes += bytes
      this.#running ??= this.#run()
    })
  }

  async #run(): Promise<void> {
    await undefined // what is written in one turn shares a flush, and `#running` is set before this can end
    while (this.#waiting.length > 0) {
      const group = this.#waiting
      this.#waiting = []
      this.#waitingBytes = 0
      this.counters.flushes += 1
      try {
        await this.#flush(group.flatMap(({ operations }) => operations))
        for (const { resolve } of group) resolve()
      } catch (error) {
        this.counters.failedFlushes += 1
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

/** Two bytes a character, as the engine keeps names. */
const bytesOf = (operations: StorageOp[]): number =>
  operations.reduce(
    (sum, { key, ...rest }) => sum + 2 * key.length + (rest.type === 'put' ? rest.value.byteLength : 0),
    0,
  )
