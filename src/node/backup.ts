import { resolve } from 'node:path'
import { openSeed, StickyError } from '../dht/index.ts'
import { exportIdentity, hasIdentity, identityFileOf, importIdentity } from './identity-store.ts'
import { type DataOptions, dataFolder } from './options.ts'
import type { Output } from './output.ts'
import { passphraseIn, resolvePassphrase } from './passphrase.ts'
import { createPrivateFile, readSmallFile } from './private-file.ts'

/** `sticky identity export` and `import`: an identity as a file that opens with a passphrase of its own. */

export interface BackupOptions extends DataOptions {
  backupPassphraseFile?: string
  force: boolean
}

export async function exportToFile(file: string, options: BackupOptions, output: Output): Promise<void> {
  const directory = dataFolder(options, 'client')
  // without this a passphrase would be made for an identity that is not there
  if (!hasIdentity(directory))
    throw new StickyError('IDENTITY_UNREADABLE', `There is no ${identityFileOf(directory)}.`)
  if (resolve(file) === resolve(identityFileOf(directory)))
    throw new StickyError(
      'IDENTITY_EXISTS',
      `${file} is the identity itself. Choose another name for its backup.`,
    )
  const backupPassphrase = await passphraseOfBackup(options)
  const backup = await exportIdentity(
    { directory, passphrase: await passphraseOf(directory, options) },
    backupPassphrase,
  )
  if (!(await createPrivateFile(file, `${backup}\n`, { replace: options.force })))
    throw new StickyError(
      'IDENTITY_EXISTS',
      `${file} is there already. Choose another name, or replace it with --force.`,
    )
  output.result({ event: 'exported', file, data: directory }, `identity of ${directory} sealed in ${file}`)
}

export async function importFromFile(file: string, options: BackupOptions, output: Output): Promise<void> {
  const directory = dataFolder(options, 'client')
  if (hasIdentity(directory) && !options.force) {
    throw new StickyError(
      'IDENTITY_EXISTS',
      `${identityFileOf(directory)} is there already. Choose another folder with --data, or give --force: that identity is lost then, unless it has been exported.`,
    )
  }
  const backup = await readSmallFile(file)
  if (backup === undefined) throw new StickyError('IDENTITY_UNREADABLE', `There is no ${file}.`)
  const backupPassphrase = await passphraseOfBackup(options)
  await openSeed(backup, backupPassphrase) // before anything is made in the folder
  const { identity } = await importIdentity(
    { directory, passphrase: await passphraseOf(directory, options) },
    backup,
    backupPassphrase,
    { replace: options.force },
  )
  output.result(
    { event: 'imported', nodeId: identity.nodeId, data: directory },
    `${identity.nodeId}\n${directory}`,
  )
}

const passphraseOf = (directory: string, { passphraseFile }: BackupOptions): Promise<string> =>
  resolvePassphrase({ directory, ...(passphraseFile ? { passphraseFile } : {}) })

/** The one of the folder does not do: it may lie beside the identity, and a backup is to be opened elsewhere. */
async function passphraseOfBackup({ backupPassphraseFile }: BackupOptions): Promise<string> {
  if (backupPassphraseFile !== undefined) return passphraseIn(backupPassphraseFile)
  const fromEnvironment = process.env.STICKY_BACKUP_PASSPHRASE
  if (fromEnvironment) return fromEnvironment
  throw new StickyError(
    'WRONG_PASSPHRASE',
    'A backup has a passphrase of its own: set STICKY_BACKUP_PASSPHRASE, or give --backup-passphrase-file.',
  )
}
