import { expect } from 'vitest'
import { toHex } from '../../src/dht/codec.ts'
import {
  decodeIndex,
  decodePage,
  decodeRoot,
  decodeSpine,
  type PageRef,
} from '../../src/pubsub/collection.ts'
import { openMessage } from '../../src/pubsub/message.ts'
import type { World } from './lineage.ts'
import type { Line } from './lineage-line.ts'

/** What a collection says of itself, held against what it holds: walked here, not by the code that judges others. */

interface Held {
  stamps: number[]
  expiresAt: number
}

async function heldBy(world: World, { id }: PageRef, level: number): Promise<Held> {
  if (level > 0) {
    const { refs } = decodeIndex(await world.read({ kind: 'index', id }))
    const parts: Held[] = []
    for (const ref of refs) parts.push(await heldAsSaid(world, ref, level - 1))
    return {
      stamps: parts.flatMap(({ stamps }) => stamps),
      expiresAt: Math.max(...parts.map(({ expiresAt }) => expiresAt)),
    }
  }
  const { entries } = decodePage(await world.read({ kind: 'page', id }))
  const bodies = await Promise.all(entries.map(async ([, envelope]) => (await openMessage(envelope)).body))
  return {
    stamps: entries.map(([stamp]) => stamp),
    expiresAt: Math.max(...bodies.map(({ expiresAt }) => expiresAt)),
  }
}

async function heldAsSaid(world: World, ref: PageRef, level: number): Promise<Held> {
  const held = await heldBy(world, ref, level)
  const { stamps, expiresAt } = held
  const said = {
    id: ref.id,
    count: stamps.length,
    firstVersion: stamps[0],
    lastVersion: stamps.at(-1),
    expiresAt,
  }
  expect(ref).toEqual(said)
  return held
}

/** Every count, range and expiry is so, and the stamps rise to at most the version. */
export async function expectTruth({ world, coordinator }: Line): Promise<void> {
  if (coordinator.messages === null) return
  const root = decodeRoot(await world.read({ kind: 'messages', id: coordinator.messages }))
  const stamps: number[] = []
  if (root.spine !== null) {
    const { levels } = decodeSpine(await world.read({ kind: 'spine', id: root.spine }))
    const oldestFirst = [...levels.entries()].toReversed()
    for (const [level, refs] of oldestFirst)
      for (const ref of refs) stamps.push(...(await heldAsSaid(world, ref, level)).stamps)
  }
  for (const [id, stamp, bytes, expiresAt] of root.tail) {
    const envelope = await world.read({ kind: 'message', id })
    const message = await openMessage(envelope)
    const length = envelope.byteLength + (message.body.payload?.bytes ?? 0)
    expect([toHex(message.id), length, message.body.expiresAt]).toEqual([toHex(id), bytes, expiresAt])
    stamps.push(stamp)
  }
  expect(root.count).toBe(stamps.length)
  expect(stamps).toEqual(stamps.toSorted((x, y) => x - y))
  expect(stamps.at(-1) ?? 0).toBeLessThanOrEqual(coordinator.version)
}
