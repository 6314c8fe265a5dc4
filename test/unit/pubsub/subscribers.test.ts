import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeAny, toHex } from '../../../src/dht/codec.ts'
import type { Block } from '../../../src/dht/kinds.ts'
import { LIMITS } from '../../../src/pubsub/options.ts'
import {
  listSubscribers,
  putStatements,
  standsForUnion,
  uniteSubscribers,
} from '../../../src/pubsub/subscribers.ts'
import type { VerifiedStatement } from '../../../src/pubsub/subscription-statement.ts'
import { topicKeyOf } from '../../../src/pubsub/topic-key.ts'
import { START_MS, topicKey, World } from '../../support/lineage.ts'

const fails = (promise: Promise<unknown>, code: string) =>
  expect(promise).rejects.toMatchObject({ name: 'StickyError', code })
const hex = (id: Uint8Array | null) => (id === null ? 'empty' : toHex(id))

class Trie {
  readonly world = new World()

  keep({ rootId, blocks }: { rootId: Uint8Array | null; blocks: Block[] }): Uint8Array | null {
    for (const { kind, id, bytes } of blocks) this.world.blocks.set(`${kind}/${toHex(id)}`, bytes)
    return rootId
  }

  async put(root: Uint8Array | null, statements: VerifiedStatement[], nowMs = this.world.nowMs) {
    return this.keep(await putStatements(topicKey, root, statements, nowMs, this.world.read))
  }

  async unite(a: Uint8Array | null, b: Uint8Array | null, nowMs = this.world.nowMs) {
    return this.keep(await uniteSubscribers(topicKey, a, b, nowMs, this.world.read))
  }

  async list(root: Uint8Array | null, nowMs = this.world.nowMs): Promise<string[]> {
    if (root === null) return []
    return (await listSubscribers(root, nowMs, this.world.read)).map(({ nodeId }) => nodeId).sort()
  }

  many(from: number, count: number): Promise<VerifiedStatement[]> {
    return Promise.all(Array.from({ length: count }, (_, i) => this.world.statement(from + i)))
  }
}

