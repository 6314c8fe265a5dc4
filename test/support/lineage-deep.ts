import fc from 'fast-check'
import { toHex } from '../../src/dht/codec.ts'
import type { BlockReader } from '../../src/dht/kinds.ts'
import { decodeSnapshot, type Snapshot } from '../../src/pubsub/snapshot.ts'
import { START_MS, World } from './lineage.ts'
import { hexOf, Line, statementAt, without } from './lineage-line.ts'

/** Histories of so many commits that coordinators overflow again and again, and snapshots fill up. */

const LINES = 3
/** Each replaces both collections, so that 200 ids of a snapshot are some 100 commits. */
const TRUNK_COMMITS = 240

async function commitBoth(line: Line, read?: BlockReader): Promise<void> {
  const { world } = line
  world.nowMs += 1
  await line.commit(await line.write(1), [await statementAt(line.index, 'subscribe', world.nowMs)], read)
}

/** Made once: replicas part from one of its heads. Blocks are named by their content, so all runs share one world. */
let trunk: Promise<Line[]> | undefined
function trunkHeads(): Promise<Line[]> {
  trunk ??= (async () => {
    const line = new Line(new World(), 9)
    const heads = [new Line(line.world, 9)]
    while (heads.length <= TRUNK_COMMITS) {
      await commitBoth(line)
      heads.push(new Line(line.world, 9, line))
    }
    return heads
  })()
  return trunk
}

export type DeepStep =
  | { op: 'commit'; line: number; count: number }
  | { op: 'take'; line: number; from: number }

export interface DeepProgram {
  /** Commits before the replicas parted. */
  depth: number
  steps: DeepStep[]
  /** Which of its snapshots each replica has lost: bit n of the number, by the last digit of the snapshot's name. */
  lost: number[]
}

const line = fc.integer({ min: 0, max: LINES - 1 })
export const deepProgram: fc.Arbitrary<DeepProgram> = fc.record({
  depth: fc.constantFrom(0, 1, 9, 10, 11, 30, 110, 115, TRUNK_COMMITS),
  steps: fc.array(
    fc.oneof(
      fc.record({ op: fc.constant('commit' as const), line, count: fc.constantFrom(1, 2, 8, 12, 25) }),
      fc.record({ op: fc.constant('take' as const), line, from: line }),
    ),
    { minLength: 2, maxLength: 9 },
  ),
  lost: fc.array(fc.constantFrom(0xffff, 0, 0x5555, 0x00ff), { minLength: LINES, maxLength: LINES }),
})

/** Two replicas that parted late, both with more than one snapshot of their own besides those they share. */
export const DEEPEST: DeepProgram = {
  depth: TRUNK_COMMITS,
  steps: [
    { op: 'commit', line: 0, count: 25 },
    { op: 'commit', line: 1, count: 12 },
    { op: 'take', line: 2, from: 0 },
    { op: 'commit', line: 2, count: 8 },
    { op: 'take', line: 0, from: 1 },
    { op: 'take', line: 1, from: 2 },
    { op: 'commit', line: 0, count: 12 },
    { op: 'commit', line: 1, count: 25 },
  ],
  lost: [0xffff, 0x5555, 0],
}

export interface DeepLine extends Line {
  /** Of a replica that has lost snapshots; everything else it has. */
  readonly readPoor: BlockReader
}

const poor = (world: World, mask: number): BlockReader =>
  without(
    world,
    (kind, id) => kind === 'snapshot' && (mask >> Number.parseInt(id.at(-1) as string, 16)) % 2 === 1,
  )

/** Each replica commits and joins with what it has. */
export async function playDeep({ depth, steps, lost }: DeepProgram): Promise<DeepLine[]> {
  const from = (await trunkHeads())[depth] as Line
  const { world } = from
  world.nowMs = START_MS + TRUNK_COMMITS + 1
  const lines: DeepLine[] = lost.map((mask, i) =>
    Object.assign(new Line(world, i, from), { readPoor: poor(world, mask) }),
  )
  for (const step of steps) {
    const one = lines[step.line] as DeepLine
    if (step.op === 'commit') for (let n = 0; n < step.count; n++) await commitBoth(one, one.readPoor)
    else Object.assign(one, await one.join(lines[step.from] as Line, one.readPoor))
  }
  return lines.filter(({ isEmpty }) => !isEmpty)
}

export { commitBoth }

export interface Past {
  /** Every collection that it names, the current ones included. */
  ids: Set<string>
  /** Every snapshot that is still there, by name. */
  snapshots: Map<string, Snapshot>
  /** Names of those that are not. */
  missing: Set<string>
}

/** What a head names through its snapshots. */
export async function pastOf({ coordinator, world }: Line, read = world.read): Promise<Past> {
  const past: Past = { ids: new Set(), snapshots: new Map(), missing: new Set() }
  for (const id of [coordinator.messages, coordinator.subscribers]) if (id) past.ids.add(toHex(id))
  const waiting: Pick<Snapshot, 'messageHistory' | 'subscriberHistory' | 'previous'>[] = [coordinator]
  for (let level = waiting.pop(); level !== undefined; level = waiting.pop()) {
    for (const id of [...level.messageHistory, ...level.subscriberHistory]) past.ids.add(toHex(id))
    for (const id of level.previous) {
      const name = hexOf(id)
      if (past.snapshots.has(name) || past.missing.has(name)) continue
      const bytes = await read({ kind: 'snapshot', id }).catch(() => undefined)
      if (bytes === undefined) {
        past.missing.add(name)
        continue
      }
      const snapshot = decodeSnapshot(bytes)
      past.snapshots.set(name, snapshot)
      waiting.push(snapshot)
    }
  }
  return past
}
