import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest'
import type { StickyError } from '../../../src/dht/errors.ts'
import type { Storage } from '../../../src/dht/storage.ts'
import { openLevelStorage } from '../../../src/node/object-store.ts'

const CHILD = new URL('../../support/level-child.ts', import.meta.url).pathname
const isRoot = process.getuid?.() === 0

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'sticky-level-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const failure = (directory: string): Promise<StickyError> =>
  openLevelStorage(directory).then(
    () => expect.unreachable('opened'),
    (error: StickyError) => error,
  )

const collect = async (storage: Storage): Promise<Map<string, Uint8Array>> => {
  const all = new Map<string, Uint8Array>()
  for await (const [key, value] of storage.entries('')) all.set(key, value)
  return all
}

const bytesIn = (directory: string): number =>
  readdirSync(directory).reduce((sum, name) => sum + statSync(join(directory, name)).size, 0)

/** Runs the child to its end; gives what it said. */
function run(
  mode: string,
  directory: string,
  { before = [], uid }: { before?: string[]; uid?: number } = {},
) {
  const [command = process.execPath, ...args] = [...before, process.execPath, CHILD, mode, directory]
  const { stdout, stderr } = spawnSync(command, args, {
    encoding: 'utf8',
    ...(uid === undefined ? {} : { uid, gid: uid }),
  })
  return { said: stdout === '' ? undefined : JSON.parse(stdout), stderr }
}

function lines(child: ChildProcess): AsyncIterableIterator<string> {
  return createInterface({ input: child.stdout! })[Symbol.asyncIterator]()
}

const exited = (child: ChildProcess) => new Promise((resolve) => child.once('exit', resolve))

function requireStrace(context: TestContext): void {
  const probe = spawnSync('strace', ['-o', '/dev/null', '-e', 'trace=fdatasync', 'true'])
  if (probe.status !== 0) context.skip('needs strace and the right to trace')
}

describe('openLevelStorage says what to do when the folder', () => {
  it('is open in another process: STORAGE_LOCKED; once that one is gone it opens', async () => {
    const directory = join(folder, 'held')
    const child = spawn(process.execPath, [CHILD, 'hold', directory], { stdio: ['pipe', 'pipe', 'inherit'] })
    expect((await lines(child).next()).value).toBe('"held"')
    const error = await failure(directory)
    expect(error).toMatchObject({ code: 'STORAGE_LOCKED', retryable: false })
    expect(error.message).toContain(directory)
    child.stdin!.end()
    child.kill('SIGKILL')
    await exited(child)
    await (await openLevelStorage(directory)).close()
  })

  it('is open in this process already: STORAGE_LOCKED', async () => {
    const storage = await openLevelStorage(join(folder, 'twice'))
    expect(await failure(join(folder, 'twice'))).toMatchObject({ code: 'STORAGE_LOCKED' })
    await storage.close()
  })

  it('is not one, even where its path reads like a lock', async () => {
    const directory = join(folder, 'LOCKED-lock')
    writeFileSync(directory, 'a file')
    const error = await failure(directory)
    expect(error.code).toBe('STORAGE_FAILED')
    expect(error.message).toContain(`${directory} is not a folder`)
  })

  it('is damaged', async () => {
    const directory = join(folder, 'damaged')
    const storage = await openLevelStorage(directory)
    await storage.write([{ type: 'put', key: 'a', value: Uint8Array.of(1) }])
    await storage.close()
    writeFileSync(join(directory, 'CURRENT'), 'MANIFEST-nowhere\n')
    const error = await failure(directory)
    expect(error.code).toBe('STORAGE_FAILED')
    expect(error.message).toMatch(new RegExp(`${directory} cannot be opened .*Move it away`))
  })

  it('may not be used by this user', () => {
    const parent = join(folder, 'private')
    mkdirSync(parent)
    const directory = join(parent, 'records')
    chmodSync(parent, isRoot ? 0o700 : 0o000)
    chmodSync(folder, 0o755)
    // root may read everything, so another user tries
    const { said, stderr } = run('open', directory, isRoot ? { uid: 65_534 } : {})
    expect(said, stderr).toMatchObject({ code: 'STORAGE_FAILED' })
    expect(said.message).toMatch(/Change its owner/)
    chmodSync(parent, 0o700)
  })
})

