import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DEFAULT_DHT_OPTIONS, identityFromSeed, idOfCid, systemRuntime } from '../../src/dht/index.ts'
import { Rpc } from '../../src/dht/rpc.ts'
import { openTopic, type Receipt } from '../../src/pubsub/index.ts'
import { createStatement } from '../../src/pubsub/subscription-statement.ts'
import { topicKeyOf } from '../../src/pubsub/topic-key.ts'
import { topicMethods } from '../../src/pubsub/wire.ts'
import { heal, separate } from '../support/memory-faults.ts'
import { MemoryNet, type MemoryNode, type MemoryNodeOptions, until } from '../support/memory-nodes.ts'
import { OutboxNet } from '../support/outbox-net.ts'
import { codeOf } from '../support/rpc-net.ts'

/** To how many a message was delivered, by the word of replicas. */

const ROOM = 'room'
const OFTEN = { deliveredAskMs: 20, deliveredRounds: 5 }

let net: MemoryNet
beforeEach(() => {
  net = new MemoryNet()
})
afterEach(() => net.close())

const client = (init: MemoryNodeOptions = {}) =>
  net.add({ stores: false, durable: false, options: OFTEN, ...init })
const holders = (count: number) => Promise.all(Array.from({ length: count }, () => net.add()))

/** A subscriber that has read all there is. */
async function subscriber(topic = ROOM): Promise<MemoryNode> {
  const node = await client()
  const subscription = await node.pubsub.subscribe(topic)
  await until(() => subscription.status === 'synced')
  return node
}

const askedOf = ({ pubsub }: MemoryNode) => pubsub.dht.rpc.counters.methods['topic/delivered']?.received ?? 0
const asked = () => net.nodes.reduce((sum, node) => sum + askedOf(node), 0)
const countsOf = (receipts: Receipt[]) =>
  receipts.flatMap(({ state, delivered }) => (state === 'delivered' ? [delivered] : []))

/** One that attaches where it likes, and acknowledges when it is told to. */
async function attachedByHand(to: MemoryNode[], acknowledge: () => Promise<object> | object) {
  const identity = await identityFromSeed(crypto.getRandomValues(new Uint8Array(32)))
  const rpc = new Rpc(net.hub.join(identity.nodeId, { stores: false, durable: false }), systemRuntime, {
    ...DEFAULT_DHT_OPTIONS,
  })
  const pushes: number[] = []
  rpc.handle(topicMethods.push, (_from, { entries }) => {
    pushes.push(entries.length)
    return acknowledge()
  })
  const topicKey = await topicKeyOf(ROOM)
  const issuedAt = Date.now()
  const info = new Uint8Array()
  const facts = {
    topicKey,
    identity,
    kind: 'subscribe' as const,
    issuedAt,
    expiresAt: issuedAt + 60_000,
    info,
  }
  const statement = (await createStatement(facts)).envelope
  for (const { pubsub } of to)
    await rpc.request(pubsub.nodeId, topicMethods.attach, { topic: topicKey, statement })
  return { pushes, rpc }
}

