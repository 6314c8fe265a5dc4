import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { topicKey } from '../support/lineage.ts'
import {
  edited,
  EDITS,
  type Edit,
  indexesOf,
  largeProgram,
  playLarge,
  TWO_INDEXES,
} from '../support/lineage-large.ts'
import { expectContent, expectNothingGone, joinByLaw, type Line } from '../support/lineage-line.ts'

/** What must hold of collections of many pages, whether both sides are honest or one was edited. */

function law(name: string, holds: (a: Line, b: Line) => Promise<void>, numRuns: number) {
  it(name, { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(largeProgram, async (program) => holds(...(await playLarge(program)))),
      { numRuns, examples: [[TWO_INDEXES]], endOnFailure: false },
    )
  })
}

/** So that the laws below are about something. */
it('both of the largest lineages have an index of their own', async () => {
  const [a, b] = await playLarge(TWO_INDEXES)
  const [ofA, ofB] = [await indexesOf(a), await indexesOf(b)]
  expect([ofA.length, ofB.length]).toEqual([1, 1])
  expect(ofA).not.toEqual(ofB)
})

describe('join of two large collections', () => {
  law(
    'obeys the laws',
    async (a, b) => {
      const joined = await joinByLaw(a, b)
      await expectContent(joined)
      await expectNothingGone(joined, [a, b])
      await a.world.kind.checkLinked?.(topicKey, joined.head, a.world.read)
    },
    6,
  )
})

describe('join with a head that an editor has rewritten', () => {
  it('obeys the laws, takes what is true and builds what verifies', { timeout: 120_000 }, async () => {
    const names = fc.constantFrom(...Object.keys(EDITS))
    await fc.assert(
      fc.asyncProperty(largeProgram, names, fc.boolean(), async (program, name, isDescendant) => {
        const [a, b] = await playLarge(program)
        const forged = await edited(isDescendant ? a : b, EDITS[name] as Edit)
        const joined = await joinByLaw(a, forged)
        await expectContent(joined)
        await joined.world.kind.checkLinked?.(topicKey, joined.head, joined.world.read)
      }),
      { numRuns: 40, endOnFailure: false },
    )
  })
})
