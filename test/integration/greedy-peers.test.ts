import { afterEach, describe, expect, it } from 'vitest'
import { encode, type Identity, identityFromSeed, systemRuntime } from '../../src/dht/index.ts'
import { encodeDelta } from '../../src/pubsub/delta.ts'
import { createMessage, type NewMessage } from '../../src/pubsub/message.ts'
import { createStatement } from '../../src/pubsub/subscription-statement.ts'
import { topicKeyOf } from '../../src/pubsub/topic-key.ts'
import { topicMethods } from '../../src/pubsub/wire.ts'
import { MemoryNet, type MemoryNode, type MemoryNodeOptions, until } from '../support/memory-nodes.ts'

/** Peers that take more than their share, or never finish what they were asked: what it costs the others. */

let net: MemoryNet
/** Joins that end with their test and not before. */
let unfinished = Promise.withResolvers<boolean>()
afterEach(async () => {
  unfinished.resolve(false)
  await net.close()
})

const client = (options: MemoryNodeOptions = {}) => net.add({ stores: false, durable: false, ...options })
async function network(holders: number, options: MemoryNodeOptions = {}): Promise<MemoryNode[]> {
  net = new MemoryNet()
  for (let i = 0; i < holders; i++) await net.add(options)
  return [...net.nodes]
}
/** The holders of a topic, the first of its replica set first. */
async function holdersOf(asking: MemoryNode, topicKey: Uint8Array): Promise<MemoryNode[]> {
  const set = await asking.pubsub.dht.replicas.set(topicKey)
  return set.map(({ nodeId }) => net.nodes.find(({ pubsub }) => pubsub.nodeId === nodeId) as MemoryNode)
}
const code = (promise: Promise<unknown>) =>
  promise.then(
    () => 'ok',
    (error: { code: string }) => error.code,
  )

async function attach(from: MemoryNode, holder: MemoryNode, topic: string, ttlMs = 60_000) {
  const topicKey = await topicKeyOf(topic)
  const issuedAt = holder.pubsub.dht.runtime.now()
  const { envelope } = await createStatement({
    topicKey,
    identity: await identityFromSeed(from.seed),
    kind: 'subscribe',
    issuedAt,
    expiresAt: issuedAt + ttlMs,
    info: new Uint8Array(),
  })
  const request = { topic: topicKey, statement: envelope }
  return code(from.pubsub.dht.rpc.request(holder.pubsub.nodeId, topicMethods.attach, request))
}

const messageOf = (identity: Identity, topicKey: Uint8Array, change: Partial<NewMessage>) =>
  createMessage({
    topicKey,
    identity,
    writer: new Uint8Array(8),
    sequence: 1,
    publishedAt: Date.now(),
    ttlMs: 60_000,
    ...change,
  })

describe('a peer that attaches to one topic after another', () => {
  it('gets no more than its share, and others get theirs', async () => {
    const [holder] = await network(1, { options: { maxAttachedTopicsPerPeer: 3 } })
    const greedy = await client()
    const answers: string[] = []
    for (let i = 0; i < 5; i++) answers.push(await attach(greedy, holder as MemoryNode, `topic ${i}`))
    expect(answers).toEqual(['ok', 'ok', 'ok', 'BUSY', 'BUSY'])
    expect(await attach(await client(), holder as MemoryNode, 'topic 9')).toBe('ok')
    expect(await attach(greedy, holder as MemoryNode, 'topic 2')).toBe('ok') // one of its own, again
  })

  it('gets no more where others are attached already, nor by asking for all of them at once', async () => {
    const [holder] = (await network(1, { options: { maxAttachedTopicsPerPeer: 3 } })) as [MemoryNode]
    const topics = Array.from({ length: 12 }, (_, i) => `topic ${i}`)
    for (let i = 0; i < topics.length; i += 3) {
      const other = await client()
      for (const topic of topics.slice(i, i + 3)) expect(await attach(other, holder, topic)).toBe('ok')
    }
    const sorted = (answers: string[]) => answers.toSorted().reverse().join(' ')
    const served = `ok ok ok ${'BUSY '.repeat(9)}`.trim()
    const greedy = await client()
    const answers: string[] = []
    for (const topic of topics) answers.push(await attach(greedy, holder, topic))
    expect(answers.join(' ')).toBe(served)
    const inABurst = await client()
    expect(sorted(await Promise.all(topics.map((topic) => attach(inABurst, holder, topic))))).toBe(served)
    // in topics of its own, too
    const own = topics.map((topic) => `own ${topic}`)
    const another = await client()
    expect(sorted(await Promise.all(own.map((topic) => attach(another, holder, topic))))).toBe(served)
    expect(holder.pubsub.counters().attachedSubscribers).toBe(12 + 3 * 3)
  })

  it('has room for another one for each that it leaves', async () => {
    const [holder] = (await network(1, { options: { maxAttachedTopicsPerPeer: 2 } })) as [MemoryNode]
    const peer = await client()
    for (const topic of ['a', 'b', 'b', 'a']) expect(await attach(peer, holder, topic)).toBe('ok')
    expect(await attach(peer, holder, 'c')).toBe('BUSY')
    const { rpc } = peer.pubsub.dht
    await rpc.request(holder.pubsub.nodeId, topicMethods.detach, { topic: await topicKeyOf('a') })
    expect(await attach(peer, holder, 'c')).toBe('ok')
    expect(await attach(peer, holder, 'a')).toBe('BUSY')
    peer.network.closeAll()
    await until(() => holder.pubsub.counters().attachedSubscribers === 0)
    for (const topic of ['d', 'e']) expect(await attach(peer, holder, topic)).toBe('ok')
  })

  it('gives its places back when its subscriptions expire, and not before', async () => {
    let aheadMs = 0
    const runtime = { ...systemRuntime, now: () => Date.now() + aheadMs }
    const [holder] = await network(1, { options: { maxAttachedTopics: 2 }, runtime })
    const greedy = await client()
    for (const topic of ['a', 'b']) await attach(greedy, holder as MemoryNode, topic, 10_000)
    const honest = await client()
    expect(await attach(honest, holder as MemoryNode, 'room')).toBe('BUSY')
    aheadMs = 11_000
    expect(await attach(honest, holder as MemoryNode, 'room')).toBe('ok')
  })
})

