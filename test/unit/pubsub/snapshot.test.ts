import { describe, expect, it } from 'vitest'
import { toHex } from '../../../src/dht/codec.ts'
import { StickyError } from '../../../src/dht/errors.ts'
import type { BlockRef } from '../../../src/dht/kinds.ts'
import { LIMITS } from '../../../src/pubsub/options.ts'
import { type Level, snapshotBlock, snapshotsBehind } from '../../../src/pubsub/snapshot.ts'
import { topicKey } from '../../support/lineage.ts'

/** Snapshots by hand, and what was asked for. */
class Snapshots {
  readonly asked: BlockRef[] = []
  readonly #blocks = new Map<string, Uint8Array>()
  #count = 0

  async add(...previous: Uint8Array[]): Promise<Uint8Array> {
    this.#count += 1
    const { id, bytes } = await snapshotBlock({
      v: 1,
      topic: topicKey,
      version: this.#count,
      messageHistory: [new Uint8Array(32).fill(this.#count)],
      subscriberHistory: [],
      previous,
      createdAt: 1_700_000_000_000,
      expiresAt: 1_800_000_000_000,
    })
    this.#blocks.set(toHex(id), bytes)
    return id
  }

  readonly read = async (ref: BlockRef): Promise<Uint8Array> => {
    this.asked.push(ref)
    const bytes = this.#blocks.get(toHex(ref.id))
    if (bytes === undefined) throw new StickyError('NOT_FOUND', 'gone')
    return bytes
  }

  async walk(previous: Uint8Array[], maxDepth: number = LIMITS.maxHistoryDepth, optional = false) {
    const levels: Level[] = []
    for await (const level of snapshotsBehind(previous, this.read, { maxDepth, optional })) levels.push(level)
    return levels.map(({ snapshots, missing }) => ({
      versions: snapshots.map(({ snapshot }) => snapshot.version),
      missing,
    }))
  }
}

describe('the snapshots behind a head', () => {
  it('are read level by level, each once, however often they are linked', async () => {
    const all = new Snapshots()
    const first = await all.add()
    const left = await all.add(first)
    const right = await all.add(first)
    const top = await all.add(left, right)
    expect(await all.walk([top, left])).toEqual([
      { versions: [4, 2], missing: 0 },
      { versions: [3, 1], missing: 0 },
    ])
    expect(all.asked.map(({ id }) => toHex(id))).toEqual([top, left, right, first].map(toHex))
  })

  it('end where they are asked to, and where one is gone', async () => {
    const all = new Snapshots()
    const gone = new Uint8Array(32).fill(9)
    const first = await all.add(gone)
    const second = await all.add(first)
    expect(await all.walk([second], 1)).toEqual([{ versions: [2], missing: 0 }])
    expect(await all.walk([second])).toEqual([
      { versions: [2], missing: 0 },
      { versions: [1], missing: 0 },
      { versions: [], missing: 1 },
    ])
  })

  it('are never more than the limit', async () => {
    const all = new Snapshots()
    let last = await all.add()
    for (let n = 0; n < LIMITS.maxHistoryDepth + 10; n++) last = await all.add(last)
    expect(await all.walk([last])).toHaveLength(LIMITS.maxHistoryDepth)
  })

  it('are asked of others too, unless the walk can do without', async () => {
    const all = new Snapshots()
    const first = await all.add()
    await all.walk([first])
    await all.walk([first], 1, true)
    expect(all.asked.map(({ optional }) => optional)).toEqual([undefined, true])
  })
})
