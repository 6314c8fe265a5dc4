import { crc32 } from 'node:zlib'
import type { Runtime, Timer } from '../../src/dht/index.ts'
import { Random } from './random.ts'

/**
 * Virtual time. Everything that happens is an event with a moment; events run one at a time, in order of moment and then
 * of making, and after each one all promise reactions run to their end before the next. With chance from one seed the
 * same seed is the same run, byte for byte.
 */

interface WorldEvent {
  atMs: number
  order: number
  run: (() => void) | undefined
}

export interface WorldOptions {
  seed: number
  /** Keep the lines of the trace, not only their checksum. */
  keepTrace?: boolean
  /** Turns of the real event loop after each event. One is enough as long as all work is in microtasks. */
  drainTurns?: number
  /** An event beyond this means that the run does not end. */
  maxVirtualMs?: number
}

/** 2027-01-15: wall clocks of the simulation begin here. */
export const EPOCH_MS = 1_800_000_000_000

export class World {
  readonly seed: number
  readonly trace: string[] = []
  readonly #root: Random
  readonly #options: Required<WorldOptions>
  readonly #heap: WorldEvent[] = []
  #order = 0
  #nowMs = 0
  #skippedMs = 0
  #traceChecksum = 0
  events = 0

  constructor(options: WorldOptions) {
    this.seed = options.seed
    this.#options = { keepTrace: false, drainTurns: 1, maxVirtualMs: 24 * 3_600_000, ...options }
    this.#root = new Random(`seed ${options.seed}`)
  }

  /** ms since the beginning of the run. */
  get nowMs(): number {
    return this.#nowMs
  }

  /** By a wall clock that is right. */
  get wallMs(): number {
    return EPOCH_MS + this.#nowMs + this.#skippedMs
  }

  /** A stretch in which nobody does anything: wall clocks go on, timers wait. An hour in which all are idle costs nothing so. */
  skip(forMs: number): void {
    this.log('world', `${forMs} ms later`)
    this.#skippedMs += forMs
  }

  get keepsTrace(): boolean {
    return this.#options.keepTrace
  }

  /** The stream of chance for one purpose. */
  random(purpose: string): Random {
    return this.#root.fork(purpose)
  }

  at(delayMs: number, run: () => void): Timer {
    const event: WorldEvent = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.#order++, run }
    this.#push(event)
    return {
      clear: () => {
        event.run = undefined
      },
    }
  }

  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.at(delayMs, resolve))
  }

  /** One line of the trace: what happened where. */
  log(where: string, what: string): void {
    const line = `${this.#nowMs.toFixed(3)} ${where} ${what}`
    this.#traceChecksum = crc32(line, this.#traceChecksum)
    if (this.#options.keepTrace) this.trace.push(line)
  }

  /** Of every line logged so far. */
  get checksum(): string {
    return this.#traceChecksum.toString(16).padStart(8, '0')
  }

  /** Runs events until `main` is settled. */
  async run<T>(main: () => Promise<T>): Promise<T> {
    let settled = false
    const result = main().finally(() => {
      settled = true
    })
    result.catch(() => undefined)
    await this.#drain()
    while (!settled) {
      if (!(await this.step())) throw new Error(`Nothing is left to happen at ${this.#nowMs} ms: a deadlock.`)
    }
    return result
  }

  /** Runs the next event and all that follows from it at once. False when there is none. */
  async step(): Promise<boolean> {
    const event = this.#pop()
    if (event === undefined) return false
    this.#nowMs = event.atMs
    this.events += 1
    if (event.atMs > this.#options.maxVirtualMs) throw new Error('The run does not come to an end.')
    event.run?.()
    await this.#drain()
    return true
  }

  async #drain(): Promise<void> {
    for (let turn = 0; turn < this.#options.drainTurns; turn++)
      await new Promise<void>((resolve) => setImmediate(resolve))
  }

  #push(event: WorldEvent): void {
    const heap = this.#heap
    let at = heap.push(event) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!isBefore(event, heap[parent] as WorldEvent)) break
      heap[at] = heap[parent] as WorldEvent
      at = parent
    }
    heap[at] = event
  }

  /** The next event that was not cleared. */
  #pop(): WorldEvent | undefined {
    for (;;) {
      const first = this.#popAny()
      if (first === undefined || first.run !== undefined) return first
    }
  }

  #popAny(): WorldEvent | undefined {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (first === undefined || last === undefined || heap.length === 0) return first
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1] as WorldEvent, heap[child] as WorldEvent))
        child += 1
      if (!isBefore(heap[child] as WorldEvent, last)) break
      heap[at] = heap[child] as WorldEvent
      at = child
    }
    heap[at] = last
    return first
  }
}

const isBefore = (a: WorldEvent, b: WorldEvent): boolean =>
  a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)

/** Time, timers and chance of one process. After `stop` nothing of it happens any more: what was running is a ghost. */
export class SimulatedRuntime implements Runtime {
  readonly #world: World
  readonly #random: Random
  /** How far this node's wall clock is off. May be changed at any moment: the clock jumps. */
  skewMs = 0
  /** Until this moment the process stands still, as after SIGSTOP. */
  pausedUntilMs = 0
  #isStopped = false
  readonly #timers = new Set<object>()

  constructor(world: World, random: Random) {
    this.#world = world
    this.#random = random
  }

  get isStopped(): boolean {
    return this.#isStopped
  }

  now(): number {
    return Math.floor(this.#world.wallMs + this.skewMs)
  }

  monotonicNow(): number {
    return this.#world.nowMs
  }

  setTimer(callback: () => void, delayMs: number): Timer {
    const own = {}
    const ring = () => {
      const pauseMs = this.pausedUntilMs - this.#world.nowMs
      if (this.#isStopped) return
      if (pauseMs > 0) {
        timer = this.#world.at(pauseMs, ring)
        return
      }
      this.#timers.delete(own)
      callback()
    }
    let timer = this.#world.at(delayMs, ring)
    this.#timers.add(own)
    return {
      clear: () => {
        this.#timers.delete(own)
        timer.clear()
      },
    }
  }

  /** Timers that neither rang nor were cleared. */
  get timers(): number {
    return this.#timers.size
  }

  randomBytes(length: number): Uint8Array {
    return this.#random.bytes(length)
  }

  random(): number {
    return this.#random.next()
  }

  stop(): void {
    this.#isStopped = true
  }
}
