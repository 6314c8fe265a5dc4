import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { StickyError } from '../dht/index.ts'
import { hasIdentity, identityFileOf } from './identity-store.ts'
import { createPrivateFile, readPrivateFile } from './private-file.ts'

export interface PassphraseOptions {
  directory: string
  passphraseFile?: string
}

/**
 * The passphrase of a data folder's identity: in the given file, else $STICKY_PASSPHRASE, else a random one kept in the
 * folder itself. The last protects against a leak of the identity file alone (a backup or a bug report that holds that
 * one file) and against nobody who reads the whole folder: for that, give a passphrase that is kept elsewhere.
 */
export async function resolvePassphrase({ directory, passphraseFile }: PassphraseOptions): Promise<string> {
  if (passphraseFile !== undefined) return passphraseIn(passphraseFile) // who names one means it
  const fromEnvironment = process.env.STICKY_PASSPHRASE
  if (fromEnvironment) return fromEnvironment
  const file = join(directory, 'passphrase')
  const kept = await readPassphrase(file)
  if (kept !== undefined) return kept
  if (hasIdentity(directory)) {
    // a new one could not open it, and would hide that the right one is missing
    throw new StickyError(
      'WRONG_PASSPHRASE',
      `${identityFileOf(directory)} needs its passphrase: set STICKY_PASSPHRASE, or give --passphrase-file.`,
    )
  }
  const passphrase = randomBytes(24).toString('base64url')
  if (await createPrivateFile(file, `${passphrase}\n`)) return passphrase
  return (await readPassphrase(file)) ?? passphrase // another process was first
}

/** The passphrase in a file that was named. */
export async function passphraseIn(file: string): Promise<string> {
  const given = await readPassphrase(file)
  if (given === undefined) throw new StickyError('WRONG_PASSPHRASE', `There is no passphrase file ${file}.`)
  return given
}

async function readPassphrase(file: string): Promise<string | undefined> {
  const text = await readPrivateFile(file)
  const passphrase = text?.trim()
  if (passphrase === '') throw new StickyError('WRONG_PASSPHRASE', `${file} is empty.`)
  return passphrase
}
