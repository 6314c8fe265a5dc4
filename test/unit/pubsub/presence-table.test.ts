import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { encode, type Identity, identityFromSeed, nodeIdOf } from '../../../src/dht/index.ts'
import { LIMITS } from '../../../src/pubsub/options.ts'
import { createPresence, openPresence, verifyPresence } from '../../../src/pubsub/presence-statement.ts'
import { PresenceTable } from '../../../src/pubsub/presence-table.ts'
import { PresenceView } from '../../../src/pubsub/presence-view.ts'
import type { Roster } from '../../../src/pubsub/wire.ts'

const NOW_MS = 1_800_000_000_000
const topicKey = new Uint8Array(32).fill(9)
const members: Identity[] = []
beforeAll(async () => {
  for (let n = 0; n < 40; n++) members.push(await identityFromSeed(new Uint8Array(32).fill(n)))
})

const newTable = () => new PresenceTable(topicKey, new Uint8Array(8).fill(1))
/** Signed statements of member n: `at` and `since` are small numbers here. */
const says = (n: number, state: string | undefined, at: number, since = 1) =>
  createPresence({
    topicKey,
    identity: members[n] as Identity,
    state: state === undefined ? undefined : encode(state),
    since: NOW_MS + since,
    at: NOW_MS + at,
  })
/** Somebody signed by nobody, for tests in which thousands are needed. */
const anybody = async (n: number, at: number, stateBytes = 200) => {
  const client = new Uint8Array(32)
  new DataView(client.buffer).setUint32(0, n + 1)
  const identity = { nodeId: nodeIdOf(client), publicKey: client, sign: async () => new Uint8Array(64) }
  const state = encode('x'.repeat(stateBytes))
  return createPresence({ topicKey, identity, state, since: NOW_MS + 1, at: NOW_MS + at })
}

async function take(table: PresenceTable, statement: Awaited<ReturnType<typeof says>>, nowMs = 0) {
  if (!table.isNew(statement.nodeId, statement)) return undefined
  return table.take(statement, nowMs)
}

/** One who is given changes, and merges them. */
class Follower {
  readonly view = new PresenceView()
  counter = 0
  listed = 0

  async follow(table: PresenceTable): Promise<number> {
    let pages = 0
    for (;;) {
      const roster = table.changesSince(this.counter, this.listed)
      pages += 1
      if (roster.since === 0) {
        this.view.beginListing()
        this.listed = roster.latest
      }
      await this.#merge(roster)
      this.counter = roster.counter
      if (roster.counter >= roster.latest) break
    }
    return pages
  }

  async #merge({ entries, gone }: Roster): Promise<void> {
    for (const envelope of entries) {
      const claimed = openPresence(envelope, topicKey, NOW_MS)
      const nodeId = nodeIdOf(claimed.body.client)
      if (!claimed.body.leaves) this.view.confirm(nodeId)
      if (this.view.isNews(nodeId, claimed, 0)) this.view.take(await verifyPresence(claimed), 0)
    }
    for (const client of gone) this.view.drop(nodeIdOf(client))
  }
}

const shownOf = ({ view }: Follower) => view.list().map(({ nodeId, state }) => [nodeId, state])

