import { existsSync } from 'node:fs'
import { mkdir, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { StickyError } from '../dht/index.ts'

/**
 * Makes a folder, and those above it, for its owner only. Not with `mkdir`'s own `recursive`: Node never returns from that
 * where nothing can be made in a folder that is there, as in /proc.
 */
export async function makeFolder(directory: string): Promise<void> {
  if (await makeOne(directory)) return
  if (dirname(directory) !== directory) await makeFolder(dirname(directory))
  if (!(await makeOne(directory)))
    throw new StickyError('STORAGE_FAILED', `The folder ${directory} cannot be made. ${ADVICE}`)
}

/** False when the folder above it is missing. */
async function makeOne(directory: string): Promise<boolean> {
  try {
    await mkdir(directory, { mode: 0o700 })
    return true
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return false
    if (code === 'ENOTDIR') throw notAFolder(dirname(directory), error)
    if (code !== 'EEXIST' && code !== 'EISDIR') throw error
    const existing = await stat(directory)
    if (!existing.isDirectory()) throw notAFolder(directory, error)
    return true
  }
}

/** The one to blame is the part of the path that is there: a file where a folder was meant. */
export function notAFolder(directory: string, cause: unknown): StickyError {
  let existing = directory
  while (!existsSync(existing) && dirname(existing) !== existing) existing = dirname(existing)
  return new StickyError('STORAGE_FAILED', `${existing} is not a folder. ${ADVICE}`, { cause })
}

const ADVICE = 'Choose another data folder with --data.'
