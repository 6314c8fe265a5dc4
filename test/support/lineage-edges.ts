import fc from 'fast-check'
import { LIMITS } from '../../src/pubsub/options.ts'
import { START_MS, World } from './lineage.ts'
import { Line, LONG_MS, statementAt } from './lineage-line.ts'

/**
 * Three replicas with messages and subscriptions whose end lies exactly at, or a millisecond beside, the moments that
 * decide: the last change of one of the replicas, and the grace before it.
 */

const MINUTE_MS = 60_000
const LINES = 3

export interface Mark {
  /** The replicas that have it, as bits; all three: from before they parted. */
  on: number
  what: 'message' | 'subscribe' | 'unsubscribe'
  client: number
  /** The replica whose last change decides. */
  of: number
  /** Where holders let go of it, or where readers no longer see it. */
  edge: 'gone' | 'over'
  shiftMs: number
}

export interface EdgeProgram {
  /** Messages that outlive everything, from before the replicas parted. */
  base: number
  /** How much later than the first replica each of them changed last. */
  laterMs: number[]
  /** What that last change was: a page is sealed with 64 messages, and a commit of statements alone lets go of messages. */
  closing: ('message' | 'statement' | 'page')[]
  marks: Mark[]
}

const { graceMs, maxSkewMs, subscriptionTtlMs, maxAheadMs } = LIMITS
const aroundMs = (ms: number) => [ms - 1, ms, ms + 1]

const mark: fc.Arbitrary<Mark> = fc.record({
  on: fc.integer({ min: 1, max: 2 ** LINES - 1 }),
  what: fc.constantFrom('message', 'message', 'subscribe', 'unsubscribe'),
  client: fc.integer({ min: 0, max: 2 }),
  of: fc.integer({ min: 0, max: LINES - 1 }),
  edge: fc.constantFrom('gone', 'gone', 'over'),
  shiftMs: fc.constantFrom(0, -1, 1),
})

const triple = <T>(one: fc.Arbitrary<T>) => fc.array(one, { minLength: LINES, maxLength: LINES })

export const edgeProgram: fc.Arbitrary<EdgeProgram> = fc.record({
  base: fc.constantFrom(0, 3, 60, 130),
  laterMs: triple(fc.constantFrom(0, 1, 2, ...aroundMs(maxSkewMs), ...aroundMs(graceMs))),
  closing: triple(fc.constantFrom('message', 'statement', 'page')),
  marks: fc.array(mark, { minLength: 1, maxLength: 8 }),
})

async function put(line: Line, { what, client, edge, shiftMs }: Mark, decidesMs: number, n: number) {
  const { world } = line
  const beforeMs = edge === 'over' ? 0 : what === 'message' ? graceMs : maxSkewMs
  const expiresAt = decidesMs - beforeMs + shiftMs
  if (what === 'message') {
    const ttlMs = expiresAt - world.nowMs
    // the same message wherever it is put: of its own writer, published at one moment
    if (ttlMs > 0) return line.commit([await world.message(1, { writer: 100 + n, ttlMs })])
    const nowMs = world.nowMs
    world.nowMs = START_MS
    const message = await world.message(1, { writer: 100 + n, ttlMs: expiresAt - START_MS })
    world.nowMs = nowMs
    return line.commit([message])
  }
  const issuedAt = expiresAt - subscriptionTtlMs
  if (issuedAt > world.nowMs + maxAheadMs) return // no holder would take it
  return line.commit([], [await statementAt(client, what, issuedAt)])
}

/** When every replica changed last is in its coordinator; all marks were put before. */
export async function playEdges({ base, laterMs, closing, marks }: EdgeProgram): Promise<Line[]> {
  const world = new World()
  const lastMs = laterMs.map((ms) => START_MS + 180 * MINUTE_MS + ms)
  const startOf = (ms: number) => ms - 40 * MINUTE_MS
  const firstMs = Math.min(...lastMs)
  const trunk = new Line(world, 9)
  world.nowMs = startOf(firstMs)
  await trunk.publish(base, LONG_MS)
  const all = 2 ** LINES - 1
  for (const [n, one] of marks.entries()) if (one.on === all) await put(trunk, one, lastMs[one.of] as number, n)
  const lines: Line[] = []
  for (const [i, endMs] of lastMs.entries()) {
    const line = new Line(world, i, trunk)
    world.nowMs = startOf(endMs)
    for (const [n, one] of marks.entries())
      if (one.on !== all && (one.on >> i) % 2 === 1) await put(line, one, lastMs[one.of] as number, n)
    world.nowMs = endMs
    if (closing[i] === 'statement') await line.commit([], [await statementAt(20 + i, 'subscribe', endMs)])
    else await line.publish(closing[i] === 'page' ? LIMITS.pageEntries : 1, LONG_MS)
    lines.push(line)
  }
  return lines
}
