import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type ErrorCode, StickyError } from '../../src/dht/index.ts'
import { recordMethods } from '../../src/dht/wire.ts'
import { openTopic, type Subscription } from '../../src/pubsub/index.ts'
import { DEFAULT_PUBSUB_OPTIONS, LIMITS } from '../../src/pubsub/options.ts'
import type { TopicSubscription } from '../../src/pubsub/subscription.ts'
import { topicMethods } from '../../src/pubsub/wire.ts'
import { separate } from '../support/memory-faults.ts'
import type { MemoryNode } from '../support/memory-nodes.ts'
import { type OutboxClient, OutboxNet } from '../support/outbox-net.ts'

/** What a subscription does again after it has failed, and how often; in virtual time. */

const { maxCheckMs } = DEFAULT_PUBSUB_OPTIONS
const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
/** Less than any wait, and more than an answer takes. */
const SOON_MS = 1_000

let net: OutboxNet
let holders: MemoryNode[]
beforeEach(async () => {
  net = new OutboxNet()
  holders = [await net.holder(), await net.holder()]
})
afterEach(() => net.close())

interface Watched {
  /** Of a request: its method, and when it was sent. */
  sent: { method: string; atMs: number }[]
  /** Methods that fail. */
  failing: Set<string>
  /** With that. */
  code: ErrorCode
}

function watch({ pubsub }: OutboxClient): Watched {
  const watched: Watched = { sent: [], failing: new Set(), code: 'BUSY' }
  const { rpc } = pubsub.dht
  const request = rpc.request.bind(rpc)
  rpc.request = (to, method, ...rest) => {
    watched.sent.push({ method: method.name, atMs: net.runtime.monotonicNow() })
    if (watched.failing.has(method.name))
      return Promise.reject(new StickyError(watched.code, 'Not now, says the holder.'))
    return request(to, method, ...rest)
  }
  return watched
}

const timesOf = ({ sent }: Watched, { name }: { name: string }) =>
  sent.flatMap(({ method, atMs }) => (method === name ? [atMs] : []))
const pausesIn = (timesMs: number[]) => timesMs.slice(1).map((atMs, i) => atMs - (timesMs[i] as number))

const publish = (data: unknown) =>
  net.during((holders[0] as MemoryNode).pubsub.publish('room', data as string))

async function subscribed(client: OutboxClient) {
  const seen: unknown[] = []
  const errors: unknown[] = []
  const subscription: Subscription = await net.during(
    client.pubsub.subscribe('room', { onMessage: ({ data }) => seen.push(data) }),
  )
  subscription.on('error', (error) => errors.push(error))
  return { subscription, seen, errors }
}

describe('an attachment', () => {
  const degraded = async (code: ErrorCode) => {
    await publish('first')
    const client = await net.client()
    const watched = watch(client)
    watched.failing.add(topicMethods.attach.name)
    watched.code = code
    const subscribing = await subscribed(client)
    const { subscription } = subscribing
    const attempts = () => timesOf(watched, topicMethods.attach).length
    await net.until(() => attempts() > 4 && subscription.status === 'degraded', MINUTE_MS)
    return { ...subscribing, watched, attempts }
  }

  it('that every replica refuses is told with what the last of these says, once for each attempt', async () => {
    const { subscription, seen, errors, watched, attempts } = await degraded('TOPIC_FULL')
    expect(errors[0]).toMatchObject({ code: 'TOPIC_FULL' })
    expect(errors.length).toBeLessThanOrEqual(attempts() / holders.length)
    watched.failing.clear()
    await net.until(() => subscription.status === 'synced', maxCheckMs + SOON_MS)
    expect(seen).toEqual(['first'])
  })

  it('is not told about where nobody answers', async () => {
    expect((await degraded('UNREACHABLE')).errors).toEqual([])
  })
})