describe('the members of a topic at a replica', () => {
  it('change by what is new only, and older or repeated words keep nobody longer', async () => {
    const table = newTable()
    const first = await says(0, 'a', 10)
    expect(await take(table, first)).toMatchObject({ isChange: true })
    expect(await take(table, await says(0, 'a', 20), 5_000)).toMatchObject({ isChange: false }) // a heartbeat
    expect(await take(table, await says(0, 'b', 30), 10_000)).toMatchObject({ isChange: true })
    for (const at of [10, 20, 29]) {
      const older = await says(0, 'z', at)
      expect(() => table.isNew(older.nodeId, older)).toThrow(expect.objectContaining({ code: 'REPLAYED' }))
    }
    expect(await take(table, await says(0, 'b', 30), 20_000)).toBeUndefined() // the same bytes once more
    expect(table.nextMs).toBe(10_000 + LIMITS.presenceExpiryMs)
    expect(table.expire(10_000 + LIMITS.presenceExpiryMs - 1).isChange).toBe(false)
    expect(table.expire(10_000 + LIMITS.presenceExpiryMs).isChange).toBe(true)
    expect(table.members).toBe(0)
  })

  it('who left is not brought back by what was said before, nor by its heartbeats of then', async () => {
    const table = newTable()
    await take(table, await says(0, 'a', 10))
    await take(table, await says(0, undefined, 30))
    const late = await says(0, 'a', 20)
    expect(() => table.isNew(late.nodeId, late)).toThrow(expect.objectContaining({ code: 'REPLAYED' }))
    expect(table.members).toBe(0)
    // a leave may even come first
    await take(table, await says(1, undefined, 50))
    const join = await says(1, 'b', 40)
    expect(() => table.isNew(join.nodeId, join)).toThrow(expect.objectContaining({ code: 'REPLAYED' }))
    expect(await take(table, await says(0, 'a', 60, 60))).toMatchObject({ isChange: true })
  })

  it('forgets who is gone after a while, and says so to its owner', async () => {
    const table = newTable()
    const statement = await says(0, 'a', 10)
    await take(table, statement)
    await take(table, await says(0, undefined, 11), 1_000)
    expect(table.expire(1_000 + LIMITS.presenceTombstoneMs - 1).forgotten).toEqual([])
    expect(table.expire(1_000 + LIMITS.presenceTombstoneMs).forgotten).toEqual([statement.nodeId])
    expect(table.size).toBe(0)
    expect(table.nextMs).toBeUndefined()
  })

  it('are a thousand at most; those who are in go on', async () => {
    const table = newTable()
    for (let n = 0; n < LIMITS.maxSubscribers; n++) await take(table, await anybody(n, 1, 1))
    const tooMany = await anybody(LIMITS.maxSubscribers, 1, 1)
    expect(() => table.isNew(tooMany.nodeId, tooMany)).toThrow(
      expect.objectContaining({ code: 'TOPIC_FULL' }),
    )
    expect(await take(table, await anybody(7, 2, 2))).toMatchObject({ isChange: true })
  })

  it('remember no more than a thousand who are gone', async () => {
    const table = newTable()
    let forgotten = 0
    for (let n = 0; n < LIMITS.maxSubscribers + 100; n++) {
      const { nodeId } = await anybody(n, 1, 1)
      const client = {
        nodeId,
        publicKey: openPresence((await anybody(n, 1, 1)).envelope, topicKey, NOW_MS).body.client,
      }
      const identity = { ...client, sign: async () => new Uint8Array(64) }
      const leave = await createPresence({
        topicKey,
        identity,
        state: undefined,
        since: NOW_MS,
        at: NOW_MS + 2,
      })
      forgotten += (await take(table, leave))?.forgotten.length ?? 0
    }
    expect(table.size).toBe(LIMITS.maxSubscribers)
    expect(forgotten).toBe(100)
  })

  it('are listed in pages that fit into a frame, while others come and go', async () => {
    const table = newTable()
    for (let n = 0; n < 800; n++) await take(table, await anybody(n, 1))
    const follower = new Follower()
    const first = table.changesSince(0, 0)
    const bytes = first.entries.reduce((sum, entry) => sum + entry.byteLength, 0)
    expect(bytes).toBeLessThanOrEqual(LIMITS.maxPushBytes)
    expect(first.entries.length).toBeLessThan(800)
    // one of the first page goes and is forgotten before the second page is asked for
    follower.counter = first.counter
    follower.listed = first.latest
    await take(table, await anybody(900, 1))
    expect(await follower.follow(table)).toBeGreaterThan(1)
    expect(follower.view.size).toBe(801 - first.entries.length)
  })

  it('are told anew to whom a forgotten one may still be shown', async () => {
    const table = newTable()
    const follower = new Follower()
    await take(table, await says(0, 'a', 10))
    await take(table, await says(1, 'b', 10), 20_000)
    await follower.follow(table)
    expect(table.canFollow(follower.counter, follower.listed)).toBe(true)
    table.expire(LIMITS.presenceExpiryMs)
    expect(table.canFollow(follower.counter, follower.listed)).toBe(true)
    table.expire(LIMITS.presenceExpiryMs + LIMITS.presenceTombstoneMs)
    expect(table.canFollow(follower.counter, follower.listed)).toBe(false)
    await follower.follow(table)
    follower.view.endListing(0)
    follower.view.expire(LIMITS.presenceHeartbeatMs)
    expect(follower.view.size).toBe(0)
  })

  it('are the same for who was told of every change, of some of them together, or is new', async () => {
    const step = fc.record({
      member: fc.nat(members.length - 1),
      leaves: fc.nat(4).map((n) => n === 0),
      state: fc.constantFrom('a', 'b', 'c'),
      isFollowed: fc.nat(6).map((n) => n === 0),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 100, maxLength: 400 }), async (steps) => {
        const table = newTable()
        const [each, some, fresh] = [new Follower(), new Follower(), new Follower()]
        const sinceOf = new Map<number, number>()
        for (const [i, { member, leaves, state, isFollowed }] of steps.entries()) {
          const nowMs = i * STEP_MS
          const isThere = table.has(members[member]?.nodeId as string)
          if (leaves || !isThere) sinceOf.set(member, i + 1)
          const statement = await says(member, leaves ? undefined : state, i + 1, sinceOf.get(member))
          await take(table, statement, nowMs)
          table.expire(nowMs)
          await each.follow(table)
          if (isFollowed) await some.follow(table)
        }
        for (const follower of [some, fresh]) await follower.follow(table)
        for (const follower of [each, some]) {
          follower.view.endListing(0)
          follower.view.expire(LIMITS.presenceHeartbeatMs)
        }
        expect(shownOf(fresh)).toHaveLength(table.members)
        expect(shownOf(each)).toEqual(shownOf(fresh))
        expect(shownOf(some)).toEqual(shownOf(fresh))
      }),
      { numRuns: 8 },
    )
  })
})

/** So that within a run some are silent for too long, and some of those are forgotten. */
const STEP_MS = 700
