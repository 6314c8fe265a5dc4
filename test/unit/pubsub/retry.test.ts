import { beforeEach, describe, expect, it } from 'vitest'
import { DEFAULT_PUBSUB_OPTIONS } from '../../../src/pubsub/options.ts'
import { Retry } from '../../../src/pubsub/retry.ts'
import { Timers } from '../../../src/pubsub/timers.ts'
import { ManualRuntime } from '../../support/manual-runtime.ts'

const { retryMs, maxCheckMs } = DEFAULT_PUBSUB_OPTIONS

let runtime: ManualRuntime
let timers: Timers
let retry: Retry
let attempts: number
beforeEach(() => {
  runtime = new ManualRuntime()
  timers = new Timers(runtime)
  attempts = 0
  retry = new Retry(timers, DEFAULT_PUBSUB_OPTIONS, () => {
    attempts += 1
  })
})

/** How long until the next attempt, each of which fails. */
function waitsMs(count: number): number[] {
  return Array.from({ length: count }, () => {
    retry.later()
    const waitMs = runtime.nextInMs
    runtime.advance(waitMs)
    return waitMs
  })
}

describe('a retry', () => {
  it('waits longer each time, up to a bound, until something has succeeded', () => {
    const waits = waitsMs(8)
    expect(waits.slice(0, 3)).toEqual([2 * retryMs, 4 * retryMs, 8 * retryMs])
    expect(waits.slice(-2)).toEqual([maxCheckMs, maxCheckMs])
    expect(attempts).toBe(8)
    retry.succeeded()
    expect(waitsMs(1)).toEqual([2 * retryMs])
  })

  it('is one, however much fails while it waits', () => {
    for (let i = 0; i < 100; i++) retry.later()
    expect([retry.isWaiting, runtime.waiting]).toEqual([true, 1])
    runtime.advance(maxCheckMs)
    expect([attempts, retry.isWaiting, runtime.waiting]).toEqual([1, false, 0])
    expect(waitsMs(1)).toEqual([4 * retryMs])
  })

  it('is made at once where it may succeed now, and only where it waits', () => {
    retry.now()
    expect(attempts).toBe(0)
    retry.later()
    retry.now()
    retry.now()
    runtime.advance(maxCheckMs)
    expect([attempts, runtime.waiting]).toEqual([1, 0])
  })

  it('is not made any more once an attempt has begun or succeeded, or all is over', () => {
    retry.later()
    retry.begun()
    runtime.advance(maxCheckMs)
    retry.later()
    retry.succeeded()
    runtime.advance(maxCheckMs)
    retry.later()
    timers.end()
    runtime.advance(maxCheckMs)
    retry.later()
    expect([attempts, runtime.waiting]).toEqual([0, 0])
  })
})
