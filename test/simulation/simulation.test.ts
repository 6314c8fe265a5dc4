import { describe, expect, it } from 'vitest'
import { replayCommand, runScenario } from './scenario.ts'
import { SCHEDULES } from './schedules.ts'
import { SEEDS } from './seeds.ts'

/** A few seeds per schedule; many more by `npm run test:sim -- --seeds 1-200`. */

const load = 'short'
const MAX_TOLD = 8

describe('the seeded world', () => {
  it('does the same for the same seed, byte for byte, and something else for another', async () => {
    const run = (seed: number, drainTurns = 1) =>
      runScenario({ schedule: 'S1', seed, keepTrace: true, drainTurns, load })
    const first = await run(7)
    // one turn of the event loop is all that follows from an event: more turns change nothing
    const again = await run(7, 3)
    expect(first.trace.length).toBeGreaterThan(2_000)
    expect(again.trace.join('\n')).toBe(first.trace.join('\n'))
    expect((await run(8)).checksum).not.toBe(first.checksum)
  })
})

const seedsOf: Record<string, number[] | undefined> = SEEDS

describe('invariants under faults', () => {
  for (const [schedule, { about }] of Object.entries(SCHEDULES))
    for (const seed of seedsOf[schedule] ?? [])
      it(`${schedule}, seed ${seed}: ${about}`, async () => {
        const { violations, vacuous } = await runScenario({ schedule, seed, load })
        const wrong = violations.map(
          ({ invariant, atMs, text }) => `${invariant} at ${Math.round(atMs)} ms: ${text}`,
        )
        const told = [...vacuous.map((why) => `proves nothing: ${why}`), ...wrong.slice(0, MAX_TOLD)]
        const count = vacuous.length + wrong.length
        expect(told, `${count} found, replay: ${replayCommand({ schedule, seed, load })}`).toEqual([])
      })
})
