import { mkdir } from 'node:fs/promises'
import { ClassicLevel } from 'classic-level'
import { GroupWriter, StickyError, type Storage, type StorageOp } from '../dht/index.ts'

type Level = ClassicLevel<string, Uint8Array>

/**
 * Storage in a LevelDB folder. Every group of writes is one batch with `sync`: it is answered after fsync. Rejects with
 * STORAGE_LOCKED when another process has the folder open, and with STORAGE_FAILED when it cannot be used.
 */
export async function openLevelStorage(directory: string): Promise<Storage> {
  const level: Level = new ClassicLevel(directory, { keyEncoding: 'utf8', valueEncoding: 'view' })
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    await level.open()
  } catch (error) {
    throw openError(error, directory)
  }
  const writer = new GroupWriter((operations) => flush(level, operations))
  let closing: Promise<void> | undefined
  const requireOpen = () => {
    if (closing !== undefined) throw new StickyError('CLOSED', 'This storage is closed.')
  }
  return {
    persistent: true,
    async get(key) {
      requireOpen()
      return level.get(key)
    },
    async *entries(prefix) {
      requireOpen()
      yield* level.iterator(within(prefix))
    },
    async *keys(prefix) {
      requireOpen()
      yield* level.keys(within(prefix))
    },
    write: (operations) => writer.write(operations),
    close() {
      closing ??= writer.close().then(() => level.close())
      return closing
    },
  }
}

/** Keys that start with `prefix`; names are ASCII, so U+FFFF is beyond all of them. */
const within = (prefix: string) => ({ gte: prefix, lt: `${prefix}\uffff` })

async function flush(level: Level, operations: StorageOp[]): Promise<void> {
  try {
    await level.batch(
      operations.map((operation) =>
        operation.type === 'put' ? operation : { type: 'del' as const, key: operation.key },
      ),
      { sync: true },
    )
  } catch (error) {
    const text = messages(error)
    if (/ENOSPC|no space left/i.test(text))
      throw new StickyError(
        'STORAGE_FULL',
        'The disk is full: free some space, then this node takes new work again.',
        { cause: error },
      )
    throw new StickyError('STORAGE_FAILED', `Writing to disk failed: ${text}`, { cause: error })
  }
}

function openError(error: unknown, directory: string): StickyError {
  const text = messages(error)
  if (/LOCK|lock/.test(text) && !/corrupt/i.test(text)) {
    return new StickyError(
      'STORAGE_LOCKED',
      `${directory} is in use by another process. Stop that one, or choose another data folder with --data.`,
      { cause: error },
    )
  }
  if (/EACCES|permission/i.test(text)) {
    return new StickyError(
      'STORAGE_FAILED',
      `${directory} may not be read and written by this user. Change its owner, or choose another data folder with --data.`,
      { cause: error },
    )
  }
  if (/ENOSPC/i.test(text))
    return new StickyError('STORAGE_FULL', `The disk that holds ${directory} is full.`, { cause: error })
  return new StickyError(
    'STORAGE_FAILED',
    `${directory} cannot be opened as a data folder (${text}). Move it away to start empty: the other replicas still hold its topics.`,
    { cause: error },
  )
}

/** The message of an error and of what caused it. */
function messages(error: unknown): string {
  const parts: string[] = []
  for (let current = error; current instanceof Error && parts.length < 5; current = current.cause)
    parts.push(current.message)
  return parts.join(': ') || String(error)
}
