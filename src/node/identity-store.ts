import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { link, mkdir, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Identity, identityFromSeed, openSeed, StickyError, sealSeed } from '../dht/index.ts'

/** The identity file of a data folder: sealed under a passphrase, readable by its owner only. */

export interface IdentityOptions {
  directory: string
  passphrase: string
}

export interface StoredIdentity {
  identity: Identity
  /** 32 bytes. Never leaves the process. */
  seed: Uint8Array
}

const MAX_FILE_BYTES = 64 * 1024
const fileOf = (directory: string) => join(directory, 'identity.json')

/** Rejects with IDENTITY_UNREADABLE (wrong mode, not an identity) or WRONG_PASSPHRASE; each says what to do. */
export async function loadOrCreateIdentity({
  directory,
  passphrase,
}: IdentityOptions): Promise<StoredIdentity> {
  const file = fileOf(directory)
  const text = await readPrivateFile(file)
  if (text !== undefined) {
    const seed = await openSeed(text, passphrase).catch((error: StickyError) => {
      throw new StickyError(error.code, `${file}: ${error.message}`, { cause: error })
    })
    return { seed, identity: await identityFromSeed(seed) }
  }
  const seed = new Uint8Array(randomBytes(32))
  await createPrivateFile(directory, file, await sealSeed(seed, passphrase))
  return { seed, identity: await identityFromSeed(seed) }
}

/** The text of a file that only its owner may read; undefined when there is none. */
export async function readPrivateFile(file: string): Promise<string | undefined> {
  const handle = await open(file, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw new StickyError('IDENTITY_UNREADABLE', `${file} cannot be read: ${error.message}`, { cause: error })
  })
  if (handle === undefined) return undefined
  try {
    const { mode, size } = await handle.stat()
    if (process.platform !== 'win32' && (mode & 0o077) !== 0) {
      throw new StickyError('IDENTITY_UNREADABLE', `${file} may be read by others. Run: chmod 600 ${file}`)
    }
    if (size > MAX_FILE_BYTES)
      throw new StickyError('IDENTITY_UNREADABLE', `${file} is too large to be what it should be.`)
    return await handle.readFile('utf8')
  } finally {
    await handle.close()
  }
}

/** Appears whole or not at all, and never replaces one that is there. */
export async function createPrivateFile(directory: string, file: string, text: string): Promise<void> {
  const temporary = `${file}.${process.pid}.${randomBytes(4).toString('hex')}`
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    const handle = await open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600)
    try {
      await handle.writeFile(text)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await link(temporary, file)
  } catch (error) {
    throw new StickyError('STORAGE_FAILED', `${file} cannot be created: ${(error as Error).message}`, {
      cause: error,
    })
  } finally {
    await rm(temporary, { force: true })
  }
}