describe('a message that names a payload which nobody sends', () => {
  it('is refused by itself; what waits with it is still stored as one group', async () => {
    await network(3)
    const publisher = await client()
    const identity = await identityFromSeed(publisher.seed)
    const topicKey = await topicKeyOf('room')
    const [holder] = (await holdersOf(publisher, topicKey)) as [MemoryNode]
    const send = ({ envelope }: { envelope: Uint8Array }) =>
      publisher.pubsub.dht.rpc.request(holder.pubsub.nodeId, topicMethods.publish, {
        topic: topicKey,
        messages: [envelope],
        payloads: [],
      })
    const bad = await messageOf(identity, topicKey, {
      writer: new Uint8Array(8).fill(1),
      payload: { id: new Uint8Array(32).fill(7), bytes: 20_000 },
    })
    const good = await Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        messageOf(identity, topicKey, { sequence: i + 1, data: encode(i) }),
      ),
    )
    const answers = good.map((message) => send(message))
    const refused = send(bad)
    expect(
      (await Promise.all(answers)).every(({ results }) => results.every((result) => result === null)),
    ).toBe(true)
    expect(await refused).toMatchObject({ results: ['MALFORMED'] })
    const { messages } = await publisher.pubsub.history('room', { limit: 100 })
    expect(messages.map(({ sequence }) => sequence).sort((a, b) => a - b)).toEqual(
      good.map(({ body }) => body.sequence),
    )
    expect(holder.pubsub.counters().initiator?.groups).toBeLessThan(10)
  })
})

describe('a holder that never finishes joining what others have', () => {
  async function diverged(options: MemoryNodeOptions) {
    await network(4, options)
    const reader = await client(options)
    await reader.pubsub.publish('room', 'everywhere')
    const topicKey = await topicKeyOf('room')
    const [first, second] = (await holdersOf(reader, topicKey)) as [MemoryNode, MemoryNode]
    const { store } = second.pubsub.dht
    const record = await store.record('coordinator', topicKey)
    const identity = await identityFromSeed(second.seed)
    const message = await messageOf(identity, topicKey, { data: encode('at one') })
    const delta = encodeDelta({ nowMs: Date.now(), messages: [message], payloads: [], statements: [] })
    await record.exclusive(() => store.applyLocal(record, delta))
    unfinished = Promise.withResolvers()
    const begun = Promise.withResolvers<void>()
    first.pubsub.dht.store.joinLocal = () => {
      begun.resolve()
      return unfinished.promise
    }
    return { reader, begun: begun.promise }
  }

  it('does not keep a reader who gives up', async () => {
    const { reader, begun } = await diverged({
      dhtOptions: { antiEntropyMs: 3_600_000, readRepairMs: 3_600_000 },
    })
    const stop = new AbortController()
    const read = code(reader.pubsub.history('room', { signal: stop.signal }))
    await begun
    stop.abort()
    expect(await read).toBe('ABORTED')
  })

  it('is left behind by a reader who does not give up', async () => {
    const { reader } = await diverged({ dhtOptions: { antiEntropyMs: 3_600_000, readRepairMs: 50 } })
    const { messages } = await reader.pubsub.history('room')
    expect(messages.map(({ data }) => data)).toContain('everywhere')
  })
})

describe('a block that this node has lost', () => {
  it('counts as unknown, not as gone, while a holder cannot be asked', async () => {
    const [one, other] = (await network(2, {
      dhtOptions: { antiEntropyMs: 3_600_000, requestTimeoutMs: 200 },
    })) as [MemoryNode, MemoryNode]
    await one.pubsub.publish('room', 'x')
    const record = await one.pubsub.dht.store.record('coordinator', await topicKeyOf('room'))
    const ref = { kind: 'payload', id: new Uint8Array(32).fill(9) }
    expect(await code(record.read(ref))).toBe('NOT_FOUND')
    one.network.blackholes.add(other.pubsub.nodeId)
    expect(await code(record.read(ref))).not.toBe('NOT_FOUND')
  })
})
