import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openSeed } from '../../src/dht/index.ts'
import { createNode } from '../../src/node/index.ts'
import { flood } from '../support/flood.ts'
import { LocalNetwork, Program } from '../support/local-network.ts'
import { until } from '../support/memory-nodes.ts'
import { PROGRAM, PROGRAM_SOURCE } from '../support/program.ts'

/** The program as somebody at a terminal meets it: every mistake ends with a sentence and its exit code. */

interface Ended {
  code: number | null
  stdout: string
  stderr: string
}

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sticky-cli-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

/** Runs to the end; one that hangs is killed, and has no exit code then. */
const sticky = (args: string[], env: NodeJS.ProcessEnv = {}, program = PROGRAM): Promise<Ended> =>
  new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [program, ...args],
      {
        timeout: 25_000,
        env: {
          ...process.env,
          XDG_DATA_HOME: folder,
          STICKY_PASSPHRASE: '',
          STICKY_BACKUP_PASSPHRASE: '',
          ...env,
        },
      },
      (_error, stdout, stderr) => {
        expect(stderr).not.toMatch(/^\s+at /m)
        resolve({ code: child.exitCode, stdout, stderr })
      },
    )
  })

describe('wrong use ends with 2 and says what is wrong', () => {
  it.each([
    [['publish', 'x'], "unknown command 'publish'"],
    [['sub'], "missing required argument 'topic'"],
    [['pub'], "missing required argument 'topic'"],
    [['sub', 'a', 'b'], 'too many arguments'],
    [['history', 'a', '--last', '0'], '1 or more'],
    [['pub', 'a', 'b', '--ttl', '60'], 'such as 90m'],
    [['pub', 'a', 'b', '--ttl', '31d'], 'at most 30d'],
    [['sub', 'a', '--history', 'some'], 'whole number'],
    [['sub', 'a', '--since', '12'], 'such as 2026-11-23'],
    [['sub', 'a', '--since', 'yesterday'], 'how long ago: 10m'],
    [['sub', 'a', '--since', '2026-13-01'], 'such as 2026-11-23'],
    [['sub', 'a', '--since', '2h', '--history', 'none'], 'cannot be used with'],
    [['sub', 'a', '--since', '2h', '--last-seen-version', '1'], 'cannot be used with'],
    [['start', '--nodes', '0'], '1 or more'],
    [['start', '--nodes', '2', '--metrics-port', '65535'], 'the last would have 65536'],
    [['inspect', 'a', '--what'], "unknown option '--what'"],
    [['identity', 'export'], "missing required argument 'file'"],
  ])('sticky %j', async (args, sentence) => {
    const { code, stdout, stderr } = await sticky(args)
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toContain(sentence)
  })

  it('sticky alone, and a PORT that is none', async () => {
    expect(await sticky([])).toMatchObject({ code: 2, stderr: expect.stringContaining('Usage: sticky') })
    const { code, stderr } = await sticky(['start'], { PORT: 'eighty' })
    expect([code, stderr]).toEqual([2, expect.stringContaining("value 'eighty' from env 'PORT'")])
  })
})

it.each(
  ['', 'node', 'pub', 'sub', 'history', 'inspect', 'identity', 'identity export', 'identity import'].concat(
    'identity show',
    'bridge',
    'bridge invite',
    'start',
    'demo-import',
  ),
)('sticky %s --help ends with 0', async (command) => {
  const { code, stdout, stderr } = await sticky([...command.split(' ').filter(Boolean), '--help'])
  expect([code, stderr]).toEqual([0, ''])
  expect(stdout).toContain(`Usage: sticky ${command}`.trim())
})

it('runs from its sources too, as npm start runs it', async () => {
  expect(PROGRAM).not.toBe(PROGRAM_SOURCE)
  expect(await sticky(['--help'], {}, PROGRAM_SOURCE)).toEqual(await sticky(['--help']))
})

