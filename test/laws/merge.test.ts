import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { toHex } from '../../src/dht/codec.ts'
import { collectionPages, loadMessages } from '../../src/pubsub/collection.ts'
import { decodeCoordinator } from '../../src/pubsub/coordinator.ts'
import { openMessage } from '../../src/pubsub/message.ts'
import { LIMITS } from '../../src/pubsub/options.ts'
import { type Branch, topicKey, type World } from '../support/lineage.ts'
import { MINUTE_MS, type Program, play, program } from '../support/programs.ts'

/** What must hold of every pair of heads that any history of a topic can make. */

const hex = (head: Uint8Array | undefined) => (head === undefined ? 'none' : toHex(head))

function law(
  name: string,
  holds: (world: World, branches: (Branch & { head: Uint8Array })[]) => Promise<void>,
  numRuns = 14,
) {
  it(name, { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(program, async (generated: Program) => {
        const { world, branches } = await play(generated)
        await holds(world, branches as (Branch & { head: Uint8Array })[])
      }),
      { numRuns, endOnFailure: false },
    )
  })
}

const mergedNow = (...heads: Uint8Array[]) =>
  Math.max(...heads.map((head) => decodeCoordinator(head).lastModified))

describe('join of two heads', () => {
  law('is commutative, byte for byte, blocks included', async (world, branches) => {
    for (const { head: a } of branches) {
      for (const { head: b } of branches) {
        const ab = await world.kind.join(topicKey, a, b, world.read)
        const ba = await world.kind.join(topicKey, b, a, world.read)
        expect(hex(ab.head)).toBe(hex(ba.head))
        expect(ab.blocks.map(({ id }) => toHex(id)).sort()).toEqual(
          ba.blocks.map(({ id }) => toHex(id)).sort(),
        )
      }
    }
  })

  law('is idempotent and inflationary', async (world, branches) => {
    for (const { head: a } of branches) {
      expect(hex(await world.join(a, a))).toBe(hex(a))
      for (const { head: b } of branches) {
        const joined = await world.join(a, b)
        for (const head of [a, b, joined]) expect(hex(await world.join(head, joined))).toBe(hex(joined))
      }
    }
  })

  law('gives a descendant itself, whatever has expired since', async (world, branches) => {
    for (const branch of branches) {
      const before = branch.head
      await branch.publish(3, 48 * 3_600_000)
      await branch.subscribe(77, 'subscribe')
      expect(hex(await world.join(before, branch.head))).toBe(hex(branch.head))
      world.nowMs += 36 * MINUTE_MS
      const between = branch.head
      await branch.publish(1, 48 * 3_600_000)
      expect(hex(await world.join(before, branch.head))).toBe(hex(branch.head))
      expect(hex(await world.join(between, branch.head))).toBe(hex(branch.head))
    }
  })

  law('has what either side has and nothing else', async (world, branches) => {
    for (const { head: a } of branches) {
      for (const { head: b } of branches) {
        const nowMs = mergedNow(a, b)
        const joined = await world.join(a, b)
        const both = new Set([...(await world.live(a, nowMs)), ...(await world.live(b, nowMs))])
        expect(await world.live(joined, nowMs)).toEqual(both)
      }
    }
  })

  law('is associative in what it contains', async (world, branches) => {
    const [a, b, c] = branches.map(({ head }) => head)
    if (a === undefined || b === undefined || c === undefined) return
    const left = await world.join(await world.join(a, b), c)
    const right = await world.join(a, await world.join(b, c))
    const nowMs = mergedNow(a, b, c)
    expect(await world.live(left, nowMs)).toEqual(await world.live(right, nowMs))
    expect(await world.subscribers(left, nowMs)).toEqual(await world.subscribers(right, nowMs))
  })

  law(
    'lets no reader of either side miss an entry, from whichever version it goes on',
    async (world, branches) => {
      for (const a of branches) {
        for (const { head: b } of branches) {
          const joined = await world.join(a.head, b)
          const nowMs = decodeCoordinator(joined).lastModified
          const all = await world.live(joined, nowMs)
          for (const { version, ids } of a.seen) {
            const later = await world.live(joined, nowMs, version)
            for (const id of all) expect(later.has(id) || ids.has(id)).toBe(true)
          }
        }
      }
    },
  )

  law(
    'makes only blocks that verify, in the order of their stamps, counted right',
    async (world, branches) => {
      let joined = branches[0]?.head
      for (const { head } of branches) if (joined !== undefined) joined = await world.join(joined, head)
      if (joined === undefined) return
      await world.verifyAll(joined)
      const coordinator = decodeCoordinator(joined)
      const stamps = (await world.entries(joined)).map(({ addedInVersion }) => addedInVersion)
      expect(stamps).toEqual(stamps.toSorted((x, y) => x - y))
      expect(Math.max(0, ...stamps)).toBeLessThanOrEqual(coordinator.version)
      if (coordinator.messages === null) return
      const collection = await loadMessages(coordinator.messages, world.read)
      expect(collection.root.count).toBe(stamps.length)
      const sealed = await collectionPages(collection, world.read)
      expect(sealed.every(({ firstVersion, lastVersion }) => firstVersion <= lastVersion)).toBe(true)
    },
  )

  law('keeps each writer in its own order, beyond what both sides had sealed', async (world, branches) => {
    for (const { head: a } of branches) {
      for (const { head: b } of branches) {
        const last = new Map<string, number>()
        for (const { envelope } of await world.entries(await world.join(a, b))) {
          const { publisher, writer, sequence } = (await openMessage(envelope)).body
          const name = `${toHex(publisher)}/${toHex(writer)}`
          expect(sequence).toBeGreaterThan(last.get(name) ?? 0)
          last.set(name, sequence)
        }
      }
    }
  })

  law('brings replicas that gossip to the same head, and leaves it alone then', async (_world, branches) => {
    for (let round = 0; round < 2; round++) {
      for (const branch of branches) for (const other of branches) await branch.take(other.head)
    }
    const [settled] = branches
    for (const { head } of branches) expect(hex(head)).toBe(hex(settled?.head))
  })

  law('keeps the ids of the pages both sides sealed alike', async (world, branches) => {
    const pagesOf = async (head: Uint8Array) => {
      const { messages } = decodeCoordinator(head)
      if (messages === null) return []
      return collectionPages(await loadMessages(messages, world.read), world.read)
    }
    for (const { head: a } of branches) {
      for (const { head: b } of branches) {
        const nowMs = mergedNow(a, b)
        const live = async (head: Uint8Array) =>
          (await pagesOf(head)).filter(({ expiresAt }) => expiresAt + LIMITS.graceMs >= nowMs)
        const [pagesA, pagesB] = [await live(a), await live(b)]
        let shared = 0
        while (shared < pagesA.length && hex(pagesA[shared]?.id) === hex(pagesB[shared]?.id)) shared += 1
        const joined = (await live(await world.join(a, b))).slice(0, shared)
        expect(joined.map(({ id }) => hex(id))).toEqual(pagesA.slice(0, shared).map(({ id }) => hex(id)))
      }
    }
  })
})
