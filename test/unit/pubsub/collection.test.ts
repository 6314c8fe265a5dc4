import { describe, expect, it } from 'vitest'
import { encode, toHex } from '../../../src/dht/codec.ts'
import {
  collectionPages,
  decodePage,
  emptyRoot,
  entriesAfter,
  entriesBackward,
  loadMessages,
  loadSpine,
  type MessageCollection,
} from '../../../src/pubsub/collection.ts'
import { decodeCoordinator } from '../../../src/pubsub/coordinator.ts'
import { LIMITS } from '../../../src/pubsub/options.ts'
import { sequences, topicKey, World } from '../../support/lineage.ts'

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

async function topicOf(world: World, count: number, perCommit: number): Promise<Uint8Array> {
  let head: Uint8Array | undefined
  for (let from = 1; from <= count; from += perCommit)
    head = await world.apply(head, await world.messages(from, Math.min(perCommit, count - from + 1)))
  return head as Uint8Array
}
const collectionOf = (world: World, head: Uint8Array): Promise<MessageCollection> =>
  loadMessages(decodeCoordinator(head).messages as Uint8Array, world.read)

/** What `work` read, by kind. */
async function readsOf(world: World, work: () => Promise<unknown>): Promise<Record<string, number>> {
  world.reads.length = 0
  await work()
  const counts: Record<string, number> = {}
  for (const { kind } of world.reads) counts[kind] = (counts[kind] ?? 0) + 1
  return counts
}

