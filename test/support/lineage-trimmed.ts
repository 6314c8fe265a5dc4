import fc from 'fast-check'
import { encode, toHex } from '../../src/dht/codec.ts'
import { loadMessages, loadSpine } from '../../src/pubsub/collection.ts'
import { LIMITS } from '../../src/pubsub/options.ts'
import { pagesIn, type Retention, weightOf } from '../../src/pubsub/retention.ts'
import { START_MS, World } from './lineage.ts'
import { Line, LONG_MS } from './lineage-line.ts'

/** Replicas of a topic that is full after a few pages: what each has trimmed, and what the others still have of it. */

export const SMALL: Retention = { keptPages: 3, slackPages: 1 }
const LINES = 3
const MINUTE_MS = 60_000
const SHORT_MS = 10 * MINUTE_MS

interface Publish {
  op: 'publish'
  line: number
  count: number
  perCommit: number
  kind: 'small' | 'large' | 'huge' | 'short'
}

export type TrimStep = Publish | { op: 'take'; line: number; from: number } | { op: 'wait'; ms: number }

export interface TrimProgram {
  /** Messages from before the replicas parted. */
  shared: number
  perCommit: number
  steps: TrimStep[]
}

const line = fc.integer({ min: 0, max: LINES - 1 })
const perCommit = fc.constantFrom(1, 9, 64, 100)
const count = fc.constantFrom(1, 30, 64, 65, 140, 300, 420)
const publish: fc.Arbitrary<Publish> = fc.record({
  op: fc.constant('publish' as const),
  line,
  count,
  perCommit: fc.constantFrom(9, 64, 100),
  kind: fc.constantFrom('small', 'small', 'small', 'large', 'huge', 'short'),
})
const take: fc.Arbitrary<TrimStep> = fc.record({ op: fc.constant('take' as const), line, from: line })
const wait: fc.Arbitrary<TrimStep> = fc.record({
  op: fc.constant('wait' as const),
  ms: fc.constantFrom(1, SHORT_MS, SHORT_MS + LIMITS.graceMs),
})

export const trimProgram: fc.Arbitrary<TrimProgram> = fc.record({
  shared: fc.constantFrom(0, 64, 192, 256, 290, 330, 600),
  perCommit,
  steps: fc.array(
    fc.oneof(
      { weight: 4, arbitrary: publish },
      { weight: 2, arbitrary: take },
      { weight: 1, arbitrary: wait },
    ),
    { minLength: 1, maxLength: 7 },
  ),
})

/** One has trimmed what the other has, which has published a little too. */
export const ONE_AHEAD: TrimProgram = {
  shared: 5 * 64,
  perCommit: 64,
  steps: [
    { op: 'publish', line: 0, count: 64, perCommit: 64, kind: 'small' },
    { op: 'publish', line: 1, count: 9, perCommit: 9, kind: 'small' },
  ],
}

/** Nothing of what they had together is at the first any more. */
export const FAR_APART: TrimProgram = {
  shared: 4 * 64,
  perCommit: 9,
  steps: [
    { op: 'publish', line: 0, count: 420, perCommit: 9, kind: 'small' },
    { op: 'publish', line: 1, count: 65, perCommit: 64, kind: 'small' },
    { op: 'publish', line: 2, count: 300, perCommit: 100, kind: 'large' },
    { op: 'take', line: 1, from: 2 },
    { op: 'publish', line: 1, count: 65, perCommit: 64, kind: 'small' },
  ],
}

/** A page is sealed at 128 KiB too: 15 of these. */
const LARGE = encode(new Uint8Array(9_000))
const LARGE_PER_COMMIT = 20
/** Or of three of these, which lie beside it. */
const HUGE = encode(new Uint8Array(60_000))
const HUGE_PER_COMMIT = 3

const kinds: Record<Publish['kind'], { most: number; mostAtOnce: number; ttlMs: number; data?: Uint8Array }> =
  {
    small: { most: 420, mostAtOnce: 100, ttlMs: LONG_MS },
    short: { most: 420, mostAtOnce: 100, ttlMs: SHORT_MS },
    large: { most: 90, mostAtOnce: LARGE_PER_COMMIT, ttlMs: LONG_MS, data: LARGE },
    huge: { most: 24, mostAtOnce: HUGE_PER_COMMIT, ttlMs: LONG_MS, data: HUGE },
  }

async function run(lines: Line[], step: TrimStep): Promise<void> {
  const world = (lines[0] as Line).world
  world.nowMs += step.op === 'wait' ? step.ms : 1
  if (step.op === 'take') {
    const one = lines[step.line] as Line
    Object.assign(one, await one.join(lines[step.from] as Line))
  }
  if (step.op !== 'publish') return
  const one = lines[step.line] as Line
  const { most, mostAtOnce, ttlMs, data } = kinds[step.kind]
  const atOnce = Math.min(step.perCommit, mostAtOnce)
  for (let left = Math.min(step.count, most); left > 0; left -= atOnce) {
    await one.commit(await one.write(Math.min(left, atOnce), ttlMs, data))
    world.nowMs += 1
  }
}

export async function playTrimmed(
  { shared, perCommit: atOnce, steps }: TrimProgram,
  retention = SMALL,
): Promise<Line[]> {
  const world = new World(retention)
  world.nowMs = START_MS
  const trunk = new Line(world, 9)
  for (let left = shared; left > 0; left -= atOnce) {
    await trunk.commit(await trunk.write(Math.min(left, atOnce)))
    world.nowMs += 1
  }
  const lines = Array.from({ length: LINES }, (_, i) => new Line(world, i, trunk))
  for (const step of steps) await run(lines, step)
  return lines.filter(({ isEmpty }) => !isEmpty)
}

export async function pagesOf({ world, coordinator: { messages } }: Line): Promise<number> {
  if (messages === null) return 0
  const { levels } = await loadSpine((await loadMessages(messages, world.read)).root, world.read)
  return pagesIn(levels.flatMap((refs, level) => refs.map((ref) => ({ ref, level }))))
}

/** Ids of what it holds, oldest first, with what each weighs. */
export async function heldIn({ world, head }: Line): Promise<Map<string, number>> {
  return new Map((await world.entries(head)).map((entry) => [toHex(entry.id), weightOf(entry)]))
}
