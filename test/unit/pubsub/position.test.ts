import { describe, expect, it } from 'vitest'
import { encode, toHex } from '../../../src/dht/codec.ts'
import { type Coordinator, decodeCoordinator } from '../../../src/pubsub/coordinator.ts'
import { openMessage } from '../../../src/pubsub/message.ts'
import { LIMITS } from '../../../src/pubsub/options.ts'
import { type Claim, Position } from '../../../src/pubsub/position.ts'
import { snapshotsBehind } from '../../../src/pubsub/snapshot.ts'
import { World } from '../../support/lineage.ts'

function saw(position: Position, head: Uint8Array): void {
  const { version, messages } = decodeCoordinator(head)
  position.moveTo(version, messages)
}

describe('a position', () => {
  it('goes on after the newest head it saw in a lineage, and not after one of another lineage', async () => {
    const world = new World()
    const base = await world.apply(undefined, await world.messages(1, 3))
    const a = await world.apply(base, await world.messages(1, 1, { writer: 1 }))
    const b = await world.apply(base, await world.messages(1, 1, { writer: 2 }))
    expect(decodeCoordinator(a).version).toBe(decodeCoordinator(b).version)
    const position = new Position(0)
    saw(position, base)
    saw(position, a)
    expect(await position.knownIn(decodeCoordinator(a), world.read)).toBe(2)
    expect(await position.knownIn(decodeCoordinator(b), world.read)).toBe(1)
    const lacking = await world.entries(b, await position.knownIn(decodeCoordinator(b), world.read))
    expect(lacking).toHaveLength(1)
    const later = await world.apply(a, await world.messages(2, 1, { writer: 1 }))
    expect(await position.knownIn(decodeCoordinator(later), world.read)).toBe(2)
    const merged = await world.join(later, b)
    const rest = await world.entries(merged, await position.knownIn(decodeCoordinator(merged), world.read))
    expect(rest.length).toBeGreaterThanOrEqual(2)
  })

  /** `after` and as many commits on it, with all heads between. */
  async function headsOn(world: World, after: Uint8Array | undefined, count: number, writer = 0) {
    const heads: Uint8Array[] = []
    for (let n = 1; n <= count; n++)
      heads.push(await world.apply(heads.at(-1) ?? after, await world.messages(n, 1, { writer })))
    return heads as [Uint8Array, ...Uint8Array[]]
  }
  const newestOf = (heads: Uint8Array[]) => decodeCoordinator(heads.at(-1) as Uint8Array)
  const snapshotsOf = (world: World) =>
    [...world.blocks.keys()].filter((name) => name.startsWith('snapshot/'))

  it('finds its place through snapshots, and goes on after the oldest that it saw where nobody has them any more', async () => {
    const world = new World()
    const heads = await headsOn(world, undefined, 60)
    const position = new Position(0)
    for (const head of heads.slice(2, 5)) saw(position, head)
    expect(await position.knownIn(newestOf(heads), world.read)).toBe(5)
    for (const name of snapshotsOf(world)) world.blocks.delete(name)
    expect(await position.knownIn(newestOf(heads), world.read)).toBe(3)
    expect(await new Position(2).knownIn(newestOf(heads), world.read)).toBe(2)
  })

  it('begins anew where the history of the other lineage is whole, or goes back further than what it saw', async () => {
    const world = new World()
    const base = (await headsOn(world, undefined, 3)).at(-1)
    const position = new Position(0)
    const own = await headsOn(world, base, 420, 1)
    for (const head of own.slice(-20)) saw(position, head)
    const other = await headsOn(world, base, 480, 2)
    const levels = snapshotsBehind(newestOf(other).previous, world.read, { maxDepth: 64, optional: true })
    const versions = (await Array.fromAsync(levels)).flatMap(({ snapshots }) => snapshots)
    expect(versions.length).toBeGreaterThan(1)
    expect(await position.knownIn(newestOf(other), world.read)).toBe(0)
    const eldest = versions.at(-1)?.id as Uint8Array
    world.blocks.delete(`snapshot/${toHex(eldest)}`)
    expect(versions.at(-2)?.snapshot.version).toBeLessThan(404)
    expect(await position.knownIn(newestOf(other), world.read)).toBe(0)
    const next = versions.at(-2)?.id as Uint8Array
    world.blocks.delete(`snapshot/${toHex(next)}`)
    // what is left names collections down to the reader's place, and not that one
    expect(await position.knownIn(newestOf(other), world.read)).toBe(0)
  })

  it('goes on after the lowest place where the numbers fell and the history is gone', async () => {
    const world = new World()
    const base = (await headsOn(world, undefined, 50)).at(-1)
    const position = new Position(0)
    const [lost, lives] = [await headsOn(world, base, 60, 1), await headsOn(world, base, 300, 2)]
    for (const head of [...lost.slice(-5), ...lives.slice(10, 13)]) saw(position, head)
    for (const name of snapshotsOf(world)) world.blocks.delete(name)
    expect(await position.knownIn(newestOf(lives), world.read)).toBe(61)
  })

  it('begins where it was told to, unless the head has not come so far', async () => {
    const world = new World()
    let head = await world.apply(undefined, await world.messages(1, 1))
    for (let n = 2; n <= 4; n++) head = await world.apply(head, await world.messages(n, 1))
    expect(await new Position(3).knownIn(decodeCoordinator(head), world.read)).toBe(3)
    expect(await new Position(9).knownIn(decodeCoordinator(head), world.read)).toBe(0)
  })

  it('is not one of a head whose forged number was ignored, though the numbers rise again', async () => {
    const world = new World()
    const base = await world.apply(undefined, await world.messages(1, 2))
    const leapt = encode({
      ...decodeCoordinator(await world.apply(base, await world.messages(3, 1))),
      version: LIMITS.maxVersionJump + 100,
    })
    const position = new Position(0)
    saw(position, base)
    saw(position, leapt)
    const honest = await world.apply(base, await world.messages(1, 1, { writer: 1 }))
    const merged = await world.join(honest, leapt)
    expect(decodeCoordinator(merged).version).toBe(decodeCoordinator(honest).version + 1)
    const risen = encode({ ...decodeCoordinator(merged), version: LIMITS.maxVersionJump + 101 })
    const after = await position.knownIn(decodeCoordinator(risen), world.read)
    const read = await Promise.all(
      (await world.entries(risen, after)).map(({ envelope }) => openMessage(envelope)),
    )
    expect(read.filter(({ body }) => body.writer[0] === 1)).toHaveLength(1)
  })

  it('remembers a bounded number of heads', async () => {
    const world = new World()
    const position = new Position(0)
    const id = (n: number) =>
      new Uint8Array(32)
        .fill(1)
        .with(0, n & 255)
        .with(1, n >> 8)
    for (let n = 1; n <= 1_000; n++) position.moveTo(n, id(n))
    const head = decodeCoordinator(await world.apply(undefined, await world.messages(1, 1)))
    const knows = (n: number) =>
      position.knownIn({ ...head, version: 2_000, messages: id(n), messageHistory: [] }, world.read)
    expect(await knows(1_000)).toBe(1_000)
    expect(await knows(900)).toBe(900)
    expect(await knows(1)).toBe(0)
    expect(position.version).toBe(1_000)
  })

  it('is kept by the newest heads and a few older ones, but for those seen after a message that was not given', async () => {
    const world = new World()
    const heads = [await world.apply(undefined, await world.messages(1, 1))]
    const position = new Position(0)
    saw(position, heads[0] as Uint8Array)
    for (let n = 2; n <= 40; n++) {
      heads.push(await world.apply(heads.at(-1), await world.messages(n, 1)))
      saw(position, heads.at(-1) as Uint8Array)
    }
    const versions = (moves: number) => position.kept(moves).seen.map(({ version }) => version)
    expect(versions(position.moves)).toEqual([9, 25, 33, 34, 35, 36, 37, 38, 39, 40])
    expect(versions(4)).toEqual([1, 2, 3, 4])
    const newest = decodeCoordinator(heads.at(-1) as Uint8Array)
    const knownAfter = ({ begin, seen }: ReturnType<Position['kept']>) =>
      new Position(begin, seen).knownIn(newest, world.read)
    expect(await knownAfter(position.kept(position.moves))).toBe(40)
    expect(await knownAfter(position.kept(4))).toBe(4)
    expect(await knownAfter(position.kept(-1))).toBe(0)
  })
})

