import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Data, PresenceMember, Subscription } from '../../src/pubsub/index.ts'
import { LIMITS } from '../../src/pubsub/index.ts'
import { ScaleNetwork } from '../bench/scale-network.ts'
import type { SimulatedNode } from './node.ts'
import { installSynchronousCrypto } from './synchronous-crypto.ts'

/** Presence with the shipped classes over the seeded network: who is seen, and when, in virtual time. */

const TOPIC = 'room'
/** F6: gone within so long of a clean leave, and of a crash. */
const LEFT_MS = 2_000
const CRASHED_MS = 30_000

let restoreCrypto: () => void
beforeAll(() => {
  restoreCrypto = installSynchronousCrypto()
})
afterAll(() => restoreCrypto())

interface Looker {
  node: SimulatedNode
  subscription: Subscription
  /** Every list that was shown. */
  lists: PresenceMember[][]
}

class Stage extends ScaleNetwork {
  #lookers: Looker[] = []

  async enter(node: SimulatedNode, presence?: Data): Promise<Looker> {
    const shown = presence === undefined ? {} : { presence }
    const subscription = await node.pubsub.subscribe(TOPIC, { history: 'none', ...shown })
    const lists: PresenceMember[][] = []
    subscription.on('presence', (list) => lists.push(list))
    const looker = { node, subscription, lists }
    this.#lookers.push(looker)
    return looker
  }

  /** Virtual ms until the condition holds. */
  async took(condition: () => boolean, withinMs: number): Promise<number> {
    const startMs = this.world.nowMs
    const holds = await this.until(condition, withinMs)
    expect(
      holds,
      `not within ${withinMs} ms: ${condition}: ${JSON.stringify(this.#lookers.map(statesOf))}`,
    ).toBe(true)
    return this.world.nowMs - startMs
  }

  /** Requests of presence that holders have taken, and lists and changes that they have sent on. */
  get counters() {
    const all = this.holders.filter(({ isUp }) => isUp).map(({ pubsub }) => pubsub.counters().presence)
    const sum = (of: (counters: NonNullable<(typeof all)[number]>) => number) =>
      all.reduce((total, counters) => total + (counters === undefined ? 0 : of(counters)), 0)
    return { taken: sum(({ taken }) => taken), pushes: sum(({ pushes }) => pushes) }
  }
}

const statesOf = ({ subscription }: Looker) => subscription.present.map(({ state }) => state)
const sees = (looker: Looker, ...states: Data[]) =>
  JSON.stringify(statesOf(looker).toSorted()) === JSON.stringify(states.toSorted())

/** Eight holders and these clients, each with a seed of its own so that ways and ids differ. */
async function onStage(seed: number, clients: number, play: (stage: Stage) => Promise<void>) {
  const stage = new Stage(seed)
  await stage.world.run(async () => {
    await stage.grow(8)
    await stage.addClients(clients)
    await play(stage)
  })
}

