import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DEFAULT_DHT_OPTIONS, delay, StickyError } from '../../src/dht/index.ts'
import { DEFAULT_PUBSUB_OPTIONS, type PubSubOptions } from '../../src/pubsub/options.ts'
import type { TopicSubscription } from '../../src/pubsub/subscription.ts'
import { topicMethods } from '../../src/pubsub/wire.ts'
import type { MemoryNode } from '../support/memory-nodes.ts'
import { type OutboxClient, OutboxNet } from '../support/outbox-net.ts'

/** A subscriber whose replica pushes late, or no more, while their link lives; in virtual time. */

const { requestTimeoutMs } = DEFAULT_DHT_OPTIONS
const { checkIntervalMs, maxPushFailures } = DEFAULT_PUBSUB_OPTIONS
/** Shorter than a check comes. */
const SOON_MS = 1_000
const MINUTE_MS = 60_000

let net: OutboxNet
let holder: MemoryNode
let client: OutboxClient
let subscription: TopicSubscription
let seen: unknown[]
/** What becomes of each push. */
let push: (send: () => Promise<unknown>) => Promise<unknown>

beforeEach(async () => {
  net = new OutboxNet()
  holder = await net.holder()
  const { rpc } = holder.pubsub.dht
  const request = rpc.request.bind(rpc)
  push = (send) => send()
  rpc.request = ((...args: Parameters<typeof request>) =>
    args[1].name === topicMethods.push.name
      ? push(() => request(...args))
      : request(...args)) as typeof request
  await restart()
})
afterEach(() => net.close())

async function restart(options: Partial<PubSubOptions> = {}): Promise<void> {
  client = await net.client({ options })
  seen = []
  subscription = (await net.during(
    client.pubsub.subscribe('room', { onMessage: ({ data }) => seen.push(data) }),
  )) as TopicSubscription
  await net.until(() => subscription.status === 'synced')
}

/** What no push brings is not found. */
async function withoutChecks(): Promise<void> {
  await net.during(subscription.close())
  await restart({ checkIntervalMs: 0 })
}

const publish = (data: number) => net.during(holder.pubsub.publish('room', data))
const attaches = () => client.pubsub.counters().rpc.methods[topicMethods.attach.name]?.begun ?? 0
const pushed = () => client.pubsub.counters().subscribed.ways.push
const dropped = () => holder.pubsub.counters().delivery?.dropped ?? 0
const failed = () => Promise.reject(new StickyError('TIMEOUT', 'Nobody acknowledged.'))

/** Gives the function that lets it go on. */
async function holdThePushOf(data: number): Promise<() => void> {
  const { promise: held, resolve: release } = Promise.withResolvers<void>()
  push = async (send) => {
    await held
    return send()
  }
  await publish(data)
  return release
}

/** The acknowledgement of a push is lost, and those of the calls after it, or the calls: and with them the subscriber. */
async function loseTheSubscriber(data: number, areCallsHeard = false): Promise<void> {
  const before = dropped()
  push = (send) => {
    if (!areCallsHeard) push = failed
    return send().then(failed)
  }
  await publish(data)
  await net.until(() => dropped() === before + 1)
  push = (send) => send()
}

