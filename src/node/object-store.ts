import { readdir, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { GroupWriter, StickyError, type Storage, type StorageOp } from '../dht/index.ts'
import { makeFolder } from './folder.ts'
import { openError, readError, writeError } from './object-store-errors.ts'

type Level = ClassicLevel<string, Uint8Array>

/** Free space wanted, beside the log that recovery rewrites, before a store that failed is opened again. */
const REOPEN_MARGIN_BYTES = 1024 * 1024

/**
 * Storage in a LevelDB folder. Every group of writes is one batch with `sync`: it is answered after fsync. Rejects with
 * STORAGE_LOCKED when another process has the folder open, and with STORAGE_FAILED when it cannot be used.
 */
export async function openLevelStorage(directory: string): Promise<Storage> {
  const level: Level = new ClassicLevel(directory, { keyEncoding: 'utf8', valueEncoding: 'view' })
  try {
    await makeFolder(directory)
    await level.open()
  } catch (error) {
    throw error instanceof StickyError ? error : openError(error, directory)
  }
  return new LevelStorage(level, directory)
}

/**
 * After a failed write LevelDB's log ends in a torn record, and it goes on appending behind it: later writes succeed, and
 * are dropped when the folder is opened next. So nothing is written behind a failure: the next group first opens the
 * folder again, which starts a new log. Until then the open one serves reads.
 */
class LevelStorage implements Storage {
  readonly persistent = true
  readonly #level: Level
  readonly #directory: string
  readonly #writer: GroupWriter
  /** Set after a failed write: what its keys held before, put back on opening, as the log may hold the write after all. */
  #undo: StorageOp[] | undefined
  #reopening: Promise<void> | undefined
  #closing: Promise<void> | undefined

  constructor(level: Level, directory: string) {
    this.#level = level
    this.#directory = directory
    this.#writer = new GroupWriter((operations) => this.#flush(operations))
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    const level = await this.#readable()
    try {
      return await level.get(key)
    } catch (error) {
      throw this.#readError(error)
    }
  }

  async *entries(prefix: string): AsyncGenerator<[string, Uint8Array]> {
    const level = await this.#readable()
    try {
      yield* level.iterator(within(prefix))
    } catch (error) {
      throw this.#readError(error)
    }
  }

  async *keys(prefix: string): AsyncGenerator<string> {
    const level = await this.#readable()
    try {
      yield* level.keys(within(prefix))
    } catch (error) {
      throw this.#readError(error)
    }
  }

  write(operations: StorageOp[]): Promise<void> {
    return this.#writer.write(operations)
  }

  /**
   * LevelDB keeps deleted values until a compaction comes by, which in a store that is little written may be never. One
   * that is asked for leaves the lowest table that a key is in as it is, and that may be one with a value and its deletion
   * both. So what is in memory is written out first, and then come deletions at either end of the names, which lie above
   * all tables and take each of them into the compaction.
   */
  async compact(): Promise<void> {
    const level = await this.#readable()
    const ends = ['\0', '\uffff'] as const // beyond all names
    try {
      await level.compactRange(ends[1], ends[1]) // compacts nothing, but writes out what is in memory
      await this.write(ends.map((key) => ({ type: 'delete', key })))
      await level.compactRange(...ends)
    } catch (error) {
      throw this.#readError(error)
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#writer.close().then(() => this.#level.close())
    return this.#closing
  }

  #readError(error: unknown): StickyError {
    if (this.#closing !== undefined)
      return new StickyError('CLOSED', 'This storage is closed.', { cause: error })
    return readError(error, this.#directory)
  }

  async #readable(): Promise<Level> {
    if (this.#closing !== undefined) throw new StickyError('CLOSED', 'This storage is closed.')
    if (this.#reopening !== undefined || this.#level.status !== 'open') await this.#reopen()
    return this.#level
  }

  async #flush(operations: StorageOp[]): Promise<void> {
    if (this.#undo !== undefined) await this.#reopen()
    try {
      await this.#level.batch(toBatch(operations), { sync: true })
    } catch (error) {
      this.#undo = await this.#heldBefore(operations)
      throw writeError(error, this.#directory)
    }
  }

  /** The operations that bring back what these keys hold now. */
  async #heldBefore(operations: StorageOp[]): Promise<StorageOp[]> {
    const keys = [...new Set(operations.map(({ key }) => key))]
    // Where not even reading works, opening again decides alone.
    const values = await this.#level.getMany(keys).catch(() => undefined)
    if (values === undefined) return []
    return keys.map((key, index) => {
      const value = values[index]
      return value === undefined ? { type: 'delete', key } : { type: 'put', key, value }
    })
  }

  #reopen(): Promise<void> {
    this.#reopening ??= this.#reopenNow().finally(() => {
      this.#reopening = undefined
    })
    return this.#reopening
  }

  async #reopenNow(): Promise<void> {
    try {
      if (this.#level.status === 'open') {
        // Opening needs space; while there is none, the open one still serves reads.
        await requireSpace(this.#directory)
        await this.#level.close()
      }
      await this.#level.open()
    } catch (error) {
      throw error instanceof StickyError ? error : openError(error, this.#directory)
    }
    try {
      await this.#level.batch(toBatch(this.#undo ?? []), { sync: true })
      this.#undo = undefined
    } catch (error) {
      throw writeError(error, this.#directory)
    }
  }
}

/** Keys that start with `prefix`; names are ASCII, so U+FFFF is beyond all of them. */
const within = (prefix: string) => ({ gte: prefix, lt: `${prefix}\uffff` })

const toBatch = (operations: StorageOp[]) =>
  operations.map((operation) =>
    operation.type === 'put' ? operation : { type: 'del' as const, key: operation.key },
  )

async function requireSpace(directory: string): Promise<void> {
  const { bavail, bsize } = await statfs(directory)
  let neededBytes = REOPEN_MARGIN_BYTES
  for (const name of await readdir(directory))
    if (name.endsWith('.log')) neededBytes += (await stat(join(directory, name))).size
  if (bavail * bsize < neededBytes) {
    const missingMib = Math.ceil((neededBytes - bavail * bsize) / 1024 / 1024)
    throw new StickyError(
      'STORAGE_FULL',
      `The disk that holds ${directory} is full: free ${missingMib} MiB more, then this node takes new work again.`,
    )
  }
}
