import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Data, Message, Subscription, SyncStatus } from '../../../src/pubsub/index.ts'
import { topicMethods } from '../../../src/pubsub/wire.ts'
import { crash, heal } from '../../support/memory-faults.ts'
import type { MemoryNode } from '../../support/memory-nodes.ts'
import { StrangersNet } from '../../support/strangers.ts'

/** Who starts knowing nobody, and what it and the others make of it when they meet, in virtual time. */

/** Less than a heartbeat, which comes after 12 s at the earliest. */
const SOON_MS = 2_000

let net: StrangersNet
beforeEach(() => {
  net = new StrangersNet()
})
afterEach(() => net.close())

const enter = ({ pubsub }: MemoryNode, presence?: Data): Promise<Subscription> =>
  net.during(pubsub.subscribe('room', presence === undefined ? {} : { presence }))
const sees = ({ present }: Subscription, ...states: Data[]) =>
  JSON.stringify(present.map(({ state }) => state).toSorted()) === JSON.stringify(states.toSorted())
const taken = ({ pubsub }: MemoryNode) => pubsub.counters().presence?.taken ?? 0

/** Two nodes that serve themselves, one that is served, and the topic. */
async function room() {
  const holder = await net.add({ stores: true, durable: true })
  const tab = await net.add({ stores: true })
  const client = await net.add({ stores: false })
  await net.during(holder.pubsub.publish('room', 'said before'))
  return { holder, tab, client }
}

describe('a member that starts knowing nobody', () => {
  it('sees those in the room and is seen by them as soon as they know each other', async () => {
    const { tab, client } = await room()
    const ada = await enter(tab, 'ada')
    const cy = await enter(client, 'cy')
    const bob = await enter(await net.add({ stores: true, isStranger: true }), 'bob')
    await net.until(() => sees(ada, 'ada', 'cy') && sees(cy, 'ada', 'cy') && sees(bob, 'bob'), SOON_MS)
    net.meet()
    const all = ['ada', 'bob', 'cy']
    await net.until(() => [ada, bob, cy].every((subscription) => sees(subscription, ...all)), SOON_MS)
  })

  it('is seen by one that it meets after the others', async () => {
    const { tab } = await room()
    net.strangers.add(tab.pubsub.nodeId)
    const ada = await enter(tab, 'ada')
    const newcomer = await net.add({ stores: true, isStranger: true })
    const bob = await enter(newcomer, 'bob')
    net.strangers.delete(newcomer.pubsub.nodeId)
    net.peersCameOrWent()
    await net.pass(SOON_MS)
    expect(sees(ada, 'ada') && sees(bob, 'bob')).toBe(true)
    net.meet()
    await net.until(() => sees(ada, 'ada', 'bob') && sees(bob, 'ada', 'bob'), SOON_MS)
  })

  it('is shown also where it began to show itself after they met, and nobody had looked since', async () => {
    const { tab } = await room()
    const ada = await enter(tab)
    const newcomer = await net.add({ stores: true, isStranger: true })
    const bob = await enter(newcomer, 'bob')
    await net.during(bob.setPresence(undefined))
    await net.pass(SOON_MS)
    net.strangers.clear()
    newcomer.pubsub.dht.replicas.topologyChanged() // and no listener hears of it
    await net.during(bob.setPresence('bob'))
    await net.until(() => sees(ada, 'bob'), SOON_MS)
  })
})

describe('who has said that it is here', () => {
  it('says it to no replica twice because peers come and go, and looks ever more seldom', async () => {
    const { holder, tab, client } = await room()
    await enter(tab, 'ada')
    await enter(client, 'cy')
    await net.pass(SOON_MS)
    const before = [taken(holder), taken(tab), net.looks.get(client.pubsub.nodeId)] as number[]
    for (let n = 0; n < 50; n++) {
      net.peersCameOrWent()
      await net.pass(100)
    }
    expect([taken(holder), taken(tab)]).toEqual(before.slice(0, 2))
    const looked = (net.looks.get(client.pubsub.nodeId) as number) - (before[2] as number)
    expect(looked).toBeGreaterThan(1)
    expect(looked).toBeLessThan(10)
  })

  it('says it to nobody any more once it has taken it back or closed', async () => {
    const { holder, tab, client } = await room()
    const ada = await enter(tab, 'ada')
    const cy = await enter(client, 'cy')
    await net.pass(SOON_MS)
    await net.during(Promise.all([ada.close(), cy.setPresence(undefined)]))
    const before = net.looks.get(client.pubsub.nodeId)
    const newcomer = await net.add({ stores: true, isStranger: true })
    const watcher = await enter(newcomer)
    net.meet()
    await net.pass(SOON_MS)
    expect(sees(watcher)).toBe(true)
    expect(taken(newcomer)).toBe(0)
    expect(net.looks.get(client.pubsub.nodeId)).toBe(before)
    await net.during(cy.setPresence('back'))
    await net.until(() => sees(watcher, 'back') && taken(holder) > 0, SOON_MS)
  })
})

