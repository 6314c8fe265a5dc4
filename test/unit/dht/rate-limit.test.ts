import { describe, expect, it } from 'vitest'
import { RateLimiter } from '../../../src/dht/rate-limit.ts'
import { ManualRuntime } from '../../support/manual-runtime.ts'

const quota = { perSecond: 10, burst: 5 }

/** How many of `attempts` calls are allowed now. */
const allowed = (limiter: RateLimiter, name: string, attempts = 100) =>
  Array.from({ length: attempts }, () => limiter.take(name, quota)).filter(Boolean).length

describe('RateLimiter', () => {
  it('lets a burst through at once, then what time has refilled, and never saves more than a burst', () => {
    const runtime = new ManualRuntime()
    const limiter = new RateLimiter(runtime)
    expect(allowed(limiter, 'a')).toBe(5)
    runtime.advance(99)
    expect(allowed(limiter, 'a')).toBe(0)
    runtime.advance(1)
    expect(allowed(limiter, 'a')).toBe(1)
    runtime.advance(300)
    expect(allowed(limiter, 'a')).toBe(3)
    runtime.advance(3_600_000)
    expect(allowed(limiter, 'a')).toBe(5)
  })

  it('counts what a refusal leaves over: whoever keeps asking is served at the rate all the same', () => {
    const runtime = new ManualRuntime()
    const limiter = new RateLimiter(runtime)
    allowed(limiter, 'a')
    let served = 0
    for (let ms = 0; ms < 10_000; ms += 10) {
      runtime.advance(10)
      if (limiter.take('a', quota)) served += 1
    }
    expect(served).toBeGreaterThanOrEqual(99) // 10 a second for 10 s; the last may be a rounding away
    expect(served).toBeLessThanOrEqual(100)
  })

  it('takes nothing when it says no, and all of the cost when it says yes', () => {
    const limiter = new RateLimiter(new ManualRuntime())
    expect(limiter.take('a', quota, 6)).toBe(false)
    expect(limiter.take('a', quota, 3)).toBe(true)
    expect(limiter.take('a', quota, 3)).toBe(false)
    expect(limiter.take('a', quota, 2)).toBe(true)
    expect(limiter.take('a', quota, 1)).toBe(false)
  })

  it('keeps names apart: one that floods takes nothing from another', () => {
    const limiter = new RateLimiter(new ManualRuntime())
    expect(allowed(limiter, 'flood', 10_000)).toBe(5)
    expect(allowed(limiter, 'other')).toBe(5)
  })

  it('goes by the clock that nobody sets: a jump of the wall clock gives nothing', () => {
    let wallMs = 1_800_000_000_000
    const limiter = new RateLimiter(new ManualRuntime(() => wallMs))
    expect(allowed(limiter, 'a')).toBe(5)
    wallMs += 86_400_000
    expect(allowed(limiter, 'a')).toBe(0)
    wallMs -= 10 * 86_400_000
    expect(allowed(limiter, 'a')).toBe(0)
  })

  it('remembers a bounded number of names, and forgets the one that was silent longest', () => {
    const limiter = new RateLimiter(new ManualRuntime(), 3)
    for (const name of ['a', 'b', 'c']) allowed(limiter, name)
    expect(limiter.size).toBe(3)
    allowed(limiter, 'a') // refused, but not silent
    for (let n = 0; n < 2; n++) allowed(limiter, `new ${n}`)
    expect(limiter.size).toBe(3)
    expect(allowed(limiter, 'a')).toBe(0)
    expect(allowed(limiter, 'b')).toBe(5)
    for (let n = 0; n < 1_000; n++) limiter.take(`flood ${n}`, quota)
    expect(limiter.size).toBe(3)
  })
})