describe('a write to LevelDB', () => {
  it('asks the disk to flush, once for a group', (context) => {
    requireStrace(context)
    const directory = join(folder, 'traced')
    const trace = join(folder, 'trace')
    const before = ['strace', '-f', '-o', trace, '-P', join(directory, '000003.log'), '-e', 'trace=fdatasync']
    run('groups', directory, { before })
    const flushes = readFileSync(trace, 'utf8').match(/fdatasync\(/g)?.length
    // 5 alone, and 1 for the 200
    expect(flushes).toBe(6)
  })

  it('that has resolved survives kill -9, whole', async () => {
    const directory = join(folder, 'killed')
    const child = spawn(process.execPath, [CHILD, 'pour', directory], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const said: string[] = []
    for await (const line of lines(child)) {
      said.push(JSON.parse(line))
      if (said.length === 400) child.kill('SIGKILL')
    }
    const storage = await openLevelStorage(directory)
    const kept = await collect(storage)
    expect(said.filter((key) => !kept.has(key))).toEqual([])
    const halves = [...kept.keys()].filter((key) => !key.startsWith('twin/') && !kept.has(`twin/${key}`))
    expect(halves).toEqual([])
    await storage.close()
  })

  it('that the disk fails to flush is rejected and not applied; the next ones are kept', async (context) => {
    requireStrace(context)
    const directory = join(folder, 'failing')
    const log = join(directory, '000003.log')
    const before = ['strace', '-f', '-o', '/dev/null', '-P', log]
    // the calls of one thread are counted, so there is only one
    const { said, stderr } = run('failing', directory, {
      before: ['env', 'UV_THREADPOOL_SIZE=1', ...before, '-e', 'inject=fdatasync:error=EIO:when=3'],
    })
    expect(said, stderr).toEqual({
      writes: ['ok', 'ok', 'STORAGE_FAILED', 'ok'],
      afterFailure: { a: 'first', b: 'kept' },
      afterRecovery: { a: 'first', b: 'kept', c: 'later' },
    })
    const storage = await openLevelStorage(directory)
    const kept = await collect(storage)
    expect([...kept].map(([key, value]) => [key, Buffer.from(value).toString()])).toEqual([
      ['a', 'first'],
      ['b', 'kept'],
      ['c', 'later'],
    ])
    await storage.close()
  })
})

describe('on a full disk', () => {
  const MIB = 1024 * 1024
  let mount: string
  let mounted = false

  beforeAll(() => {
    mount = join(folder, 'small')
    mkdirSync(mount)
    if (process.platform === 'linux' && isRoot)
      mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', mount]).status === 0
  })
  afterAll(() => {
    if (mounted) spawnSync('umount', [mount])
  })

  it('refuses with STORAGE_FULL, reads on, and keeps all it acknowledged before and after', async (context) => {
    if (!mounted) context.skip('needs root and the right to mount a tmpfs')
    const directory = join(mount, 'records')
    const ballast = join(mount, 'ballast')
    writeFileSync(ballast, new Uint8Array(21 * MIB))
    let storage = await openLevelStorage(directory)
    const acknowledged = new Map<string, Uint8Array>()
    const refused: StickyError[] = []
    const write = async (index: number) => {
      const [key, value] = [`k/${index}`, new Uint8Array(randomBytes(20_000))]
      await storage.write([{ type: 'put', key, value }]).then(
        () => acknowledged.set(key, value),
        (error: StickyError) => refused.push(error),
      )
    }
    const expectAll = async () => {
      const kept = await collect(storage)
      expect([...kept.keys()]).toEqual([...acknowledged.keys()].sort())
      for (const [key, value] of acknowledged) expect(Buffer.compare(value, kept.get(key)!), key).toBe(0)
    }

    let index = 0
    while (refused.length < 5) await write(index++)
    expect(acknowledged.size).toBeGreaterThan(20)
    expect(new Set(refused.map(({ code }) => code))).toEqual(new Set(['STORAGE_FULL']))
    expect(refused[0]?.message).toContain(directory)
    await expectAll()

    rmSync(ballast)
    // few enough that LevelDB has not left the log in which the failed write lies
    for (const end = index + 20; index < end; index++) await write(index)
    expect(refused).toHaveLength(5)
    await expectAll()
    await storage.close()
    storage = await openLevelStorage(directory)
    await expectAll()
    await storage.close()
  })
})

describe('compact()', () => {
  it.each([20, 200])(
    'gives back what %i deleted values of 50 kB took, and keeps the others',
    async (count) => {
      const directory = join(folder, `compact-${count}`)
      const storage = await openLevelStorage(directory)
      const kept = new Uint8Array(randomBytes(50_000))
      await storage.write([{ type: 'put', key: 'block/kept', value: kept }])
      const keys = Array.from({ length: count }, (_, index) => `block/${index}`)
      for (const key of keys)
        await storage.write([{ type: 'put', key, value: new Uint8Array(randomBytes(50_000)) }])
      expect(bytesIn(directory)).toBeGreaterThan(count * 50_000)
      await storage.write(keys.map((key) => ({ type: 'delete', key })))
      await storage.compact?.()
      expect(bytesIn(directory)).toBeGreaterThan(50_000)
      expect(bytesIn(directory)).toBeLessThan(55_000)
      expect(await collect(storage)).toEqual(new Map([['block/kept', Buffer.from(kept)]]))
      await storage.close()
    },
  )
})
