import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { toHex } from '../../src/dht/codec.ts'
import { compare } from '../../src/pubsub/coordinator.ts'
import { LIMITS } from '../../src/pubsub/options.ts'
import { topicKey } from '../support/lineage.ts'
import {
  commitBoth,
  DEEPEST,
  type DeepLine,
  type DeepProgram,
  deepProgram,
  pastOf,
  playDeep,
} from '../support/lineage-deep.ts'
import { expectLaws, hexOf, joinByLaw, Line, without } from '../support/lineage-line.ts'

/** What must hold however long the history is, and whoever has lost parts of it. */

function law(name: string, holds: (lines: DeepLine[]) => Promise<void>, numRuns: number) {
  it(name, { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(deepProgram, async (generated: DeepProgram) => holds(await playDeep(generated))),
      { numRuns, examples: [[DEEPEST]], endOnFailure: false },
    )
  })
}

const pairs = <T>(all: T[]) => all.flatMap((a, i) => all.slice(i + 1).map((b): [T, T] => [a, b]))
const isNew = (joined: Line, ...sides: Line[]) =>
  sides.every(({ head }) => hexOf(head) !== hexOf(joined.head))

/** So that the laws below are about something. */
it('the deepest of the generated lineages have full coordinators and several snapshots on both sides', async () => {
  const [a, b] = await playDeep({ ...DEEPEST, lost: [0, 0, 0] })
  const pasts = await Promise.all([a as Line, b as Line].map((line) => pastOf(line)))
  const [mine, theirs] = pasts.map(({ snapshots }) => [...snapshots.keys()])
  expect(mine?.filter((name) => !theirs?.includes(name)).length).toBeGreaterThan(1)
  expect(theirs?.filter((name) => !mine?.includes(name)).length).toBeGreaterThan(1)
  expect(mine?.filter((name) => theirs?.includes(name)).length).toBeGreaterThan(1)
  for (const { ids } of pasts) expect(ids.size).toBeGreaterThan(LIMITS.maxSnapshotIds * 2)
})

describe('join of two heads with a deep history', () => {
  law('obeys the laws', expectLaws, 5)

  law(
    'gives the same bytes at nodes that have lost snapshots, and asks for none',
    async (lines) => {
      for (const [a, b] of pairs(lines)) {
        const { world } = a
        world.reads.length = 0
        const whole = await world.kind.join(topicKey, a.head, b.head, world.read)
        expect(world.reads.filter(({ kind }) => kind === 'snapshot')).toEqual([])
        for (const read of [a.readPoor, b.readPoor, without(world, (kind) => kind === 'snapshot')]) {
          const change = await world.kind.join(topicKey, b.head, a.head, read)
          expect(hexOf(change.head)).toBe(hexOf(whole.head))
          expect(change.blocks.map(({ id }) => toHex(id)).sort()).toEqual(
            whole.blocks.map(({ id }) => toHex(id)).sort(),
          )
        }
      }
    },
    8,
  )

  it('refuses as NOT_FOUND, and joins nothing by halves, where anything else is missing', async () => {
    for (const program of [DEEPEST, { ...DEEPEST, depth: 9 }]) {
      const [a, b] = (await playDeep(program)) as [DeepLine, DeepLine]
      const { world } = a
      world.reads.length = 0
      await world.join(a.head, b.head)
      const names = new Set(world.reads.map(({ kind, id }) => `${kind}/${toHex(id)}`))
      const oneOfEach = new Map([...names].map((name) => [name.split('/')[0], name]))
      expect([...oneOfEach.keys()].toSorted()).toEqual([
        'message',
        'messages',
        'page',
        'spine',
        'subscribers',
      ])
      for (const lost of oneOfEach.values()) {
        const read = without(world, (kind, id) => `${kind}/${id}` === lost)
        const joining = world.kind.join(topicKey, a.head, b.head, read)
        await expect(joining, lost).rejects.toMatchObject({ code: 'NOT_FOUND' })
      }
    }
  })

  law(
    'names every collection that either side names, and both sides see that they are behind it',
    async (lines) => {
      for (const [a, b] of pairs(lines)) {
        const joined = await joinByLaw(a, b)
        if (!isNew(joined, a, b)) continue
        const { ids, snapshots } = await pastOf(joined)
        for (const side of [a, b]) {
          const past = await pastOf(side)
          expect([...past.ids].filter((id) => !ids.has(id))).toEqual([])
          expect([...past.snapshots.keys()].filter((name) => !snapshots.has(name))).toEqual([])
          expect(compare(side.head, joined.head)).toBe('behind')
          expect(compare(joined.head, side.head)).toBe('ahead')
        }
      }
    },
    6,
  )

  law(
    'brings replicas to the same head, whichever snapshots each of them has lost',
    async (lines) => {
      const heads: Line[] = [...lines]
      for (let round = 0; round < 2; round++) {
        for (const [i, { readPoor }] of lines.entries())
          for (const j of heads.keys()) heads[i] = await (heads[i] as Line).join(heads[j] as Line, readPoor)
      }
      for (const { head } of heads) expect(hexOf(head)).toBe(hexOf(heads[0]?.head))
    },
    8,
  )
})

describe('a commit at a node that has lost snapshots', () => {
  law(
    'has the same content, and joins with that of a node that has them',
    async (lines) => {
      for (const one of lines) {
        const { world } = one
        const startMs = world.nowMs
        const [rich, bare] = [new Line(world, 6, one), new Line(world, 6, one)]
        const lostBefore = new Set((await pastOf(one)).snapshots.keys())
        const bareRead = without(world, (kind, id) => kind === 'snapshot' && lostBefore.has(id))
        for (let commits = 0; commits < 12; commits++) {
          const before = bare.coordinator.previous
          world.nowMs = startMs + commits
          await commitBoth(rich)
          world.nowMs = startMs + commits
          await commitBoth(bare, bareRead)
          const { messageHistory: _m, subscriberHistory: _s, previous: _p, ...withAll } = rich.coordinator
          expect(bare.coordinator).toMatchObject(withAll)
          const { previous } = bare.coordinator
          const [newest] = before
          if (hexOf(previous[0]) !== hexOf(newest) && newest !== undefined && lostBefore.has(toHex(newest)))
            expect(previous.map(hexOf)).not.toContain(toHex(newest))
        }
        const larger = hexOf(rich.head) > hexOf(bare.head) ? rich : bare
        expect(hexOf((await joinByLaw(rich, bare)).head)).toBe(hexOf(larger.head))
        expect(hexOf((await joinByLaw(one, bare)).head)).toBe(hexOf(bare.head))
      }
    },
    6,
  )
})
