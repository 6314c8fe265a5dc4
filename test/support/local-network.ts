import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { PROGRAM } from './program.ts'

/** A bridge and nodes as processes of their own, each with its data on disk, driven through the shipped program. */

const exec = promisify(execFile)

/** A node is there in two seconds, where several start and others use the machine in many more. */
const START_TIMEOUT_MS = 60_000

export interface RunningNode {
  directory: string
  nodeId: string
  process: Program
  /** libp2p addresses that it tells others. */
  addresses: string[]
  /** Where it tells of itself, with `--metrics-port`. */
  metrics: string
}

/** A process of the program, and what it printed: JSON lines are events. */
export class Program {
  readonly child: ChildProcess
  readonly events: Record<string, unknown>[] = []
  readonly lines: string[] = []
  readonly exited: Promise<number | null>
  stderr = ''
  readonly #waiting = new Set<() => void>()

  constructor(args: string[], env: NodeJS.ProcessEnv = {}) {
    this.child = spawn(process.execPath, [PROGRAM, ...args], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    })
    this.child.stderr?.on('data', (chunk: Buffer) => {
      this.stderr += chunk.toString()
    })
    createInterface({ input: this.child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
      if (line.startsWith('{')) this.events.push(JSON.parse(line) as Record<string, unknown>)
      else this.lines.push(line)
      for (const wake of this.#waiting) wake()
    })
    this.exited = new Promise((resolve) => {
      this.child.once('exit', (code) => {
        resolve(code)
        for (const wake of this.#waiting) wake()
      })
    })
  }

  /** The first event for which `condition` holds; fails when the process ends or the time is over. */
  async event(
    condition: (event: Record<string, unknown>) => boolean,
    timeoutMs = 30_000,
  ): Promise<Record<string, unknown>> {
    const deadline = Date.now() + timeoutMs
    for (;;) {
      const found = this.events.find(condition)
      if (found) return found
      if (this.child.exitCode !== null || this.child.signalCode !== null)
        throw new Error(`The program ended: ${this.stderr}`)
      const leftMs = deadline - Date.now()
      if (leftMs <= 0)
        throw new Error(`Not within ${timeoutMs} ms. ${this.events.length} events. ${this.stderr}`)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(done, leftMs)
        const waiting = this.#waiting
        function done() {
          clearTimeout(timer)
          waiting.delete(done)
          resolve()
        }
        waiting.add(done)
      })
    }
  }

  async count(
    condition: (event: Record<string, unknown>) => boolean,
    expected: number,
    timeoutMs = 30_000,
  ): Promise<void> {
    await this.event(() => this.events.filter(condition).length >= expected, timeoutMs)
  }

  async kill(signal: NodeJS.Signals): Promise<void> {
    this.child.kill(signal)
    await this.exited
  }
}

export class LocalNetwork {
  readonly directory: string
  url = ''
  readonly nodes: RunningNode[] = []
  #bridge: Program | undefined
  readonly #programs: Program[] = []

  readonly #bridgeFlags: string[]
  readonly #nodeFlags: string[]

  private constructor(directory: string, bridgeFlags: string[], nodeFlags: string[]) {
    this.directory = directory
    this.#bridgeFlags = bridgeFlags
    this.#nodeFlags = nodeFlags
  }

  static async start(options: {
    nodes: number
    bridgeFlags?: string[]
    nodeFlags?: string[]
  }): Promise<LocalNetwork> {
    const directory = await mkdtemp(join(tmpdir(), 'sticky-test-'))
    const network = new LocalNetwork(directory, options.bridgeFlags ?? [], options.nodeFlags ?? [])
    await network.startBridge(0)
    await Promise.all(
      Array.from({ length: options.nodes }, (_, i) => network.startNode(`node-${i + 1}`, options.nodes)),
    )
    return network
  }

  async startBridge(port: number): Promise<void> {
    this.#bridge = this.run(
      'bridge',
      '--json',
      '--port',
      String(port),
      '--data',
      join(this.directory, 'bridge'),
      ...this.#bridgeFlags,
    )
    this.url = (await this.#bridge.event((event) => event.event === 'ready')).url as string
  }

  async startNode(
    name: string,
    awaitHolders: number,
    { flags = [], env = {} }: { flags?: string[]; env?: NodeJS.ProcessEnv } = {},
  ): Promise<RunningNode> {
    const directory = join(this.directory, name)
    const args = [
      'node',
      '--json',
      '--data',
      directory,
      '--bridge',
      this.url,
      '--await-holders',
      String(awaitHolders),
      ...this.#nodeFlags,
      ...flags,
    ]
    const program = this.runWith(env, ...args)
    const ready = await program.event((event) => event.event === 'ready', START_TIMEOUT_MS)
    const node = {
      directory,
      nodeId: ready.nodeId as string,
      process: program,
      addresses: ready.addresses as string[],
      metrics: (ready.metrics ?? '') as string,
    }
    this.nodes.push(node)
    return node
  }

  /** Starts the program; it is stopped with the network. */
  run(...args: string[]): Program {
    return this.runWith({}, ...args)
  }

  runWith(env: NodeJS.ProcessEnv, ...args: string[]): Program {
    const program = new Program(args, env)
    this.#programs.push(program)
    return program
  }

  /** Runs a command of the program to its end, joined to this network. */
  sticky(...args: string[]): Promise<{ stdout: string; stderr: string }> {
    return exec(process.execPath, [PROGRAM, ...args, '--bridge', this.url], {
      maxBuffer: 256 * 1024 * 1024,
      env: { ...process.env, XDG_DATA_HOME: join(this.directory, 'client') },
    })
  }

  async killBridge(): Promise<void> {
    await this.#bridge?.kill('SIGKILL')
  }

  async stop(): Promise<void> {
    await Promise.all(
      this.#programs.map((program) =>
        program.child.exitCode === null ? program.kill('SIGTERM') : undefined,
      ),
    )
    await rm(this.directory, { recursive: true, force: true })
  }
}
