import { describe, expect, it } from 'vitest'
import { encode, toHex } from '../../../src/dht/codec.ts'
import type { Block } from '../../../src/dht/kinds.ts'
import { compare, decodeCoordinator, emptyCoordinator, prune } from '../../../src/pubsub/coordinator.ts'
import { LIMITS } from '../../../src/pubsub/options.ts'
import { decodeSnapshot } from '../../../src/pubsub/snapshot.ts'
import { START_MS, topicKey, World } from '../../support/lineage.ts'

/** Heads of `count` commits of one message each, the first one first. */
async function lineage(world: World, count: number, from?: Uint8Array, writer = 1): Promise<Uint8Array[]> {
  const heads: Uint8Array[] = []
  for (const message of await world.messages(1, count, { writer })) {
    world.nowMs += 10
    heads.push(await world.apply(heads.at(-1) ?? from, [message]))
  }
  return heads
}

describe('coordinator', () => {
  it('stays within 1 KiB and forgets no collection id that its snapshots still name', async () => {
    const world = new World()
    const heads = await lineage(world, 300)
    const ids = heads.map((head) => toHex(decodeCoordinator(head).messages as Uint8Array))
    for (const head of heads) expect(head.byteLength).toBeLessThanOrEqual(LIMITS.maxCoordinatorBytes)
    const last = decodeCoordinator(heads.at(-1) as Uint8Array)
    const known = [last.messages as Uint8Array, ...last.messageHistory].map(toHex)
    for (const id of last.previous) {
      const snapshot = decodeSnapshot(await world.read({ kind: 'snapshot', id }))
      known.push(...snapshot.messageHistory.map(toHex))
    }
    expect(known).toEqual(ids.toReversed())
  })

  it('needs a bounded number of snapshots, however many commits there were', async () => {
    const world = new World()
    const heads = await lineage(world, 1_200)
    const reached = await world.verifyAll(heads.at(-1) as Uint8Array)
    const snapshots = [...reached].filter((name) => name.startsWith('snapshot/'))
    expect(snapshots.length).toBeGreaterThan(1)
    expect(snapshots.length).toBeLessThanOrEqual(LIMITS.maxParents)
  })

  it('goes on when a snapshot is lost everywhere, and names it no more', async () => {
    const world = new World()
    const head = (await lineage(world, 60)).at(-1) as Uint8Array
    const [lost] = decodeCoordinator(head).previous
    expect(lost).toBeDefined()
    world.blocks.delete(`snapshot/${toHex(lost as Uint8Array)}`)
    const later = (await lineage(world, 40, head, 2)).at(-1) as Uint8Array
    expect(decodeCoordinator(later).previous.map(toHex)).not.toContain(toHex(lost as Uint8Array))
    await world.verifyAll(later)
  })

  it.each([
    ['an hour at least, though what it names has expired', -40 * 60_000, 3_600_000],
    ['as long as what it names, an hour of grace included', 3 * 3_600_000, 4 * 3_600_000],
  ])('moves history to a snapshot that lives %s', async (_name, lastExpiryMs, lifeMs) => {
    const messageHistory = Array.from({ length: 32 }, (_, i) => new Uint8Array(32).fill(i))
    const full = { messageHistory, expiresAt: START_MS + lastExpiryMs }
    const { blocks } = await prune({ ...emptyCoordinator(topicKey, START_MS), ...full })
    const [{ kind, id, bytes }] = blocks as [Block]
    const info = await new World().blockKinds.get(kind)?.verify(id, bytes)
    expect(info?.expiresAtMs).toBeGreaterThanOrEqual(START_MS + lifeMs)
  })

  it('after a merge keeps the histories of both, the newest in the coordinator', async () => {
    const world = new World()
    const base = (await lineage(world, 30)).at(-1) as Uint8Array
    const a = await lineage(world, 40, base, 2)
    const b = await lineage(world, 40, base, 3)
    const joined = await world.join(a.at(-1) as Uint8Array, b.at(-1) as Uint8Array)
    expect(joined.byteLength).toBeLessThanOrEqual(LIMITS.maxCoordinatorBytes)
    await world.verifyAll(joined)
    const { messageHistory } = decodeCoordinator(joined)
    for (const side of [a, b]) {
      const current = toHex(decodeCoordinator(side.at(-1) as Uint8Array).messages as Uint8Array)
      expect(messageHistory.map(toHex)).toContain(current)
    }
  })

  it('knows ancestors from the histories, and says diverged when it does not know', async () => {
    const world = new World()
    const heads = await lineage(world, 40)
    const [first, second] = heads as [Uint8Array, Uint8Array]
    const last = heads.at(-1) as Uint8Array
    expect(compare(first, first)).toBe('same')
    expect(compare(first, second)).toBe('behind')
    expect(compare(second, first)).toBe('ahead')
    expect(compare(first, last)).toBe('diverged') // pruned away: a merge finds out
    const other = await world.apply(first, await world.messages(1, 1, { writer: 9 }))
    expect(compare(second, other)).toBe('diverged')
    const subscribed = await world.apply(first, [], [await world.statement(1)])
    expect(compare(first, subscribed)).toBe('behind')
    expect(compare(subscribed, second)).toBe('diverged')
    const empty = encode(emptyCoordinator(topicKey, START_MS))
    expect(compare(empty, last)).toBe('behind')
  })

  it('is refused beyond its limits', () => {
    const valid = emptyCoordinator(topicKey, START_MS)
    expect(decodeCoordinator(encode(valid))).toEqual(valid)
    for (const change of [
      { version: -1 },
      { version: 1.5 },
      { version: LIMITS.maxVersion + 1 },
      { version: '9' },
      { state: 'failed' },
      { v: 2 },
      { more: 1 },
      { previous: Array.from({ length: 5 }, () => topicKey) },
    ])
      expect(() => decodeCoordinator(encode({ ...valid, ...change }))).toThrow()
    const long = { ...valid, messageHistory: Array.from({ length: 32 }, () => topicKey) }
    expect(() => decodeCoordinator(encode(long))).toThrow(/at most 1024/)
  })
})
