import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type ErrorCode, isErrorCode, StickyError } from '../dht/index.ts'
import { type HealthReading, healthLine, type Output, untilAborted } from '../node/program.ts'
import type { Bridge } from './bridge.ts'
import { hasChat, startBridgeIn, tellNoChat, tellOtherMachines } from './commands.ts'

/** `sticky start`: a bridge and a few nodes on this machine, each node a process with its own data folder. */

export interface StartOptions {
  port: number
  host: string
  data: string
  nodes: number
  /** Of the first node; the others have the next ones. 0: any free ones. */
  metricsPort?: number
  passphraseFile?: string
  webRoot: string
  /** The program that runs a node: this one. */
  program: string[]
}

export async function runLocalNetwork(
  options: StartOptions,
  output: Output,
  signal: AbortSignal,
): Promise<void> {
  const { port, host, data, webRoot, passphraseFile } = options
  const bridge = await startBridgeIn({
    directory: join(data, 'bridge'),
    port,
    host,
    webRoot,
    ...(passphraseFile ? { passphraseFile } : {}),
  })
  const failed = Promise.withResolvers<never>()
  failed.promise.catch(() => undefined)
  const aborted = untilAborted(signal)
  const nodes: NodeProcess[] = []
  try {
    for (let i = 1; i <= options.nodes; i++) {
      const onHealth = (reading: HealthReading) => {
        if (output.json) output.result({ event: 'health', node: i, ...reading }, '')
        else output.note(`node ${i}: ${healthLine(reading)}`)
      }
      nodes.push(new NodeProcess(options, bridge.url, i, { onHealth, onFailure: failed.reject }))
    }
    let ready = 0
    output.progress(`0 of ${options.nodes} nodes ready …`)
    const all = nodes.map(async (node) => {
      await node.ready
      ready += 1
      output.progress(`${ready} of ${options.nodes} nodes ready …`)
    })
    await Promise.race([Promise.all(all), failed.promise, aborted])
    if (signal.aborted) return
    announce(bridge, options, output)
    await Promise.race([aborted, failed.promise])
  } finally {
    output.note('stopping …')
    await Promise.all(nodes.map((node) => node.stop()))
    await bridge.close()
  }
}

function announce(bridge: Bridge, { data, nodes, webRoot }: StartOptions, output: Output): void {
  const join = `npx sticky sub lobby --bridge ${bridge.url}`
  tellOtherMachines(bridge, output)
  tellNoChat(webRoot, output)
  output.result(
    { event: 'ready', url: bridge.url, lanUrls: bridge.lanUrls, relay: bridge.address, nodes, data },
    [
      `bridge and ${nodes} ${nodes === 1 ? 'node' : 'nodes'} run on this machine, data in ${data}`,
      ...(hasChat(webRoot) ? [`open the chat:    ${bridge.url}`] : []),
      `from a terminal:  ${join}`,
      `                  npx sticky pub lobby "hello" --as me --bridge ${bridge.url}`,
      `ready: ${bridge.url}`,
    ].join('\n'),
  )
}

/** How long a node may take to close its files before it is killed; its log makes that safe too. */
const STOP_MS = 8_000

interface NodeListeners {
  onHealth(reading: HealthReading): void
  onFailure(error: StickyError): void
}

class NodeProcess {
  readonly ready: Promise<void>
  readonly #child: ChildProcess
  readonly #exited: Promise<void>
  #stopping = false

  constructor(
    { data, nodes, program, passphraseFile, metricsPort }: StartOptions,
    bridgeUrl: string,
    index: number,
    { onHealth, onFailure }: NodeListeners,
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
      ...(passphraseFile ? ['--passphrase-file', passphraseFile] : []),
      ...(metricsPort === undefined
        ? []
        : ['--metrics-port', String(metricsPort && metricsPort + index - 1)]),
    ]
    // A group of its own: Ctrl-C reaches this process, which then stops the nodes in order. The channel tells a node
    // that this process is gone when it could not do that.
    this.#child = spawn(command as string, args, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'], detached: true })
    let errors = ''
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      errors = (errors + chunk.toString()).slice(-4_000)
    })
    this.ready = new Promise((resolve) => {
      const lines = createInterface({ input: this.#child.stdout as NodeJS.ReadableStream })
      lines.on('line', (line) => {
        const told = jsonOf(line)
        if (told.event === 'ready') resolve()
        if (told.event === 'health') onHealth(told as unknown as HealthReading)
      })
    })
    this.#exited = new Promise((resolve) => {
      const onExit = () => {
        resolve()
        if (this.#stopping) return
        const { code, message } = reasonOf(errors)
        onFailure(new StickyError(code, `node ${index} (${directory}) ended: ${message}`))
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

/** Of a line of a node's own; what is no JSON says nothing. */
function jsonOf(line: string): { event?: unknown; error?: unknown; message?: unknown } {
  try {
    return JSON.parse(line) as object
  } catch {
    return {}
  }
}

/** What a node printed before it ended: its sentence and its code. */
function reasonOf(errors: string): { code: ErrorCode; message: string } {
  const lines = errors.trim().split('\n')
  for (const { error, message } of lines.toReversed().map(jsonOf)) {
    if (typeof message !== 'string') continue
    return { code: typeof error === 'string' && isErrorCode(error) ? error : 'STORAGE_FAILED', message }
  }
  return { code: 'STORAGE_FAILED', message: lines.at(-1) || 'no reason was given' }
}
