import { jittered, type Runtime, type Timer } from '../dht/index.ts'

/** Timers of one thing, which all end with it. */
export class Timers {
  readonly #runtime: Runtime
  readonly #running = new Set<Timer>()
  #isOver = false

  constructor(runtime: Runtime) {
    this.#runtime = runtime
  }

  /** Gives what takes it back. */
  after(delayMs: number, work: () => void): () => void {
    if (this.#isOver) return () => undefined
    const timer = this.#runtime.setTimer(() => {
      this.#running.delete(timer)
      work()
    }, delayMs)
    this.#running.add(timer)
    return () => {
      this.#running.delete(timer)
      timer.clear()
    }
  }

  /** Repeats with jitter; a run that overslept happens once, not as often as it was missed. 0: never. */
  every(intervalMs: number, work: () => Promise<void>): void {
    if (intervalMs <= 0) return
    this.after(jittered(this.#runtime, intervalMs), () => {
      void work().finally(() => this.every(intervalMs, work))
    })
  }

  end(): void {
    this.#isOver = true
    for (const timer of this.#running) timer.clear()
    this.#running.clear()
  }
}
