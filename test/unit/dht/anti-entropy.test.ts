import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { AntiEntropy } from '../../../src/dht/anti-entropy.ts'
import { toHex } from '../../../src/dht/codec.ts'
import { StickyError } from '../../../src/dht/errors.ts'
import type { BlockRef } from '../../../src/dht/kinds.ts'
import { DEFAULT_DHT_OPTIONS } from '../../../src/dht/options.ts'
import { blockName } from '../../../src/dht/record.ts'
import { recordMethods } from '../../../src/dht/wire.ts'
import { LIMITS } from '../../../src/pubsub/options.ts'
import { DhtNet, type DhtNode, messageCount } from '../../support/dht-net.ts'
import { KIND } from '../../support/holder.ts'
import { topicKey } from '../../support/lineage.ts'
import { until } from '../../support/memory-nodes.ts'

let net: DhtNet

beforeEach(() => {
  net = new DhtNet()
})
afterEach(() => net.close())

const hex = (bytes: Uint8Array | undefined) => (bytes === undefined ? undefined : toHex(bytes))
const heads = async () => {
  const all = await Promise.all(net.nodes.map(({ head }) => head()))
  return new Set(all.map((head) => (head === undefined ? 'none' : toHex(head))))
}
const counters = ({ dht }: DhtNode) => ({ ...(dht.antiEntropyCounters as AntiEntropy['counters']) })
const offers = () => net.nodes.reduce((sum, node) => sum + counters(node).offers, 0)
const writes = () => net.nodes.reduce((sum, { storage }) => sum + storage.writes.length, 0)

/** Every node compares once, in turn. */
async function round(): Promise<void> {
  for (const { dht } of net.nodes) await dht.reconcileNow()
}

/** The next round finds nothing to do: no offer, no write. */
async function expectRest(): Promise<void> {
  const before = [offers(), writes()]
  await round()
  expect([offers(), writes()]).toEqual(before)
}

const HOUR_MS = 3_600_000
/** Of real time. */
const SOON_MS = 2_000

/** What is under way ends, as far as it needs no time. */
async function rest(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve))
  await until(() => net.nodes.every(({ dht }) => dht.rpc.pendingCount === 0))
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve))
}

