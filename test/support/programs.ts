import fc from 'fast-check'
import { Branch, World } from './lineage.ts'

/** Random histories of a topic: a common base, then branches that publish, subscribe, wait and merge. */

export const MINUTE_MS = 60_000

export type Step =
  | { op: 'publish'; branch: number; count: number; ttlMs: number }
  | { op: 'subscription'; branch: number; client: number; kind: 'subscribe' | 'unsubscribe' }
  | { op: 'wait'; ms: number }
  | { op: 'merge'; branch: number; from: number }

export interface Program {
  base: Step[]
  steps: Step[]
}

export const BRANCHES = 3
const branch = fc.integer({ min: 0, max: BRANCHES - 1 })
const ttlMs = fc.constantFrom(5 * MINUTE_MS, 90 * MINUTE_MS, 48 * 60 * MINUTE_MS)

const publish = (of: fc.Arbitrary<number>, max: number): fc.Arbitrary<Step> =>
  fc.record({ op: fc.constant('publish' as const), branch: of, count: fc.integer({ min: 1, max }), ttlMs })
const subscription = (of: fc.Arbitrary<number>): fc.Arbitrary<Step> =>
  fc.record({
    op: fc.constant('subscription' as const),
    branch: of,
    client: fc.integer({ min: 0, max: 9 }),
    kind: fc.constantFrom('subscribe' as const, 'subscribe' as const, 'unsubscribe' as const),
  })
const wait: fc.Arbitrary<Step> = fc.record({
  op: fc.constant('wait' as const),
  ms: fc.constantFrom(1_000, 10 * MINUTE_MS, 40 * MINUTE_MS, 100 * MINUTE_MS),
})
const merge: fc.Arbitrary<Step> = fc.record({ op: fc.constant('merge' as const), branch, from: branch })

const first = fc.constant(0)
export const program: fc.Arbitrary<Program> = fc.record({
  base: fc.array(fc.oneof(publish(first, 150), subscription(first), wait), { maxLength: 4 }),
  steps: fc.array(fc.oneof(publish(branch, 70), publish(branch, 5), subscription(branch), wait, merge), {
    minLength: 1,
    maxLength: 10,
  }),
})

async function run(world: World, branches: Branch[], step: Step): Promise<void> {
  world.nowMs += 1
  if (step.op === 'wait') world.nowMs += step.ms
  else if (step.op === 'publish') await branches[step.branch]?.publish(step.count, step.ttlMs)
  else if (step.op === 'subscription') await branches[step.branch]?.subscribe(step.client, step.kind)
  else await branches[step.branch]?.take(branches[step.from]?.head)
}

/** Runs a program; the branches that have a head. */
export async function play({ base, steps }: Program): Promise<{ world: World; branches: Branch[] }> {
  const world = new World()
  const trunk = new Branch(world, 9)
  for (const step of base) await run(world, [trunk], step)
  const branches = Array.from({ length: BRANCHES }, (_, i) => new Branch(world, i, trunk))
  for (const step of steps) await run(world, branches, step)
  return { world, branches: branches.filter(({ head }) => head !== undefined) }
}
