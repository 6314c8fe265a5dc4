import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, link, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { StickyError } from '../dht/index.ts'
import { makeFolder, notAFolder } from './folder.ts'

/** Small files that only their owner may read: the sealed identity, and a passphrase. */

const MAX_FILE_BYTES = 64 * 1024

/** The text of the file; undefined when there is none. Rejects with IDENTITY_UNREADABLE when others may read it. */
export const readPrivateFile = (file: string, maxBytes = MAX_FILE_BYTES): Promise<string | undefined> =>
  readSmallFile(file, true, maxBytes)

/** The same of a file that was made elsewhere, whoever may read it. */
export async function readSmallFile(
  file: string,
  mustBePrivate = false,
  maxBytes = MAX_FILE_BYTES,
): Promise<string | undefined> {
  let handle: FileHandle | undefined
  try {
    handle = await open(file, 'r')
    const stat = await handle.stat()
    if (stat.isDirectory())
      throw new StickyError('IDENTITY_UNREADABLE', `${file} is a folder, not a file. Move it away.`)
    if (mustBePrivate && process.platform !== 'win32' && (stat.mode & 0o077) !== 0)
      throw new StickyError('IDENTITY_UNREADABLE', `${file} may be read by others. Run: chmod 600 ${file}`)
    return await readBounded(handle, file, maxBytes)
  } catch (error) {
    if (error instanceof StickyError) throw error
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return undefined
    if (code === 'ENOTDIR') throw notAFolder(dirname(file), error)
    throw new StickyError('IDENTITY_UNREADABLE', `${file} cannot be read: ${(error as Error).message}`, {
      cause: error,
    })
  } finally {
    await handle?.close()
  }
}

/** Reads up to the bound, whatever size the file claims: a pipe has none, and a file may grow. */
async function readBounded(handle: FileHandle, file: string, maxBytes: number): Promise<string> {
  const buffer = Buffer.alloc(maxBytes + 1)
  let length = 0
  for (;;) {
    const { bytesRead } = await handle.read(buffer, length, buffer.byteLength - length, null)
    if (bytesRead === 0) return buffer.toString('utf8', 0, length)
    length += bytesRead
    if (length > maxBytes)
      throw new StickyError('IDENTITY_UNREADABLE', `${file} is too large to be what it should be.`)
  }
}

/**
 * The file appears whole or not at all, and survives a power cut once this resolves. One that is there is replaced only
 * when that is asked for: false otherwise.
 */
export async function createPrivateFile(
  file: string,
  text: string,
  { replace = false }: { replace?: boolean } = {},
): Promise<boolean> {
  const temporary = `${file}.${process.pid}.${randomBytes(4).toString('hex')}`
  try {
    await makeFolder(dirname(file))
    const handle = await open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600)
    try {
      await handle.writeFile(text)
      await handle.sync()
    } finally {
      await handle.close()
    }
    if (replace) await rename(temporary, file)
    else await link(temporary, file) // unlike rename, it refuses an existing name
    await syncFolder(dirname(file))
    return true
  } catch (error) {
    if (error instanceof StickyError) throw error
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') return false
    throw new StickyError(
      code === 'ENOSPC' ? 'STORAGE_FULL' : 'STORAGE_FAILED',
      `${file} cannot be created: ${message}`,
      { cause: error },
    )
  } finally {
    await rm(temporary, { force: true }).catch(() => undefined)
  }
}

/** Makes a new name in a folder durable. Windows has no such call. */
async function syncFolder(directory: string): Promise<void> {
  if (process.platform === 'win32') return
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
