import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DEFAULT_DHT_OPTIONS, identityFromSeed, StickyError, toHex } from '../../src/dht/index.ts'
import { recordMethods } from '../../src/dht/wire.ts'
import { DEFAULT_PUBSUB_OPTIONS, LIMITS } from '../../src/pubsub/options.ts'
import type { TopicSubscription } from '../../src/pubsub/subscription.ts'
import { createStatement } from '../../src/pubsub/subscription-statement.ts'
import { topicKeyOf } from '../../src/pubsub/topic-key.ts'
import { topicMethods } from '../../src/pubsub/wire.ts'
import type { MemoryNode } from '../support/memory-nodes.ts'
import { type OutboxClient, OutboxNet } from '../support/outbox-net.ts'
import { codeOf } from '../support/rpc-net.ts'

/** What a replica sends to its subscribers, and what one of them that is slow or gone costs the others; in virtual time. */

const { requestTimeoutMs } = DEFAULT_DHT_OPTIONS
const { maxPushFailures } = DEFAULT_PUBSUB_OPTIONS
/** Shorter than any wait for an answer. */
const SOON_MS = requestTimeoutMs - 500

/** What is given comes by pushes, or after a link has closed: nobody asks by itself. */
const PUSHES_ONLY = { checkIntervalMs: 0 }

let net: OutboxNet
let holder: MemoryNode
beforeEach(async () => {
  net = new OutboxNet()
  holder = await net.holder()
})
afterEach(() => net.close())

interface Reader {
  client: OutboxClient
  subscription: TopicSubscription
  seen: unknown[]
}

async function reader(topic = 'room', client?: OutboxClient): Promise<Reader> {
  const seen: unknown[] = []
  const of = client ?? (await net.client({ options: PUSHES_ONLY }))
  const onMessage = ({ data }: { data: unknown }) => seen.push(data)
  const subscription = await net.during(of.pubsub.subscribe(topic, { onMessage }))
  await net.until(() => subscription.status === 'synced')
  return { client: of, subscription: subscription as TopicSubscription, seen }
}
const readers = async (count: number): Promise<Reader[]> => {
  const all: Reader[] = []
  for (let i = 0; i < count; i++) all.push(await reader())
  return all
}

/** Its pushes arrive, and what it says to the holder does not. */
const mute = ({ client }: Reader) => client.node.network.blackholes.add(holder.pubsub.nodeId)
const heal = ({ client }: Reader) => client.node.network.blackholes.clear()

const publish = async (data: unknown[], topic = 'room') => {
  for (const one of data) await net.during(holder.pubsub.publish(topic, one as string))
}
const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)
const counters = () => holder.pubsub.counters()
const delivery = () => {
  const { delivery: told } = counters()
  if (told === undefined) throw new Error('a holder delivers')
  return told
}

/** So many acknowledgements, of one topic or of all, never come. */
function loseAcknowledgements(topicKey?: string): { left: number } {
  const lost = { left: 0 }
  const { rpc } = holder.pubsub.dht
  const request = rpc.request.bind(rpc)
  rpc.request = async (to, method, body, options) => {
    const answer = await request(to, method, body, options)
    if (method.name !== topicMethods.push.name || lost.left === 0) return answer
    if (topicKey !== undefined && toHex((body as { topic: Uint8Array }).topic) !== topicKey) return answer
    lost.left -= 1
    throw new StickyError('TIMEOUT', 'The acknowledgement was lost.')
  }
  return lost
}

