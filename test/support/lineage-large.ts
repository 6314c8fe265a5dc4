import fc from 'fast-check'
import { encode, sha256, toHex } from '../../src/dht/codec.ts'
import {
  decodeRoot,
  decodeSpine,
  loadMessages,
  loadSpine,
  type MessagesRoot,
  type PageRef,
  type Spine,
} from '../../src/pubsub/collection.ts'
import type { Coordinator } from '../../src/pubsub/coordinator.ts'
import { LIMITS } from '../../src/pubsub/options.ts'
import { START_MS, World } from './lineage.ts'
import { Line, LONG_MS } from './lineage-line.ts'

/** Collections of many pages, with an index over 64 of them, and what an editor without a key can write into one. */

const MINUTE_MS = 60_000
const { pageEntries, fanOut, graceMs } = LIMITS
/** Pages at the beginning that expire before the rest. */
const SHORT_PAGES = 3
const SHORT_MS = 10 * MINUTE_MS

const DEPTHS = [0, 3, 4, fanOut - 2, fanOut - 1, fanOut, fanOut + 2]

/** The trunk with so many pages, made once. */
let trunk: Promise<Map<number, Line>> | undefined
function trunkLines(): Promise<Map<number, Line>> {
  trunk ??= (async () => {
    const world = new World()
    const line = new Line(world, 9)
    const lines = new Map([[0, new Line(world, 9)]])
    for (let pages = 1; pages <= Math.max(...DEPTHS); pages++) {
      await line.commit(await line.write(pageEntries, pages <= SHORT_PAGES ? SHORT_MS : LONG_MS))
      lines.set(pages, new Line(world, 9, line))
    }
    return lines
  })()
  return trunk
}

export interface LargeProgram {
  /** Sealed pages that both have from before they parted. */
  pages: number
  /** What each side publishes: an index is closed by either alone, by both in their own way, or was before. */
  adds: { count: number; large: boolean }[][]
  /** Whether the first pages are gone by the time the side goes on, and whether exactly to the millisecond. */
  waits: ('none' | 'over' | 'edge')[]
}

const add = fc.record({ count: fc.constantFrom(1, 7, 63, 64, 65, 130), large: fc.boolean() })
const two = <T>(one: fc.Arbitrary<T>) => fc.array(one, { minLength: 2, maxLength: 2 })
const programOf = (depths: number[], waits: LargeProgram['waits']): fc.Arbitrary<LargeProgram> =>
  fc.record({
    pages: fc.constantFrom(...depths),
    adds: two(fc.array(add, { minLength: 1, maxLength: 2 })),
    waits: two(fc.constantFrom(...waits)),
  })
export const largeProgram = programOf(DEPTHS, ['none', 'over', 'edge'])
/** Both have pages in common and beyond. */
export const PAGED: LargeProgram = {
  pages: 4,
  adds: [[{ count: 7, large: false }], [{ count: 65, large: false }]],
  waits: ['none', 'none'],
}

/** Both sides close an index of their own over pages of which the last two differ. */
export const TWO_INDEXES: LargeProgram = {
  pages: fanOut - 2,
  adds: [
    [{ count: 130, large: false }],
    [
      { count: 65, large: false },
      { count: 130, large: false },
    ],
  ],
  waits: ['none', 'none'],
}

/** A page is sealed at 128 KiB too: with messages of this size long before it has 64. */
const LARGE_BYTES = 9_000
const LARGE_AT_ONCE = 20

export async function playLarge({ pages, adds, waits }: LargeProgram): Promise<[Line, Line]> {
  const from = (await trunkLines()).get(pages) as Line
  const { world } = from
  const sides: Line[] = []
  for (const [i, parts] of adds.entries()) {
    const side = new Line(world, i, from)
    world.nowMs = START_MS + (waits[i] === 'none' ? 1 : SHORT_MS + graceMs + (waits[i] === 'over' ? 1 : 0))
    for (const { count, large } of parts) {
      if (!large) await side.publish(count)
      else
        for (let left = Math.min(count, 2 * LARGE_AT_ONCE); left > 0; left -= LARGE_AT_ONCE) {
          const data = encode(new Uint8Array(LARGE_BYTES))
          await side.commit(await side.write(Math.min(left, LARGE_AT_ONCE), LONG_MS, data))
        }
    }
    sides.push(side)
  }
  world.nowMs = START_MS + SHORT_MS + graceMs + 1
  return sides as [Line, Line]
}

export async function indexesOf({ coordinator, world }: Line): Promise<string[]> {
  if (coordinator.messages === null) return []
  const { root } = await loadMessages(coordinator.messages, world.read)
  const { levels } = await loadSpine(root, world.read)
  return levels.slice(1).flatMap((refs) => refs.map(({ id }) => toHex(id)))
}

// --- an editor

export interface Edit {
  coordinator?: (coordinator: Coordinator) => Coordinator
  root?: (root: MessagesRoot) => MessagesRoot
  spine?: (spine: Spine) => Spine
  /** Nobody can tell from the head that something was there. */
  hides?: boolean
  /** The number of all messages agrees with the changed pages. */
  addsUp?: boolean
}

