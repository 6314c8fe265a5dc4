import fc from 'fast-check'
import { encode } from '../../src/dht/codec.ts'
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

const oneMark: fc.Arbitrary<Mark> = fc.record({
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
  marks: fc.array(oneMark, { minLength: 1, maxLength: 8 }),
})

/** When the first replica changes last, unless another one is earlier; the marks are put 40 minutes before each end. */
const END_MS = START_MS + 180 * MINUTE_MS
const marksAt = (endMs: number) => endMs - 40 * MINUTE_MS

/** What they have from before they parted, made once. */
const trunks = new Map<number, Promise<Line>>()
async function trunkOf(base: number): Promise<Line> {
  const line = new Line(new World(), 9)
  line.world.nowMs = marksAt(END_MS)
  await line.publish(base, LONG_MS)
  return line
}

/** Commits what ends at the mark. A message is of its own writer and of one moment: the same one wherever it is put. */
async function put(line: Line, { what, client, edge, shiftMs }: Mark, decidesMs: number, n: number) {
  const { world } = line
  const beforeMs = edge === 'over' ? 0 : what === 'message' ? graceMs : maxSkewMs
  const expiresAt = decidesMs - beforeMs + shiftMs
  const nowMs = world.nowMs
  if (what === 'message') {
    world.nowMs = START_MS
    const message = await world.message(1, { writer: 100 + n, ttlMs: expiresAt - START_MS })
    world.nowMs = nowMs
    return line.commit([message])
  }
  const issuedAt = expiresAt - subscriptionTtlMs
  if (issuedAt > nowMs + maxAheadMs) return // no holder would take it
  return line.commit([], [await statementAt(client, what, issuedAt)])
}

/** So many of these seal a page, whatever there was before. */
const PAGE_FILL = { count: 15, data: encode(new Uint8Array(9_000)) }

async function close(line: Line, closing: 'message' | 'statement' | 'page'): Promise<void> {
  const { world, index } = line
  if (closing === 'statement')
    await line.commit([], [await statementAt(20 + index, 'subscribe', world.nowMs)])
  else if (closing === 'page') await line.commit(await line.write(PAGE_FILL.count, LONG_MS, PAGE_FILL.data))
  else await line.publish(1, LONG_MS)
}

/** The last change of every replica is its closing; all marks were put before. */
export async function playEdges({ base, laterMs, closing, marks }: EdgeProgram): Promise<Line[]> {
  const known = trunks.get(base) ?? trunkOf(base)
  trunks.set(base, known)
  const trunk = new Line((await known).world, 9, await known)
  const { world } = trunk
  const endsMs = laterMs.map((ms) => END_MS + ms)
  const everywhere = 2 ** LINES - 1
  world.nowMs = marksAt(END_MS)
  for (const [n, mark] of marks.entries())
    if (mark.on === everywhere) await put(trunk, mark, endsMs[mark.of] as number, n)
  const lines: Line[] = []
  for (const [i, endMs] of endsMs.entries()) {
    const line = new Line(world, i, trunk)
    world.nowMs = marksAt(endMs)
    for (const [n, mark] of marks.entries())
      if (mark.on !== everywhere && (mark.on >> i) % 2 === 1)
        await put(line, mark, endsMs[mark.of] as number, n)
    world.nowMs = endMs
    await close(line, closing[i] ?? 'message')
    lines.push(line)
  }
  return lines
}