describe('a publisher that asks for it', () => {
  it('is told to how many others its message was delivered, each counted once, itself not', async () => {
    await holders(3)
    const publisher = await subscriber()
    for (let i = 0; i < 3; i++) await subscriber()
    const receipts: Receipt[] = []
    publisher.pubsub.onReceipt((receipt) => receipts.push(receipt))
    await publisher.pubsub.enqueue(ROOM, 'hello', { key: 'a', delivered: true })
    await until(() => countsOf(receipts).at(-1) === 3)
    const { stored } = receipts.at(-1) as Receipt
    expect(receipts.at(-1)).toMatchObject({ key: 'a', data: 'hello', state: 'delivered' })
    expect(receipts.slice(0, 3).map(({ state }) => state)).toEqual(['queued', 'sending', 'stored'])
    const before = asked()
    await until(() => asked() > before + 3) // two more rounds at least: nobody is counted again
    expect(countsOf(receipts)).toEqual([...new Set(countsOf(receipts))].toSorted())
    expect(countsOf(receipts).at(-1)).toBe(3)
    expect(await publisher.pubsub.delivered(ROOM, [stored?.id as string])).toEqual([3])
  })

  it('is told the same of what it publishes to an open topic, and nobody is asked where nobody asks', async () => {
    await holders(2)
    await subscriber()
    const publisher = await client()
    const topic = await openTopic<string>(publisher.pubsub, ROOM)
    const told: [string, string | undefined, number | undefined][] = []
    topic.on('receipt', ({ state, data, delivered }) => told.push([state, data, delivered]))
    await topic.publish('quiet')
    await until(() => told.some(([state]) => state === 'stored'))
    const { id } = await publisher.pubsub.publish(ROOM, 'behind it')
    await until(async () => (await publisher.pubsub.delivered(ROOM, [id]))[0] === 1)
    const byHand = asked()
    expect(told.map(([state]) => state)).toEqual(['queued', 'sending', 'stored'])
    await topic.publish('loud', { delivered: true })
    await until(() => told.some(([state]) => state === 'delivered'))
    expect(asked()).toBeGreaterThan(byHand)
    expect(told.at(-1)).toEqual(['delivered', 'loud', 1])
    await topic.close()
  })

  it('is told nothing where nobody is subscribed, and 0 when it asks', async () => {
    await holders(2)
    const publisher = await client()
    const receipts: Receipt[] = []
    publisher.pubsub.onReceipt((receipt) => receipts.push(receipt))
    await publisher.pubsub.enqueue(ROOM, 'hello', { delivered: true })
    await until(() => asked() >= 2 * OFTEN.deliveredRounds)
    expect(receipts.map(({ state }) => state)).toEqual(['queued', 'sending', 'stored'])
    expect(await publisher.pubsub.delivered(ROOM, [receipts.at(-1)?.stored?.id as string])).toEqual([0])
  })

  it('hears nothing of who came later and reads it from the history', async () => {
    await holders(2)
    const publisher = await client()
    const { id } = await publisher.pubsub.publish(ROOM, 'early')
    await subscriber()
    const second = await publisher.pubsub.publish(ROOM, 'late')
    await until(async () => (await publisher.pubsub.delivered(ROOM, [second.id]))[0] === 1)
    expect(await publisher.pubsub.delivered(ROOM, [id, second.id])).toEqual([0, 1])
  })

  it('counts one that two replicas push to once, and one that does not acknowledge never', async () => {
    const [a, b] = (await holders(2)) as [MemoryNode, MemoryNode]
    const publisher = await client()
    await publisher.pubsub.publish(ROOM, 'first')
    const twice = await attachedByHand([a, b], () => ({}))
    const silent = await attachedByHand([a, b], () => new Promise<object>(() => undefined))
    const { id } = await publisher.pubsub.publish(ROOM, 'second')
    await until(() => twice.pushes.length === 2 && silent.pushes.length === 2)
    const told = (node: MemoryNode) => node.pubsub.counters().delivery?.acknowledged
    await until(() => told(a) === 1 && told(b) === 1)
    expect(await publisher.pubsub.delivered(ROOM, [id])).toEqual([1])
    for (const { rpc } of [twice, silent]) rpc.close()
  })

  it('counts who has acknowledged the message, and not a call to come and read', async () => {
    const [holder] = (await holders(1)) as [MemoryNode]
    const publisher = await client()
    const gate = Promise.withResolvers<object>()
    await publisher.pubsub.publish(ROOM, 'before')
    const slow = await attachedByHand([holder], () => (slow.pushes.length === 1 ? gate.promise : {}))
    const first = await publisher.pubsub.publish(ROOM, 'first')
    await until(() => slow.pushes.length === 1)
    const large = new Uint8Array(10_000)
    const many = await Promise.all(Array.from({ length: 20 }, () => publisher.pubsub.publish(ROOM, large)))
    expect(await publisher.pubsub.delivered(ROOM, [first.id])).toEqual([0])
    gate.resolve({})
    await until(() => slow.pushes.length === 2)
    const last = await publisher.pubsub.publish(ROOM, 'last')
    await until(() => slow.pushes.length === 3)
    expect(slow.pushes).toEqual([1, 0, 1]) // the second one calls it
    const ids = [...many.map(({ id }) => id), last.id]
    await until(async () => (await publisher.pubsub.delivered(ROOM, ids)).at(-1) === 1)
    expect(await publisher.pubsub.delivered(ROOM, ids)).toEqual([...many.map(() => 0), 1])
    slow.rpc.close()
  })
})

describe('beside one that more than 1,024 others have followed', () => {
  it('a message is found', async () => {
    await holders(1)
    const publisher = await client()
    await subscriber()
    const old = await publisher.pubsub.publish(ROOM, 'old')
    await until(async () => (await publisher.pubsub.delivered(ROOM, [old.id]))[0] === 1) // it is remembered
    for (let left = 1_200; left > 0; left -= 200)
      await Promise.all(Array.from({ length: 200 }, (_, i) => publisher.pubsub.publish(ROOM, i)))
    const { id } = await publisher.pubsub.publish(ROOM, 'new')
    await until(async () => (await publisher.pubsub.delivered(ROOM, [id]))[0] === 1)
    expect(await publisher.pubsub.delivered(ROOM, [old.id, id])).toEqual([0, 1])
  })
})

