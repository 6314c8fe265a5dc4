import { describe, expect, it } from 'vitest'
import { encode, sha256, toHex } from '../../../src/dht/codec.ts'
import {
  type Entry,
  emptyRoot,
  loadMessages,
  loadSpine,
  pageRefOf,
  toEntry,
} from '../../../src/pubsub/collection.ts'
import { CollectionBuilder } from '../../../src/pubsub/collection-builder.ts'
import { LIMITS } from '../../../src/pubsub/options.ts'
import { beginsBehind, RETENTION } from '../../../src/pubsub/retention.ts'
import { topicKey, World } from '../../support/lineage.ts'
import { Line } from '../../support/lineage-line.ts'
import { heldIn, ONE_AHEAD, pagesOf, playTrimmed, SMALL } from '../../support/lineage-trimmed.ts'

/** What a full topic keeps, and what nobody can take away from it without publishing. */

const { pageEntries, fanOut, pageBytes } = LIMITS
const idsOf = async (line: Line) => [...(await heldIn(line)).keys()]

async function fullLine(messages: number, retention = SMALL): Promise<Line> {
  const line = new Line(new World(retention), 0)
  for (let left = messages; left > 0; left -= pageEntries) {
    await line.publish(Math.min(left, pageEntries))
    line.world.nowMs += 1
  }
  return line
}

/** One commit later, with other messages. What it took of others may be gone, so nobody is owed it. */
async function forged(line: Line, messages: Uint8Array): Promise<Line> {
  const { coordinator } = line
  const later = new Line(line.world, line.index, line)
  later.head = encode({ ...coordinator, messages, version: coordinator.version + 1 })
  return later
}

/** A collection with these behind those of `start`, and nothing trimmed. */
async function withMore({ world, coordinator }: Line, start: Uint8Array | null, entries: Entry[]) {
  const root = start ? (await loadMessages(start, world.read)).root : emptyRoot(coordinator.topic)
  const builder = await CollectionBuilder.from(root, world.read, await loadSpine(root, world.read))
  for (const entry of entries) await builder.append(entry, true)
  const { collection, blocks } = await builder.finish()
  world.keep({ head: new Uint8Array(), blocks })
  return collection.rootId
}

const stamped = (entries: Entry[], addedInVersion: number) =>
  entries.map((entry) => ({ ...entry, addedInVersion }))

async function store(world: World, kind: string, value: unknown): Promise<Uint8Array> {
  const bytes = encode(value)
  const id = await sha256(bytes)
  world.blocks.set(`${kind}/${toHex(id)}`, bytes)
  return id
}

