import { afterEach, expect, it } from 'vitest'
import { MemoryNet, until } from '../support/memory-nodes.ts'

/** All replicas of a topic are gone, and those that come after them know nothing of it: their numbers begin at one again. */

const TOPIC = 'room'

let net: MemoryNet
afterEach(() => net.close())

it('a subscriber is given what is said in a topic that begins anew, and then what is merged with it', async () => {
  net = new MemoryNet()
  const options = { checkIntervalMs: 200, retryMs: 20 }
  const gone = await net.add()
  const reader = await net.add({ stores: false, durable: false, options })
  const writer = await net.add({ stores: false, durable: false, options })
  const heard: unknown[] = []
  const subscription = await reader.pubsub.subscribe(TOPIC, { onMessage: ({ data }) => heard.push(data) })
  const say = async (from: number, upTo: number) => {
    for (let n = from; n <= upTo; n++) await writer.pubsub.publish(TOPIC, n)
  }
  await say(1, 5)
  await until(() => heard.length === 5)
  net.hub.crash(gone.pubsub.nodeId)

  const next = await net.add()
  const isAttached = () => next.pubsub.counters().attachedSubscribers === 1
  await until(() => isAttached() && subscription.status === 'synced')
  expect(subscription.lastSeenVersion).toBeGreaterThanOrEqual(5)
  await say(6, 8)
  await until(() => heard.length === 8)
  await say(9, 15)
  await until(() => heard.length === 15)
  expect(heard).toEqual(Array.from({ length: 15 }, (_, i) => i + 1))
})
