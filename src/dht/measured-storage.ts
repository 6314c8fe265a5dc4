import { asStickyError } from './errors.ts'
import { type CodeCounts, countCode, type StageTimers } from './measures.ts'
import type { Storage, StorageOp } from './storage.ts'

/** A storage, and what became of the writes to it: begun = written + failed + pending. */
export class MeasuredStorage implements Storage {
  readonly #inner: Storage
  readonly #stages: StageTimers
  readonly #pending = new Set<StorageOp[]>()
  readonly compact?: () => Promise<void>
  readonly counters = { begun: 0, written: 0, bytes: 0, failures: {} as CodeCounts }

  constructor(inner: Storage, stages: StageTimers) {
    this.#inner = inner
    this.#stages = stages
    if (inner.compact) this.compact = () => inner.compact?.() ?? Promise.resolve()
  }

  get persistent(): boolean {
    return this.#inner.persistent
  }

  get pendingWrites(): number {
    return this.#pending.size
  }

  get(key: string): Promise<Uint8Array | undefined> {
    return this.#inner.get(key)
  }

  entries(prefix: string): AsyncIterable<[string, Uint8Array]> {
    return this.#inner.entries(prefix)
  }

  keys(prefix: string): AsyncIterable<string> {
    return this.#inner.keys(prefix)
  }

  write(operations: StorageOp[]): Promise<void> {
    const { counters } = this
    const writing = this.#stages.watch('disk', () => this.#inner.write(operations))
    counters.begun += 1
    const own = [...operations] // one of its own, for who writes the same twice
    this.#pending.add(own)
    writing.then(
      () => {
        this.#pending.delete(own)
        counters.written += 1
        for (const one of own) if (one.type === 'put') counters.bytes += one.value.byteLength
      },
      (error: unknown) => {
        this.#pending.delete(own)
        countCode(counters.failures, asStickyError(error, 'STORAGE_FAILED').code)
      },
    )
    return writing
  }

  close(): Promise<void> {
    return this.#inner.close()
  }
}