describe('what cannot be done ends with 1, a sentence and a code', () => {
  it.each([
    [['pub', 'a', 'b', '--data', '/proc/x'], 'STORAGE_FAILED'],
    [['node', '--data', '/proc/x'], 'STORAGE_FAILED'],
    [['bridge', '--port', '0', '--data', '/proc/x'], 'STORAGE_FAILED'],
    [['bridge', '--port', '0', '--host', '192.0.2.1'], 'UNREACHABLE'],
    [['bridge', '--port', '0', '--passphrase-file', '/nowhere'], 'WRONG_PASSPHRASE'],
    [['history', 'a', '--bridge', 'http://127.0.0.1:1'], 'UNREACHABLE'],
    [['sub', 'a', '--bridge', 'not an address'], 'UNREACHABLE'],
    [['demo-import', '/nowhere', '--bridge', 'http://127.0.0.1:1'], 'NOT_FOUND'],
    [['demo-import', '--limit', '1', '--bridge', 'http://127.0.0.1:1'], 'UNREACHABLE'],
  ])('sticky %j', async (args, expected) => {
    const { code, stdout, stderr } = await sticky([...args, '--json'])
    expect([code, stdout]).toEqual([1, ''])
    expect(JSON.parse(stderr)).toEqual({ error: expected, message: expect.stringMatching(/^\S[^\n]{15,}$/) })
  })
})

describe('sticky identity', () => {
  const secret = { STICKY_BACKUP_PASSPHRASE: 'a long passphrase' }

  it('goes through a backup that its passphrase opens, and that others may not read', async () => {
    const backup = join(folder, 'backup.json')
    const from = ['--data', join(folder, 'from'), '--json']
    const to = ['--data', join(folder, 'to'), '--json']
    const shown = JSON.parse((await sticky(['identity', ...from])).stdout) as { nodeId: string }
    expect(await sticky(['identity', 'export', backup, ...from], secret)).toMatchObject({
      code: 0,
      stderr: '',
    })
    expect(statSync(backup).mode & 0o777).toBe(0o600)
    expect((await openSeed(readFileSync(backup, 'utf8'), 'a long passphrase')).byteLength).toBe(32)
    const imported = await sticky(['identity', 'import', backup, ...to], secret)
    expect(JSON.parse(imported.stdout)).toMatchObject({ nodeId: shown.nodeId })
    expect(JSON.parse((await sticky(['identity', ...to])).stdout)).toMatchObject({ nodeId: shown.nodeId })
    expect(statSync(join(folder, 'to', 'identity.json')).mode & 0o777).toBe(0o600)
  }, 60_000)

  it('replaces neither a file nor an identity without --force', async () => {
    const backup = join(folder, 'backup.json')
    const from = ['--data', join(folder, 'from'), '--json']
    const to = ['--data', join(folder, 'to'), '--json']
    writeFileSync(backup, 'mine')
    const other = JSON.parse((await sticky(['identity', ...to])).stdout) as { nodeId: string }
    const shown = JSON.parse((await sticky(['identity', ...from])).stdout) as { nodeId: string }
    const refused = { code: 1, stderr: expect.stringContaining('IDENTITY_EXISTS') }
    expect(await sticky(['identity', 'export', backup, ...from], secret)).toMatchObject(refused)
    expect(readFileSync(backup, 'utf8')).toBe('mine')
    const self = ['identity', 'export', join(folder, 'from', 'identity.json'), '--force', ...from]
    expect(await sticky(self, secret)).toMatchObject(refused)
    expect(await sticky(['identity', 'export', backup, '--force', ...from], secret)).toMatchObject({
      code: 0,
    })
    expect(statSync(backup).mode & 0o777).toBe(0o600)

    expect(await sticky(['identity', 'import', backup, ...to], secret)).toMatchObject(refused)
    expect(JSON.parse((await sticky(['identity', ...to])).stdout)).toMatchObject({ nodeId: other.nodeId })
    expect(await sticky(['identity', 'import', backup, '--force', ...to], secret)).toMatchObject({ code: 0 })
    expect(JSON.parse((await sticky(['identity', ...to])).stdout)).toMatchObject({ nodeId: shown.nodeId })
  }, 60_000)

  it('makes nothing where there is nothing to back up, and nothing of a backup that does not open', async () => {
    const backup = join(folder, 'backup.json')
    const none = join(folder, 'none')
    const refused = { code: 1, stderr: expect.stringContaining('IDENTITY_UNREADABLE') }
    expect(await sticky(['identity', 'export', backup, '--data', none], secret)).toMatchObject(refused)
    expect(await sticky(['identity', 'import', backup, '--data', none], secret)).toMatchObject(refused)
    await sticky(['identity', '--data', join(folder, 'from')])
    const exporting = ['identity', 'export', backup, '--data', join(folder, 'from')]
    const wrong = { code: 1, stderr: expect.stringContaining('WRONG_PASSPHRASE') }
    expect(await sticky(exporting)).toMatchObject(wrong)
    expect(await sticky(exporting, { STICKY_BACKUP_PASSPHRASE: 'short' })).toMatchObject(wrong)
    expect(existsSync(backup)).toBe(false)
    await sticky(exporting, secret)
    const importing = ['identity', 'import', backup, '--data', none]
    expect(await sticky(importing, { STICKY_BACKUP_PASSPHRASE: 'another one' })).toMatchObject(wrong)
    expect(existsSync(none)).toBe(false)
  }, 60_000)
})