describe('a round', () => {
  it('hands a newcomer everything, and is at rest after that', async () => {
    const first = await net.add()
    for (let n = 0; n < 10; n++) await first.commit(20)
    const newcomers = [await net.add(), await net.add()]
    await first.dht.reconcileNow()
    expect(counters(first)).toMatchObject({ offers: 2, failures: 0 })
    for (const newcomer of newcomers) expect(await messageCount(newcomer)).toBe(200)
    expect(await heads()).toEqual(new Set([toHex((await first.head()) as Uint8Array)]))
    await expectRest()
  })

  it('brings two that diverged to one head that has everything, and then to rest', async () => {
    const [a, b] = [await net.add(), await net.add()]
    await a.commit(70)
    await round()
    await a.commit(10)
    await b.commit(20)
    expect((await heads()).size).toBe(2)
    await a.dht.reconcileNow()
    expect((await heads()).size).toBe(1)
    expect(await messageCount(a)).toBe(100)
    expect(await messageCount(b)).toBe(100)
    await expectRest()
  })

  it('brings many that all diverged, and never met, to one head, and then to rest', async () => {
    const nodes = []
    for (let n = 0; n < 5; n++) nodes.push(await net.add())
    for (const [n, node] of nodes.entries()) await node.commit(n + 1)
    expect((await heads()).size).toBe(5)
    for (let n = 0; n < 3; n++) await round()
    expect((await heads()).size).toBe(1)
    for (const node of nodes) expect(await messageCount(node)).toBe(15)
    await expectRest()
  })

  it('of both at the same moment comes to rest too', async () => {
    const [a, b] = [await net.add(), await net.add()]
    await a.commit(30)
    await b.commit(40)
    for (let n = 0; n < 3; n++) await Promise.all([a.dht.reconcileNow(), b.dht.reconcileNow()])
    expect((await heads()).size).toBe(1)
    expect(await messageCount(a)).toBe(70)
    await expectRest()
  })

  it('hands over from a node that is not of the set, and does not take it in', async () => {
    const options = { replication: 2, minDurable: 1 }
    const nodes = []
    for (let n = 0; n < 4; n++) nodes.push(await net.add({ options }))
    const set = await (nodes[0] as DhtNode).dht.replicas.set(topicKey)
    const isMember = ({ nodeId }: DhtNode) => set.some((peer) => peer.nodeId === nodeId)
    const [outside, other] = nodes.filter((node) => !isMember(node)) as [DhtNode, DhtNode]
    await outside.commit(12)
    await outside.dht.reconcileNow()
    for (const member of nodes.filter(isMember)) expect(await messageCount(member)).toBe(12)
    await round()
    expect(await other.head()).toBeUndefined()
  })

  it('brings nothing back that has expired to who has let go of it, and until then to everybody', async () => {
    const [first, second, last] = [await net.add(), await net.add(), await net.add()]
    await first.commit(70)
    net.world.nowMs += LIMITS.defaultTtlMs + LIMITS.graceMs - 1_000
    await round()
    for (const node of net.nodes) expect(await messageCount(node)).toBe(70)
    net.world.nowMs += 2_000
    for (const node of [second, last, first]) {
      for (let n = 0; n < 2; n++) await node.dht.sweep()
      await round()
      expect(await node.storage.allKeys()).toEqual([])
      expect(await node.head()).toBeUndefined()
    }
    await second.commit(3) // the topic begins anew
    await round()
    for (const node of net.nodes) expect(await messageCount(node)).toBe(3)
  })

  it('goes on past a peer that does not answer as it should', async () => {
    const first = await net.add()
    await first.commit(5)
    const broken = await net.add()
    const good = await net.add()
    const { request } = first.dht.rpc
    first.dht.rpc.request = ((...args: Parameters<typeof request>) =>
      args[0] === broken.nodeId && args[1] === (recordMethods.compare as unknown)
        ? Promise.resolve({ differing: [1_000] })
        : request.apply(first.dht.rpc, args)) as typeof request
    await first.dht.reconcileNow()
    expect(await messageCount(good)).toBe(5)
    expect(counters(first).offers).toBe(1)
    net.hub.peers.delete(broken.nodeId)
    await first.commit(1)
    await first.dht.reconcileNow()
    expect(await messageCount(good)).toBe(6)
  })

  it('is not put off by a peer that answers, and takes its time over what it is offered', async () => {
    const first = await net.add()
    const slow = await net.add()
    await first.commit(5)
    let offered = 0
    const { promise: held, reject: end } = Promise.withResolvers<never>()
    const { request } = first.dht.rpc
    first.dht.rpc.request = ((...args: Parameters<typeof request>) => {
      if (args[0] !== slow.nodeId || args[1] !== (recordMethods.offer as unknown))
        return request.apply(first.dht.rpc, args)
      offered += 1
      return held
    }) as typeof request
    net.runtime.advance(2 * DEFAULT_DHT_OPTIONS.antiEntropyMs)
    await until(() => offered === 1)
    const newcomer = await net.add()
    for (let second = 0; second < 10; second++) {
      await rest()
      net.runtime.advance(1_000)
    }
    await until(async () => (await messageCount(newcomer)) === 5, SOON_MS)
    expect(offered).toBe(1) // once at a time
    end(new StickyError('TIMEOUT', 'At last.'))
  })

  it('does not believe a peer that shows a head it cannot back: the own one stays', async () => {
    const [honest, liar] = [await net.add(), await net.add()]
    await honest.commit(5)
    const own = toHex((await honest.head()) as Uint8Array)
    const stranger = new DhtNet()
    const other = await stranger.add()
    await other.commit(9)
    const foreign = (await other.head()) as Uint8Array
    const { request } = honest.dht.rpc
    honest.dht.rpc.request = ((...args: Parameters<typeof request>) =>
      args[1] === (recordMethods.offer as unknown)
        ? Promise.resolve({ head: foreign })
        : request.apply(honest.dht.rpc, args)) as typeof request
    await honest.dht.reconcileNow()
    expect(toHex((await honest.head()) as Uint8Array)).toBe(own)
    expect(counters(honest)).toMatchObject({ offers: 1, repaired: 0, failures: 1 })
    expect(await liar.head()).toBeUndefined()
    await stranger.close()
  })
})

