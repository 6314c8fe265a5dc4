/** Time, chance and timers come from one object, so the shipped classes run in real time and in a seeded world. */

export interface Timer {
  clear(): void
}

export interface Runtime {
  /** Wall clock, ms since the Unix epoch. May jump. */
  now(): number
  /** ms that never go back; only differences mean anything. */
  monotonicNow(): number
  setTimer(callback: () => void, delayMs: number): Timer
  randomBytes(length: number): Uint8Array
  /** Uniform in [0, 1). */
  random(): number
}

export const systemRuntime: Runtime = {
  now: () => Date.now(),
  monotonicNow: () => performance.now(),
  setTimer(callback, delayMs) {
    const handle = setTimeout(callback, delayMs)
    return { clear: () => clearTimeout(handle) }
  },
  randomBytes: (length) => crypto.getRandomValues(new Uint8Array(length)),
  random: () => Math.random(),
}

/** Resolves after `delayMs`; rejects with the signal's reason when it aborts first. */
export function delay(runtime: Runtime, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const onAbort = () => {
      timer.clear()
      reject(signal?.reason)
    }
    const timer = runtime.setTimer(() => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    }, delayMs)
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}

/** Waits for work, at most so long; true when it has ended by then. Rejects when it does. */
export function atMost(runtime: Runtime, maxMs: number, work: Promise<unknown>): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const timer = runtime.setTimer(() => resolve(false), maxMs)
    work.then(() => resolve(true), reject).finally(() => timer.clear())
  })
}

/** Whether it was aborted because its time was over, not by somebody. */
export const isTimeout = ({ reason }: AbortSignal): boolean =>
  reason instanceof Error && reason.name === 'TimeoutError'

/** A value in [delayMs / 2, delayMs * 1.5): spreads periodic work of many nodes. */
export const jittered = (runtime: Runtime, delayMs: number): number => delayMs * (0.5 + runtime.random())