describe('a message', () => {
  it('reaches all others while a push to one of them is under way, and all of them where none hangs', async () => {
    const [hung, ...others] = (await readers(9)) as [Reader, ...Reader[]]
    await publish([1])
    await net.until(() => [hung, ...others].every(({ seen }) => seen.length === 1), SOON_MS)
    expect(delivery()).toMatchObject({ pushes: 9, acknowledged: 9 })
    mute(hung)
    const beganMs = net.runtime.monotonicNow()
    await publish(numbers(2, 6))
    await net.until(() => others.every(({ seen }) => seen.length === 6), SOON_MS)
    expect(net.runtime.monotonicNow() - beganMs).toBeLessThan(requestTimeoutMs)
    expect(delivery().failures).toEqual({})
    expect(counters().pushesInFlight).toBe(1)
    expect(others.map(({ seen }) => seen)).toEqual(others.map(() => numbers(1, 6)))
  })

  it('to a node that is its own replica and its own subscriber comes once, and nobody is dialled', async () => {
    const dialled: string[] = []
    holder.network.openLink = (peer) => {
      dialled.push(peer)
      return Promise.reject(new Error('dialled'))
    }
    const seen: { data: unknown; historic: boolean }[] = []
    const subscription = await net.during(
      holder.pubsub.subscribe('room', { onMessage: (message) => seen.push(message) }),
    )
    await net.until(() => subscription.status === 'synced')
    const receipt = await net.during(holder.pubsub.publish('room', 'mine'))
    await net.until(() => seen.length === 1)
    await net.pass(30_000)
    expect(seen).toMatchObject([{ id: receipt.id, data: 'mine', historic: false }])
    expect(dialled).toEqual([])
    expect(counters().rpc.requestsSent).toBe(0)
  })

  it('whose push was under way when the link went down comes on the next link, once and without a timeout', async () => {
    const one = await reader()
    await publish([1])
    await net.until(() => one.seen.length === 1)
    holder.network.blackholes.add(one.client.pubsub.nodeId)
    await publish([2])
    expect(counters().pushesInFlight).toBe(1)
    expect(one.seen).toEqual([1])
    holder.network.blackholes.clear()
    one.client.node.network.closeAll()
    await net.until(() => one.seen.length === 2, SOON_MS)
    await publish([3])
    await net.until(() => one.seen.length === 3, SOON_MS)
    expect(one.seen).toEqual([1, 2, 3])
    const { delivered, ways } = one.client.pubsub.counters().subscribed
    expect({ delivered, ways }).toEqual({ delivered: 3, ways: { history: 0, push: 2, read: 1 } })
    expect(delivery().failures).toEqual({ LINK_CLOSED: 1 })
    expect(counters().rpc.timeouts).toBe(0)
  })
})