describe('rounds', () => {
  it('come by themselves, and soon after peers came or went', async () => {
    const first = await net.add({ options: { antiEntropyMs: 30_000 } })
    await first.commit(5)
    net.runtime.advance(60_000)
    await until(() => counters(first).rounds > 0)
    const before = counters(first).rounds
    const newcomer = await net.add()
    net.runtime.advance(1_500)
    await until(() => newcomer.head())
    await until(() => counters(first).rounds > before) // it counts when it is over
    expect(await messageCount(newcomer)).toBe(5)
  })

  it('come while peers come and go all the time, ever more seldom, and soon again once it was quiet', async () => {
    const first = await net.add({ options: { antiEntropyMs: HOUR_MS } })
    await first.commit(5)
    await net.add()
    const begun: number[] = []
    for (let ms = 100; ms <= 120_000; ms += 100) {
      const before = counters(first).rounds
      net.runtime.advance(100)
      if (counters(first).rounds > before) begun.push(ms / 1_000)
      await rest()
      if (ms < 20_000 || ms === 110_000) first.network.topologyChanged()
    }
    // each change has a round after it, and that one once more in the sets that were looked up meanwhile
    expect(begun).toEqual([1, 2, 4, 8, 16, 32, 64, 111, 112])
  })

  it.each([
    { what: 'and once more where its coming was not noticed before', isKnown: false, rounds: 2 },
    { what: 'and are over where it was', isKnown: true, rounds: 1 },
  ])('hand a newcomer what it lacks, $what', async ({ isKnown, rounds }) => {
    const first = await net.add({ options: { antiEntropyMs: HOUR_MS } })
    await first.commit(5)
    await first.dht.replicas.set(topicKey)
    const newcomer = await net.add()
    if (isKnown) {
      await first.dht.replicas.set(topicKey)
      await first.dht.replicas.refreshing(topicKey)
    }
    for (let n = 0; n < 20; n++) {
      net.runtime.advance(1_000)
      await rest()
    }
    expect(await messageCount(newcomer)).toBe(5)
    expect(counters(first).rounds).toBe(rounds)
    for (const ms of [HOUR_MS, 5_000]) {
      net.runtime.advance(ms)
      await rest()
    }
    expect(counters(first).rounds).toBe(rounds + 1) // of those that come by themselves, whose sets are merely old
  })

  it('asked for during a round become one more after it, and none comes after closing', async () => {
    const first = await net.add()
    await first.commit(5)
    await net.add()
    const before = counters(first).rounds
    await Promise.all(Array.from({ length: 10 }, () => first.dht.reconcileNow()))
    expect(counters(first).rounds).toBe(before + 2)
    await first.dht.close()
    const closed = counters(first).rounds
    net.runtime.advance(600_000)
    expect(counters(first).rounds).toBe(closed)
  })
})

describe('a read of heads', () => {
  it('repairs who is behind: after it every holder that answered has joined every head', async () => {
    const [a, b, c] = [await net.add(), await net.add(), await net.add()]
    await a.commit(3)
    await b.commit(4)
    const answers = await c.dht.readHeads(KIND, topicKey)
    expect(answers.filter(({ error }) => error !== undefined)).toEqual([])
    expect(new Set(answers.map(({ head }) => head && toHex(head))).size).toBe(1)
    expect((await heads()).size).toBe(1)
    for (const node of [a, b, c]) expect(await messageCount(node)).toBe(7)
    const before = writes()
    await a.dht.readHeads(KIND, topicKey)
    expect(writes()).toBe(before)
  })
})

