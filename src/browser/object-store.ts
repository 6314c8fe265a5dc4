import { type IDBPDatabase, openDB } from 'idb'
import { GroupWriter, StickyError, type Storage, type StorageOp } from '../dht/index.ts'

const STORE = 'records'
/** Entries read per transaction: one must not stay open while the caller awaits something else. */
const BATCH = 200

/** Storage in IndexedDB with strict durability: what `write` resolved for has been flushed to disk. */
export async function openIdbStorage(name: string): Promise<Storage> {
  const db = await openDB(name, 1, {
    upgrade: (database) => {
      database.createObjectStore(STORE)
    },
    blocking: () => db.close(), // another tab wants to upgrade or delete it
  }).catch((error: unknown) => {
    throw new StickyError(
      'STORAGE_FAILED',
      'This browser does not let the page store data (private mode, or storage is blocked).',
      { cause: error },
    )
  })
  const writer = new GroupWriter((operations) => flush(db, operations))
  let closing: Promise<void> | undefined
  const requireOpen = () => {
    if (closing !== undefined) throw new StickyError('CLOSED', 'This storage is closed.')
  }
  async function* keysFrom(prefix: string): AsyncGenerator<string> {
    requireOpen()
    let from = prefix
    let open = false
    for (;;) {
      const range = IDBKeyRange.bound(from, `${prefix}\uffff`, open, true)
      const keys = (await db.getAllKeys(STORE, range, BATCH)) as string[]
      yield* keys
      if (keys.length < BATCH) return
      from = keys.at(-1) as string
      open = true
    }
  }
  return {
    persistent: true,
    async get(key) {
      requireOpen()
      return (await db.get(STORE, key)) as Uint8Array | undefined
    },
    async *entries(prefix) {
      for await (const key of keysFrom(prefix)) {
        const value = (await db.get(STORE, key)) as Uint8Array | undefined
        if (value !== undefined) yield [key, value]
      }
    },
    keys: keysFrom,
    write: (operations) => writer.write(operations),
    close() {
      closing ??= writer.close().then(() => db.close())
      return closing
    },
  }
}

async function flush(db: IDBPDatabase, operations: StorageOp[]): Promise<void> {
  try {
    const transaction = db.transaction(STORE, 'readwrite', { durability: 'strict' })
    for (const operation of operations) {
      if (operation.type === 'put')
        void transaction.store.put(operation.value, operation.key).catch(() => undefined)
      else void transaction.store.delete(operation.key).catch(() => undefined)
    }
    await transaction.done // rejects, and rolls everything back, when any of them failed
  } catch (error) {
    if (error instanceof DOMException && error.name === 'QuotaExceededError') {
      throw new StickyError('STORAGE_FULL', 'This browser’s storage for the page is full.', { cause: error })
    }
    throw new StickyError('STORAGE_FAILED', 'Writing to IndexedDB failed.', { cause: error })
  }
}
