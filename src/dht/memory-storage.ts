import { StickyError } from './errors.ts'
import type { Storage, StorageOp } from './storage.ts'

/** Nothing survives the process: for tests, and for nodes that only read and publish. */
export function memoryStorage(): Storage {
  const values = new Map<string, Uint8Array>()
  let closed = false
  const requireOpen = () => {
    if (closed) throw new StickyError('CLOSED', 'This storage is closed.')
  }
  const sortedKeys = (prefix: string) => [...values.keys()].filter((key) => key.startsWith(prefix)).sort()
  return {
    persistent: false,
    async get(key) {
      requireOpen()
      return values.get(key)
    },
    async *entries(prefix) {
      requireOpen()
      for (const key of sortedKeys(prefix)) {
        const value = values.get(key)
        if (value !== undefined) yield [key, value]
      }
    },
    async *keys(prefix) {
      requireOpen()
      yield* sortedKeys(prefix)
    },
    async write(operations: StorageOp[]) {
      requireOpen()
      for (const operation of operations) {
        // a copy, as a disk makes one: the caller's array may be a view of a larger buffer, or change later
        if (operation.type === 'put') values.set(operation.key, new Uint8Array(operation.value))
        else values.delete(operation.key)
      }
    },
    async close() {
      closed = true
    },
  }
}
