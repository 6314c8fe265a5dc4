import type { ErrorCode } from './errors.ts'
import type { Runtime } from './runtime.ts'

/** What a node counts and times of itself. It decides nothing, and no work waits a turn longer for being measured. */

/** How often something ended with each code. Bounded, because the codes are. */
export type CodeCounts = Partial<Record<ErrorCode, number>>

export function countCode(counts: CodeCounts, code: ErrorCode, by = 1): void {
  if (by > 0) counts[code] = (counts[code] ?? 0) + by
}

export const totalOf = (counts: CodeCounts): number =>
  Object.values(counts).reduce((sum, count) => sum + count, 0)

/**
 * decode: one frame. serve: one request of a peer, from its arrival to the answer. serveWaiting: the same of those
 * that ask to wait, or to fetch from others first (wire.ts). verify: one signature of a message.
 * dedupe: which messages of a commit are stored already. load: one record from the disk. apply: one delta to a head.
 * commit: one group of messages, until a majority has it. fanOut: one push, until it is acknowledged. disk: one write,
 * until it is on the disk.
 */
export const STAGES = [
  'decode',
  'serve',
  'serveWaiting',
  'verify',
  'dedupe',
  'load',
  'apply',
  'commit',
  'fanOut',
  'disk',
] as const
export type Stage = (typeof STAGES)[number]

/** Upper ends of the classes of a histogram; the last class has what took longer than all. */
export const STAGE_BOUNDS_MS = [0.1, 0.5, 1, 5, 10, 50, 100, 500, 1_000, 5_000, 30_000] as const

/** Times include waiting; what runs side by side is added up. */
export interface StageReading {
  count: number
  totalMs: number
  maxMs: number
  /** How many fell into each class of STAGE_BOUNDS_MS, and into the last one above it. */
  counts: number[]
}

export class StageTimers {
  readonly #runtime: Runtime
  readonly #stages = Object.fromEntries(
    STAGES.map((stage) => [
      stage,
      { count: 0, totalMs: 0, maxMs: 0, counts: Array(STAGE_BOUNDS_MS.length + 1).fill(0) },
    ]),
  ) as Record<Stage, StageReading>

  constructor(runtime: Runtime) {
    this.#runtime = runtime
  }

  /** The moment that `end` is given. */
  begin(): number {
    return this.#runtime.monotonicNow()
  }

  end(stage: Stage, begunMs: number): void {
    const tookMs = this.#runtime.monotonicNow() - begunMs
    const reading = this.#stages[stage]
    reading.count += 1
    reading.totalMs += tookMs
    if (tookMs > reading.maxMs) reading.maxMs = tookMs
    let at = 0
    while (at < STAGE_BOUNDS_MS.length && tookMs > (STAGE_BOUNDS_MS[at] as number)) at += 1
    reading.counts[at] = (reading.counts[at] as number) + 1
  }

  /** Gives what `work` gives, the same promise, also when it fails. */
  watch<T>(stage: Stage, work: () => Promise<T>): Promise<T> {
    const begunMs = this.begin()
    const working = work()
    const end = () => this.end(stage, begunMs)
    working.then(end, end)
    return working
  }

  get readings(): Record<Stage, StageReading> {
    return structuredClone(this.#stages)
  }
}
