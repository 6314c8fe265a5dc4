import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

/** Processes of the benchmark, each a node, spoken to over Node's own channel. */
export class Child {
  readonly #process: ChildProcess

  private constructor(process: ChildProcess) {
    this.#process = process
  }

  /** Starts a file of this folder; resolves with what it says first. */
  static async start<T>(file: string, args: string[]): Promise<{ child: Child; ready: T }> {
    const child = new Child(fork(join(import.meta.dirname, file), args))
    return { child, ready: (await child.#answer()) as T }
  }

  async ask<T>(question: string): Promise<T> {
    const answer = this.#answer()
    this.#process.send(question)
    return (await answer) as T
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null) return
    const exited = once(this.#process, 'exit')
    this.#process.kill('SIGTERM')
    await exited
  }

  async #answer(): Promise<unknown> {
    const over = new AbortController()
    const { signal } = over
    try {
      return await Promise.race([
        once(this.#process, 'message', { signal }).then(([message]) => message as unknown),
        once(this.#process, 'exit', { signal }).then(([code]) => {
          throw new Error(`A process of the benchmark ended with ${code}.`)
        }),
      ])
    } finally {
      over.abort()
    }
  }
}

/** The other side: says that it is ready, answers, and ends when it is told to. */
export function serve(
  ready: unknown,
  answer: (question: string) => unknown,
  close: () => Promise<void>,
): void {
  const end = () => void close().finally(() => process.exit(0))
  process.once('SIGTERM', end)
  process.once('disconnect', end)
  process.on('message', (question: string) => process.send?.(answer(question)))
  process.send?.(ready)
}
