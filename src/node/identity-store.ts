import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import {
  asStickyError,
  type Identity,
  identityFromSeed,
  openSeed,
  StickyError,
  sealSeed,
} from '../dht/index.ts'
import { createPrivateFile, readPrivateFile } from './private-file.ts'

/**
 * The identity file of a data folder: sealed under a passphrase, readable by its owner only. Its text is the same backup
 * format that a browser tab exports and imports.
 */

export interface IdentityOptions {
  directory: string
  passphrase: string
}

export interface StoredIdentity {
  identity: Identity
  /** 32 bytes. Never leaves the process. */
  seed: Uint8Array
}

export const identityFileOf = (directory: string): string => join(directory, 'identity.json')

export const hasIdentity = (directory: string): boolean => existsSync(identityFileOf(directory))

/** Rejects with IDENTITY_UNREADABLE (wrong mode, not an identity) or WRONG_PASSPHRASE; each says what to do. */
export async function loadOrCreateIdentity(options: IdentityOptions): Promise<StoredIdentity> {
  const kept = await loadIdentity(options)
  if (kept !== undefined) return kept
  const seed = new Uint8Array(randomBytes(32))
  if (await createPrivateFile(identityFileOf(options.directory), await sealSeed(seed, options.passphrase)))
    return { seed, identity: await identityFromSeed(seed) }
  return requireIdentity(options) // another process was first
}

const MIN_BACKUP_PASSPHRASE_CHARACTERS = 8

/** A backup text under `backupPassphrase`, for `importIdentity` here or in a browser. */
export async function exportIdentity(options: IdentityOptions, backupPassphrase: string): Promise<string> {
  const { seed } = await requireIdentity(options)
  if (backupPassphrase.length < MIN_BACKUP_PASSPHRASE_CHARACTERS)
    throw new StickyError(
      'WRONG_PASSPHRASE',
      `Choose a passphrase of at least ${MIN_BACKUP_PASSPHRASE_CHARACTERS} characters for the backup.`,
    )
  return sealSeed(seed, backupPassphrase)
}

/**
 * Puts the identity of a backup into a data folder. Rejects with IDENTITY_EXISTS where there is another one, unless that
 * is to be replaced; it is lost then.
 */
export async function importIdentity(
  { directory, passphrase }: IdentityOptions,
  backup: string,
  backupPassphrase: string,
  options: { replace?: boolean } = {},
): Promise<StoredIdentity> {
  const seed = await openSeed(backup, backupPassphrase)
  const file = identityFileOf(directory)
  if (!(await createPrivateFile(file, await sealSeed(seed, passphrase), options))) {
    throw new StickyError(
      'IDENTITY_EXISTS',
      `${file} is there already. Move it away first: replacing it would lose that identity.`,
    )
  }
  return { seed, identity: await identityFromSeed(seed) }
}

async function loadIdentity({ directory, passphrase }: IdentityOptions): Promise<StoredIdentity | undefined> {
  const file = identityFileOf(directory)
  const text = await readPrivateFile(file)
  if (text === undefined) return undefined
  const seed = await openSeed(text, passphrase).catch((error: unknown) => {
    const { code, message } = asStickyError(error, 'IDENTITY_UNREADABLE')
    throw new StickyError(code, `${file}: ${message}`, { cause: error })
  })
  return { seed, identity: await identityFromSeed(seed) }
}

async function requireIdentity(options: IdentityOptions): Promise<StoredIdentity> {
  const kept = await loadIdentity(options)
  if (kept === undefined)
    throw new StickyError('IDENTITY_UNREADABLE', `There is no ${identityFileOf(options.directory)}.`)
  return kept
}
