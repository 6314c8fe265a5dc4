import fc from 'fast-check'
import { LIMITS } from '../../src/pubsub/options.ts'
import { START_MS, World } from './lineage.ts'
import { Line, statementAt } from './lineage-line.ts'

/** Three replicas that heard the subscriptions, renewals and unsubscribes of the same clients in different orders. */

const LINES = 3
export const LONG_INFO = 9

export type WordStep =
  | { op: 'say'; on: number; client: number; kind: 'subscribe' | 'unsubscribe'; atMs: number; info: number }
  | { op: 'take'; line: number; from: number }
  /** Until those who said the first words are over at a reader, or at a holder, or not quite. */
  | { op: 'wait'; ms: number }

export interface WordProgram {
  /** Other clients, around the number at which a leaf of the trie becomes a branch. */
  crowd: number
  steps: WordStep[]
}

const line = fc.integer({ min: 0, max: LINES - 1 })
const { leafStatements, subscriptionTtlMs, maxSkewMs } = LIMITS

const say: fc.Arbitrary<WordStep> = fc.record({
  op: fc.constant('say' as const),
  on: fc.integer({ min: 1, max: 2 ** LINES - 1 }),
  client: fc.integer({ min: 0, max: 2 }),
  kind: fc.constantFrom('subscribe', 'unsubscribe'),
  /** Few moments, so that two words of one client often have the same. */
  atMs: fc.integer({ min: 0, max: 2 }),
  /** Enough for a subscribe to have larger bytes than an unsubscribe. */
  info: fc.constantFrom(0, LONG_INFO),
})
const take: fc.Arbitrary<WordStep> = fc.record({ op: fc.constant('take' as const), line, from: line })
const wait: fc.Arbitrary<WordStep> = fc.record({
  op: fc.constant('wait' as const),
  ms: fc.constantFrom(1, subscriptionTtlMs, subscriptionTtlMs + maxSkewMs, subscriptionTtlMs + maxSkewMs + 2),
})

export const wordProgram: fc.Arbitrary<WordProgram> = fc.record({
  crowd: fc.constantFrom(0, 0, leafStatements - 2, leafStatements - 1, leafStatements, leafStatements + 9),
  steps: fc.array(fc.oneof({ weight: 6, arbitrary: say }, take, wait), { minLength: 1, maxLength: 10 }),
})

/** Of the crowd: heard before the replicas parted. */
const crowded = new Map<number, Promise<Line>>()
async function crowdOf(count: number): Promise<Line> {
  const world = new World()
  const trunk = new Line(world, 9)
  const crowd = await Promise.all(
    Array.from({ length: count }, (_, n) => statementAt(10 + n, 'subscribe', START_MS - 1)),
  )
  if (count > 0) await trunk.commit([], crowd)
  return trunk
}

export async function playWords({ crowd, steps }: WordProgram): Promise<Line[]> {
  const known = crowded.get(crowd) ?? crowdOf(crowd)
  crowded.set(crowd, known)
  const trunk = await known
  const { world } = trunk
  world.nowMs = START_MS
  const lines = Array.from({ length: LINES }, (_, i) => new Line(world, i, trunk))
  let waitedMs = 0
  for (const step of steps) {
    if (step.op === 'wait') waitedMs += step.ms
    world.nowMs += step.op === 'wait' ? step.ms : 0
    if (step.op === 'take') {
      const one = lines[step.line] as Line
      Object.assign(one, await one.join(lines[step.from] as Line))
    }
    if (step.op !== 'say') continue
    const word = await statementAt(step.client, step.kind, START_MS + waitedMs + step.atMs, step.info)
    for (const [i, one] of lines.entries()) if ((step.on >> i) % 2 === 1) await one.commit([], [word])
  }
  return lines.filter(({ isEmpty }) => !isEmpty)
}