describe('a block that one disk lost', () => {
  it('costs the own head nothing while a holder that has it cannot be asked', async () => {
    const [a, b, c] = [await net.add(), await net.add(), await net.add({ options: { keptOldCommits: 0 } })]
    await a.commit(70)
    await round()
    await c.commit()
    const own = (await c.head()) as Uint8Array
    await b.dht.pull(KIND, topicKey, own, c.nodeId)
    await a.commit()
    await (await c.record()).exclusive(async () => (await c.record()).checkpoint())
    const root = (await c.record()).kind.links(own).find(({ kind }) => kind === 'messages') as BlockRef
    await c.storage.corrupt(blockName(root))
    c.dht.replicas.markDown(b.nodeId)
    const join = async () => c.dht.pull(KIND, topicKey, (await a.head()) as Uint8Array, a.nodeId)
    await expect(join()).rejects.toMatchObject({ code: 'UNREACHABLE', retryable: true })
    expect(hex(await c.head())).toBe(hex(own))
    c.dht.replicas.lookAgain()
    expect(await join()).toBe(true)
    expect(await messageCount(c)).toBe(72)
  })

  it('is read from another holder, checked, whoever lies before', async () => {
    const [a, b, c] = [await net.add(), await net.add(), await net.add()]
    await a.commit(70)
    await round()
    const record = await c.record()
    await record.exclusive(() => record.checkpoint())
    const pages = await c.storage.allKeys('block/page/')
    expect(pages).toHaveLength(1)
    await c.storage.corrupt(pages[0] as string)
    const serve = { a: 0, b: 0 }
    for (const [name, node] of Object.entries({ a, b }) as ['a' | 'b', DhtNode][]) {
      const { local } = await node.record()
      const held = await node.record()
      held.local = async (ref) => {
        if (ref.kind !== 'page') return local.call(held, ref)
        serve[name] += 1
        return serve.a + serve.b === 1 ? Uint8Array.of(0) : local.call(held, ref)
      }
    }
    expect(await messageCount(c)).toBe(70)
    expect(serve.a + serve.b).toBe(2)
  })

  it('is asked of one that is silent until that is known, and then of the other', async () => {
    const [a, b, c] = [await net.add(), await net.add(), await net.add()]
    await a.commit(70)
    await round()
    const record = await c.record()
    await record.exclusive(() => record.checkpoint())
    const [page] = await c.storage.allKeys('block/page/')
    let silent: DhtNode | undefined
    const asked: boolean[] = []
    for (const node of [a, b]) {
      const held = await node.record()
      const { local } = held
      held.local = (ref) => {
        if (ref.kind !== 'page') return local.call(held, ref)
        silent ??= node
        asked.push(node === silent)
        return node === silent ? new Promise(() => undefined) : local.call(held, ref)
      }
    }
    for (let i = 0; i < 3; i++) {
      await c.storage.corrupt(page as string)
      const before = asked.length
      const counting = messageCount(c)
      await until(() => asked.length > before)
      if (asked.at(-1)) net.runtime.advance(DEFAULT_DHT_OPTIONS.stragglerMs)
      expect(await counting).toBe(70)
    }
    expect(asked).toEqual([true, false, true, false, false])
  })

  it('is NOT_FOUND when nobody has it', async () => {
    const alone = await net.add()
    await alone.commit(70)
    await alone.dht.store.close()
    const [page] = await alone.storage.allKeys('block/page/')
    await alone.storage.corrupt(page as string)
    net.hub.peers.delete(alone.nodeId)
    const fresh = await net.add({ storage: alone.storage })
    await expect(messageCount(fresh)).rejects.toMatchObject({ code: 'UNREACHABLE' }) // somebody may yet come
    net.hub.peers.delete(fresh.nodeId)
    const again = await net.add({ storage: alone.storage, options: { aloneMs: 0 } })
    await expect(messageCount(again)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })
})