describe('on a network', () => {
  let network: LocalNetwork
  beforeAll(async () => {
    network = await LocalNetwork.start({ nodes: 1 })
    await network.sticky('pub', 'lines', 'one\u001b[31m\nforged', '--as', 'ada\nroot')
    await network.sticky('pub', 'lines', 'two')
  }, 60_000)
  afterAll(() => network.stop())

  it('a message is shown as one, whatever is in it', async () => {
    const { stdout } = await network.sticky('history', 'lines')
    const lines = stdout.trimEnd().split('\n')
    expect(lines.filter((line) => /^\d{4}-/.test(line))).toHaveLength(2)
    expect(lines.filter((line) => line.startsWith('    '))).toHaveLength(2)
    expect(stdout).not.toContain('\u001b')
  })

  it('a message is kept for as long as it says', async () => {
    await network.sticky('pub', 'short', 'said for two hours', '--ttl', '2h')
    const { stdout } = await network.sticky('history', 'short', '--json')
    const { publishedAt, expiresAt } = JSON.parse(stdout)
    expect(expiresAt - publishedAt).toBe(7_200_000)
  })

  it('a subscriber is given what was published since a time, or added after a version', async () => {
    for (const text of ['one', 'two']) await network.sticky('pub', 'timed', text)
    const { stdout } = await network.sticky('history', 'timed', '--json', '--last', '1')
    const { publishedAt } = JSON.parse(stdout)
    const first = async (...args: string[]) =>
      JSON.parse((await network.sticky('sub', 'timed', '--count', '1', '--json', ...args)).stdout).data
    expect(await first('--since', new Date(publishedAt).toISOString())).toBe('two')
    expect(await first('--since', '1h')).toBe('one')
    expect(await first('--last-seen-version', '1')).toBe('two')
  }, 60_000)

  it('a subscriber is shown in one line, whatever it says of itself', async () => {
    const info = 'me\u001b[2J\nreplicas     0'
    const program = network.run('sub', 'lines', '--info', info, '--json', '--bridge', network.url)
    await program.event(({ event }) => event === 'history-end')
    const inspect = async () => (await network.sticky('inspect', 'lines')).stdout
    await expect.poll(inspect, { timeout: 20_000 }).toContain('subscribers  1')
    const stdout = await inspect()
    expect(stdout).not.toContain('\u001b')
    expect(stdout.split('\n').filter((line) => line.startsWith('replicas'))).toEqual(['replicas     1'])
    await program.kill('SIGINT')
  }, 60_000)

  it('ends without a stack when nobody reads its output any more', async () => {
    const command = `"${process.execPath}" "${PROGRAM}" sub lines --bridge ${network.url} | head -n 1`
    const child = spawn('bash', ['-o', 'pipefail', '-c', command], { stdio: ['ignore', 'pipe', 'pipe'] })
    let stderr = ''
    child.stderr?.on('data', (chunk: Buffer) => {
      stderr += chunk.toString()
    })
    const first = new Promise((resolve) => child.stdout?.once('data', resolve))
    const exited = new Promise((resolve) => child.once('exit', resolve))
    await first
    await network.sticky('pub', 'lines', 'three') // what it can no longer print
    expect(await exited).toBe(0)
    expect(stderr).not.toMatch(/^\s+at |EPIPE/m)
  }, 60_000)

  it('a line that cannot be published is told at once, not when the next one comes', async () => {
    const program = network.run('pub', 'lines', '--from-json', '--data', folder, '--bridge', network.url)
    program.child.stdin?.write('{}\nno JSON\n')
    expect(await program.exited).toBe(1)
    expect(program.stderr).toMatch(/^sticky: Not JSON\..* \[INVALID_DATA\]\n$/m)
  }, 30_000)

  it('a node tells who runs it what strains it, in a line or as an event, and goes on', async () => {
    const [told] = network.nodes
    const silent = network.run('node', '--bridge', network.url, '--data', join(folder, 'node'))
    const client = await createNode({ bridgeUrl: network.url, role: 'client' })
    try {
      const { network: peers } = client.pubsub.dht
      let holders: { nodeId: string }[] = []
      await until(async () => {
        const signal = AbortSignal.timeout(5_000)
        holders = await peers.closestPeers(new Uint8Array(32), { count: 8, minDurable: 0, signal })
        return holders.length === 2
      }, 20_000)
      await until(() => silent.lines.includes('ready'), 20_000) // what was before is not judged
      for (const { nodeId } of holders) await flood(client.pubsub, nodeId)
      const words = /[\d.]+ % of [\d,]+ requests of peers were refused as too many \(at most 1 %\)/
      // it may have had something else to tell before
      const isRefusal = ({ finding }: { finding?: unknown }) => finding === 'requests-refused'
      const findingsOf = ({ findings }: { findings?: unknown }) => (findings ?? []) as { finding?: unknown }[]
      const event = await told?.process.event(
        (one) => one.event === 'health' && findingsOf(one).some(isRefusal),
        60_000,
      )
      expect(event).toMatchObject({ status: 'strained', nodeId: told?.nodeId, windowMs: expect.any(Number) })
      expect(findingsOf(event ?? {}).filter(isRefusal)).toMatchObject([
        { limit: 0.01, text: expect.stringMatching(words) },
      ])
      expect(told?.process.stderr).toBe('')
      await until(() => silent.stderr.includes('\n'), 20_000)
      expect(silent.stderr).toMatch(new RegExp(`^strained: ${words.source}\n$`))
      expect((await network.sticky('history', 'lines')).stdout).toContain('two')
      await silent.kill('SIGTERM')
      expect(silent.child.exitCode).toBe(0)
    } finally {
      await client.close()
    }
  }, 90_000)

  it('a bridge opens itself as far as its options say', async () => {
    const file = join(folder, 'passphrase')
    writeFileSync(file, 'of the bridge\n', { mode: 0o600 })
    const args = [
      'bridge',
      '--json',
      '--port',
      '0',
      '--data',
      join(folder, 'bridge'),
      '--passphrase-file',
      file,
    ]
    const program = new Program([
      ...args,
      '--allow-origin',
      'https://a.example',
      '--limit',
      'maxReservations=7',
    ])
    const { url } = (await program.event((event) => event.event === 'ready')) as { url: string }
    expect(existsSync(join(folder, 'bridge', 'passphrase'))).toBe(false)
    const upgrade = (origin: string) =>
      new Promise<number>((resolve, reject) => {
        execFile('node', ['-e', UPGRADE, url, origin], (error, stdout) =>
          error ? reject(error) : resolve(Number(stdout)),
        )
      })
    expect(await upgrade('https://a.example')).toBe(101)
    expect(await upgrade('https://b.example')).toBe(403)
    expect(await (await fetch(`${url}/health`)).json()).toMatchObject({ status: 'ok', connections: 0 })
    expect(await (await fetch(`${url}/metrics`)).text()).toContain('sticky_bridge_admitted_peers 0')
    await program.kill('SIGINT')
    expect(program.child.exitCode).toBe(0)
  }, 60_000)
})

