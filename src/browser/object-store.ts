import { type IDBPDatabase, openDB } from 'idb'
import { GroupWriter, StickyError, type Storage, type StorageOp } from '../dht/index.ts'

const STORE = 'records'
/** Entries read per transaction: it must end before the caller awaits something else, and all its values are in memory. */
const BATCH = 64
const KEY_BATCH = 1_000

/**
 * Storage in IndexedDB with strict durability: what `write` resolved for has been flushed to disk. `onLost`: it is of no
 * use any more, and another one may be opened in its place.
 */
export async function openIdbStorage(name: string, onLost?: (why: StickyError) => void): Promise<Storage> {
  let closing: Promise<void> | undefined
  let lost: StickyError | undefined
  const lose = () => {
    lost ??= new StickyError(
      'STORAGE_FAILED',
      'The data of this page were cleared, or upgraded by a newer one.',
    )
    onLost?.(lost)
  }
  const db: IDBPDatabase = await openDB(name, 1, {
    upgrade: (database) => {
      database.createObjectStore(STORE)
    },
    // another tab wants to upgrade or delete it, and waits for this one
    blocking: () => {
      db.close()
      lose()
    },
    terminated: lose,
  }).catch((error: unknown) => {
    throw storageError(error, 'This browser does not let the page store data (private mode, or blocked).')
  })

  const requireOpen = () => {
    if (closing !== undefined) throw new StickyError('CLOSED', 'This storage is closed.')
    if (lost) throw lost
  }
  const read = async <T>(action: () => Promise<T>): Promise<T> => {
    requireOpen()
    try {
      return await action()
    } catch (error) {
      requireOpen()
      throw storageError(error, 'Reading from IndexedDB failed.')
    }
  }
  const writer = new GroupWriter(async (operations) => {
    if (lost) requireOpen()
    await flush(db, operations)
  })

  /** The entries of a prefix a batch at a time, each batch read whole before the caller sees its first. */
  async function* inBatches<T>(
    prefix: string,
    readBatch: (range: IDBKeyRange) => Promise<{ items: T[]; next: string | undefined }>,
  ): AsyncGenerator<T> {
    for (let from: string | undefined = prefix; from !== undefined; ) {
      const range = IDBKeyRange.bound(from, `${prefix}\uffff`, from !== prefix, true)
      const { items, next } = await read(() => readBatch(range))
      yield* items
      from = next
    }
  }

  return {
    persistent: true,
    get: (key) => read(async () => (await db.get(STORE, key)) as Uint8Array | undefined),
    entries: (prefix) => inBatches(prefix, (range) => readEntries(db, range)),
    keys: (prefix) => inBatches(prefix, (range) => readKeys(db, range)),
    write: (operations) => writer.write(operations),
    close() {
      closing ??= writer.close().then(() => db.close())
      return closing
    },
  }
}

async function readKeys(db: IDBPDatabase, range: IDBKeyRange) {
  const keys = (await db.getAllKeys(STORE, range, KEY_BATCH)) as string[]
  return { items: keys, next: keys.length < KEY_BATCH ? undefined : keys.at(-1) }
}

async function readEntries(db: IDBPDatabase, range: IDBKeyRange) {
  const { store, done } = db.transaction(STORE, 'readonly')
  const [keys, values] = await Promise.all([
    store.getAllKeys(range, BATCH) as Promise<string[]>,
    store.getAll(range, BATCH) as Promise<Uint8Array[]>,
    done,
  ])
  const items = keys.map((key, index): [string, Uint8Array] => [key, values[index] as Uint8Array])
  return { items, next: keys.length < BATCH ? undefined : keys.at(-1) }
}

async function flush(db: IDBPDatabase, operations: StorageOp[]): Promise<void> {
  try {
    const transaction = db.transaction(STORE, 'readwrite', { durability: 'strict' })
    const ended = transaction.done // rejects, and rolls everything back, when any of them failed
    try {
      for (const operation of operations) {
        const request =
          operation.type === 'put'
            ? transaction.store.put(ownBytes(operation.value), operation.key)
            : transaction.store.delete(operation.key)
        request.catch(() => undefined)
      }
    } catch (error) {
      ended.catch(() => undefined)
      transaction.abort() // a call refused at once would leave the ones before it to be committed
      throw error
    }
    await ended
  } catch (error) {
    throw storageError(error, 'Writing to IndexedDB failed.')
  }
}

/** IndexedDB keeps the whole buffer behind a view, however small the view is. */
const ownBytes = (value: Uint8Array): Uint8Array =>
  value.byteLength === value.buffer.byteLength ? value : value.slice()

function storageError(error: unknown, otherwise: string): StickyError {
  if (error instanceof StickyError) return error
  return error instanceof DOMException && error.name === 'QuotaExceededError'
    ? new StickyError('STORAGE_FULL', 'This browser’s storage for the page is full.', { cause: error })
    : new StickyError('STORAGE_FAILED', `${otherwise} (${error})`, { cause: error })
}
