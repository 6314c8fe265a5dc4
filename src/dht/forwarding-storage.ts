import type { Storage, StorageOp } from './storage.ts'

/** A storage that is another one, for those that add something to it. */
export class ForwardingStorage implements Storage {
  readonly #inner: Storage
  readonly compact?: () => Promise<void>

  constructor(inner: Storage) {
    this.#inner = inner
    if (inner.compact) this.compact = () => inner.compact?.() ?? Promise.resolve()
  }

  get persistent(): boolean {
    return this.#inner.persistent
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
    return this.#inner.write(operations)
  }

  close(): Promise<void> {
    return this.#inner.close()
  }
}
