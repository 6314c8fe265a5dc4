import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  type Message,
  openTopic,
  type Subscription,
  type SubscriptionEvents,
  type SyncStatus,
} from '../../../src/pubsub/index.ts'
import { COORDINATOR } from '../../../src/pubsub/options.ts'
import { topicKeyOf } from '../../../src/pubsub/topic-key.ts'
import type { MemoryNode, MemoryNodeOptions } from '../../support/memory-nodes.ts'
import { StrangersNet } from '../../support/strangers.ts'

/** A tab that starts knowing nobody, and what it tells its application before it does, in virtual time. */

const WAIT_MS = 3_000
/** Much less than the wait, and more than an answer takes. */
const SOON_MS = 1_000
/** As a browser's node has them. */
const TAB = { outboxAwaitsPeers: true, awaitPeersMs: WAIT_MS }

let net: StrangersNet
beforeEach(() => {
  net = new StrangersNet()
})
afterEach(() => net.close())

const startTab = (init: MemoryNodeOptions = {}): Promise<MemoryNode> =>
  net.add({ isStranger: true, ...init, options: { ...TAB, ...init.options } })

/** A holder of what was said before, and a tab that is yet to meet it. */
async function room() {
  const holder = await net.add({ durable: true })
  for (const said of ['first', 'second']) await net.during(holder.pubsub.publish('room', said))
  return { holder, tab: await startTab() }
}

function reading(subscription: Pick<Subscription, 'on'>) {
  const messages: Message[] = []
  const ends: SubscriptionEvents['history-end'][] = []
  const statuses: SyncStatus[] = []
  subscription.on('message', (message) => messages.push(message))
  subscription.on('history-end', (end) => ends.push(end))
  subscription.on('sync', (status) => statuses.push(status))
  return { messages, ends, statuses }
}

const given = (messages: Message[]) => messages.map(({ data, historic }) => [data, historic])
const headOf = async ({ pubsub }: MemoryNode, topic = 'room') =>
  (await pubsub.dht.store.record(COORDINATOR, await topicKeyOf(topic))).head
const history = [
  ['first', true],
  ['second', true],
]

describe('a tab that knows nobody yet', () => {
  it('tells of no history before it knows a replica, and then of all of it', async () => {
    const { holder, tab } = await room()
    const subscription = await net.during(tab.pubsub.subscribe('room'), SOON_MS)
    const { messages, ends, statuses } = reading(subscription)
    await net.pass(SOON_MS)
    expect([subscription.status, statuses, ends, messages]).toEqual(['joining', [], [], []])
    expect(await headOf(tab)).toBeUndefined()
    net.meet()
    await net.until(() => subscription.status === 'synced', SOON_MS)
    expect(given(messages)).toEqual(history)
    expect(ends).toMatchObject([{ count: 2 }])
    await net.pass(2 * WAIT_MS)
    expect([ends.length, messages.length, statuses.filter((status) => status === 'joining')]).toEqual([
      1,
      2,
      [],
    ])
    expect(await headOf(tab)).toEqual(await headOf(holder))
    expect([tab, holder].map(({ pubsub }) => pubsub.counters().merges)).toEqual([0, 0])
    const subscribers = await net.during(holder.pubsub.subscribers('room'))
    expect(subscribers.map(({ nodeId }) => nodeId)).toEqual([tab.pubsub.nodeId])
    await net.during(holder.pubsub.publish('room', 'new'))
    await net.until(() => messages.length === 3, SOON_MS)
    expect(given(messages).at(-1)).toEqual(['new', false])
  })

  it('begins with the last messages where these were asked for, not at the end of nothing', async () => {
    const { tab } = await room()
    const subscribing = tab.pubsub.subscribe('room', { history: { last: 1 } })
    await net.pass(SOON_MS)
    net.meet()
    const { messages, ends } = reading(await net.during(subscribing, SOON_MS))
    await net.until(() => ends.length > 0, SOON_MS)
    expect(given(messages)).toEqual([['second', true]])
    expect(ends).toMatchObject([{ count: 1 }])
  })

  it('opens a topic at once, which is joining, takes what is published, and then has the history', async () => {
    const { tab, holder } = await room()
    const topic = await net.during(
      openTopic<string>(tab.pubsub, 'room', { runtime: net.runtime }),
      SOON_MS / 2,
    )
    const { messages, ends } = reading(topic as unknown as Subscription)
    const receipt = await net.during(topic.publish('mine'), SOON_MS / 2)
    await net.pass(SOON_MS)
    expect([topic.status, receipt.state, messages]).toEqual(['joining', 'queued', []])
    net.meet()
    await net.until(() => ends.length > 0, SOON_MS)
    expect(given(messages)).toEqual(history)
    tab.pubsub.drainOutbox()
    await net.until(() => messages.length === 3)
    expect(given(messages).at(-1)).toEqual(['mine', false])
    expect((await net.read(holder, 'room')).map(({ data }) => data)).toEqual(['first', 'second', 'mine'])
  })

  it('goes on waiting when it wakes up, and says nothing once it is closed', async () => {
    const { tab } = await room()
    const subscription = await net.during(tab.pubsub.subscribe('room'), SOON_MS)
    const { ends } = reading(subscription)
    await net.during(tab.pubsub.resync('visible'))
    net.peersCameOrWent()
    await net.pass(SOON_MS)
    expect([subscription.status, ends]).toEqual(['joining', []])
    await net.during(subscription.close())
    await net.pass(2 * WAIT_MS)
    expect(await headOf(tab)).toBeUndefined()
  })
})

