import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeCoordinator } from '../../src/pubsub/coordinator.ts'
import { LIMITS } from '../../src/pubsub/options.ts'
import { topicKey } from '../support/lineage.ts'
import { EDITS, type Edit, edited } from '../support/lineage-large.ts'
import { hexOf, isMessageGone, joinByLaw, type Line } from '../support/lineage-line.ts'
import {
  FAR_APART,
  heldIn,
  ONE_AHEAD,
  pagesOf,
  playTrimmed,
  SMALL,
  type TrimProgram,
  trimProgram,
} from '../support/lineage-trimmed.ts'
import { expectTruth } from '../support/lineage-truth.ts'

/** What must hold of topics that are full, whatever each replica has trimmed. */

function law(name: string, holds: (lines: Line[]) => Promise<void>, numRuns: number) {
  it(name, { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(trimProgram, async (program: TrimProgram) => holds(await playTrimmed(program))),
      { numRuns, examples: [[ONE_AHEAD], [FAR_APART]], endOnFailure: false },
    )
  })
}

const pairs = <T>(all: T[]) => all.flatMap((a, i) => all.slice(i + 1).map((b): [T, T] => [a, b]))
const enough = SMALL.keptPages * LIMITS.pageBytes

/** What a side has and the join has not is gone, or lies before enough of what the join has. */
async function expectOnlyOldLost(joined: Line, side: Line): Promise<void> {
  const nowMs = joined.coordinator.lastModified
  const [has, had] = [await heldIn(joined), await heldIn(side)]
  let after = [...has].reduce((sum, [id, weight]) => sum + (had.has(id) ? 0 : weight), 0)
  for (const [id, weight] of [...had].reverse()) {
    if (has.has(id)) after += weight
    else if (!isMessageGone(side.messages.get(id) ?? 0, nowMs)) expect(after).toBeGreaterThanOrEqual(enough)
  }
}

async function expectSound(joined: Line): Promise<void> {
  const { world } = joined
  const ids = [...(await heldIn(joined)).keys()]
  expect((await world.entries(joined.head)).length).toBe(ids.length)
  expect(ids.filter((id) => !joined.messages.has(id))).toEqual([])
  await expectTruth(joined)
  if (joined.coordinator.messages !== null) await world.kind.checkLinked(topicKey, joined.head, world.read)
}

describe('join of two replicas of a full topic', () => {
  law(
    'obeys the laws, and builds what verifies',
    async (lines) => {
      for (const [a, b] of pairs(lines)) await expectSound(await joinByLaw(a, b))
    },
    20,
  )

  law(
    'lets go of nothing that has not enough behind it',
    async (lines) => {
      for (const [a, b] of pairs(lines)) {
        const joined = await a.join(b)
        for (const side of [a, b]) await expectOnlyOldLost(joined, side)
      }
    },
    8,
  )

  law(
    'is lawful for joins of joins',
    async (lines) => {
      const [a, b, c] = lines
      if (a === undefined || b === undefined || c === undefined) return
      const [ab, bc] = [await a.join(b), await b.join(c)]
      const left = await joinByLaw(ab, c)
      await expectSound(await joinByLaw(left, await joinByLaw(a, bc)))
    },
    8,
  )

  law(
    'lets no reader of either side miss an entry that is kept',
    async (lines) => {
      for (const [a, b] of pairs(lines)) {
        const joined = await a.join(b)
        for (const side of [a, b]) {
          const later = new Set(
            (await a.world.entries(joined.head, side.coordinator.version)).map(({ id }) => hexOf(id)),
          )
          const seen = side.messages // what it trimmed, its readers have seen
          for (const id of (await heldIn(joined)).keys()) expect(later.has(id) || seen.has(id)).toBe(true)
        }
      }
    },
    8,
  )

  law(
    'brings replicas that gossip to the same head, and leaves it alone then',
    async (lines) => {
      for (let round = 0; round < 2; round++)
        for (const one of lines)
          for (const other of lines) if (one !== other) Object.assign(one, await one.join(other))
      for (const { head } of lines) expect(hexOf(head)).toBe(hexOf(lines[0]?.head))
    },
    8,
  )

  law(
    'keeps a topic within its bound from the next commit that seals on',
    async (lines) => {
      for (const [a, b] of pairs(lines)) {
        const joined = await a.join(b)
        joined.world.nowMs += 1
        await joined.publish(64)
        expect(await pagesOf(joined)).toBeLessThanOrEqual(SMALL.keptPages + SMALL.slackPages)
        await expectTruth(joined)
      }
    },
    6,
  )
})

describe('an editor without a key, in a full topic', () => {
  it('obeys the laws on random lineages', { timeout: 120_000 }, async () => {
    const edits = fc.constantFrom(...Object.keys(EDITS))
    const which = fc.tuple(fc.integer({ min: 0, max: 2 }), fc.integer({ min: 0, max: 2 }))
    await fc.assert(
      fc.asyncProperty(trimProgram, edits, which, async (program, name, [one, other]) => {
        const lines = await playTrimmed(program)
        const [a, b] = [lines[one], lines[other]]
        if (!a?.coordinator.messages || !b?.coordinator.messages) return
        const joined = await joinByLaw(a, await edited(b, EDITS[name] as Edit))
        await expectSound(joined)
        expect(decodeCoordinator(joined.head).version).toBeLessThan(LIMITS.maxVersionJump)
      }),
      { numRuns: 12, endOnFailure: false },
    )
  })
})
