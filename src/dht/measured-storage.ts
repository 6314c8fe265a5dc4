import { asStickyError } from './errors.ts'
import { ForwardingStorage } from './forwarding-storage.ts'
import { type CodeCounts, countCode, type StageTimers } from './measures.ts'
import type { Storage, StorageOp } from './storage.ts'

/** A storage, and what became of the writes to it: begun = written + failed + pending. */
export class MeasuredStorage extends ForwardingStorage {
  readonly #stages: StageTimers
  readonly #pending = new Set<StorageOp[]>()
  readonly counters = { begun: 0, written: 0, bytes: 0, failures: {} as CodeCounts }

  constructor(inner: Storage, stages: StageTimers) {
    super(inner)
    this.#stages = stages
  }

  get pendingWrites(): number {
    return this.#pending.size
  }

  override write(operations: StorageOp[]): Promise<void> {
    const { counters } = this
    const writing = this.#stages.watch('disk', () => super.write(operations))
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
}