describe('a topic', () => {
  it('keeps at least 50,000 messages and at most 58,239, whole indexes going first', async () => {
    const unread = () => Promise.reject(new Error('nothing is read'))
    const most = RETENTION.keptPages + RETENTION.slackPages + fanOut - 1
    let builder = await CollectionBuilder.from(emptyRoot(topicKey), unread)
    const sizes: number[] = []
    for (let i = 1; i <= 1_400; i++) {
      const entries = Array.from({ length: pageEntries }, () => ({ addedInVersion: i, expiresAt: i }))
      const ref = pageRefOf(await sha256(encode(i)), entries)
      await builder.appendSealed(0, ref)
      builder.trim(RETENTION)
      const { collection, blocks } = await builder.finish()
      sizes.push(collection.root.count)
      const read = async ({ id }: { id: Uint8Array }) =>
        blocks.find((block) => toHex(block.id) === toHex(id))?.bytes as Uint8Array
      const spine = await loadSpine(collection.root, read)
      builder = await CollectionBuilder.from(collection.root, read, spine)
    }
    expect(sizes.slice(0, most)).toEqual(sizes.slice(0, most).map((_, i) => (i + 1) * pageEntries))
    const full = sizes.slice(most)
    expect(Math.max(...full)).toBe(most * pageEntries)
    expect(Math.max(...full) + pageEntries - 1).toBe(58_239)
    expect(Math.min(...full)).toBe((RETENTION.keptPages + RETENTION.slackPages) * pageEntries)
    expect(RETENTION.keptPages * pageEntries).toBeGreaterThanOrEqual(50_000)
  })

  it('reads no page and no index to trim, and no more than any commit that seals', async () => {
    const line = await fullLine((SMALL.keptPages + SMALL.slackPages) * pageEntries)
    const { world } = line
    const kindsOf = async () => {
      const message = await line.write(pageEntries)
      world.reads.length = 0
      await line.commit(message)
      return world.reads.map(({ kind }) => kind)
    }
    expect(await pagesOf(line)).toBe(SMALL.keptPages + SMALL.slackPages)
    for (let i = 0; i < 3; i++) {
      expect((await kindsOf()).toSorted()).toEqual(['messages', 'spine'])
      expect(await pagesOf(line)).toBe(SMALL.keptPages + SMALL.slackPages)
    }
  })

  it.each([
    ['in envelopes', LIMITS.maxInlineBytes - 3, 15, 6, 90],
    ['in payloads', 60_000, 3, 8, 18],
    ['in payloads that fill a page each', LIMITS.maxPayloadBytes - 5, 1, 12, 6],
  ])('is bounded in bytes by the same number of pages: %s', async (_where, length, atOnce, commits, most) => {
    const line = new Line(new World(SMALL), 0)
    const data = encode(new Uint8Array(length))
    for (let i = 0; i < commits; i++) await line.commit(await line.write(atOnce, undefined, data))
    const entries = await line.world.entries(line.head)
    const bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0)
    expect(bytes).toBeGreaterThan(entries.length * length)
    expect(await pagesOf(line)).toBe(SMALL.keptPages + SMALL.slackPages)
    expect(entries.length).toBeLessThan(most)
    expect(bytes).toBeLessThan(
      (SMALL.keptPages + SMALL.slackPages + 1) * (pageBytes + LIMITS.maxEnvelopeBytes + length),
    )
    await line.world.kind.checkLinked(topicKey, line.head, line.world.read)
  })

  it('that a merge has made too long is trimmed when only a subscription is renewed, too', async () => {
    const trunk = await fullLine(0)
    const [a, b] = [new Line(trunk.world, 1), new Line(trunk.world, 2)]
    for (const line of [a, b]) await line.publish(SMALL.keptPages * pageEntries - 1)
    const joined = await a.join(b)
    expect(await pagesOf(joined)).toBeGreaterThan(SMALL.keptPages + SMALL.slackPages)
    await joined.commit([], [await joined.world.statement(1)])
    expect(await pagesOf(joined)).toBe(SMALL.keptPages + SMALL.slackPages)
  })

  it('is said to begin behind a place only where it is full: what was there may have expired instead', async () => {
    const spineOf = async ({ world, coordinator }: Line) =>
      loadSpine((await loadMessages(coordinator.messages as Uint8Array, world.read)).root, world.read)
    const full = await spineOf(await fullLine(7 * pageEntries))
    const oldest = full.levels[0]?.[0]?.firstVersion ?? 0
    expect(oldest).toBe(4)
    expect([3, 4].map((version) => beginsBehind(full, version, SMALL))).toEqual([true, false])
    const short = { ...full, levels: [full.levels[0]?.slice(2) ?? []] }
    expect(beginsBehind(short, 3, SMALL)).toBe(false)
  })
})

describe('the union of a side that has trimmed and one that has not', () => {
  it('has nothing again of what was trimmed, and reads none of it', async () => {
    const [ahead, behind] = (await playTrimmed(ONE_AHEAD)) as [Line, Line]
    const { world } = ahead
    const [kept, other] = [await idsOf(ahead), await idsOf(behind)]
    const own = other.slice(-9)
    const trimmed = other.slice(0, -9).filter((id) => !kept.includes(id))
    expect(trimmed).toHaveLength(pageEntries)
    world.reads.length = 0
    const joined = await ahead.join(behind)
    expect(world.reads.filter(({ kind }) => kind === 'page')).toHaveLength(2) // ahead's own, and the last in common
    expect(await idsOf(joined)).toEqual(expect.arrayContaining([...kept, ...own]))
    expect((await idsOf(joined)).filter((id) => trimmed.includes(id))).toEqual([])
    // and whoever still has it takes the join
    expect(toHex((await behind.join(joined)).head)).toBe(toHex(joined.head))
  })

  it('is the side that has trimmed itself, where that has all the rest', async () => {
    const ahead = await fullLine((SMALL.keptPages + SMALL.slackPages) * pageEntries)
    const behind = new Line(ahead.world, 0, ahead)
    await ahead.publish(pageEntries)
    const unrelated = encode({ ...behind.coordinator, messageHistory: [], previous: [] })
    behind.head = unrelated
    expect((await idsOf(behind))[0]).not.toBe((await idsOf(ahead))[0])
    expect(toHex((await behind.join(ahead)).head)).toBe(toHex(ahead.head))
  })

  it('has nothing again of it where they have no page in common any more, and the newest of each', async () => {
    const trunk = await fullLine(SMALL.keptPages * pageEntries)
    const [a, b] = [new Line(trunk.world, 1, trunk), new Line(trunk.world, 2, trunk)]
    for (let i = 0; i < 6; i++) await a.commit(await a.write(1))
    for (let i = 0; i < 6; i++) await b.commit(await b.write(pageEntries))
    const [shared, ofA, ofB] = [await idsOf(trunk), await idsOf(a), await idsOf(b)]
    expect(ofB.filter((id) => shared.includes(id))).toEqual([])
    const joined = await idsOf(await a.join(b))
    expect(joined.filter((id) => shared.includes(id))).toEqual([])
    expect(joined).toEqual(expect.arrayContaining([...ofB.slice(pageEntries + 6), ...ofA.slice(-2)]))
  })

  it('has nothing again of it where the other side has all, and is later', async () => {
    const behind = await fullLine((SMALL.keptPages + SMALL.slackPages) * pageEntries)
    const ahead = new Line(behind.world, 0, behind)
    await ahead.publish(pageEntries)
    const news = (await ahead.world.entries(ahead.head)).slice(-pageEntries)
    const longer = await forged(ahead, await withMore(ahead, behind.coordinator.messages, news))
    expect(await pagesOf(longer)).toBe(SMALL.keptPages + SMALL.slackPages + 1)
    expect(await idsOf(await ahead.join(longer))).toEqual(await idsOf(ahead))
  })

  it('has all that a topic must keep, where the side that lacks it is not full', async () => {
    const line = await fullLine(SMALL.keptPages * pageEntries)
    const entries = await line.world.entries(line.head)
    const short = await forged(line, await withMore(line, null, stamped(entries.slice(pageEntries), 9)))
    expect(new Set(await idsOf(await line.join(short)))).toEqual(new Set(await idsOf(line)))
  })
})

