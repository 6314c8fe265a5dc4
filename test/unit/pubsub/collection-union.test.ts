import { describe, expect, it } from 'vitest'
import { encode, sha256, toHex } from '../../../src/dht/codec.ts'
import {
  decodeIndex,
  decodeRoot,
  decodeSpine,
  type Entry,
  entryOf,
  loadSpine,
  type MessagesRoot,
  type PageRef,
  pageRefOf,
  type Spine,
} from '../../../src/pubsub/collection.ts'
import { type Coordinator, decodeCoordinator } from '../../../src/pubsub/coordinator.ts'
import type { VerifiedMessage } from '../../../src/pubsub/message.ts'
import { LIMITS } from '../../../src/pubsub/options.ts'
import { sequences, topicKey, World } from '../../support/lineage.ts'

/** What an editor without a key can do to a head: rewrite everything that is not signed. */

async function store(world: World, kind: string, value: unknown): Promise<Uint8Array> {
  const bytes = encode(value)
  const id = await sha256(bytes)
  world.blocks.set(`${kind}/${toHex(id)}`, bytes)
  return id
}

interface Edit {
  coordinator?: (coordinator: Coordinator) => Coordinator
  root?: (root: MessagesRoot) => MessagesRoot
  spine?: (spine: Spine) => Spine
}

async function edited(world: World, head: Uint8Array, edit: Edit): Promise<Uint8Array> {
  const coordinator = decodeCoordinator(head)
  const rootBytes = await world.read({ kind: 'messages', id: coordinator.messages as Uint8Array })
  let root = decodeRoot(rootBytes)
  if (root.spine !== null && edit.spine) {
    const spine = decodeSpine(await world.read({ kind: 'spine', id: root.spine }))
    root = { ...root, spine: await store(world, 'spine', edit.spine(spine)) }
  }
  const messages = await store(world, 'messages', edit.root?.(root) ?? root)
  const changed = { ...coordinator, messages, version: coordinator.version + 1 }
  return encode(edit.coordinator?.(changed) ?? changed)
}

const rootOf = async (world: World, head: Uint8Array): Promise<MessagesRoot> =>
  decodeRoot(await world.read({ kind: 'messages', id: decodeCoordinator(head).messages as Uint8Array }))

const everyRef = (spine: Spine, change: (ref: PageRef) => PageRef): Spine => ({
  ...spine,
  levels: spine.levels.map((refs) => refs.map(change)),
})

async function honest(count: number, perCommit = 100) {
  const world = new World()
  let head: Uint8Array | undefined
  for (let from = 1; from <= count; from += perCommit)
    head = await world.apply(head, await world.messages(from, Math.min(perCommit, count - from + 1)))
  return { world, head: head as Uint8Array }
}

/** The honest head, or one that has all its messages in order and verifies. */
async function isWhole(world: World, head: Uint8Array, count: number): Promise<void> {
  await world.verifyAll(head)
  expect(await sequences(await world.entries(head, 0))).toEqual(
    Array.from({ length: count }, (_, i) => i + 1),
  )
}

