import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { StickyError } from '../dht/index.ts'
import { loadOrCreateIdentity, type Output, resolvePassphrase } from '../node/index.ts'
import { type Bridge, startBridge } from './bridge.ts'

/** `sticky start`: a bridge and a few nodes on this machine, each node a process with its own data folder. */

export interface StartOptions {
  port: number
  host: string
  data: string
  nodes: number
  webRoot: string
  /** The program that runs a node: this one. */
  program: string[]
}

export async function runLocalNetwork(
  options: StartOptions,
  output: Output,
  signal: AbortSignal,
): Promise<void> {
  const bridge = await startBridgeIn(join(options.data, 'bridge'), options)
  const stopped = new AbortController()
  const failed = Promise.withResolvers<never>()
  failed.promise.catch(() => undefined)
  const nodes: NodeProcess[] = []
  try {
    for (let i = 1; i <= options.nodes; i++) {
      nodes.push(new NodeProcess(options, bridge.url, i, (error) => failed.reject(error)))
    }
    let ready = 0
    output.progress(`0 of ${options.nodes} nodes ready …`)
    const all = nodes.map(async (node) => {
      await node.ready
      ready += 1
      output.progress(`${ready} of ${options.nodes} nodes ready …`)
    })
    const aborted = new Promise<void>((resolve) =>
      signal.addEventListener('abort', () => resolve(), { once: true }),
    )
    await Promise.race([Promise.all(all), failed.promise, aborted])
    if (signal.aborted) return
    announce(bridge, options, output)
    await Promise.race([aborted, failed.promise])
  } finally {
    stopped.abort()
    output.note('stopping …')
    await Promise.all(nodes.map((node) => node.stop()))
    await bridge.close()
  }
}

function announce(bridge: Bridge, { data, nodes }: StartOptions, output: Output): void {
  const join = `npx sticky sub lobby --bridge ${bridge.url}`
  output.result(
    { event: 'ready', url: bridge.url, relay: bridge.address, nodes, data },
    [
      `bridge and ${nodes} nodes run on this machine, data in ${data}`,
      `open the chat:    ${bridge.url}`,
      `from a terminal:  ${join}`,
      `                  npx sticky pub lobby "hello" --as me --bridge ${bridge.url}`,
      `ready: ${bridge.url}`,
    ].join('\n'),
  )
}

/** A bridge whose identity is kept in `directory`. */
export async function startBridgeIn(
  directory: string,
  { port, host, webRoot, publicUrl }: { port: number; host: string; webRoot: string; publicUrl?: string },
): Promise<Bridge> {
  const { seed } = await loadOrCreateIdentity({
    directory,
    passphrase: await resolvePassphrase({ directory }),
  })
  return startBridge({
    seed,
    port,
    host,
    ...(existsSync(join(webRoot, 'index.html')) ? { webRoot } : {}),
    ...(publicUrl ? { publicUrl } : {}),
  })
}

/** How long a node may take to close its files before it is killed; its log makes that safe too. */
const STOP_MS = 8_000

class NodeProcess {
  readonly ready: Promise<void>
  readonly #child: ChildProcess
  readonly #exited: Promise<void>
  #stopping = false

  constructor(
    { data, nodes, program }: StartOptions,
    bridgeUrl: string,
    index: number,
    onFailure: (error: StickyError) => void,
  ) {
    const directory = join(data, `node-${index}`)
    const [command, ...prefix] = program
    const args = [
      ...prefix,
      'node',
      '--json',
      '--data',
      directory,
      '--bridge',
      bridgeUrl,
      '--await-holders',
      String(nodes),
    ]
    // a group of its own: Ctrl-C reaches this process, which then stops the nodes in order
    this.#child = spawn(command as string, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true })
    let errors = ''
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      errors = (errors + chunk.toString()).slice(-4_000)
    })
    this.ready = new Promise((resolve) => {
      const lines = createInterface({ input: this.#child.stdout as NodeJS.ReadableStream })
      lines.on('line', (line) => {
        if (line.includes('"event":"ready"')) resolve()
      })
    })
    this.#exited = new Promise((resolve) => {
      const onExit = () => {
        resolve()
        if (!this.#stopping)
          onFailure(
            new StickyError('STORAGE_FAILED', `node ${index} (${directory}) ended: ${reasonOf(errors)}`),
          )
      }
      this.#child.once('exit', onExit)
      this.#child.once('error', onExit)
    })
  }

  async stop(): Promise<void> {
    this.#stopping = true
    this.#child.kill('SIGTERM')
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS)
    await this.#exited
    clearTimeout(timer)
  }
}

/** The sentence that a node printed before it ended. */
function reasonOf(errors: string): string {
  for (const line of errors.trim().split('\n').reverse()) {
    try {
      const parsed = JSON.parse(line) as { message?: unknown }
      if (typeof parsed.message === 'string') return parsed.message
    } catch {
      // not the JSON line
    }
  }
  return errors.trim().split('\n').at(-1) || 'no reason was given'
}
