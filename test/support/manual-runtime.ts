import type { Runtime, Timer } from '../../src/dht/runtime.ts'

/** Time that stands still until a test moves it, and chance that is the same in every run. */
export class ManualRuntime implements Runtime {
  #monotonicMs = 0
  #wallMs: () => number
  #order = 0
  #bytesMade = 0
  readonly #timers = new Set<{ atMs: number; order: number; callback: () => void }>()

  constructor(wallMs: number | (() => number) = 1_800_000_000_000) {
    this.#wallMs = typeof wallMs === 'number' ? () => wallMs + this.#monotonicMs : wallMs
  }

  now(): number {
    return this.#wallMs()
  }

  monotonicNow(): number {
    return this.#monotonicMs
  }

  setTimer(callback: () => void, delayMs: number): Timer {
    const timer = { atMs: this.#monotonicMs + delayMs, order: this.#order++, callback }
    this.#timers.add(timer)
    return { clear: () => void this.#timers.delete(timer) }
  }

  randomBytes(length: number): Uint8Array {
    return new Uint8Array(length).fill(++this.#bytesMade)
  }

  random(): number {
    return 0.5
  }

  /** Timers that are set and have not run. */
  get waiting(): number {
    return this.#timers.size
  }

  /** How long until the next one runs. */
  get nextInMs(): number {
    return Math.min(...[...this.#timers].map(({ atMs }) => atMs)) - this.#monotonicMs
  }

  /** Runs every timer that is due within `ms`, in order. */
  advance(ms: number): void {
    const end = this.#monotonicMs + ms
    for (;;) {
      const [next] = [...this.#timers]
        .filter(({ atMs }) => atMs <= end)
        .sort((a, b) => a.atMs - b.atMs || a.order - b.order)
      if (next === undefined) break
      this.#timers.delete(next)
      this.#monotonicMs = Math.max(this.#monotonicMs, next.atMs)
      next.callback()
    }
    this.#monotonicMs = end
  }
}
