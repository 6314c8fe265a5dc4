import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { runBridge } from '../../src/bridge/commands.ts'
import { runLocalNetwork } from '../../src/bridge/local-network.ts'
import { createNode } from '../../src/node/index.ts'
import type { Output } from '../../src/node/output.ts'
import type { Diagnostics } from '../../src/pubsub/index.ts'
import { flood } from '../support/flood.ts'
import { Program } from '../support/local-network.ts'
import { until } from '../support/memory-nodes.ts'
import { PROGRAM } from '../support/program.ts'

/** `sticky start` as a process: what `npm start` does for somebody who tries it, and what it says when it cannot. */

let folder: string
let data: string
const programs: Program[] = []

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sticky-start-'))
  data = join(folder, 'data')
})
afterEach(async () => {
  await Promise.all(
    programs
      .splice(0)
      .filter(({ child }) => child.exitCode === null && child.signalCode === null)
      .map((program) => program.kill('SIGTERM')),
  )
  rmSync(folder, { recursive: true, force: true })
})

function sticky(args: string[], env: NodeJS.ProcessEnv = {}): Program {
  const program = new Program(args, { XDG_DATA_HOME: join(folder, 'home'), STICKY_PASSPHRASE: '', ...env })
  programs.push(program)
  return program
}
const start = (...args: string[]) =>
  sticky(['start', '--json', '--nodes', '2', '--port', '0', '--data', data, ...args])
const ready = async (program: Program) =>
  (await program.event((event) => event.event === 'ready')) as { url: string; data: string; relay: string }

/** Ends with a sentence and a code, and without a stack. */
async function failure(program: Program): Promise<{ error: string; message: string }> {
  expect(await program.exited).toBe(1)
  expect(program.stderr).not.toMatch(/^\s+at /m)
  expect(program.stderr.trim().split('\n')).toHaveLength(1)
  return JSON.parse(program.stderr) as { error: string; message: string }
}

/** The port, or 0 where somebody has it. */
async function tryPort(wanted: number): Promise<number> {
  const server = createServer().listen(wanted, '127.0.0.1')
  const isMine = await new Promise<boolean>((resolve) => {
    server.once('listening', () => resolve(true)).once('error', () => resolve(false))
  })
  if (!isMine) return 0
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}
const freePort = () => tryPort(0)

/** Two, one after the other. */
async function freePorts(): Promise<[number, number]> {
  for (;;) {
    const port = await freePort()
    if (await tryPort(port + 1)) return [port, port + 1]
  }
}

/** Whether another process could take over the data folder: every node has let go of it. */
async function isLetGo(): Promise<boolean> {
  const { openLevelStorage } = await import('../../src/node/object-store.ts')
  for (const name of ['node-1', 'node-2']) {
    try {
      await (await openLevelStorage(join(data, name, 'records'))).close()
    } catch {
      return false
    }
  }
  return true
}

type Run = (output: Output, signal: AbortSignal) => Promise<void>

/** What people are told until it is ready, and how the address answers that they are given. */
async function toldWhenReady(run: Run): Promise<{ status: number; text: string }> {
  const stop = new AbortController()
  const texts: string[] = []
  const url = Promise.withResolvers<string>()
  const output: Output = {
    json: false,
    note: (text) => texts.push(text),
    progress: () => undefined,
    result: (value, text) => {
      texts.push(text)
      url.resolve((value as { url: string }).url)
    },
  }
  const running = run(output, stop.signal)
  running.catch(url.reject)
  const { status } = await fetch(await url.promise)
  stop.abort()
  await running
  return { status, text: texts.join('\n') }
}