describe('message collection', () => {
  it('gives back everything in order, across tail, pages and indexes', async () => {
    const world = new World()
    const head = await topicOf(world, 4_400, 200)
    expect(await sequences(await world.entries(head))).toEqual(range(1, 4_400))
    const { root } = await collectionOf(world, head)
    expect(root.count).toBe(4_400)
    const { levels } = await loadSpine(root, world.read)
    expect(levels.map((refs) => refs.length)).toEqual([4, 1]) // 68 pages: 64 of them under one index
    expect(root.tail).toHaveLength(4_400 - 68 * 64)
    await world.verifyAll(head)
  })

  it('reads only the pages that have something newer', async () => {
    const world = new World()
    const head = await topicOf(world, 1_000, 10)
    const reads = await readsOf(world, async () => {
      expect(await sequences(await world.entries(head, 95))).toEqual(range(951, 1_000))
    })
    expect(reads.page).toBe(1)
    expect(await world.entries(head, decodeCoordinator(head).version)).toEqual([])
  })

  it('tells how many entries are to come, and corrects that on the way', async () => {
    const world = new World()
    const head = await topicOf(world, 4_400, 100)
    const collection = await collectionOf(world, head)
    for (const [after, count] of [
      [0, 4_400],
      [10, 3_400],
      [43, 100],
      [44, 0],
    ] as const) {
      let expected = 0
      let atFirst: number | undefined
      const entries = entriesAfter(collection, after, world.read, (change) => {
        expected += change
        atFirst ??= expected
      })
      const given: unknown[] = []
      for await (const entry of entries) given.push(entry)
      expect([given.length, expected]).toEqual([count, count])
      expect(atFirst).toBeGreaterThanOrEqual(count)
    }
  })

  it('pages backward, reading at most one page for the last five of many', async () => {
    const world = new World()
    const head = await topicOf(world, 4_400, 200)
    const collection = await collectionOf(world, head)
    const reads = await readsOf(world, async () => {
      const last = await entriesBackward(collection, undefined, 5, world.read)
      expect(await sequences(last)).toEqual(range(4_396, 4_400))
    })
    expect(reads.page ?? 0).toBeLessThanOrEqual(1)
    const seen: number[] = []
    let before: { version: number; id: Uint8Array } | undefined
    for (;;) {
      const page = await entriesBackward(collection, before, 150, world.read)
      seen.unshift(...(await sequences(page)))
      if (page[0] === undefined || page.length < 150) break
      before = { version: page[0].addedInVersion, id: page[0].id }
    }
    expect(seen).toEqual(range(1, 4_400))
  })

  it('asks for the way to older pages together with newer messages that are too few, and not with enough of them', async () => {
    const world = new World()
    const collection = await collectionOf(world, await topicOf(world, 100, 10)) // a page of 64 and a tail of 36
    for (const [limit, kinds] of [
      [36, ['message']],
      [37, ['message', 'spine']],
    ] as const) {
      const asked = new Set<string>()
      const reading = entriesBackward(collection, undefined, limit, (ref) => {
        asked.add(ref.kind)
        return world.read(ref)
      })
      expect([...asked].sort()).toEqual(kinds) // before anything was answered
      expect(await sequences(await reading)).toEqual(range(101 - limit, 100))
    }
  })

  it('costs the same to append to, however many messages there are', async () => {
    const costs: { reads: number; bytes: number }[] = []
    for (const count of [130, 1_026, 4_098]) {
      const world = new World()
      const head = await topicOf(world, count, 128)
      const [next] = await world.messages(count + 1, 1)
      const change = { bytes: 0 }
      const before = new Set(world.blocks.keys())
      const reads = await readsOf(world, async () => {
        await world.apply(head, [next as NonNullable<typeof next>])
      })
      for (const [name, bytes] of world.blocks) if (!before.has(name)) change.bytes += bytes.byteLength
      costs.push({ reads: Object.values(reads).reduce((a, b) => a + b, 0), bytes: change.bytes })
    }
    expect(new Set(costs.map(({ reads }) => reads)).size).toBe(1)
    const sizes = costs.map(({ bytes }) => bytes)
    expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThan(64)
  })

  it('seals by bytes too, and a page never passes its limit', async () => {
    const world = new World()
    const data = encode(new Uint8Array(LIMITS.maxInlineBytes - 3)) // three bytes say how long it is
    let head: Uint8Array | undefined
    for (let from = 1; from <= 40; from += 10)
      head = await world.apply(head, await world.messages(from, 10, { data }))
    const collection = await collectionOf(world, head as Uint8Array)
    const pages = await collectionPages(collection, world.read)
    expect(pages.length).toBeGreaterThan(1)
    for (const { id } of pages) {
      const bytes = world.blocks.get(`page/${toHex(id)}`) as Uint8Array
      expect(decodePage(bytes).entries.length).toBeLessThan(LIMITS.pageEntries)
    }
    expect(await sequences(await world.entries(head as Uint8Array))).toEqual(range(1, 40))
  })

  it('lets go of what has expired when only subscriptions are renewed, too', async () => {
    const world = new World()
    let head = await world.apply(undefined, await world.messages(1, 70, { ttlMs: 60_000 }))
    head = await world.apply(head, await world.messages(71, 3))
    world.nowMs += 60_000 + LIMITS.graceMs
    const before = decodeCoordinator(head).messages
    head = await world.apply(head, [], [await world.statement(1)])
    expect(decodeCoordinator(head).messages).toEqual(before)
    world.nowMs += 1
    head = await world.apply(head, [], [await world.statement(1)])
    expect(await sequences(await world.entries(head))).toEqual([71, 72, 73])
    expect((await collectionOf(world, head)).root.count).toBe(3)
  })

  it('lets go of what has expired when it seals, and of nothing else', async () => {
    const world = new World()
    let head = await world.apply(undefined, await world.messages(1, 70, { ttlMs: 60_000 }))
    head = await world.apply(head, await world.messages(71, 70))
    world.nowMs += 60_000 + LIMITS.graceMs + 1
    head = await world.apply(head, await world.messages(141, 64))
    const kept = await sequences(await world.entries(head))
    expect(kept.filter((sequence) => sequence > 70)).toEqual(range(71, 204))
    // The first page (1 to 64) is gone; the page that 65 to 70 share with live messages stays whole.
    expect(kept[0]).toBe(65)
    expect((await collectionOf(world, head)).root.count).toBe(kept.length)
  })

  it('skips what its tail has, and starts empty', async () => {
    const world = new World()
    const messages = await world.messages(1, 3)
    const head = await world.apply(undefined, messages)
    expect(toHex(await world.apply(head, messages))).toBe(toHex(head))
    expect(emptyRoot(topicKey).tail).toEqual([])
  })
})