describe('a subscriber that acknowledges nothing', () => {
  it('is let go of after some pushes in a row, is sent nothing more, stays subscribed, and has everything later', async () => {
    const [hung, other] = (await readers(2)) as [Reader, Reader]
    mute(hung)
    await publish([1])
    await net.pass(requestTimeoutMs)
    expect(counters().attachedSubscribers).toBe(2) // not at the first one
    await net.pass(requestTimeoutMs * (maxPushFailures - 1))
    await net.until(() => counters().attachedSubscribers === 1, SOON_MS)
    expect(delivery().failures.TIMEOUT).toBe(maxPushFailures)
    const { pushes } = delivery()
    await publish(numbers(2, 6))
    await net.until(() => other.seen.length === 6, SOON_MS)
    const toOther = delivery().pushes - pushes
    expect(toOther).toBeLessThanOrEqual(5) // none to the one that hangs
    expect(counters().pushesInFlight).toBe(0)
    const statements = await net.during(holder.pubsub.subscribers('room'))
    expect(statements.map(({ nodeId }) => nodeId)).toContain(hung.client.pubsub.nodeId)
    heal(hung)
    await net.until(() => hung.seen.length === 6)
    await net.until(() => counters().attachedSubscribers === 2)
    await publish([7])
    await net.until(() => hung.seen.length === 7, SOON_MS)
    expect(hung.seen).toEqual(numbers(1, 7))
  })

  it('is let go of by no holder that is told never to', async () => {
    await net.close()
    net = new OutboxNet()
    const never = Number.POSITIVE_INFINITY
    holder = await net.holder({
      options: { maxPushFailures: never },
      dhtOptions: { unansweredBeforeRedial: never },
    })
    const hung = await reader()
    mute(hung)
    await publish([1])
    await net.pass(requestTimeoutMs * 10)
    expect(delivery().failures.TIMEOUT).toBeGreaterThan(maxPushFailures)
    expect(delivery().dropped).toBe(0)
    expect(counters().attachedSubscribers).toBe(1)
    heal(hung)
    await publish([2])
    await net.until(() => hung.seen.length === 2, requestTimeoutMs * 2)
    expect(hung.seen).toEqual([1, 2])
  })

  it('for a moment is kept: an acknowledgement begins the count anew', async () => {
    const one = await reader()
    const lost = loseAcknowledgements()
    for (const round of numbers(1, 3)) {
      lost.left = maxPushFailures - 1
      await publish([round])
      await net.until(() => delivery().acknowledged === round)
      expect(delivery().failedPushes).toBe(round * (maxPushFailures - 1))
    }
    expect(delivery().dropped).toBe(0)
    expect(one.seen).toEqual([1, 2, 3])
    lost.left = maxPushFailures
    await publish([4])
    await net.until(() => delivery().dropped === 1)
  })

  it('in one topic goes on being served in another', async () => {
    const slow = await reader('slow')
    const good = await reader('good', slow.client)
    const lost = loseAcknowledgements(toHex(await topicKeyOf('slow')))
    lost.left = maxPushFailures
    await publish([1], 'slow')
    await net.until(() => delivery().dropped === 1)
    await publish(numbers(1, 20), 'good')
    await net.until(() => good.seen.length === 20, SOON_MS)
    expect(delivery()).toMatchObject({ dropped: 1, failedPushes: maxPushFailures })
    expect(counters().attachedSubscribers).toBe(1)
  })

  it('in many topics is let go of in all of them at once, not after a timeout for each and each time', async () => {
    const topics = Array.from({ length: 20 }, (_, i) => `room ${i}`)
    const one = await net.client({ options: PUSHES_ONLY })
    const all: Reader[] = []
    for (const topic of topics) all.push(await reader(topic, one))
    expect(counters().attachedSubscribers).toBe(20)
    mute(all[0] as Reader)
    for (const topic of topics) await publish([1], topic)
    await net.until(() => counters().attachedSubscribers === 0, 2 * requestTimeoutMs)
    expect(delivery().failures.TIMEOUT).toBeLessThanOrEqual(20)
    const { pushes } = delivery()
    for (const topic of topics) await publish([2], topic)
    expect(delivery().pushes).toBe(pushes)
    heal(all[0] as Reader)
    await net.until(() => all.every(({ seen }) => seen.length === 2))
    expect(all.map(({ seen }) => seen)).toEqual(all.map(() => [1, 2]))
  })

  it('holds no more than a bound however much is said, and delays nobody', async () => {
    const [hung, other] = (await readers(2)) as [Reader, Reader]
    mute(hung)
    let most = 0
    for (let round = 0; round < 10; round++) {
      const batch = numbers(round * 100 + 1, round * 100 + 100)
      await net.during(Promise.all(batch.map((n) => holder.pubsub.publish('room', n))))
      const told = await net.during(holder.pubsub.diagnostics())
      const { waiting, pending } = told.replica?.delivery ?? { waiting: undefined, pending: 99 }
      most = Math.max(most, waiting?.messages ?? 0)
      expect(waiting?.mostMessages).toBeLessThanOrEqual(LIMITS.maxPushMessages)
      expect(waiting?.bytes).toBeLessThanOrEqual(2 * LIMITS.maxPushBytes)
      expect(pending).toBeLessThanOrEqual(2)
      await net.until(() => other.seen.length === batch.at(-1))
    }
    expect(most).toBeGreaterThan(0)
    expect(delivery().overflows).toBeGreaterThan(0)
    heal(hung)
    await net.until(() => hung.seen.length === 1_000)
    for (const { seen } of [hung, other])
      expect(seen.toSorted((a, b) => Number(a) - Number(b))).toEqual(numbers(1, 1_000))
  })

  it('has a bound over all its topics, beyond which it is called to come and read, and others are not', async () => {
    const maxWaitingBytesPerPeer = 8_000
    await net.close()
    net = new OutboxNet()
    holder = await net.holder({ options: { maxWaitingBytesPerPeer } })
    const topics = numbers(1, 6).map((n) => `topic ${n}`)
    const client = await net.client({ options: PUSHES_ONLY })
    const hung: Reader[] = []
    const others: Reader[] = []
    for (const topic of topics) {
      hung.push(await reader(topic, client))
      others.push(await reader(topic))
    }
    mute(hung[0] as Reader)
    const text = (n: number) => `${n} `.padEnd(1_500)
    for (const n of numbers(1, 4))
      for (const topic of topics) {
        await publish([text(n)], topic)
        const told = await net.during(holder.pubsub.diagnostics())
        // of the others nothing waits for long
        expect(told.replica?.delivery.waiting?.bytes).toBeLessThanOrEqual(2 * maxWaitingBytesPerPeer)
      }
    expect(delivery().overflows).toBeGreaterThan(0)
    await net.until(() => others.every(({ seen }) => seen.length === 4), SOON_MS)
    heal(hung[0] as Reader)
    await net.until(() => hung.every(({ seen }) => seen.length === 4))
    for (const { seen } of [...hung, ...others]) expect(seen).toEqual(numbers(1, 4).map(text))
  })

  it('has two pushes under way at most, however often it attaches again, and others theirs', async () => {
    const one = await reader()
    const topic = await topicKeyOf('room')
    const identity = await identityFromSeed(one.client.node.seed)
    const attach = async () => {
      const issuedAt = net.runtime.now()
      const statement = { topicKey: topic, identity, kind: 'subscribe' as const, issuedAt }
      const { envelope } = await createStatement({
        ...statement,
        expiresAt: issuedAt + 60_000,
        info: new Uint8Array(),
      })
      const { rpc } = one.client.pubsub.dht
      return rpc.request(holder.pubsub.nodeId, topicMethods.attach, { topic, statement: envelope })
    }
    // it takes part in everything, and acknowledges no push
    const { rpc } = holder.pubsub.dht
    const request = rpc.request.bind(rpc)
    rpc.request = (to, method, ...rest) =>
      method.name === topicMethods.push.name ? new Promise(() => undefined) : request(to, method, ...rest)
    const answers: string[] = []
    for (let n = 1; n <= 10; n++) {
      answers.push(await net.during(codeOf(attach())))
      await publish([n])
      await net.until(() => delivery().pushes === Math.min(n, 2))
    }
    expect(counters().pushesInFlight).toBe(2)
    expect(answers).toEqual(['ok', 'ok', ...Array.from({ length: 8 }, () => 'BUSY')])
    // another topic, and another subscriber, are as good as ever
    const other = await reader('hall', one.client)
    const neighbour = await reader()
    rpc.request = request
    await publish([11])
    await publish([1], 'hall')
    await net.until(() => neighbour.seen.includes(11) && other.seen.length === 1, SOON_MS)
  })
})