describe('sticky start', () => {
  it('says which node is strained', { timeout: 90_000 }, async () => {
    const program = start()
    const { url } = await ready(program)
    const client = await createNode({ bridgeUrl: url, role: 'client' })
    try {
      const { network } = client.pubsub.dht
      let holders: { nodeId: string }[] = []
      await until(async () => {
        const signal = AbortSignal.timeout(5_000)
        holders = await network.closestPeers(new Uint8Array(32), { count: 8, minDurable: 0, signal })
        return holders.length === 2
      }, 20_000)
      const [strained] = holders as [{ nodeId: string }]
      await flood(client.pubsub, strained.nodeId)
      expect(await program.event(({ event }) => event === 'health')).toMatchObject({
        node: expect.any(Number),
        nodeId: strained.nodeId,
        status: 'strained',
        findings: [expect.objectContaining({ finding: 'requests-refused' })],
      })
    } finally {
      await client.close()
    }
  })

  it('honours PORT and STICKY_DATA, ends with 0 on Ctrl-C and SIGTERM, and keeps its data', async () => {
    const port = await freePort()
    const args = ['start', '--json', '--nodes', '2']
    const env = { PORT: String(port), STICKY_DATA: data }
    const first = sticky(args, env)
    expect(await ready(first)).toMatchObject({ url: `http://127.0.0.1:${port}`, data })
    const bridge = ['--bridge', `http://127.0.0.1:${port}`, '--json']
    const published = sticky(['pub', 'lobby', 'kept', ...bridge])
    expect(await published.exited).toBe(0)
    expect(published.events).toEqual([
      expect.objectContaining({
        status: 'stored',
        id: expect.any(String),
        publisher: expect.any(String),
        sequence: 1,
        topic: 'lobby',
        data: 'kept',
      }),
    ])
    await first.kill('SIGINT')
    expect(first.child.exitCode).toBe(0)
    expect(await isLetGo()).toBe(true)

    const metricsPorts = await freePorts()
    const second = sticky([...args, '--metrics-port', String(metricsPorts[0])], env)
    await ready(second)
    for (const metricsPort of metricsPorts) {
      const url = `http://127.0.0.1:${metricsPort}`
      expect(await (await fetch(`${url}/metrics`)).text()).toContain('sticky_node_records_held 1\n')
      const { peers } = (await (await fetch(`${url}/diagnostics/peers`)).json()) as Diagnostics
      expect(peers.direct).toBeGreaterThanOrEqual(2) // the bridge, and the other node
    }
    const history = sticky(['history', 'lobby', ...bridge])
    const inspected = sticky(['inspect', 'lobby', ...bridge])
    expect(await history.exited).toBe(0)
    expect(history.events).toEqual([
      expect.objectContaining({
        id: published.events[0]?.id,
        publisher: published.events[0]?.publisher,
        sequence: 1,
        publishedAt: expect.any(Number),
        data: 'kept',
      }),
    ])
    expect([await inspected.exited, inspected.stderr]).toEqual([0, ''])
    expect(inspected.events).toEqual([
      expect.objectContaining({
        topic: 'lobby',
        coordinator: expect.anything(),
        replicas: expect.any(Array),
      }),
    ])
    await second.kill('SIGTERM')
    expect(second.child.exitCode).toBe(0)
    expect(await isLetGo()).toBe(true)
  }, 90_000)

  it('offers the chat where it is built, and says how to build it where it is not', async () => {
    const webRoot = join(folder, 'web')
    const common = { port: 0, host: '127.0.0.1', data, webRoot }
    const program = [process.execPath, PROGRAM]
    const bridge = { ...common, inviteOnly: false, publicMetrics: false, limit: { limits: {}, relay: {} } }
    const start: Run = (...args) => runLocalNetwork({ ...common, nodes: 1, program }, ...args)
    const runs: Run[] = [start, (...args) => runBridge(bridge, ...args)]
    const toBuild = expect.stringContaining('npm run build')
    const offer = expect.stringContaining('open the chat')
    for (const run of runs) {
      const told = await toldWhenReady(run)
      expect(told).toEqual({ status: 404, text: toBuild })
      expect(told.text).not.toEqual(offer)
    }
    mkdirSync(webRoot)
    writeFileSync(join(webRoot, 'index.html'), 'the chat')
    expect(await toldWhenReady(start)).toEqual({ status: 200, text: offer })
    for (const run of runs) expect((await toldWhenReady(run)).text).not.toEqual(toBuild)
  }, 60_000)

  it('takes its nodes with it when it is killed', async () => {
    const program = start()
    await ready(program)
    expect(await isLetGo()).toBe(false)
    await program.kill('SIGKILL')
    await until(isLetGo, 20_000)
  }, 60_000)

  it('can be interrupted before it is ready', async () => {
    const program = start('--nodes', '3')
    await until(() => existsSync(join(data, 'node-1', 'records', 'LOCK')), 30_000)
    await program.kill('SIGINT')
    expect([0, 130]).toContain(program.child.exitCode)
    expect(program.events).toEqual([])
    await until(isLetGo, 20_000)
  }, 60_000)

  it('says that the port is in use', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const { port } = server.address() as { port: number }
    expect(await failure(start('--port', String(port)))).toEqual({
      error: 'PORT_IN_USE',
      message: `Port ${port} is in use. Stop what runs there, or choose another one with --port or $PORT.`,
    })
    server.close()
  }, 60_000)

  it('says that the data folder is in use, or broken, with the code of its cause', async () => {
    const first = start()
    await ready(first)
    expect(await failure(start())).toMatchObject({
      error: 'STORAGE_LOCKED',
      message: expect.stringContaining('is in use by another process'),
    })
    await first.kill('SIGTERM')

    writeFileSync(join(data, 'node-1', 'records', 'CURRENT'), 'garbage')
    expect(await failure(start())).toMatchObject({
      error: 'STORAGE_FAILED',
      message: expect.stringMatching(/node-1\/records cannot be opened .* Move it away/),
    })
    rmSync(join(data, 'node-1'), { recursive: true })

    const identity = join(data, 'node-2', 'identity.json')
    chmodSync(identity, 0o644)
    expect(await failure(start())).toMatchObject({
      error: 'IDENTITY_UNREADABLE',
      message: expect.stringContaining(`chmod 600 ${identity}`),
    })
  }, 90_000)

  it.each([
    ['a file', () => data, 'is not a folder'],
    ['below a file', () => join(data, 'deeper'), 'is not a folder'],
    ['not to be written', () => '/proc/sticky', 'cannot be made'],
  ])(
    'says that the data folder is %s',
    async (_name, path, sentence) => {
      writeFileSync(data, 'a file')
      expect(await failure(start('--data', path()))).toMatchObject({
        error: 'STORAGE_FAILED',
        message: expect.stringContaining(sentence),
      })
    },
    60_000,
  )
})
