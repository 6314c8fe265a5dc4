import { spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { verifySignature } from '../../../src/dht/identity.ts'
import { openSeed } from '../../../src/dht/identity-backup.ts'
import { exportIdentity, importIdentity, loadOrCreateIdentity } from '../../../src/node/identity-store.ts'
import { resolvePassphrase } from '../../../src/node/passphrase.ts'

let folder: string
let directory: string
let file: string
const passphrase = 'correct horse'

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sticky-identity-'))
  directory = join(folder, 'data')
  file = join(directory, 'identity.json')
  vi.stubEnv('STICKY_PASSPHRASE', '')
})
afterEach(() => {
  vi.unstubAllEnvs()
  rmSync(folder, { recursive: true, force: true })
})

const permissions = (path: string) => statSync(path).mode & 0o777

describe('identity file', () => {
  it('is created sealed, for its owner only, and loads as the same identity', async () => {
    const made = await loadOrCreateIdentity({ directory, passphrase })
    expect([permissions(directory), permissions(file)]).toEqual([0o700, 0o600])
    expect(readdirSync(directory)).toEqual(['identity.json'])
    expect(await openSeed(readFileSync(file, 'utf8'), passphrase)).toEqual(made.seed)
    const loaded = await loadOrCreateIdentity({ directory, passphrase })
    expect(loaded.seed).toEqual(made.seed)
    expect(loaded.identity.nodeId).toBe(made.identity.nodeId)
    const bytes = Uint8Array.of(1, 2, 3)
    const signature = await loaded.identity.sign(bytes)
    expect(await verifySignature(made.identity.publicKey, bytes, signature)).toBe(true)
  })

  it('is one identity when two start at once', async () => {
    const options = { directory, passphrase }
    const [one, other] = await Promise.all([loadOrCreateIdentity(options), loadOrCreateIdentity(options)])
    expect(one.identity.nodeId).toBe(other.identity.nodeId)
    expect(readdirSync(directory)).toEqual(['identity.json'])
  })

  it('stays as it is under a wrong passphrase, which is said without repeating it', async () => {
    await loadOrCreateIdentity({ directory, passphrase })
    const before = readFileSync(file, 'utf8')
    const wrong = loadOrCreateIdentity({ directory, passphrase: 'battery staple' })
    const error = await wrong.catch((reason: Error) => reason as Error & { code: string })
    expect(error).toMatchObject({ name: 'StickyError', code: 'WRONG_PASSPHRASE' })
    expect((error as Error).message).toContain(file)
    expect((error as Error).message).not.toContain('staple')
    expect(readFileSync(file, 'utf8')).toBe(before)
  })

  it.each([0o640, 0o604, 0o620, 0o644])(
    'is refused with mode %o, and says which command helps',
    async (mode) => {
      mkdirSync(directory)
      writeFileSync(file, '{}')
      chmodSync(file, mode)
      await expect(loadOrCreateIdentity({ directory, passphrase })).rejects.toMatchObject({
        code: 'IDENTITY_UNREADABLE',
        message: expect.stringContaining(`chmod 600 ${file}`),
      })
    },
  )

  it.each([
    ['not an identity', 'hello'],
    ['empty', ''],
    ['large', 'x'.repeat(65 * 1024)],
  ])('is refused, not replaced, when it is %s', async (_, text) => {
    mkdirSync(directory)
    writeFileSync(file, text, { mode: 0o600 })
    await expect(loadOrCreateIdentity({ directory, passphrase })).rejects.toMatchObject({
      code: 'IDENTITY_UNREADABLE',
      message: expect.stringContaining(file),
    })
    expect(readFileSync(file, 'utf8')).toBe(text)
  })

  it('is read up to its bound even where its size says nothing', async () => {
    mkdirSync(directory)
    expect(spawnSync('mkfifo', ['-m', '600', file]).status).toBe(0)
    const writer = spawn('sh', ['-c', 'exec head -c 200000 /dev/zero > "$0"', file], { stdio: 'ignore' })
    const ended = new Promise((resolve) => writer.once('exit', resolve))
    await expect(loadOrCreateIdentity({ directory, passphrase })).rejects.toMatchObject({
      code: 'IDENTITY_UNREADABLE',
      message: expect.stringContaining('too large'),
    })
    await ended
  })

  it('is refused when it is a folder, or its data folder is a file', async () => {
    mkdirSync(file, { recursive: true })
    await expect(loadOrCreateIdentity({ directory, passphrase })).rejects.toMatchObject({
      code: 'IDENTITY_UNREADABLE',
      message: expect.stringContaining('is a folder'),
    })
    const plain = join(folder, 'plain')
    writeFileSync(plain, '')
    await expect(loadOrCreateIdentity({ directory: plain, passphrase })).rejects.toMatchObject({
      name: 'StickyError',
      message: expect.stringContaining(plain),
    })
  })

  it('is not created behind a dangling link, and leaves nothing half done', async () => {
    mkdirSync(directory)
    symlinkSync(join(folder, 'elsewhere'), file)
    await expect(loadOrCreateIdentity({ directory, passphrase })).rejects.toMatchObject({
      name: 'StickyError',
    })
    expect(existsSync(join(folder, 'elsewhere'))).toBe(false)
    expect(readdirSync(directory)).toEqual(['identity.json'])
  })
})

