import { beforeEach, describe, expect, it } from 'vitest'
import { Timers } from '../../../src/pubsub/timers.ts'
import { ManualRuntime } from '../../support/manual-runtime.ts'

class ChosenChance extends ManualRuntime {
  chance = 0.5
  override random(): number {
    return this.chance
  }
}

let runtime: ChosenChance
let timers: Timers
let runs: number
beforeEach(() => {
  runtime = new ChosenChance()
  timers = new Timers(runtime)
  runs = 0
})

const INTERVAL_MS = 5_000
const count = async () => {
  runs += 1
}
const turn = () => new Promise(setImmediate)

describe('periodic work', () => {
  it('comes again and again, spread around its interval', async () => {
    for (const [chance, afterMs] of [
      [0, INTERVAL_MS / 2],
      [0.5, INTERVAL_MS],
      [0.999, INTERVAL_MS * 1.499],
    ] as const) {
      runtime.chance = chance
      const own = new Timers(runtime)
      const before = runs
      own.every(INTERVAL_MS, count)
      for (let n = 1; n <= 3; n++) {
        runtime.advance(afterMs - 1)
        expect(runs).toBe(before + n - 1)
        runtime.advance(1)
        expect(runs).toBe(before + n)
        await turn()
      }
      own.end()
    }
  })

  it('is done once after a time in which nothing could run, not as often as it was missed', async () => {
    timers.every(INTERVAL_MS, count)
    runtime.advance(12 * INTERVAL_MS) // in one go: the page was frozen
    await turn()
    expect(runs).toBe(1)
    runtime.advance(INTERVAL_MS)
    expect(runs).toBe(2)
  })

  it('is not begun again while it is still being done, nor once it is ended', async () => {
    const done = Promise.withResolvers<void>()
    timers.every(INTERVAL_MS, () => {
      runs += 1
      return done.promise
    })
    for (let n = 0; n < 12; n++) {
      runtime.advance(INTERVAL_MS)
      await turn()
    }
    expect(runs).toBe(1)
    done.resolve()
    await turn()
    runtime.advance(INTERVAL_MS)
    expect(runs).toBe(2)
    timers.end()
    await turn()
    runtime.advance(12 * INTERVAL_MS)
    expect([runs, runtime.waiting]).toEqual([2, 0])
  })

  it('with an interval of 0 is never done', () => {
    timers.every(0, count)
    expect(runtime.waiting).toBe(0)
  })
})