describe('what was pushed', () => {
  /** Three commits of one lineage. */
  async function lineage() {
    const world = new World()
    const heads: Uint8Array[] = []
    for (let n = 1; n <= 3; n++) heads.push(await world.apply(heads.at(-1), await world.messages(n, 1)))
    const [first, second, third] = heads.map(decodeCoordinator) as [Coordinator, Coordinator, Coordinator]
    const position = new Position(0)
    position.moveTo(first.version, first.messages)
    const known = (head: Coordinator, withClaims?: boolean) => position.knownIn(head, world.read, withClaims)
    return { position, first, second, third, known }
  }

  it('is gone on from only by who believes it, until all of a head that knows it was read', async () => {
    const { position, first, second, third, known } = await lineage()
    position.moveTo(second.version, second.messages, true)
    expect([position.version, await known(third, true), await known(third)]).toEqual([2, 2, 1])
    expect(position.kept(position.moves).seen.map(({ version }) => version)).toEqual([1])
    expect(position.claimIn(first)).toBeUndefined()
    const before = position.moves
    position.confirm(position.claimIn(third) as Claim, third.version)
    expect([await known(third), position.claimIn(third)]).toEqual([2, undefined])
    // what was read on the way there was in nothing that had been seen
    expect(position.kept(before).seen.map(({ version }) => version)).toEqual([1])
    expect(position.kept(position.moves).seen.map(({ version }) => version)).toEqual([1, 2])
  })

  it('hides nothing that comes later, whatever number it claims to have', async () => {
    const { position, second, third, known } = await lineage()
    position.moveTo(50, second.messages, true)
    position.confirm(position.claimIn(third) as Claim, third.version)
    expect(await known({ ...third, version: 60 })).toBeLessThanOrEqual(third.version)
  })

  it('makes room for itself, and not for what was read', async () => {
    const { position, third, known } = await lineage()
    for (let n = 2; n < 600; n++) position.moveTo(n, new Uint8Array(32).fill(n % 251), true)
    expect(await known({ ...third, version: 600 })).toBe(1)
  })

  it('is over once its source was read', async () => {
    const { position, second, third } = await lineage()
    position.moveTo(second.version, second.messages, true)
    position.moveTo(third.version, third.messages)
    expect(position.claimIn(third)).toBeUndefined()
  })
})