describe('identity backup of a folder', () => {
  it('moves an identity to another folder under other passphrases', async () => {
    const { identity } = await loadOrCreateIdentity({ directory, passphrase })
    const backup = await exportIdentity({ directory, passphrase }, 'for the road')
    const options = { directory: join(folder, 'other'), passphrase: 'at home' }
    const imported = await importIdentity(options, backup, 'for the road')
    expect(imported.identity.nodeId).toBe(identity.nodeId)
    expect((await loadOrCreateIdentity(options)).identity.nodeId).toBe(identity.nodeId)
    expect(permissions(join(options.directory, 'identity.json'))).toBe(0o600)
  })

  it('never replaces an identity, and a wrong passphrase creates none', async () => {
    const { identity } = await loadOrCreateIdentity({ directory, passphrase })
    const backup = await exportIdentity({ directory, passphrase }, 'for the road')
    const again = importIdentity({ directory, passphrase }, backup, 'for the road')
    await expect(again).rejects.toMatchObject({ code: 'IDENTITY_EXISTS' })
    expect((await loadOrCreateIdentity({ directory, passphrase })).identity.nodeId).toBe(identity.nodeId)
    const other = { directory: join(folder, 'other'), passphrase }
    await expect(importIdentity(other, backup, 'wrong')).rejects.toMatchObject({ code: 'WRONG_PASSPHRASE' })
    expect(existsSync(other.directory)).toBe(false)
  })

  it('is not made of an identity that is not there', async () => {
    await expect(exportIdentity({ directory, passphrase }, 'x')).rejects.toMatchObject({
      code: 'IDENTITY_UNREADABLE',
    })
    expect(existsSync(directory)).toBe(false)
  })
})

describe('passphrase', () => {
  const given = () => join(folder, 'given')

  it('comes from the file given first, then from the environment', async () => {
    writeFileSync(given(), 'from the file\n', { mode: 0o600 })
    expect(await resolvePassphrase({ directory, passphraseFile: given() })).toBe('from the file')
    vi.stubEnv('STICKY_PASSPHRASE', 'from the environment')
    expect(await resolvePassphrase({ directory, passphraseFile: given() })).toBe('from the file')
    expect(await resolvePassphrase({ directory })).toBe('from the environment')
    expect(existsSync(directory)).toBe(false)
  })

  it('is a random one, kept for its owner only, where none is given', async () => {
    const made = await resolvePassphrase({ directory })
    expect(made).toMatch(/^[\w-]{32}$/)
    expect(permissions(join(directory, 'passphrase'))).toBe(0o600)
    expect(await resolvePassphrase({ directory })).toBe(made)
    expect(await resolvePassphrase({ directory: join(folder, 'other') })).not.toBe(made)
  })

  it('is one when two start at once', async () => {
    const [one, other] = await Promise.all([
      resolvePassphrase({ directory }),
      resolvePassphrase({ directory }),
    ])
    expect(one).toBe(other)
  })

  it('is asked for, not invented, when the identity was sealed under one that is kept elsewhere', async () => {
    await loadOrCreateIdentity({ directory, passphrase })
    await expect(resolvePassphrase({ directory })).rejects.toMatchObject({
      code: 'WRONG_PASSPHRASE',
      message: expect.stringContaining('STICKY_PASSPHRASE'),
    })
    expect(readdirSync(directory)).toEqual(['identity.json'])
  })

  it('is refused from a file that is missing, empty or readable by others', async () => {
    const resolve = () => resolvePassphrase({ directory, passphraseFile: given() })
    await expect(resolve()).rejects.toMatchObject({ code: 'WRONG_PASSPHRASE' })
    writeFileSync(given(), ' \n', { mode: 0o600 })
    await expect(resolve()).rejects.toMatchObject({ code: 'WRONG_PASSPHRASE' })
    writeFileSync(given(), 'secret')
    chmodSync(given(), 0o644)
    await expect(resolve()).rejects.toMatchObject({
      code: 'IDENTITY_UNREADABLE',
      message: expect.stringContaining(`chmod 600 ${given()}`),
    })
  })
})