describe('a read that keeps failing', () => {
  it('is tried again ever more seldom, by one attempt at a time, and no more once it has succeeded', async () => {
    await publish('unreadable')
    const client = await net.client()
    const watched = watch(client)
    watched.failing.add(recordMethods.blocks.name)
    const { subscription, seen, errors } = await subscribed(client)
    await net.pass(MINUTE_MS)
    const attempts = timesOf(watched, topicMethods.attach)
    const pauses = pausesIn(attempts)
    expect(pauses[0]).toBeLessThan(SOON_MS)
    expect(Math.min(...pauses.slice(6))).toBeGreaterThanOrEqual(maxCheckMs)
    expect(errors.length).toBeLessThanOrEqual(attempts.length)
    await net.until(() => subscription.status === 'degraded', SOON_MS) // unless an attempt is under way
    watched.failing.clear()
    await net.until(() => subscription.status === 'synced', maxCheckMs + SOON_MS)
    expect(seen).toEqual(['unreadable'])
    const { length } = timesOf(watched, topicMethods.attach)
    await net.pass(MINUTE_MS)
    expect(timesOf(watched, topicMethods.attach)).toHaveLength(length)
  })

  it('begins with a short pause again after it has succeeded', async () => {
    await publish('first')
    const client = await net.client()
    const watched = watch(client)
    const { subscription, seen, errors } = await subscribed(client)
    await net.until(() => subscription.status === 'synced')
    for (let round = 0; round < 6; round++) {
      watched.failing.add(recordMethods.blocks.name).add(recordMethods.head.name)
      client.node.network.closeAll()
      const before = errors.length
      await net.until(() => errors.length === before + 1)
      watched.failing.clear()
      await net.until(() => subscription.status === 'synced', SOON_MS)
    }
    expect(seen).toEqual(['first'])
  })

  it('is not tried by a retry from before once it has succeeded for another reason', async () => {
    await publish('first')
    const client = await net.client()
    const watched = watch(client)
    watched.failing.add(recordMethods.blocks.name)
    const { subscription } = await subscribed(client)
    await net.pass(MINUTE_MS)
    watched.failing.clear()
    await net.during(client.pubsub.resync('awake'), SOON_MS)
    expect(subscription.status).toBe('synced')
    const { length } = timesOf(watched, topicMethods.attach)
    await net.pass(MINUTE_MS)
    expect(timesOf(watched, topicMethods.attach)).toHaveLength(length)
  })
})

describe('peers that come', () => {
  /** Nothing happens by itself for long. */
  const patient = { checkIntervalMs: 0, retryMs: HOUR_MS, maxCheckMs: HOUR_MS }

  it('are tried at once where nobody could be reached', async () => {
    const client = await net.client({ options: patient })
    const { subscription, seen } = await subscribed(client)
    await net.until(() => subscription.status === 'synced')
    net.cutOff(client)
    client.node.network.closeAll()
    await net.until(() => subscription.status === 'offline')
    await publish('meanwhile')
    await net.pass(MINUTE_MS)
    expect(seen).toEqual([])
    net.heal()
    await net.until(() => subscription.status === 'synced', SOON_MS)
    expect(seen).toEqual(['meanwhile'])
  })

  it('are nothing to a subscription that is served, or is about to be', async () => {
    const client = await net.client({ options: patient })
    const watched = watch(client)
    const { subscription } = await subscribed(client)
    await net.until(() => subscription.status === 'synced')
    const attaches = () => timesOf(watched, topicMethods.attach).length
    const peersCome = async () => {
      for (let i = 0; i < 20; i++) {
        client.node.network.topologyChanged()
        await net.pass(100)
      }
    }
    await peersCome()
    expect(attaches()).toBe(1)
    // the attempt waits for an answer
    for (const { network } of holders) network.blackholes.add(client.pubsub.nodeId)
    client.node.network.closeAll()
    await net.until(() => attaches() === 2, SOON_MS)
    await peersCome()
    expect(attaches()).toBe(2)
  })
})

describe('a subscriber whose clock was wrong', () => {
  it('is served again as soon as it is put right, and its statements are taken', async () => {
    let aheadMs = 0
    const { runtime } = net
    const client = await net.client({
      runtime: {
        now: () => runtime.now() + aheadMs,
        monotonicNow: () => runtime.monotonicNow(),
        setTimer: (callback, delayMs) => runtime.setTimer(callback, delayMs),
        randomBytes: (length) => runtime.randomBytes(length),
        random: () => runtime.random(),
      },
    })
    const { subscription, seen } = await subscribed(client)
    await net.until(() => subscription.status === 'synced')
    aheadMs = 2 * HOUR_MS
    await expect(net.during(subscription.renew())).rejects.toMatchObject({ code: 'FROM_THE_FUTURE' })
    aheadMs = 0
    client.node.network.closeAll()
    await net.until(() => subscription.status === 'synced', MINUTE_MS)
    await publish('after')
    await net.until(() => seen.length > 0, MINUTE_MS)
    await net.during(subscription.renew())
    const [subscriber] = await net.during((holders[0] as MemoryNode).pubsub.subscribers('room'))
    expect(subscriber?.expiresAt).toBeLessThan(runtime.now() + LIMITS.subscriptionTtlMs + SOON_MS)
  })
})