describe('a subscriber that was let go of while its link lives', () => {
  it('is pushed to again after the check that finds what was not', async () => {
    await loseTheSubscriber(1)
    await net.pass(MINUTE_MS) // nothing is said: there is nothing to be found
    expect([attaches(), holder.pubsub.counters().attachedSubscribers]).toEqual([1, 0])
    await publish(2)
    await net.until(() => holder.pubsub.counters().attachedSubscribers === 1, 3 * checkIntervalMs)
    const before = pushed()
    for (const data of [3, 4, 5]) {
      await publish(data)
      await net.until(() => seen.at(-1) === data, SOON_MS)
    }
    expect(seen).toEqual([1, 2, 3, 4, 5])
    expect(pushed()).toBe(before + 3)
    await net.pass(MINUTE_MS)
    expect([attaches(), subscription.status]).toEqual([2, 'synced'])
  })

  it('is pushed to again without any check, where it has heard the calls before that', async () => {
    await withoutChecks()
    await loseTheSubscriber(1, true)
    await net.until(() => holder.pubsub.counters().attachedSubscribers === 1, 2 * requestTimeoutMs)
    await publish(2)
    await net.until(() => seen.length === 2, SOON_MS)
    expect(seen).toEqual([1, 2])
    await net.pass(MINUTE_MS)
    expect(attaches()).toBe(2)
  })

  it('has everything once where it is attached again in the middle of a conversation', async () => {
    await loseTheSubscriber(0)
    for (let n = 1; n <= 200; n++) {
      await publish(n)
      await net.pass(100)
    }
    await net.until(() => seen.length === 201)
    expect(seen).toEqual(Array.from({ length: 201 }, (_, n) => n))
    expect(attaches()).toBe(2)
    expect(pushed()).toBeGreaterThan(50)
  })
})

describe('a subscriber that', () => {
  const talk = async (forMs: number) => {
    const endMs = net.runtime.monotonicNow() + forMs
    let n = 0
    while (net.runtime.monotonicNow() < endMs) {
      await publish(n++)
      await net.pass(1_700) // now before, now after a check
    }
    await net.until(() => seen.length === n)
    expect(seen).toEqual(Array.from({ length: n }, (_, i) => i))
  }

  it('is pushed to a moment after it has read the same is not attached anew', async () => {
    push = async (send) => {
      await delay(net.runtime, requestTimeoutMs - SOON_MS)
      return send()
    }
    await talk(2 * MINUTE_MS)
    expect(client.pubsub.counters().subscribed.ways.read).toBeGreaterThan(0)
    expect([attaches(), dropped()]).toEqual([1, 0])
  })

  it('was kept waiting by one push that was lost is not attached anew', async () => {
    push = async (send) => {
      push = (next) => next()
      await delay(net.runtime, requestTimeoutMs)
      return send().then(failed)
    }
    await talk(MINUTE_MS)
    expect([attaches(), dropped()]).toEqual([1, 0])
  })

  it('attaches again is not let go of for the push of its attachment before', async () => {
    await withoutChecks()
    const { promise: held, resolve: release } = Promise.withResolvers<void>()
    let pushes = 0
    push = async (send) => {
      pushes += 1
      if (pushes > maxPushFailures) return send()
      if (pushes === maxPushFailures) await held
      return failed()
    }
    await publish(1)
    await net.until(() => pushes === maxPushFailures)
    await net.during(subscription.resync())
    release()
    await net.pass(SOON_MS)
    await publish(2)
    await net.until(() => seen.length === 2, SOON_MS)
    expect(seen).toEqual([1, 2])
  })

  it('renews while something waits for a push has that too', async () => {
    await withoutChecks()
    const release = await holdThePushOf(1)
    await publish(2) // waits for the first to be acknowledged
    await net.during(subscription.renew())
    release()
    await net.until(() => seen.length === 2, MINUTE_MS)
    expect(seen).toEqual([1, 2])
  })

  it('begins beside another one of its node takes nothing away that waits for that one', async () => {
    await withoutChecks()
    const release = await holdThePushOf(1)
    await publish(2) // waits for the first to be acknowledged
    const other: unknown[] = []
    await net.during(client.pubsub.subscribe('room', { onMessage: ({ data }) => other.push(data) }))
    release()
    await net.until(() => seen.length === 2 && other.length === 2, MINUTE_MS)
    expect([seen, other]).toEqual([
      [1, 2],
      [1, 2],
    ])
  })

  it('cannot be pushed to at all reads everything, and asks for pushes ever more seldom', async () => {
    push = async () => {
      await delay(net.runtime, requestTimeoutMs)
      return failed()
    }
    await talk(5 * MINUTE_MS)
    expect(pushed()).toBe(0)
    expect(attaches()).toBeGreaterThan(3)
    expect(attaches()).toBeLessThan(10)
    expect(holder.pubsub.counters().delivery?.pushes).toBeLessThanOrEqual(maxPushFailures * attaches())
  })
})
