import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { StickyError } from '../dht/index.ts'
import { createPrivateFile, readPrivateFile } from './identity-store.ts'

/**
 * The passphrase of a data folder's identity: $STICKY_PASSPHRASE, else the given file, else a random one kept in the
 * folder itself. The last keeps the identity from leaking with a copy of the identity file alone; against somebody who
 * can read the whole folder only a passphrase kept elsewhere helps.
 */
export async function resolvePassphrase({
  directory,
  passphraseFile,
}: {
  directory: string
  passphraseFile?: string
}): Promise<string> {
  const fromEnvironment = process.env.STICKY_PASSPHRASE
  if (fromEnvironment) return fromEnvironment
  const file = passphraseFile ?? join(directory, 'passphrase')
  const kept = await readPrivateFile(file)
  if (kept !== undefined) {
    const passphrase = kept.trim()
    if (passphrase === '') throw new StickyError('WRONG_PASSPHRASE', `${file} is empty.`)
    return passphrase
  }
  if (passphraseFile !== undefined)
    throw new StickyError('WRONG_PASSPHRASE', `There is no passphrase file ${passphraseFile}.`)
  const passphrase = randomBytes(24).toString('base64url')
  await createPrivateFile(directory, file, `${passphrase}\n`)
  return passphrase
}