describe('a tab that stays alone', () => {
  it('begins after a bounded time, as a subscriber, and hears what it says', async () => {
    const tab = await startTab()
    const subscribing = tab.pubsub.subscribe('room', { history: 'none' })
    await net.pass(WAIT_MS - SOON_MS)
    expect(await headOf(tab)).toBeUndefined()
    const subscription = await net.during(subscribing, 2 * SOON_MS)
    const { messages, ends } = reading(subscription)
    await net.until(() => subscription.status === 'synced', SOON_MS)
    expect(ends).toMatchObject([{ count: 0 }])
    const subscribers = await net.during(tab.pubsub.subscribers('room'))
    expect(subscribers.map(({ nodeId }) => nodeId)).toEqual([tab.pubsub.nodeId])
    await net.during(tab.pubsub.publish('room', 'to myself'))
    await net.until(() => messages.length === 1, SOON_MS)
  })

  it('shows at once what it holds itself', async () => {
    const { holder, tab } = await room()
    net.meet()
    const before = await net.during(tab.pubsub.subscribe('room'))
    await net.until(() => before.status === 'synced')
    const { seed, storage } = tab
    await net.during(tab.pubsub.close())
    net.net.nodes.splice(net.net.nodes.indexOf(tab), 1)
    net.strangers.add(holder.pubsub.nodeId)
    const again = await startTab({ seed, storage })
    const subscription = await net.during(again.pubsub.subscribe('room'), SOON_MS / 2)
    const { messages, ends } = reading(subscription)
    await net.until(() => ends.length > 0, SOON_MS / 2)
    expect(given(messages)).toEqual(history)
  })
})

describe('who is not to wait', () => {
  it.each([
    {
      who: 'a node that is no tab, and knows nobody',
      isStranger: true,
      options: { awaitPeersMs: 0 },
      count: 0,
    },
    { who: 'a tab that knows a replica', isStranger: false, options: TAB, count: 2 },
  ])('$who: begins at once', async ({ isStranger, options, count }) => {
    await room()
    const node = await net.add({ isStranger, options })
    const subscription = await net.during(node.pubsub.subscribe('room'), SOON_MS / 2)
    const { ends } = reading(subscription)
    await net.until(() => ends.length > 0, SOON_MS / 2)
    expect(ends).toMatchObject([{ count }])
  })
})