describe('a head that an editor has rewritten', () => {
  const edits: [string, Edit][] = [
    [
      'hides pages behind a version range',
      { spine: (s) => everyRef(s, (r) => ({ ...r, firstVersion: 0, lastVersion: 0 })) },
    ],
    ['lets pages expire', { spine: (s) => everyRef(s, (r) => ({ ...r, expiresAt: 1 })) }],
    ['lets pages live on', { spine: (s) => everyRef(s, (r) => ({ ...r, expiresAt: r.expiresAt + 1 })) }],
    ['counts pages wrong', { spine: (s) => everyRef(s, (r) => ({ ...r, count: 1 })) }],
    ['counts messages wrong', { root: (r) => ({ ...r, count: 0 }) }],
    ['drops the pages', { root: (r) => ({ ...r, spine: null, count: r.tail.length }) }],
    ['drops the tail', { root: (r) => ({ ...r, tail: [], count: r.count - r.tail.length }) }],
    ['drops everything', { coordinator: (c) => ({ ...c, messages: null }) }],
    [
      'stamps entries beyond its version',
      { root: (r) => ({ ...r, tail: r.tail.map(([id, , b, e]) => [id, 2 ** 39, b, e]) }) },
    ],
    [
      'lets tail entries expire',
      { root: (r) => ({ ...r, tail: r.tail.map(([id, v, b]) => [id, v, b, 1]) }) },
    ],
    [
      'understates the tail’s bytes',
      { root: (r) => ({ ...r, tail: r.tail.map(([id, v, , e]) => [id, v, 1, e]) }) },
    ],
    [
      'has the tail twice',
      { root: (r) => ({ ...r, tail: [...r.tail, ...r.tail], count: r.count + r.tail.length }) },
    ],
    ['reverses the pages', { spine: (s) => ({ ...s, levels: s.levels.map((refs) => refs.toReversed()) }) }],
  ]
  for (const [name, edit] of edits) {
    it(`${name}: the join has everything, and replicas come to rest`, async () => {
      const { world, head } = await honest(330)
      const forged = await edited(world, head, edit)
      const joined = await world.join(head, forged)
      expect(toHex(await world.join(forged, head))).toBe(toHex(joined))
      await isWhole(world, joined, 330)
      for (const other of [head, forged, joined])
        expect(toHex(await world.join(joined, other))).toBe(toHex(joined))
      const next = await world.apply(joined, await world.messages(331, 70))
      await isWhole(world, next, 400)
    })
  }

  it('leaves an index open: the merge closes it, so nobody’s spine grows past its limit', async () => {
    const { world, head } = await honest(66 * 64 + 5, 128)
    const coordinator = decodeCoordinator(head)
    const root = decodeRoot(await world.read({ kind: 'messages', id: coordinator.messages as Uint8Array }))
    const { levels, ...spine } = decodeSpine(
      await world.read({ kind: 'spine', id: root.spine as Uint8Array }),
    )
    const [loose, indexed] = levels as [PageRef[], PageRef[]]
    const index = await world.read({ kind: 'index', id: (indexed[0] as PageRef).id })
    const { refs } = decodeIndex(index)
    const opened = await store(world, 'spine', { ...spine, levels: [refs] })
    const extra = await world.message(1, { writer: 7 })
    world.blocks.set(`message/${toHex(extra.id)}`, extra.envelope)
    const tail = [[extra.id, 3, extra.envelope.byteLength, extra.body.expiresAt]]
    const messages = await store(world, 'messages', {
      ...root,
      spine: opened,
      count: refs.length * 64 + 1,
      tail,
    })
    const forged = encode({ ...coordinator, messages, version: coordinator.version + 1 })
    const joined = await world.join(head, forged)
    await world.verifyAll(joined)
    expect(await world.entries(joined)).toHaveLength(66 * 64 + 6)
    expect(loose.length).toBe(2)
    const next = await world.apply(joined, await world.messages(66 * 64 + 6, 64))
    expect(await world.entries(next)).toHaveLength(67 * 64 + 6)
  })

  describe('leaves open what is full, one version above a true head', () => {
    /** Honest heads of pages and a tail as large as can be, and one message that belongs behind it. */
    async function oneMore(
      count: number,
      data: Uint8Array,
    ): Promise<{ world: World; head: Uint8Array; more: VerifiedMessage }> {
      const world = new World()
      let head: Uint8Array | undefined
      for (let i = 1; i <= count; i++) head = await world.apply(head, await world.messages(i, 1, { data }))
      const more = await world.message(count + 1, { data })
      world.blocks.set(`message/${toHex(more.id)}`, more.envelope)
      return { world, head: head as Uint8Array, more }
    }
    const behind = (root: MessagesRoot, { addedInVersion, ...entry }: Entry): MessagesRoot => ({
      ...root,
      count: root.count + 1,
      tail: [...root.tail, [entry.id, addedInVersion, entry.bytes, entry.expiresAt]],
    })
    /** Whoever has it instead of a true one can go on, and so can whoever joins it. */
    async function expectMended(world: World, head: Uint8Array, forged: Uint8Array, count: number) {
      await expect(world.kind.checkLinked(topicKey, forged, world.read)).rejects.toMatchObject({
        code: 'MALFORMED',
      })
      const joined = await world.join(head, forged)
      expect(toHex(joined)).not.toBe(toHex(forged))
      expect(toHex(await world.join(forged, head))).toBe(toHex(joined))
      await isWhole(world, joined, count)
      const next = await world.apply(joined, await world.messages(count + 1, 2))
      await isWhole(world, next, count + 2)
      await world.kind.checkLinked(topicKey, next, world.read)
    }

    it.each([
      ['a tail of 64', LIMITS.pageEntries - 1, encode('small')],
      ['a tail of more bytes than a page', 12, encode(new Uint8Array(LIMITS.maxInlineBytes - 3))],
    ])('%s', async (_, count, data) => {
      const { world, head, more } = await oneMore(count, data)
      const { version } = decodeCoordinator(head)
      const forged = await edited(world, head, { root: (root) => behind(root, entryOf(more, version + 1)) })
      await expectMended(world, head, forged, count + 1)
    })

    it('a level of 64 pages', async () => {
      const data = encode(new Uint8Array(LIMITS.maxPayloadBytes - 5)) // one fills a page
      const { world, head } = await oneMore(LIMITS.fanOut, data)
      const { levels } = await loadSpine(await rootOf(world, head), world.read)
      const index = await world.read({ kind: 'index', id: levels[1]?.[0]?.id as Uint8Array })
      const { refs } = decodeIndex(index)
      const forged = await edited(world, head, { spine: (spine) => ({ ...spine, levels: [refs] }) })
      await expectMended(world, head, forged, LIMITS.fanOut)
    })

    it('a page that goes on behind what makes it full', async () => {
      const data = encode(new Uint8Array(60_000))
      const { world, head } = await oneMore(6, data)
      const { version } = decodeCoordinator(head)
      const entries = await world.entries(head)
      const page = { v: 1, topic: topicKey, entries: entries.map((e) => [e.addedInVersion, e.envelope]) }
      const ref = pageRefOf(await store(world, 'page', page), entries)
      expect(entries).toHaveLength(6)
      const forged = await edited(world, head, { spine: (spine) => ({ ...spine, levels: [[ref]] }) })
      expect(decodeCoordinator(forged).version).toBe(version + 1)
      await expectMended(world, head, forged, 6)
    })
  })

  it('jumps its version: its messages are taken, its number is not', async () => {
    const { world, head } = await honest(10)
    const ahead = await world.apply(head, await world.messages(11, 1))
    const jumped = encode({
      ...decodeCoordinator(ahead),
      version: decodeCoordinator(ahead).version + 10 ** 7,
    })
    const joined = await world.join(head, jumped)
    await isWhole(world, joined, 11)
    expect(decodeCoordinator(joined).version).toBe(decodeCoordinator(head).version + 1)
    for (const other of [head, jumped]) expect(toHex(await world.join(joined, other))).toBe(toHex(joined))
    expect(decodeCoordinator(joined).version).toBeLessThan(LIMITS.maxVersionJump)
  })

  it('stands at the end of the version range: commits go on from it', async () => {
    const { world, head } = await honest(5)
    const last = encode({ ...decodeCoordinator(head), version: LIMITS.maxVersion })
    const next = await world.apply(last, await world.messages(6, 2))
    expect(decodeCoordinator(next).version).toBe(LIMITS.maxVersion)
    expect(await world.entries(next)).toHaveLength(7)
  })

  it('shows the messages of another topic: refused', async () => {
    const { world, head } = await honest(5)
    const other = await edited(world, head, { root: (r) => ({ ...r, topic: new Uint8Array(32) }) })
    await expect(world.join(head, other)).rejects.toMatchObject({ code: 'WRONG_TOPIC' })
  })
})