describe('presence', () => {
  it('of who joins, changes and leaves is seen by all, within the time of a push', () =>
    onStage(1, 3, async (stage) => {
      const [a, b, c] = stage.clients as [SimulatedNode, SimulatedNode, SimulatedNode]
      const ana = await stage.enter(a, 'ana')
      const bo = await stage.enter(b, 'bo')
      const watcher = await stage.enter(c)
      for (const looker of [ana, bo, watcher]) await stage.took(() => sees(looker, 'ana', 'bo'), LEFT_MS)
      expect(watcher.subscription.present[0]).toMatchObject({ nodeId: a.nodeId, state: 'ana' })
      // the same at everybody: when it began is its own word
      expect(watcher.subscription.present).toEqual(ana.subscription.present)
      const late: PresenceMember[][] = []
      watcher.subscription.on('presence', (list) => late.push(list))
      await stage.took(() => late.length === 1, 1)
      expect(late).toEqual([watcher.subscription.present])

      await ana.subscription.setPresence({ name: 'ana', typing: true })
      await stage.took(() => sees(watcher, { name: 'ana', typing: true }, 'bo'), LEFT_MS)

      void bo.subscription.close()
      await stage.took(() => sees(watcher, { name: 'ana', typing: true }), LEFT_MS)
      void ana.subscription.unsubscribe()
      await stage.took(() => sees(watcher), LEFT_MS)
      expect(watcher.lists.at(-1)).toEqual([])
    }))

  it('ends with setPresence(undefined), and begins anew with another state, also after a leave', () =>
    onStage(2, 2, async (stage) => {
      const [a, b] = stage.clients as [SimulatedNode, SimulatedNode]
      const ana = await stage.enter(a, 'ana')
      const watcher = await stage.enter(b)
      await stage.took(() => sees(watcher, 'ana'), LEFT_MS)
      const first = watcher.subscription.present[0]?.since as number
      await ana.subscription.setPresence(undefined)
      await stage.took(() => sees(watcher), LEFT_MS)
      await stage.world.sleep(5_000)
      await ana.subscription.setPresence('ana')
      await stage.took(() => sees(watcher, 'ana'), LEFT_MS)
      expect(watcher.subscription.present[0]?.since).toBeGreaterThan(first)
      await a.stop() // the whole node, as on SIGTERM
      await stage.took(() => sees(watcher), LEFT_MS)
    }))

  it('ends in the turn in which it is closed, as with a page that has no other', () =>
    onStage(13, 2, async (stage) => {
      const [a, b] = stage.clients as [SimulatedNode, SimulatedNode]
      const ana = await stage.enter(a, 'ana')
      const watcher = await stage.enter(b)
      await stage.took(() => sees(watcher, 'ana'), LEFT_MS)
      for (const state of ['typing', 'ana']) {
        await ana.subscription.setPresence(state)
        await stage.took(() => sees(watcher, state), LEFT_MS)
      }
      void ana.subscription.close()
      a.crash({ isSilent: true })
      await stage.took(() => sees(watcher), LEFT_MS)
    }))

  it('of who crashes is over within 30 s, and not before it missed a heartbeat', () =>
    onStage(3, 3, async (stage) => {
      const [a, b, c] = stage.clients as [SimulatedNode, SimulatedNode, SimulatedNode]
      await stage.enter(a, 'ana')
      await stage.enter(b, 'bo')
      const watcher = await stage.enter(c)
      await stage.took(() => sees(watcher, 'ana', 'bo'), LEFT_MS)
      await stage.world.sleep(40_000) // heartbeats keep them
      expect(sees(watcher, 'ana', 'bo')).toBe(true)
      a.crash({ isSilent: true })
      const goneMs = await stage.took(() => sees(watcher, 'bo'), CRASHED_MS)
      expect(goneMs).toBeGreaterThan(LIMITS.presenceExpiryMs - LIMITS.presenceHeartbeatMs)
      await stage.world.sleep(60_000)
      expect(sees(watcher, 'bo')).toBe(true)
    }))

  it('costs no pushes while nothing changes', () =>
    onStage(4, 6, async (stage) => {
      const lookers = await Promise.all(stage.clients.map((node) => stage.enter(node, node.label)))
      const all = stage.clients.map(({ label }) => label)
      for (const looker of lookers) await stage.took(() => sees(looker, ...all), LEFT_MS)
      await stage.world.sleep(1_000)
      const before = stage.counters
      const shown = lookers.map(({ lists }) => lists.length)
      await stage.world.sleep(60_000)
      const after = stage.counters
      expect(after.taken - before.taken).toBeGreaterThan(4 * 6 * 7) // heartbeats came
      expect(after.pushes).toBe(before.pushes)
      expect(lookers.map(({ lists }) => lists.length)).toEqual(shown)
    }))

  it('that changes all the time is sent on and shown at most four times a second, the last state for sure', () =>
    onStage(5, 6, async (stage) => {
      const lookers = await Promise.all(stage.clients.map((node) => stage.enter(node, 0)))
      const [watcher] = lookers as [Looker]
      const all = (state: number) => lookers.map(() => state)
      for (const looker of lookers) await stage.took(() => sees(looker, ...all(0)), LEFT_MS)
      await stage.world.sleep(1_000)
      const before = stage.counters
      watcher.lists.length = 0
      for (let n = 1; n <= 200; n++) {
        for (const { subscription } of lookers) void subscription.setPresence(n)
        await stage.world.sleep(10)
      }
      for (const looker of lookers) await stage.took(() => sees(looker, ...all(200)), LEFT_MS)
      const inTwoSeconds = 2 * 4 + 2
      expect(watcher.lists.length).toBeGreaterThan(3)
      expect(watcher.lists.length).toBeLessThanOrEqual(inTwoSeconds)
      const { taken, pushes } = stage.counters
      // by eight replicas from each of six; to each of six
      expect(taken - before.taken).toBeLessThanOrEqual(8 * 6 * inTwoSeconds)
      expect(pushes - before.pushes).toBeLessThanOrEqual(6 * inTwoSeconds)
    }))

  it('is told by the others in time while one replica is slow', () =>
    onStage(6, 3, async (stage) => {
      const [a, b, c] = stage.clients as [SimulatedNode, SimulatedNode, SimulatedNode]
      const watcher = await stage.enter(b)
      const slow = stage.holders.find(
        ({ pubsub }) => pubsub.counters().attachedSubscribers === 0,
      ) as SimulatedNode
      stage.hub.slow(slow.nodeId, 20_000)
      const ana = await stage.enter(a, 'ana')
      await stage.took(() => sees(watcher, 'ana'), LEFT_MS)
      const setMs = stage.world.nowMs
      await ana.subscription.setPresence('busy')
      expect(stage.world.nowMs - setMs).toBeLessThan(LEFT_MS)
      await stage.took(() => sees(watcher, 'busy'), LEFT_MS)
      const closeMs = stage.world.nowMs
      const closing = ana.subscription.close()
      await stage.took(() => sees(watcher), LEFT_MS)
      await closing
      expect(stage.world.nowMs - closeMs).toBeLessThan(LEFT_MS)
      expect((await stage.enter(c)).subscription.present).toEqual([])
    }))

  it('goes on from another replica when the one that serves dies, without anybody flickering', () =>
    onStage(7, 4, async (stage) => {
      const [a, b, c, d] = stage.clients as [SimulatedNode, SimulatedNode, SimulatedNode, SimulatedNode]
      const watcher = await stage.enter(c)
      const source = stage.holders.find(
        ({ pubsub }) => pubsub.counters().attachedSubscribers === 1,
      ) as SimulatedNode
      await stage.enter(a, 'ana')
      const bo = await stage.enter(b, 'bo')
      await stage.took(() => sees(watcher, 'ana', 'bo'), LEFT_MS)
      await stage.world.sleep(1_000)
      watcher.lists.length = 0
      source.crash({ isSilent: true })
      await stage.world.sleep(45_000)
      expect(watcher.lists).toEqual([])
      expect(sees(watcher, 'ana', 'bo')).toBe(true)
      // and it is pushed to again
      await stage.enter(d, 'di')
      await stage.took(() => sees(watcher, 'ana', 'bo', 'di'), LEFT_MS)
      void bo.subscription.close()
      await stage.took(() => sees(watcher, 'ana', 'di'), LEFT_MS)
    }))

  it('of who dies together with the replica that serves is over as well', () =>
    onStage(8, 3, async (stage) => {
      const [a, b, c] = stage.clients as [SimulatedNode, SimulatedNode, SimulatedNode]
      const watcher = await stage.enter(c)
      const source = stage.holders.find(
        ({ pubsub }) => pubsub.counters().attachedSubscribers === 1,
      ) as SimulatedNode
      await stage.enter(a, 'ana')
      await stage.enter(b, 'bo')
      await stage.took(() => sees(watcher, 'ana', 'bo'), LEFT_MS)
      source.crash({ isSilent: true })
      a.crash({ isSilent: true })
      // the next replica expires it; where that one did not know it, a heartbeat is waited for
      await stage.took(() => sees(watcher, 'bo'), CRASHED_MS + LIMITS.presenceHeartbeatMs)
    }))

  it('is nobody’s any more for who is cut off from all', () =>
    onStage(9, 2, async (stage) => {
      const [a, b] = stage.clients as [SimulatedNode, SimulatedNode]
      await stage.enter(a, 'ana')
      const watcher = await stage.enter(b)
      await stage.took(() => sees(watcher, 'ana'), LEFT_MS)
      stage.hub.partition([[b.nodeId], [a.nodeId, ...stage.holders.map(({ nodeId }) => nodeId)]])
      await stage.took(() => sees(watcher), CRASHED_MS)
      stage.hub.heal()
      await stage.took(() => sees(watcher, 'ana'), CRASHED_MS)
    }))

  it('works for replicas that are members themselves, and with clocks that are off by five minutes each', () =>
    onStage(10, 2, async (stage) => {
      const [first, second] = stage.holders as [SimulatedNode, SimulatedNode]
      const [a, b] = stage.clients as [SimulatedNode, SimulatedNode]
      first.skewMs = LIMITS.maxSkewMs
      a.skewMs = -LIMITS.maxSkewMs
      const one = await stage.enter(first, 'one')
      const two = await stage.enter(second, 'two')
      const ana = await stage.enter(a, 'ana')
      const watcher = await stage.enter(b)
      for (const looker of [one, two, ana, watcher])
        await stage.took(() => sees(looker, 'ana', 'one', 'two'), LEFT_MS)
      await stage.world.sleep(45_000)
      for (const looker of [one, two, ana, watcher]) expect(sees(looker, 'ana', 'one', 'two')).toBe(true)
      void one.subscription.close()
      for (const looker of [two, ana, watcher]) await stage.took(() => sees(looker, 'ana', 'two'), LEFT_MS)
    }))

  it('of two subscriptions of a node is one: the state set last, until the last one closes', () =>
    onStage(11, 2, async (stage) => {
      const [a, b] = stage.clients as [SimulatedNode, SimulatedNode]
      const first = await stage.enter(a, 'first')
      const second = await stage.enter(a, 'second')
      const watcher = await stage.enter(b)
      await stage.took(() => sees(watcher, 'second'), LEFT_MS)
      void second.subscription.close()
      await stage.took(() => sees(watcher, 'first'), LEFT_MS)
      void first.subscription.close()
      await stage.took(() => sees(watcher), LEFT_MS)
    }))

  it('leaves nothing behind: no disk, no timer, no entry', () =>
    onStage(12, 2, async (stage) => {
      const [a, b] = stage.clients as [SimulatedNode, SimulatedNode]
      const keys = async () => {
        const all: string[] = []
        for (const { pubsub } of stage.holders)
          for await (const key of pubsub.dht.store.storage.keys('')) all.push(key)
        return all.filter((key) => !key.startsWith('log/')).toSorted()
      }
      const plain = await stage.enter(a)
      await stage.world.sleep(5_000)
      const before = await keys()
      const timers = stage.holders.map((node) => node.timers)
      for (let n = 0; n < 20; n++) {
        await plain.subscription.setPresence({ n })
        await stage.world.sleep(300)
      }
      expect(stage.holders.some(({ pubsub }) => pubsub.counters().presenceEntries === 1)).toBe(true)
      expect(await keys()).toEqual(before)
      await a.stop()
      await b.stop()
      await stage.world.sleep(2 * LIMITS.presenceTombstoneMs + 60_000)
      for (const [i, { pubsub, timers: now }] of stage.holders.entries()) {
        expect(pubsub.counters()).toMatchObject({ presenceTopics: 0, presenceEntries: 0 })
        expect(now).toBeLessThanOrEqual((timers[i] as number) + 2)
      }
    }))
})
