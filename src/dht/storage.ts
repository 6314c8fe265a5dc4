/**
 * The storage port: an ordered map of text keys to bytes. Implementations: memory (memory-storage.ts), LevelDB (src/node/object-store),
 * IndexedDB (src/browser/object-store). test/contract/storage runs against each.
 */

export type StorageOp = { type: 'put'; key: string; value: Uint8Array } | { type: 'delete'; key: string }

export interface Storage {
  /** True: what `write` resolved for survives a power cut (fsync, or IndexedDB strict durability). */
  readonly persistent: boolean
  get(key: string): Promise<Uint8Array | undefined>
  /** Entries whose key starts with `prefix`, in key order. A consistent snapshot is not promised. */
  entries(prefix: string): AsyncIterable<[key: string, value: Uint8Array]>
  keys(prefix: string): AsyncIterable<string>
  /**
   * Applies all operations atomically and resolves when they are on disk. Concurrent writes are applied in call order
   * and share one flush. Rejects with STORAGE_FAILED, STORAGE_FULL, or BUSY (too much is waiting); then none of its
   * operations is applied.
   */
  write(operations: StorageOp[]): Promise<void>
  /** Gives the space of what was deleted back to the disk, where the store does not do so soon by itself. */
  compact?(): Promise<void>
  /** Flushes and releases; later calls reject with CLOSED. Idempotent. */
  close(): Promise<void>
}