describe('a renewal', () => {
  const renewMs = 2 * MINUTE_MS

  async function served() {
    const client = await net.client({ options: { checkIntervalMs: 0, renewMs } })
    const watched = watch(client)
    const { subscription, errors } = await subscribed(client)
    await net.until(
      () => subscription.status === 'synced' && timesOf(watched, topicMethods.subscribe).length === 1,
    )
    const beganMs = net.runtime.monotonicNow()
    /** Up to so long after the nth renewal is due. */
    const untilAfter = (nth: number, ms: number) =>
      net.pass(beganMs + nth * renewMs + ms - net.runtime.monotonicNow())
    const said = () => timesOf(watched, topicMethods.subscribe).length
    const attached = () => timesOf(watched, topicMethods.attach).length
    return { watched, errors, untilAfter, said, attached }
  }

  it('is made once an interval, of what is said to the topic and to the replica', async () => {
    const { untilAfter, said, attached } = await served()
    for (const nth of [1, 2, 3]) {
      await untilAfter(nth, 10 * SOON_MS)
      expect([said(), attached()]).toEqual([1 + nth, 1 + nth])
    }
  })

  it('that fails for a moment is made after it, not after another interval', async () => {
    const { watched, errors, untilAfter, said, attached } = await served()
    watched.failing.add(topicMethods.subscribe.name).add(topicMethods.attach.name)
    await untilAfter(1, MINUTE_MS)
    // each attempt asks both replicas
    expect(said()).toBeGreaterThan(1 + 2)
    expect(said()).toBeLessThanOrEqual(1 + (2 * 3 * MINUTE_MS) / maxCheckMs)
    expect(attached()).toBeGreaterThan(2)
    watched.failing.clear()
    const before = [said(), attached()]
    await net.pass(2 * maxCheckMs)
    expect([said(), attached()]).toEqual(before.map((count) => count + 1))
    const [subscriber] = await net.during((holders[0] as MemoryNode).pubsub.subscribers('room'))
    expect(subscriber?.expiresAt).toBeGreaterThan(net.runtime.now() + LIMITS.subscriptionTtlMs - MINUTE_MS)
    expect(errors).toEqual([])
  })

  it('comes in time by default: the topic knows the subscriber for as long as it stays', async () => {
    const client = await net.client({ options: { checkIntervalMs: 0 } })
    const { errors } = await subscribed(client)
    for (let minutes = 0; minutes < 70; minutes += 5) {
      await net.pass(SOON_MS)
      const [subscriber] = await net.during((holders[0] as MemoryNode).pubsub.subscribers('room'))
      // a clock that is off by five minutes has it expired so much sooner
      expect(subscriber?.expiresAt, `after ${minutes} minutes`).toBeGreaterThan(
        net.runtime.now() + 10 * MINUTE_MS,
      )
      net.runtime.advance(5 * MINUTE_MS)
    }
    expect(errors).toEqual([])
  })

  it('of what nobody takes into the topic is one at the replica all the same', async () => {
    const { watched, untilAfter, attached } = await served()
    watched.failing.add(topicMethods.subscribe.name)
    for (const nth of [1, 2, 3]) {
      await untilAfter(nth, 10 * SOON_MS)
      expect(attached()).toBe(1 + nth)
    }
  })
})

describe('a replica that goes', () => {
  it('after a subscription to the last messages has begun: the next one gives them', async () => {
    await publish(new Uint8Array(20_000)) // in a block of its own, which is fetched when it is delivered
    await publish('small')
    await net.pass(SOON_MS)
    const client = await net.client()
    const seen: unknown[] = []
    const subscription = (await net.during(
      client.pubsub.subscribe('room', { history: { last: 5 }, onMessage: ({ data }) => seen.push(data) }),
    )) as TopicSubscription
    const source = holders.find(({ pubsub }) => pubsub.nodeId === subscription.source) as MemoryNode
    expect(seen).toEqual([])
    separate(
      [source],
      net.net.nodes.filter((node) => node !== source),
    )
    await net.until(() => subscription.status === 'synced', MINUTE_MS)
    expect([seen.length, seen.at(-1)]).toEqual([2, 'small'])
    expect(subscription.source).not.toBe(source.pubsub.nodeId)
  })
})

describe('a topic', () => {
  it('is not opened where its node closes meanwhile', async () => {
    const client = await net.client()
    const watched = watch(client)
    watched.failing.add(topicMethods.attach.name)
    const opening = openTopic(client.pubsub, 'room', { history: 'none' })
    const code = opening.then(
      () => 'opened',
      (error: StickyError) => error.code,
    )
    await net.until(() => timesOf(watched, topicMethods.attach).length > 0)
    await net.during(client.pubsub.close())
    expect(await net.during(code)).toBe('CLOSED')
  })
})
