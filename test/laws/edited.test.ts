import { describe, expect, it } from 'vitest'
import { encode, sha256, toHex } from '../../src/dht/codec.ts'
import { decodeRoot, decodeSpine, emptyRoot, type PageRef } from '../../src/pubsub/collection.ts'
import { CollectionBuilder } from '../../src/pubsub/collection-builder.ts'
import { checkMessages } from '../../src/pubsub/collection-union.ts'
import { decodeCoordinator } from '../../src/pubsub/coordinator.ts'
import { LIMITS } from '../../src/pubsub/options.ts'
import { createStatement } from '../../src/pubsub/subscription-statement.ts'
import { client, START_MS, topicKey, World } from '../support/lineage.ts'
import { Line, statementAt } from '../support/lineage-line.ts'
import { expectTruth } from '../support/lineage-truth.ts'

async function store(world: World, kind: string, bytes: Uint8Array): Promise<Uint8Array> {
  const id = await sha256(bytes)
  world.blocks.set(`${kind}/${toHex(id)}`, bytes)
  return id
}

/** One commit later, with other levels in the spine, and the count of messages in agreement. */
async function relevelled(line: Line, change: (levels: PageRef[][]) => PageRef[][]): Promise<Uint8Array> {
  const { world, coordinator } = line
  const root = decodeRoot(await world.read({ kind: 'messages', id: coordinator.messages as Uint8Array }))
  const spine = decodeSpine(await world.read({ kind: 'spine', id: root.spine as Uint8Array }))
  const levels = change(spine.levels)
  const count = levels.flat().reduce((sum, ref) => sum + ref.count, 0) + root.tail.length
  const spineId = await store(world, 'spine', encode({ ...spine, levels }))
  const messages = await store(world, 'messages', encode({ ...root, spine: spineId, count }))
  return encode({ ...coordinator, messages, version: coordinator.version + 1 })
}

/** What the generators of large.test.ts and subscribers.test.ts found, as it was found. */

describe('an editor without a key', () => {
  it('hangs in a page of another topic that calls itself gone: every reader still reads', async () => {
    const world = new World()
    const honest = new Line(world, 0)
    await honest.publish(64)
    const id = await store(
      world,
      'page',
      encode({ v: 1, topic: new Uint8Array(32), entries: [[1, new Uint8Array(5)]] }),
    )
    const bad = { id, count: 1, firstVersion: 0, lastVersion: 1, expiresAt: 1 }
    const forged = await relevelled(honest, (levels) => [[bad, ...(levels[0] as PageRef[])]])
    const joined = await world.join(honest.head, forged)
    expect(await world.entries(joined)).toHaveLength(64)
    await world.kind.checkLinked(topicKey, joined, world.read)
  })

  it('hangs in a page twice, once as gone: every reader still reads', async () => {
    const world = new World()
    const honest = new Line(world, 0)
    await honest.publish(64)
    const forged = await relevelled(honest, ([pages]) => [
      [{ ...(pages?.[0] as PageRef), expiresAt: 1 }, ...(pages as PageRef[])],
    ])
    const joined = await world.join(honest.head, forged)
    expect(await world.entries(joined)).toHaveLength(64)
    await world.kind.checkLinked(topicKey, joined, world.read)
  })

  it('hides 4,096 messages behind the range of their index: who goes on from version 5 is sent the rest', async () => {
    const world = new World()
    const honest = new Line(world, 0)
    for (let page = 0; page < 64; page++) await honest.publish(64)
    const forged = await relevelled(honest, (levels) =>
      levels.map((refs) => refs.map((ref) => ({ ...ref, firstVersion: 0, lastVersion: 0 }))),
    )
    const joined = honest.joined(honest, await world.join(honest.head, forged))
    expect(await world.entries(joined.head, 5)).toHaveLength(59 * 64)
    await expectTruth(joined)
  })
})

describe('stamps of 0, which no reader asks for', () => {
  /** The same messages, stamped anew, as one commit later. */
  async function stamped({ world, head, coordinator }: Line, stamp: number): Promise<Uint8Array> {
    const builder = await CollectionBuilder.from(emptyRoot(topicKey), world.read)
    for (const entry of await world.entries(head))
      await builder.append({ ...entry, addedInVersion: stamp }, true)
    const { collection, blocks } = await builder.finish()
    for (const { kind, id, bytes } of blocks) world.blocks.set(`${kind}/${toHex(id)}`, bytes)
    return encode({ ...coordinator, messages: collection.rootId, version: coordinator.version + 1 })
  }

  it('hide nothing, also where the number of the honest side was raised out of sight', async () => {
    const world = new World()
    const honest = new Line(world, 0)
    await honest.publish(70)
    const raised = encode({
      ...honest.coordinator,
      version: honest.coordinator.version + 2 * LIMITS.maxVersionJump,
    })
    for (const stamp of [0, 1]) {
      const forged = await stamped(honest, stamp)
      for (const other of [honest.head, raised]) {
        const joined = await world.join(other, forged)
        expect(await world.entries(joined, 0)).toHaveLength(70)
        expect(await world.join(joined, forged)).toEqual(joined)
      }
    }
  })

  it('are nothing to begin with: a collection that has them is not taken over whole', async () => {
    const world = new World()
    const honest = new Line(world, 0)
    await honest.publish(70)
    const check = async (stamp: number) => {
      const { messages, version } = decodeCoordinator(await stamped(honest, stamp))
      const root = decodeRoot(await world.read({ kind: 'messages', id: messages as Uint8Array }))
      return checkMessages(root, version, world.read)
    }
    await expect(check(0)).rejects.toMatchObject({ code: 'MALFORMED' })
    await check(1)
  })
})

it('a word of the client that was for a shorter time is not undone by an older one', async () => {
  const world = new World()
  const [a, b] = [new Line(world, 0), new Line(world, 1)]
  const first = await statementAt(1, 'subscribe', START_MS)
  const shorter = await createStatement({
    topicKey,
    identity: await client(1),
    kind: 'subscribe',
    issuedAt: START_MS + 1,
    expiresAt: START_MS + 2,
    info: new Uint8Array(),
  })
  await a.commit([], [first])
  await b.commit([], [first, shorter])
  world.nowMs = START_MS + 2 + 300_000 + 1
  await a.publish(1)
  expect(await world.subscribers(b.head, world.nowMs)).toEqual(new Set())
  expect(await world.subscribers((await a.join(b)).head, world.nowMs)).toEqual(new Set())
})
