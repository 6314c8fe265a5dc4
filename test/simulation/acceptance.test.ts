import { describe, expect, it } from 'vitest'
import { runAcceptance } from './acceptance.ts'
import { ACCEPTANCE, checkWhole, type Expected, shortened } from './acceptance-check.ts'
import type { HistoryEvent } from './history.ts'
import { type RunResult, replayCommand } from './scenario.ts'
import { SEEDS } from './seeds.ts'

/** The acceptance tests with a fifth of the messages in the same time; in full and for many seeds by `npm run test:sim -- --schedule A1,A2`. */

const load = 'short'

/** The same history with a defect, which the count must find. */
function told({ events }: RunResult, expected: Expected, plant: (own: HistoryEvent[]) => HistoryEvent[]) {
  const isLate = (event: HistoryEvent) => event.type === 'deliver' && event.subscription.endsWith('@late')
  const others = events.filter((event) => !isLate(event))
  return checkWhole([...others, ...plant(events.filter(isLate))], expected).map(({ text }) => text)
}

describe('acceptance with a fifth of the messages', () => {
  for (const [schedule, test] of Object.entries(ACCEPTANCE))
    for (const seed of SEEDS[schedule as keyof typeof SEEDS]) {
      const { publishers, each } = shortened(test)
      it(`${schedule}, ${publishers} x ${each}, seed ${seed}: ${test.about}`, async () => {
        const result = await runAcceptance({ schedule, seed, load })
        const wrong = result.violations.map(({ invariant, text }) => `${invariant}: ${text}`)
        const replay = `replay: ${replayCommand({ schedule, seed, load })}`
        expect([...result.vacuous, ...wrong.slice(0, 8)], replay).toEqual([])

        const expected = { name: schedule, publishers, each }
        const total = publishers * each
        expect(told(result, expected, (own) => own)).toEqual([])
        expect(told(result, expected, (own) => own.slice(0, -1))).toContainEqual(
          expect.stringContaining(`@late got ${total - 1} of ${total}`),
        )
        expect(told(result, expected, (own) => [...own, ...own.slice(-1)])).toContainEqual(
          expect.stringContaining('@late got 1 twice'),
        )
        expect(told(result, expected, (own) => own.toReversed())).toContainEqual(
          expect.stringMatching(/@late got p\d+\.\d+ as #\d+ where #1 was due/),
        )
        const { subscription } = result.events.find(
          (event) => event.type === 'subscribed' && event.subscription.endsWith('@late'),
        ) as { subscription: string }
        const gap = { publisher: 'p', writer: 'w', fromSequence: 1, toSequence: 2 }
        expect(
          told(result, expected, (own) => [...own, { atMs: 0, type: 'gap', subscription, ...gap }]),
        ).toContainEqual(expect.stringContaining('@late was told of a gap'))
      })
    }
})
