import {
  asStickyError,
  MAX_DOWN,
  type Runtime,
  StickyError,
  systemRuntime,
  type Timer,
} from '../dht/index.ts'
import type { Diagnostics, StickyPubSub } from '../pubsub/index.ts'
import { type HealthReading, judge, unknown, unreadable } from './health.ts'
import { isReset, type Sample, sampleOf } from './health-sample.ts'

/** Reads a node's diagnostics now and then, keeps the last few minutes of it, and has it judged (health.ts). */

export interface HealthOptions {
  /** From the end of one reading to the next. */
  sampleMs: number
  /** How far back the oldest sample may lie that is judged by. */
  windowMs: number
  /** Who does not answer in this time cannot be read. */
  readTimeoutMs: number
  runtime: Runtime
}

const DEFAULTS: HealthOptions = {
  sampleMs: 10_000,
  windowMs: 5 * 60_000,
  readTimeoutMs: 5_000,
  runtime: systemRuntime,
}

/** A node to be judged. */
export interface HealthSource {
  nodeId: string
  bootId: string
  read(): Promise<Diagnostics>
}

export const healthSource = (pubsub: StickyPubSub): HealthSource => ({
  nodeId: pubsub.nodeId,
  bootId: pubsub.dht.rpc.sessionId,
  async read() {
    const told = await pubsub.diagnostics()
    const { peers, bounds } = told
    if (peers.cooled.length === bounds.cooledPeers?.held) return told
    // the list is cut off, and a share of all needs all
    return { ...told, peers: { ...peers, cooled: pubsub.dht.replicas.view(MAX_DOWN).cooled } }
  },
})

export class HealthWatch {
  readonly #source: HealthSource
  readonly #options: HealthOptions
  readonly #onReading: (reading: HealthReading) => void
  /** Oldest first: at most as many as fit into the window. */
  #samples: Sample[] = []
  #reading: HealthReading
  /** Under way, also one that is not waited for any more: another one would only wait behind it. */
  #read: Promise<Diagnostics> | undefined
  #failed = 0
  #timer: Timer | undefined
  #isClosed = false

  /** Begins at once; goes on until it is closed. */
  constructor(
    source: HealthSource,
    options: Partial<HealthOptions> = {},
    onReading: (reading: HealthReading) => void = () => undefined,
  ) {
    this.#source = source
    this.#options = { ...DEFAULTS, ...options }
    this.#onReading = onReading
    this.#reading = this.#unknown()
    void this.#sample()
  }

  /** The latest one: `asOf` tells how old it is. */
  get reading(): HealthReading {
    return this.#reading
  }

  close(): void {
    this.#isClosed = true
    this.#timer?.clear()
  }

  async #sample(): Promise<void> {
    const reading = await this.#readOnce()
    if (this.#isClosed) return
    this.#reading = reading
    this.#timer = this.#options.runtime.setTimer(() => void this.#sample(), this.#options.sampleMs)
    this.#onReading(reading)
  }

  async #readOnce(): Promise<HealthReading> {
    try {
      const sample = sampleOf(await this.#readInTime())
      this.#failed = 0
      return this.#add(sample)
    } catch (error) {
      this.#failed += 1
      const fallback = error instanceof TypeError ? 'MALFORMED' : 'STORAGE_FAILED' // a part that is not there
      const finding = unreadable(this.#failed, asStickyError(error, fallback).code)
      return { ...this.#unknown(), findings: [finding] }
    }
  }

  #readInTime(): Promise<Diagnostics> {
    this.#read ??= this.#source.read().finally(() => {
      this.#read = undefined
    })
    const { promise, resolve, reject } = Promise.withResolvers<Diagnostics>()
    this.#read.then(resolve, reject)
    const timer = this.#options.runtime.setTimer(
      () => reject(new StickyError('TIMEOUT', 'The diagnostics do not come.')),
      this.#options.readTimeoutMs,
    )
    this.#timer = timer
    return promise.finally(() => timer.clear())
  }

  #add(sample: Sample): HealthReading {
    const last = this.#samples.at(-1)
    if (last !== undefined && isReset(last, sample)) this.#samples = []
    this.#samples = this.#samples.filter(
      ({ uptimeMs }) => sample.uptimeMs - uptimeMs <= this.#options.windowMs,
    )
    const [oldest] = this.#samples
    this.#samples.push(sample)
    return oldest === undefined ? unknown(sample) : judge(oldest, sample)
  }

  #unknown(): HealthReading {
    const { nodeId, bootId } = this.#source
    const uptimeMs = this.#samples.at(-1)?.uptimeMs ?? 0
    return unknown({ nodeId, bootId, uptimeMs, asOf: this.#options.runtime.now() })
  }
}
