import { StickyError, type Storage, type StorageOp } from '../../src/dht/index.ts'
import type { Random } from './random.ts'
import type { SimulatedRuntime, World } from './world.ts'

/**
 * A disk that outlives the processes which open it. A write takes time and is applied, whole, when it resolves. When the
 * power fails, what had not resolved is there up to some write and not after it.
 */

export interface DiskOptions {
  minWriteMs: number
  maxWriteMs: number
  maxReadMs: number
}

const DEFAULTS: DiskOptions = { minWriteMs: 0.5, maxWriteMs: 4, maxReadMs: 0.3 }

export type DiskFault = 'STORAGE_FAILED' | 'STORAGE_FULL'

interface PendingWrite {
  operations: StorageOp[]
  resolve(): void
  reject(error: StickyError): void
}

export class SimulatedDisk {
  readonly label: string
  readonly #world: World
  readonly #random: Random
  readonly values = new Map<string, Uint8Array>()
  options: DiskOptions = { ...DEFAULTS }
  /** While set, every write is refused with this code and leaves nothing behind. */
  fault: DiskFault | undefined
  readonly counters = { writes: 0, failedWrites: 0, lostWrites: 0, survivedWrites: 0, flippedBits: 0 }
  #pending: PendingWrite[] = []
  #freeAtMs = 0
  /** What this disk corrupted, and whether the process of now has read it since. */
  readonly #flipped = new Map<string, { bytes: Uint8Array; isRead: boolean }>()

  constructor(world: World, label: string) {
    this.#world = world
    this.label = label
    this.#random = world.random(`disk ${label}`)
  }

  /** The storage of one process; it does nothing more once the process has stopped. */
  open(runtime: SimulatedRuntime): Storage {
    let closed = false
    const requireOpen = () => {
      if (closed) throw new StickyError('CLOSED', 'This storage is closed.')
    }
    const sortedKeys = (prefix: string) =>
      [...this.values.keys()].filter((key) => key.startsWith(prefix)).sort()
    const read = () => this.#alive(runtime, this.#random.between(0.01, this.options.maxReadMs))
    const { values } = this
    const flips = this.#flipped
    return {
      persistent: true,
      async get(key) {
        requireOpen()
        await read()
        const value = values.get(key)
        const flipped = flips.get(key)
        if (flipped !== undefined && flipped.bytes === value) flipped.isRead = true
        return value?.slice()
      },
      async *entries(prefix) {
        requireOpen()
        await read()
        for (const key of sortedKeys(prefix)) {
          const value = values.get(key)
          if (value !== undefined) yield [key, value.slice()]
        }
      },
      async *keys(prefix) {
        requireOpen()
        await read()
        yield* sortedKeys(prefix)
      },
      write: async (operations) => {
        requireOpen()
        await this.#write(runtime, operations)
      },
      async close() {
        closed = true
      },
    }
  }

  /** Resolves after the delay, never when the process has stopped. */
  #alive(runtime: SimulatedRuntime, delayMs: number): Promise<void> {
    return new Promise((resolve) => runtime.setTimer(resolve, delayMs))
  }

  #write(runtime: SimulatedRuntime, operations: StorageOp[]): Promise<void> {
    if (runtime.isStopped) return new Promise(() => undefined)
    const copies = operations.map((operation) =>
      operation.type === 'put' ? { ...operation, value: operation.value.slice() } : operation,
    )
    const { minWriteMs, maxWriteMs } = this.options
    const doneAtMs = Math.max(
      this.#freeAtMs,
      this.#world.nowMs + this.#random.between(minWriteMs, maxWriteMs),
    )
    this.#freeAtMs = doneAtMs
    return new Promise((resolve, reject) => {
      const pending: PendingWrite = { operations: copies, resolve, reject }
      this.#pending.push(pending)
      runtime.setTimer(() => this.#complete(pending), doneAtMs - this.#world.nowMs)
    })
  }

  #complete(pending: PendingWrite): void {
    this.#pending = this.#pending.filter((other) => other !== pending)
    if (this.fault !== undefined) {
      this.counters.failedWrites += 1
      this.#forgetReads()
      this.#world.log(this.label, `disk refuses a write: ${this.fault}`)
      pending.reject(new StickyError(this.fault, 'The simulated disk refuses.'))
      return
    }
    this.counters.writes += 1
    this.#apply(pending.operations)
    this.#world.log(this.label, `disk wrote ${pending.operations.length}`)
    pending.resolve()
  }

  #apply(operations: StorageOp[]): void {
    for (const operation of operations) {
      if (operation.type === 'put') this.values.set(operation.key, operation.value)
      else this.values.delete(operation.key)
    }
  }

  /** Who had read it could not put it right. */
  #forgetReads(): void {
    for (const flipped of this.#flipped.values()) flipped.isRead = false
  }

  /** Corrupted by this disk, and nobody can know it yet. */
  isHiddenDamage(name: string): boolean {
    const flipped = this.#flipped.get(name)
    return flipped !== undefined && !flipped.isRead && this.values.get(name) === flipped.bytes
  }

  /** The process is gone. Of what it was writing the first few writes arrived, though nobody was told. */
  powerCut(): void {
    const survivors = this.#random.int(0, this.#pending.length)
    for (const { operations } of this.#pending.slice(0, survivors)) this.#apply(operations)
    this.counters.survivedWrites += survivors
    this.counters.lostWrites += this.#pending.length - survivors
    this.#pending = []
    this.#freeAtMs = this.#world.nowMs
    this.#forgetReads()
  }

  erase(): void {
    this.values.clear()
  }

  /** Changes one bit in `count` stored values under `prefix`. Gives their names. */
  flipBits(prefix: string, count: number): string[] {
    const names = [...this.values.keys()].filter((key) => key.startsWith(prefix)).sort()
    const chosen = this.#random.sample(names, count)
    for (const name of chosen) {
      const value = (this.values.get(name) as Uint8Array).slice()
      if (value.byteLength === 0) continue
      const at = this.#random.int(0, value.byteLength - 1)
      value[at] = (value[at] as number) ^ (1 << this.#random.int(0, 7))
      this.values.set(name, value)
      this.#flipped.set(name, { bytes: value, isRead: false })
      this.counters.flippedBits += 1
      this.#world.log(this.label, `disk corrupts ${name}`)
    }
    return chosen
  }
}