describe('a subscriber that starts knowing nobody', () => {
  async function reader(node: MemoryNode) {
    const subscription = await enter(node)
    const messages: Message[] = []
    const statuses: SyncStatus[] = []
    subscription.on('message', (message) => messages.push(message))
    subscription.on('sync', (status) => statuses.push(status))
    await net.pass(SOON_MS)
    return { messages, statuses }
  }

  it('reads what was said as soon as it knows somebody, while it goes on meeting others', async () => {
    await room()
    const { messages } = await reader(await net.add({ stores: true, isStranger: true }))
    net.peersCameOrWent() // but nobody that holds the topic
    await net.pass(SOON_MS)
    expect(messages).toEqual([])
    for (let n = 0; n < 10; n++) {
      net.meet()
      await net.pass(80) // holders compare what they have after a second
    }
    expect(messages.map(({ data }) => data)).toEqual(['said before'])
  })

  it('reads it once: neither it nor one that knew somebody begins anew when peers come and go', async () => {
    const { tab } = await room()
    const readers = [await reader(await net.add({ stores: true, isStranger: true })), await reader(tab)]
    net.meet()
    await net.until(() => readers.every(({ messages }) => messages.length === 1), SOON_MS)
    await net.pass(SOON_MS)
    const before = readers.map(({ statuses }) => statuses.length)
    for (let n = 0; n < 10; n++) {
      net.peersCameOrWent()
      await net.pass(SOON_MS / 10)
    }
    expect(readers.map(({ statuses }) => statuses.length)).toEqual(before)
    expect(readers.map(({ messages }) => messages.length)).toEqual([1, 1])
  })
})

describe('a replica that has lost what it heard', () => {
  it('and comes back is told again soon, though it is the same replica, and nobody else is', async () => {
    const { holder, tab, client } = await room()
    const watcher = await enter(await net.add({ stores: false }))
    await enter(tab, 'ada')
    await enter(client, 'cy')
    await net.pass(SOON_MS)
    expect([taken(holder), taken(tab)]).toEqual([2, 2])
    const storage = await crash(net.net, holder)
    await net.pass(100)
    const again = await net.add({ durable: true, seed: holder.seed, storage })
    heal(net.net.nodes)
    // whom a member could not reach meanwhile it does not try at once
    await net.until(() => taken(again) === 2, 3 * SOON_MS)
    expect(taken(tab)).toBe(2)
    await net.until(() => sees(watcher, 'ada', 'cy'), SOON_MS)
  })
})

describe('a node that holds nothing of the topic', () => {
  const asked = ({ pubsub }: MemoryNode, other: MemoryNode): (() => number) => {
    const { rpc } = pubsub.dht
    const request = rpc.request.bind(rpc)
    let count = 0
    rpc.request = (to, method, ...rest) => {
      if (to === other.pubsub.nodeId && method.name === topicMethods.presence.name) count += 1
      return request(to, method, ...rest)
    }
    return () => count
  }

  it('hears who is here when it becomes a replica, before it is given the topic', async () => {
    const { client } = await room()
    await enter(client, 'cy')
    await net.pass(SOON_MS)
    const newcomer = await net.add({ stores: true })
    const count = asked(client, newcomer)
    await net.until(() => taken(newcomer) === 1, 900) // holders compare after a second
    await net.pass(2 * SOON_MS)
    expect(count()).toBe(1)
  })

  it('and is no replica, as far as it knows, is not asked again before the next heartbeat', async () => {
    const { holder, tab, client } = await room()
    const other = await net.add({ stores: true })
    for (const { network } of [holder, tab, other]) {
      const closestPeers = network.closestPeers.bind(network)
      network.closestPeers = async (...args) =>
        (await closestPeers(...args)).filter(({ nodeId }) => nodeId !== other.pubsub.nodeId)
      network.topologyChanged()
    }
    const count = asked(client, other)
    await enter(client, 'cy')
    await net.pass(10_000)
    expect([count(), taken(other)]).toEqual([1, 0])
    await net.pass(10_000)
    expect(count()).toBe(2)
  })
})
