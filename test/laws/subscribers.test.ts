import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { START_MS, World } from '../support/lineage.ts'
import { expectContent, expectLaws, hexOf, joinByLaw, Line, statementAt } from '../support/lineage-line.ts'
import {
  LONG_INFO,
  playWords,
  type WordProgram,
  type WordStep,
  wordProgram,
} from '../support/lineage-words.ts'

/** Who is subscribed after a join: the last word of every client, whoever heard it and in whatever order. */

function law(name: string, holds: (lines: Line[], program: WordProgram) => Promise<void>, numRuns: number) {
  it(name, { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(wordProgram, async (program) => holds(await playWords(program), program)),
      { numRuns, endOnFailure: false },
    )
  })
}

const hasWait = (steps: WordStep[]) => steps.some(({ op }) => op === 'wait')

describe('join of heads that heard different words of the same clients', () => {
  law('obeys the laws, and no unsubscribed client comes back', (lines) => expectLaws(lines), 24)

  law(
    'names the same subscribers, byte for byte, whichever two are joined first',
    async (lines, { steps }) => {
      const [a, b, c] = lines
      if (a === undefined || b === undefined || c === undefined || hasWait(steps)) return
      const left = await (await a.join(b)).join(c)
      for (const other of [await a.join(await b.join(c)), await b.join(await c.join(a))])
        expect(hexOf(other.coordinator.subscribers)).toBe(hexOf(left.coordinator.subscribers))
    },
    24,
  )
})

/** The few cases that a random run may miss. */
describe('an unsubscribe on one side and a renewal on the other', () => {
  const kinds = ['subscribe', 'unsubscribe'] as const
  const infoOf = (kind: (typeof kinds)[number]) => (kind === 'subscribe' ? LONG_INFO : 0)
  for (const first of kinds)
    for (const second of kinds)
      for (const laterMs of [-1, 0, 1])
        it(`${first}, and ${second} ${laterMs} ms later: the last word stands, an unsubscribe at the same moment`, async () => {
          const world = new World()
          const trunk = new Line(world, 9)
          await trunk.commit(await trunk.write(1), [await statementAt(1, 'subscribe', START_MS - 60_000)])
          const [a, b] = [new Line(world, 0, trunk), new Line(world, 1, trunk)]
          await a.commit([], [await statementAt(1, first, START_MS, infoOf(first))])
          await b.commit([], [await statementAt(1, second, START_MS + laterMs, infoOf(second))])
          const joined = await joinByLaw(a, b)
          await expectContent(joined)
          const isOut =
            laterMs === 0
              ? first !== second || first === 'unsubscribe'
              : (laterMs > 0 ? second : first) === 'unsubscribe'
          expect((await world.subscribers(joined.head, world.nowMs)).size).toBe(isOut ? 0 : 1)
        })
})

it('a side that has heard the last word but has the lower version does not stand for both', async () => {
  const world = new World()
  const [a, b] = [new Line(world, 0), new Line(world, 1)]
  await a.commit([], [await statementAt(1, 'subscribe', START_MS + 2)])
  for (const earlier of [0, 1]) await b.commit([], [await statementAt(1, 'subscribe', START_MS + earlier)])
  const joined = await joinByLaw(a, b)
  await expectContent(joined)
  expect(joined.coordinator.version).toBe(3)
})