describe('after a merge', () => {
  it('a message is found under the version that it has now', async () => {
    const [a, b] = (await holders(2)) as [MemoryNode, MemoryNode]
    const [publisher, other] = [await client(), await client()]
    separate([a, publisher], [b, other])
    await attachedByHand([a], () => ({}))
    const { id, version } = await publisher.pubsub.publish(ROOM, 'one side')
    await until(async () => (await publisher.pubsub.delivered(ROOM, [id]))[0] === 1)
    for (let i = 0; i < 5; i++) await other.pubsub.publish(ROOM, i)
    heal(net.nodes)
    const stampAt = async ({ pubsub }: MemoryNode) =>
      (await pubsub.loadMessageCollection(ROOM))?.tail.find((entry) => entry.id === id)?.addedInVersion ?? 0
    await until(async () => (await stampAt(a)) > version && (await stampAt(b)) > version)
    await until(async () => (await publisher.pubsub.delivered(ROOM, [id]))[0] === 1)
  })
})

describe('a replica', () => {
  it('tells only the publisher of a message, and nothing of what it does not know', async () => {
    const [holder] = (await holders(1)) as [MemoryNode]
    const publisher = await client()
    await subscriber()
    const { id } = await publisher.pubsub.publish(ROOM, 'mine')
    const unknown = (await publisher.pubsub.publish('hall', 'elsewhere')).id
    await until(async () => (await publisher.pubsub.delivered(ROOM, [unknown, id]))[1] === 1)
    expect(await publisher.pubsub.delivered(ROOM, [unknown, id])).toEqual([0, 1])
    expect(await (await client()).pubsub.delivered(ROOM, [id])).toEqual([0]) // a stranger
    expect(await holder.pubsub.delivered(ROOM, [id])).toEqual([0]) // the replica itself, as a stranger
  })

  it('answers about 128 messages at once and not of more, and so often', async () => {
    const [holder] = (await holders(1)) as [MemoryNode]
    const publisher = await client()
    await subscriber()
    const sent = await Promise.all(Array.from({ length: 130 }, (_, i) => publisher.pubsub.publish(ROOM, i)))
    const ids = sent.map(({ id }) => id)
    await until(async () => (await publisher.pubsub.delivered(ROOM, [ids.at(-1) as string]))[0] === 1)
    expect(new Set(await publisher.pubsub.delivered(ROOM, ids.slice(0, 128)))).toEqual(new Set([1]))
    expect(await codeOf(publisher.pubsub.delivered(ROOM, ids))).toBe('TOO_LARGE')
    expect(await codeOf(publisher.pubsub.delivered(ROOM, ['no id']))).toBe('MALFORMED')
    expect(await publisher.pubsub.delivered(ROOM, [])).toEqual([])
    const ask = (count: number) =>
      publisher.pubsub.dht.rpc.request(holder.pubsub.nodeId, topicMethods.delivered, {
        topic: new Uint8Array(32),
        ids: ids.slice(0, count).map(idOfCid),
      })
    expect(await codeOf(ask(129))).toBe('MALFORMED')
    const codes = await Promise.all(Array.from({ length: 130 }, () => codeOf(ask(1))))
    expect(new Set(codes)).toEqual(new Set(['ok', 'RATE_LIMITED']))
  })

  it('that cannot be reached is no answer: who asks hears why when none is there', async () => {
    const publisher = await client()
    const { id } = await (await client({ stores: true })).pubsub.publish(ROOM, 'own')
    expect(await publisher.pubsub.delivered(ROOM, [id])).toEqual([0])
    const alone = new MemoryNet()
    const { pubsub } = await alone.add({ stores: false, durable: false })
    expect(await codeOf(pubsub.delivered(ROOM, [id]))).toBe('NO_REPLICAS')
    await alone.close()
  })
})

describe('in the outbox', () => {
  it('the wish outlives a restart, and ends with the process that stored the message', async () => {
    const virtual = new OutboxNet()
    let author = await virtual.client()
    await virtual.during(author.pubsub.enqueue(ROOM, 'later', { key: 'a', delivered: true }))
    await virtual.during(author.pubsub.enqueue(ROOM, 'unasked', { key: 'b' }))
    author = await virtual.reopened(author)
    const holder = await virtual.holder()
    await virtual.during(holder.pubsub.subscribe(ROOM)) // a replica that serves itself
    await virtual.until(() => author.states('a').includes('delivered'))
    expect(author.states('a')).toEqual(['sending', 'stored', 'delivered'])
    expect(author.receipts.at(-1)).toMatchObject({ key: 'a', delivered: 1 })
    await virtual.pass(20_000)
    const requests = () => holder.pubsub.dht.rpc.counters.methods['topic/delivered']?.received
    expect(requests()).toBe(5) // and no more
    await virtual.pass(60_000)
    expect([requests(), author.states('a').length]).toEqual([5, 3])
    expect(author.states('b')).toEqual(['sending', 'stored'])
    await virtual.close()
  })
})