const everyRef = (change: (ref: PageRef) => PageRef) => (spine: Spine) => ({
  ...spine,
  levels: spine.levels.map((refs) => refs.map(change)),
})
const everyTail =
  (change: (entry: MessagesRoot['tail'][number]) => MessagesRoot['tail'][number]) =>
  (root: MessagesRoot) => ({
    ...root,
    tail: root.tail.map(change),
  })

const firstPages = (change: (refs: PageRef[]) => PageRef[]) => (spine: Spine) => ({
  ...spine,
  levels: spine.levels.map((refs, level) => (level === 0 ? change(refs).slice(0, LIMITS.fanOut) : refs)),
})
/** Decodes as a page, and belongs to another topic. */
const FOREIGN = encode({ v: 1, topic: new Uint8Array(32), entries: [[1, new Uint8Array(5)]] })
const FOREIGN_ID = await sha256(FOREIGN)

export const EDITS: Record<string, Edit> = {
  'hangs in a page of another topic that calls itself gone': {
    spine: firstPages((refs) => [
      { id: FOREIGN_ID, count: 1, firstVersion: 0, lastVersion: 1, expiresAt: 1 },
      ...refs,
    ]),
    addsUp: true,
  },
  'hangs in a page twice, once as gone': {
    spine: firstPages((refs) => [...refs.slice(0, 1).map((ref) => ({ ...ref, expiresAt: 1 })), ...refs]),
    addsUp: true,
  },
  'hides pages behind a version range': {
    spine: everyRef((r) => ({ ...r, firstVersion: 0, lastVersion: 0 })),
  },
  'widens the range of pages': { spine: everyRef((r) => ({ ...r, firstVersion: 0 })) },
  'raises the range of pages': { spine: everyRef((r) => ({ ...r, lastVersion: r.lastVersion + 1 })) },
  'lets pages expire': { spine: everyRef((r) => ({ ...r, expiresAt: 1 })), hides: true },
  'lets pages live on': { spine: everyRef((r) => ({ ...r, expiresAt: r.expiresAt + 1 })) },
  'counts pages wrong, and adds up': {
    spine: everyRef((r) => ({ ...r, count: r.count + 1 })),
    addsUp: true,
  },
  'counts pages wrong': { spine: everyRef((r) => ({ ...r, count: 1 })) },
  'reverses the pages': { spine: (s) => ({ ...s, levels: s.levels.map((refs) => refs.toReversed()) }) },
  'counts messages wrong': { root: (r) => ({ ...r, count: 0 }) },
  'drops the pages': { root: (r) => ({ ...r, spine: null, count: r.tail.length }), hides: true },
  'drops the tail': { root: (r) => ({ ...r, tail: [], count: r.count - r.tail.length }), hides: true },
  'drops everything': { coordinator: (c) => ({ ...c, messages: null, subscribers: null }), hides: true },
  'stamps the tail beyond its version': { root: everyTail(([id, , b, e]) => [id, 2 ** 39, b, e]) },
  'stamps the tail before everything': { root: everyTail(([id, , b, e]) => [id, 0, b, e]) },
  'lets the tail expire': { root: everyTail(([id, v, b]) => [id, v, b, 1]) },
  'understates the bytes of the tail': { root: everyTail(([id, v, , e]) => [id, v, 1, e]) },
  'reverses the tail': { root: (r) => ({ ...r, tail: r.tail.toReversed() }) },
  'jumps its version': { coordinator: (c) => ({ ...c, version: c.version + 10 ** 7 }) },
  'sets its version back': { coordinator: (c) => ({ ...c, version: 0 }) },
  'forgets its history': {
    coordinator: (c) => ({ ...c, messageHistory: [], subscriberHistory: [], previous: [] }),
  },
}

/** A head that claims to be one commit later, with what the editor wants changed. */
export async function edited(line: Line, edit: Edit): Promise<Line> {
  const { world, coordinator } = line
  world.blocks.set(`page/${toHex(FOREIGN_ID)}`, FOREIGN)
  const store = async (kind: string, value: unknown) => {
    const bytes = encode(value)
    const id = await sha256(bytes)
    world.blocks.set(`${kind}/${toHex(id)}`, bytes)
    return id
  }
  let root = decodeRoot(await world.read({ kind: 'messages', id: coordinator.messages as Uint8Array }))
  if (root.spine !== null && edit.spine) {
    const spine = decodeSpine(await world.read({ kind: 'spine', id: root.spine }))
    const changed = edit.spine(spine)
    const sealed = changed.levels.flat().reduce((sum, { count }) => sum + count, 0)
    const count = edit.addsUp ? sealed + root.tail.length : root.count
    root = { ...root, spine: await store('spine', changed), count }
  }
  const messages = await store('messages', edit.root?.(root) ?? root)
  const changed = { ...coordinator, messages, version: coordinator.version + 1 }
  const forged = new Line(world, line.index, line)
  forged.head = encode(edit.coordinator?.(changed) ?? changed)
  // what it took may come back from the other side, but nobody is owed it
  if (edit.hides) for (const id of forged.messages.keys()) forged.messages.set(id, 0)
  return forged
}