describe('who has published nothing', () => {
  const newestOf = (ids: string[]) => ids.slice(-SMALL.keptPages * pageEntries)

  it('makes no newer message go by stamping old ones above it', async () => {
    const line = await fullLine((SMALL.keptPages + SMALL.slackPages) * pageEntries + 30)
    const entries = await line.world.entries(line.head)
    const stamp = line.coordinator.version + 1
    const old = entries.slice(0, SMALL.keptPages * pageEntries)
    const lie = await forged(line, await withMore(line, null, stamped(old, stamp)))
    await line.world.kind.checkLinked(topicKey, lie.head, line.world.read) // it says nothing untrue
    const joined = await idsOf(await line.join(lie))
    expect(joined).toEqual(expect.arrayContaining(newestOf(await idsOf(line))))
  })

  it('makes nothing go by repeating what the pages of both have already, however far back', async () => {
    const line = await fullLine(20 * pageEntries, { keptPages: SMALL.keptPages, slackPages: 30 })
    const start = line.coordinator.messages
    const entries = await line.world.entries(line.head)
    await line.publish(30)
    const old = entries.slice(0, SMALL.keptPages * pageEntries)
    expect(entries.length - old.length).toBeGreaterThanOrEqual(LIMITS.maxDuplicateScan)
    const repeating = await withMore(line, start, stamped(old, line.coordinator.version + 1))
    const joined = await idsOf(await line.join(await forged(line, repeating)))
    expect(new Set(joined)).toEqual(new Set(await idsOf(line)))
  })

  it('makes no topic full with pages of one message each', async () => {
    const line = await fullLine(SMALL.keptPages * pageEntries + 60)
    const { world } = line
    const { root } = await loadMessages(line.coordinator.messages as Uint8Array, world.read)
    const { levels } = await loadSpine(root, world.read)
    const tail = (await world.entries(line.head)).slice(-60)
    const single = await Promise.all(
      tail.map(async ({ addedInVersion, envelope }) => {
        const id = await store(world, 'page', {
          v: 1,
          topic: topicKey,
          entries: [[addedInVersion, envelope]],
        })
        return pageRefOf(id, [await toEntry(topicKey, addedInVersion, envelope)])
      }),
    )
    const spine = await store(world, 'spine', {
      v: 1,
      topic: topicKey,
      levels: [[...(levels[0] ?? []), ...single]],
    })
    const lie = await forged(line, await store(world, 'messages', { ...root, spine, tail: [] }))
    await expect(world.kind.checkLinked(topicKey, lie.head, world.read)).rejects.toMatchObject({
      code: 'MALFORMED',
    })
    const newest = newestOf(await idsOf(line))
    const joined = await line.join(lie)
    world.nowMs += 1
    await joined.publish(1)
    await joined.commit([], [await world.statement(1)])
    expect(await idsOf(joined)).toEqual(expect.arrayContaining(newest))
  })
})