describe('the look of many subscriptions at their replicas', () => {
  const TOPICS = 40
  const topics = Array.from({ length: TOPICS }, (_, i) => `room ${i}`)
  const { checkIntervalMs } = DEFAULT_PUBSUB_OPTIONS

  const subscribed = async () => {
    await net.holder() // the other one that is looked at
    const client = await net.client()
    const all: Reader[] = []
    for (const topic of topics) {
      await publish(['first'], topic)
      all.push(await reader(topic, client))
    }
    return { client, all }
  }
  const begun = ({ pubsub }: OutboxClient, { name }: { name: string }) =>
    pubsub.counters().rpc.methods[name]?.begun ?? 0

  it('is a few requests, and none for a head, where nothing happens', async () => {
    const { client } = await subscribed()
    await net.pass(3 * checkIntervalMs) // each has seen a head by then
    const before = [begun(client, recordMethods.compare), begun(client, recordMethods.head)] as const
    const rounds = 4
    await net.pass(rounds * checkIntervalMs)
    // two replicas, and at most one question a tenth of the interval, where one by one it were 80 an interval
    expect(begun(client, recordMethods.compare) - before[0]).toBeLessThanOrEqual(2 * 10 * rounds + 2)
    expect(begun(client, recordMethods.compare) - before[0]).toBeGreaterThan(rounds)
    expect(begun(client, recordMethods.head) - before[1]).toBe(0)
  })

  it('still finds what no push has brought, in the topic where that is', async () => {
    const { client, all } = await subscribed()
    await net.pass(3 * checkIntervalMs)
    for (const { pubsub } of net.net.nodes) {
      const { rpc } = pubsub.dht
      const request = rpc.request.bind(rpc)
      rpc.request = (to, method, ...rest) =>
        method.name === topicMethods.push.name ? Promise.resolve({} as never) : request(to, method, ...rest)
    }
    await publish(['second'], 'room 7')
    await net.until(() => all[7]?.seen.length === 2, 3 * checkIntervalMs)
    for (const [i, { seen }] of all.entries()) expect(seen).toEqual(i === 7 ? ['first', 'second'] : ['first'])
    expect(client.pubsub.counters().subscribed.ways.push).toBe(0)
  })
})
