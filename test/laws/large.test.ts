import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { collectionPages, loadMessages } from '../../src/pubsub/collection.ts'
import { LIMITS } from '../../src/pubsub/options.ts'
import { topicKey } from '../support/lineage.ts'
import {
  EDITS,
  type Edit,
  edited,
  indexesOf,
  largeProgram,
  PAGED,
  playLarge,
  TWO_INDEXES,
} from '../support/lineage-large.ts'
import {
  expectContent,
  expectNothingGone,
  hexOf,
  isMessageGone,
  joinByLaw,
  type Line,
} from '../support/lineage-line.ts'
import { expectTruth } from '../support/lineage-truth.ts'

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

/** The pages that both have alike from the beginning on, gone ones left out. */
async function alike(a: Line, b: Line): Promise<Set<string>> {
  const nowMs = Math.max(a.coordinator.lastModified, b.coordinator.lastModified)
  const liveIds = async ({ coordinator: { messages }, world }: Line) => {
    const collection = await loadMessages(messages as Uint8Array, world.read)
    const pages = await collectionPages(collection, world.read)
    return pages.filter(({ expiresAt }) => !isMessageGone(expiresAt, nowMs)).map(({ id }) => hexOf(id))
  }
  const [ofA, ofB] = [await liveIds(a), await liveIds(b)]
  const end = ofA.findIndex((id, i) => id !== ofB[i])
  return new Set(end < 0 ? ofA : ofA.slice(0, end))
}

describe('join of two large collections', () => {
  law(
    'obeys the laws, and reads one page at most that both have alike',
    async (a, b) => {
      const unread = await alike(a, b)
      a.world.reads.length = 0
      const joined = await joinByLaw(a, b)
      const pages = a.world.reads.filter(({ kind, id }) => kind === 'page' && unread.has(hexOf(id)))
      expect(new Set(pages.map(({ id }) => hexOf(id))).size).toBeLessThanOrEqual(1)
      await expectContent(joined)
      await expectNothingGone(joined, [a, b])
      await expectTruth(joined)
      await a.world.kind.checkLinked(topicKey, joined.head, a.world.read)
    },
    4,
  )
})

describe('join with a head that an editor has rewritten', () => {
  const obeysTheLaws = async (a: Line, rewritten: Line) => {
    const joined = await joinByLaw(a, rewritten)
    await expectContent(joined)
    await expectTruth(joined)
    expect(joined.coordinator.version).toBeLessThan(LIMITS.maxVersionJump)
    await joined.world.kind.checkLinked(topicKey, joined.head, joined.world.read)
  }

  for (const [name, edit] of Object.entries(EDITS))
    it(`${name}: obeys the laws, takes what is true and builds what verifies`, async () => {
      const [a, b] = await playLarge(PAGED)
      await obeysTheLaws(a, await edited(a, edit))
      await obeysTheLaws(a, await edited(b, edit))
    })

  it('obeys the laws on random lineages', { timeout: 120_000 }, async () => {
    const edits = fc.constantFrom(...Object.keys(EDITS))
    await fc.assert(
      fc.asyncProperty(largeProgram, edits, fc.boolean(), async (program, name, isDescendant) => {
        const [a, b] = await playLarge(program)
        await obeysTheLaws(a, await edited(isDescendant ? a : b, EDITS[name] as Edit))
      }),
      { numRuns: 5, endOnFailure: false },
    )
  })
})