/** What somebody at a terminal does who has waited long enough. Each ends at the first Ctrl-C. */
describe('Ctrl-C', () => {
  let network: LocalNetwork
  beforeAll(async () => {
    network = await LocalNetwork.start({ nodes: 1 })
    await network.sticky('pub', 'stopped', 'one')
  }, 60_000)
  afterEach(() => network.nodes[0]?.process.child.kill('SIGCONT'))
  afterAll(() => network.stop())

  const ENDS_WITHIN_MS = 5_000
  /** Its exit code; killed, and without one, where that takes longer. */
  async function interrupt(program: Program): Promise<number | null> {
    const timer = setTimeout(() => program.child.kill('SIGKILL'), ENDS_WITHIN_MS)
    await program.kill('SIGINT')
    clearTimeout(timer)
    expect(program.stderr).not.toMatch(/^\s+at /m)
    return program.child.exitCode
  }
  /** Who has come in at the bridge since its start. */
  const accepted = async () =>
    Number(
      /challenges_accepted (\d+)/.exec(await (await fetch(`${network.url}/metrics`)).text())?.[1] ?? 'none',
    )
  /** Before that a signal kills it. */
  const takesSignals = ({ child }: Program) =>
    /^SigCgt:.*[13579bdf]$/m.test(readFileSync(`/proc/${child.pid}/status`, 'utf8')) // SIGHUP is the first

  it('ends sticky sub with 0 while it shows what comes', async () => {
    const program = network.run('sub', 'stopped', '--json', '--bridge', network.url)
    await program.event(({ event }) => event === 'history-end')
    expect(await interrupt(program)).toBe(0)
    expect(program.events.map(({ data, event }) => data ?? event)).toEqual(['one', 'history-end'])
  }, 60_000)

  it('ends sticky sub while its replicas are silent', async () => {
    const program = network.run('sub', 'stopped', '--json', '--bridge', network.url)
    await program.event(({ event }) => event === 'history-end')
    network.nodes[0]?.process.child.kill('SIGSTOP')
    expect(await interrupt(program)).toBe(0)
  }, 60_000)

  it.each([
    ['sub', 'stopped'],
    ['history', 'stopped'],
    ['inspect', 'stopped'],
    ['pub', 'stopped', 'two'],
  ])(
    'ends sticky %s while no replica answers',
    async (...args) => {
      network.nodes[0]?.process.child.kill('SIGSTOP')
      const before = await accepted()
      const program = network.run(...args, '--data', folder, '--bridge', network.url)
      await until(async () => (await accepted()) > before, 20_000)
      expect(program.child.exitCode).toBe(null)
      const code = await interrupt(program)
      expect(code === 130 || (code === 0 && args[0] === 'sub')).toBe(true) // by whether it had come to ask
    },
    60_000,
  )

  it('ends sticky sub with 130 while the bridge is silent', async () => {
    const silent = createServer().listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const { port } = silent.address() as AddressInfo
    const program = network.run('sub', 'stopped', '--bridge', `http://127.0.0.1:${port}`)
    await once(silent, 'connection')
    expect(await interrupt(program)).toBe(130)
    silent.close()
  }, 60_000)

  it.runIf(process.platform === 'linux')(
    'ends with 130 what waits for standard input',
    async () => {
      const invited = network.run('sub', 'stopped', '--invitation', '-', '--bridge', network.url)
      const publishing = network.run('pub', 'stopped', '--data', folder, '--bridge', network.url)
      await until(() => takesSignals(invited) && takesSignals(publishing), 20_000)
      expect(await Promise.all([interrupt(invited), interrupt(publishing)])).toEqual([130, 130])
    },
    60_000,
  )
})

/** The status of an upgrade from a page of some origin. */
const UPGRADE = `
const [url, origin] = process.argv.slice(1)
const request = require('node:http').get(url + '/auth', {
  headers: { Origin: origin, Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAAAA==' },
})
const tell = (response) => { console.log(response.statusCode); process.exit() }
request.on('upgrade', tell).on('response', tell)
`