describe('the union of two long lineages', () => {
  it('repeats what another one has, and lacks a message: the merge stamps that above both', async () => {
    const world = new World()
    const early = await world.messages(1, 100)
    const first = await world.apply(undefined, early)
    world.nowMs += 1_000
    const head = await world.apply(first, await world.messages(101, 100))
    const repeating = await world.apply(head, early.slice(2, 3))
    const other = await world.apply(head, await world.messages(201, 1))
    const joined = await world.join(repeating, other)
    await isWhole(world, joined, 201)
    const readUpTo = decodeCoordinator(repeating).version
    expect(await sequences(await world.entries(joined, readUpTo))).toEqual([201])
    expect(toHex(await world.join(other, repeating))).toBe(toHex(joined))
    for (const one of [repeating, other]) expect(toHex(await world.join(joined, one))).toBe(toHex(joined))
  })

  it('repeats what its pages have already: the merge has it once, in either order', async () => {
    const { world, head: first } = await honest(70)
    world.nowMs += 1_000
    const head = await world.apply(first, await world.messages(71, 70))
    const page = (await world.entries(head, 0)).slice(60, 70)
    const tail = page.map(({ id, envelope, expiresAt }): MessagesRoot['tail'][number] => [
      id,
      decodeCoordinator(head).version + 1,
      envelope.byteLength,
      expiresAt,
    ])
    const repeating = await edited(world, head, {
      root: (r) => ({ ...r, tail: [...r.tail, ...tail], count: r.count + tail.length }),
    })
    await isWhole(world, await world.join(head, repeating), 140)
    expect(toHex(await world.join(repeating, head))).toBe(toHex(await world.join(head, repeating)))
  })

  it('reads what lies beyond the common pages, and the last of these', async () => {
    const { world, head } = await honest(4_300, 128)
    const a = await world.apply(head, await world.messages(1, 3, { writer: 1 }))
    const b = await world.apply(head, await world.messages(1, 3, { writer: 2 }))
    world.reads.length = 0
    const joined = await world.join(a, b)
    const pages = world.reads.filter(({ kind }) => kind === 'page')
    expect(new Set(pages.map(({ id }) => toHex(id))).size).toBe(1)
    expect(await world.entries(joined)).toHaveLength(4_306)
    await world.verifyAll(joined)
  })
})
