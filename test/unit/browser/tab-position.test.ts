import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { Message, PubSub, Subscription } from '../../../src/pubsub/index.ts'
import { MemoryNet, type MemoryNode, until } from '../../support/memory-nodes.ts'
import { PortTab } from '../../support/port-tab.ts'

/** Where an application has come that reads in a tab: what it was given, and not what the tab was told. */

const net = new MemoryNet()
let node: MemoryNode
let other: MemoryNode
let tab: PortTab

beforeAll(async () => {
  node = await net.add()
  other = await net.add()
})
afterAll(() => net.close())
afterEach(() => tab.close())

async function followingTab(): Promise<PortTab> {
  tab = new PortTab(node.pubsub)
  await tab.follow()
  return tab
}

function collect(subscription: Subscription): Message[] {
  const messages: Message[] = []
  subscription.on('message', (message) => messages.push(message))
  return messages
}

/** What comes to the tab from now on waits until `go`, and then comes as one: a tab has been busy for a while. */
function held(tab: PortTab): { messages(): number; go(): void } {
  const port = tab.ports?.port2 as MessagePort
  const handler = port.onmessage
  const frames: { t: string; events: [string, unknown][] }[] = []
  port.onmessage = ({ data }) => frames.push(data)
  const told = () => frames.flatMap(({ t, events }) => (t === 'events' ? events : []))
  return {
    messages: () => told().filter(([event]) => event === 'message').length,
    go: () => {
      port.onmessage = handler
      const last = frames.findLast(({ t }) => t === 'events')
      handler?.call(port, new MessageEvent('message', { data: { ...last, events: told() } }))
    },
  }
}

/** What a subscription from there is given, up to the end of the history. */
async function restFrom(pubsub: PubSub, topic: string, position: string) {
  const subscription = await pubsub.subscribe(topic, { history: { from: position } })
  const messages = collect(subscription)
  const ends: { recovered: boolean }[] = []
  subscription.on('history-end', (end) => ends.push(end))
  await until(() => ends.length)
  await subscription.close()
  expect(ends).toMatchObject([{ recovered: true }])
  return messages.map(({ data }) => data)
}

describe('a position in a tab', () => {
  it('at each message of several that come at once, and after a close at one of them', async () => {
    const tab = await followingTab()
    const subscription = await tab.pubsub.subscribe('batch')
    await until(() => subscription.status === 'synced')
    const positions: string[] = []
    subscription.on('message', ({ data }) => {
      positions.push(subscription.position)
      if (data === 3) void subscription.close()
    })
    const waiting = held(tab)
    for (const n of [1, 2, 3, 4]) await other.pubsub.publish('batch', n)
    await until(() => waiting.messages() === 4)
    waiting.go()
    expect(positions).toHaveLength(3)
    const rests: unknown[] = []
    for (const position of [...positions, subscription.position])
      rests.push(await restFrom(tab.pubsub, 'batch', position))
    expect(rests).toEqual([[2, 3, 4], [3, 4], [4], [4]])
  })

  it('after an iteration was left, until somebody listens again', async () => {
    const tab = await followingTab()
    const subscription = await tab.pubsub.subscribe('left')
    await until(() => subscription.status === 'synced')
    const reading = (async () => {
      for await (const { data } of subscription) if (data === 2) break
    })()
    const waiting = held(tab)
    for (const n of [1, 2, 3]) await other.pubsub.publish('left', n)
    await until(() => waiting.messages() === 3)
    waiting.go()
    await reading
    const { version } = await other.pubsub.publish('left', 4)
    await until(() => subscription.lastSeenVersion >= version)
    const left = subscription.position
    const again = collect(subscription)
    const listened = subscription.position
    await other.pubsub.publish('left', 5)
    await until(() => again.length > 0)
    expect(await restFrom(tab.pubsub, 'left', left)).toEqual([3, 4, 5])
    expect(await restFrom(tab.pubsub, 'left', listened)).toEqual([5])
    expect(await restFrom(tab.pubsub, 'left', subscription.position)).toEqual([])
  })
})