describe('the subscribers of a topic', () => {
  it('are the same blocks whatever the order and grouping in which they came', async () => {
    const trie = new Trie()
    const all = await trie.many(0, 200)
    await fc.assert(
      fc.asyncProperty(
        fc.shuffledSubarray(all, { minLength: 1, maxLength: 200 }),
        fc.integer({ min: 1, max: 90 }),
        async (some, group) => {
          const once = await trie.put(null, some)
          let grouped: Uint8Array | null = null
          for (let i = 0; i < some.length; i += group)
            grouped = await trie.put(grouped, some.toReversed().slice(i, i + group))
          const half = Math.floor(some.length / 2)
          const united = await trie.unite(
            await trie.put(null, some.slice(0, half + 5)),
            await trie.put(null, some.slice(half)),
          )
          expect(hex(grouped)).toBe(hex(once))
          expect(hex(united)).toBe(hex(once))
          expect(await trie.list(once)).toEqual(some.map(({ nodeId }) => nodeId).sort())
        },
      ),
      { numRuns: 10 },
    )
  })

  it('go by their latest statement; one unsubscribed never comes back, until all before it is over', async () => {
    const trie = new Trie()
    const subscribed = await trie.world.statement(1)
    trie.world.nowMs += 60_000
    const left = await trie.world.statement(1, 'unsubscribe')
    const with1 = await trie.put(null, [subscribed])
    const without = await trie.put(with1, [left])
    expect(await trie.list(with1)).toHaveLength(1)
    expect(await trie.list(without)).toEqual([])
    expect(hex(await trie.put(without, [subscribed]))).toBe(hex(without))
    for (let minutes = 0; minutes <= 45; minutes += 5) {
      const nowMs = trie.world.nowMs + minutes * 60_000
      const merged = await trie.unite(without, with1, nowMs)
      expect(hex(await trie.unite(with1, without, nowMs))).toBe(hex(merged))
      expect(await trie.list(merged, nowMs)).toEqual([])
    }
    trie.world.nowMs += 1
    expect(await trie.list(await trie.put(without, [await trie.world.statement(1)]))).toHaveLength(1)
  })

  it('of the same moment: an unsubscribe wins', async () => {
    const trie = new Trie()
    const [joined, left] = [await trie.world.statement(1), await trie.world.statement(1, 'unsubscribe')]
    for (const order of [
      [joined, left],
      [left, joined],
    ])
      expect(await trie.list(await trie.put(null, order))).toEqual([])
  })

  it('leave when they have expired; one that shrinks becomes what a small one is', async () => {
    const trie = new Trie()
    const old = await trie.put(null, await trie.many(0, 100))
    trie.world.nowMs += LIMITS.subscriptionTtlMs - 1
    expect(await trie.list(old)).toHaveLength(100)
    const both = await trie.put(old, await trie.many(500, 10))
    trie.world.nowMs += LIMITS.maxSkewMs + 2
    expect(await trie.list(both)).toHaveLength(10)
    const fresh = await trie.many(600, 10)
    const united = await trie.unite(both, await trie.put(null, fresh))
    expect(await trie.list(united)).toHaveLength(20)
    const leaf = [...trie.world.blocks].find(([name]) => name.endsWith(hex(united)))?.[1]
    expect(decodeAny(leaf as Uint8Array, 1 << 20)).toHaveProperty('statements')
  })

  it('still hold what has expired until they change: that alone is no change', async () => {
    const trie = new Trie()
    const first = await trie.put(null, await trie.many(0, 3))
    trie.world.nowMs += LIMITS.subscriptionTtlMs / 2
    const both = await trie.put(first, await trie.many(10, 3))
    trie.world.nowMs += LIMITS.subscriptionTtlMs / 2 + LIMITS.maxSkewMs + 1
    const { nowMs, read } = trie.world
    const union = await trie.unite(first, both)
    expect(hex(union)).not.toBe(hex(both))
    expect(await standsForUnion(topicKey, both, union, nowMs, read)).toBe(true)
    expect(await standsForUnion(topicKey, first, union, nowMs, read)).toBe(false)
    expect(await standsForUnion(topicKey, null, union, nowMs, read)).toBe(false)
  })

  it('are bounded: renewals fit in a full topic, newcomers do not', async () => {
    const trie = new Trie()
    const full = await trie.put(null, await trie.many(0, LIMITS.maxSubscribers))
    trie.world.nowMs += 1_000
    expect(await trie.list(await trie.put(full, await trie.many(0, 5)))).toHaveLength(LIMITS.maxSubscribers)
    await fails(trie.put(full, await trie.many(LIMITS.maxSubscribers, 1)), 'TOPIC_FULL')
  }, 30_000)

  it('are refused as part of another topic or in a wrong place', async () => {
    const trie = new Trie()
    const root = await trie.put(null, await trie.many(0, 100))
    const other = await topicKeyOf('another')
    await fails(uniteSubscribers(other, root, null, START_MS, trie.world.read), 'WRONG_TOPIC')
    const [name] = [...trie.world.blocks].find(([, bytes]) => {
      const node = decodeAny(bytes, 1 << 20) as { depth: number; statements?: unknown[] }
      return node.depth === 1 && node.statements !== undefined
    }) as [string, Uint8Array]
    const child = Uint8Array.from(Buffer.from(name.split('/')[1] as string, 'hex'))
    await fails(uniteSubscribers(topicKey, child, null, START_MS, trie.world.read), 'MALFORMED')
  })

  it('cost one leaf and the branches above it to renew', async () => {
    const trie = new Trie()
    const root = await trie.put(null, await trie.many(0, 900))
    trie.world.nowMs += 1_000
    const before = trie.world.blocks.size
    await trie.put(root, [await trie.world.statement(7)])
    expect(trie.world.blocks.size - before).toBeLessThanOrEqual(3)
  }, 30_000)
})
