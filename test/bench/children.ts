import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { extname, join } from 'node:path'

/** Processes and folders of the benchmark. All of them are known here, so that none stays behind. */

const running = new Set<ChildProcess>()
const folders = new Set<string>()
let over = false

/** From now on nothing is started any more. */
export function refuseNewProcesses(): void {
  over = true
}

export const isOver = (): boolean => over

/** Before each start. */
export function requireNotOver(): void {
  if (over) throw new Error('The benchmark is ending.')
}

export function remember(process: ChildProcess): void {
  running.add(process)
  process.once('exit', () => running.delete(process))
}

export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sticky-bench-'))
  folders.add(folder)
  return folder
}

export async function removeFolder(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true, maxRetries: 3 })
  folders.delete(folder)
}

/** Ends what is left, without asking. */
export async function endAll(): Promise<void> {
  const exits = [...running].map((process) => {
    const exited = once(process, 'exit')
    process.kill('SIGKILL')
    return exited
  })
  await Promise.all(exits)
  for (const folder of folders) await removeFolder(folder)
}

/** Asks a process to end; one that does not is ended. */
export async function endProcess(process: ChildProcess): Promise<void> {
  if (process.exitCode !== null || process.signalCode !== null) return
  const exited = once(process, 'exit')
  process.kill('SIGTERM')
  const impatient = setTimeout(() => process.kill('SIGKILL'), 10_000)
  await exited
  clearTimeout(impatient)
}

interface Question {
  id: number
  name: string
  args: unknown
}
interface Answer {
  id: number
  value?: unknown
  error?: string
}

/** A process that runs a file of this folder and answers questions over Node's own channel. */
export class Child {
  readonly #process: ChildProcess
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>()
  #lastId = 0

  private constructor(process: ChildProcess) {
    this.#process = process
    remember(process)
    process.on('message', ({ id, value, error }: Answer) => {
      const waiting = this.#waiting.get(id)
      this.#waiting.delete(id)
      if (error === undefined) waiting?.resolve(value)
      else waiting?.reject(new Error(error))
    })
    process.once('exit', (code, signal) => {
      for (const { reject } of this.#waiting.values())
        reject(new Error(`A process of the benchmark ended with ${code ?? signal}.`))
      this.#waiting.clear()
    })
  }

  /** `file` is named without its ending. Resolves once it answers; its handlers then exist. */
  static async start(file: string, args: string[] = [], execArgv: string[] = []): Promise<Child> {
    requireNotOver()
    const child = new Child(
      fork(join(import.meta.dirname, file + extname(import.meta.filename)), args, {
        serialization: 'advanced',
        execArgv: [...process.execArgv, ...execArgv],
      }),
    )
    await child.ask('ready')
    return child
  }

  get pid(): number {
    return this.#process.pid as number
  }

  ask<T>(name: string, args?: unknown): Promise<T> {
    if (!this.#process.connected) return Promise.reject(new Error('A process of the benchmark has ended.'))
    const id = ++this.#lastId
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve: (value) => resolve(value as T), reject })
      this.#process.send({ id, name, args } satisfies Question)
    })
  }

  stop(): Promise<void> {
    return endProcess(this.#process)
  }
}

export type Handlers = Record<string, (args: never) => unknown>

/** The other side: answers, and ends when it is told to or when nobody is left to answer to. */
export function serve(handlers: Handlers, close: () => Promise<unknown>): void {
  let closing = false
  const end = () => {
    if (closing) return
    closing = true
    void close()
      .catch(() => undefined)
      .finally(() => process.exit(0))
  }
  process.once('SIGTERM', end)
  process.on('SIGINT', () => undefined) // Ctrl-C reaches every process of the terminal; the first one decides
  process.once('disconnect', end)
  const all: Handlers = { ...handlers, ready: () => undefined }
  process.on('message', async ({ id, name, args }: Question) => {
    let answer: Answer
    try {
      answer = { id, value: await all[name]?.(args as never) }
    } catch (error) {
      answer = { id, error: `${name}: ${error instanceof Error ? error.message : String(error)}` }
    }
    if (process.connected) process.send?.(answer)
  })
}
