import { setImmediate } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import {
  cidOf,
  type DhtOptions,
  encode,
  identityFromSeed,
  publicKeyOf,
  sha256,
  toHex,
} from '../../src/dht/index.ts'
import { blockName } from '../../src/dht/record.ts'
import { recordMethods } from '../../src/dht/wire.ts'
import { entriesAfter, loadMessages } from '../../src/pubsub/collection.ts'
import { decodeCoordinator } from '../../src/pubsub/coordinator.ts'
import { applyDelta, encodeDelta, VerifiedMessages } from '../../src/pubsub/delta.ts'
import type { Message } from '../../src/pubsub/index.ts'
import { createMessage, type VerifiedMessage } from '../../src/pubsub/message.ts'
import { COORDINATOR, DEFAULT_PUBSUB_OPTIONS, type PubSubOptions } from '../../src/pubsub/options.ts'
import { verifyStored } from '../../src/pubsub/stored-statement.ts'
import type { TopicSubscription } from '../../src/pubsub/subscription.ts'
import { topicKeyOf } from '../../src/pubsub/topic-key.ts'
import { topicMethods } from '../../src/pubsub/wire.ts'
import { LyingHolder, type Shown } from '../support/lying-holder.ts'
import { MemoryNet, type MemoryNode, until } from '../support/memory-nodes.ts'

/** Holders that take everything, keep nothing and say the opposite. Five replicas, `liars` of them such. */

const TOPIC = 'room'
const DHT_OPTIONS = { replication: 5 }
/** Long enough for an honest replica on a busy machine: silence counts neither way. */
const PATIENT = { confirmMs: 2_000, gatherMs: 100, offerAfterMs: 300, deliveredAskMs: 50 }

let net: MemoryNet
let liars: LyingHolder[] = []
afterEach(async () => {
  for (const { rpc } of liars) rpc.close()
  await net.close()
})

async function network(
  count: number,
  ofHolders: Partial<DhtOptions> = {},
  shown: Shown = { small: 1 },
  options: Partial<PubSubOptions> = {},
): Promise<{ key: Uint8Array; honest: MemoryNode[]; client: MemoryNode }> {
  net = new MemoryNet()
  const key = await topicKeyOf(TOPIC)
  for (let i = 0; i < 5; i++) await net.add({ options, dhtOptions: { ...DHT_OPTIONS, ...ofHolders } })
  const client = await net.add({ stores: false, durable: false, dhtOptions: DHT_OPTIONS, options: PATIENT })
  liars = await LyingHolder.join(net, key, count, shown)
  return { key, honest: net.nodes.slice(0, 5), client }
}

const subscriber = (checkIntervalMs: number) =>
  net.add({ stores: false, durable: false, dhtOptions: DHT_OPTIONS, options: { checkIntervalMs } })

async function storedAt({ pubsub }: MemoryNode, key: Uint8Array): Promise<string[]> {
  const record = await pubsub.dht.store.record(COORDINATOR, key)
  const root = record.head && decodeCoordinator(record.head).messages
  const ids: string[] = []
  if (root)
    for await (const { id } of entriesAfter(await loadMessages(root, record.read), 0, record.read))
      ids.push(cidOf(id))
  return ids
}

const holding = async (nodes: MemoryNode[], key: Uint8Array, id: string) =>
  (await Promise.all(nodes.map((node) => storedAt(node, key)))).filter((ids) => ids.includes(id)).length

const message = async (key: Uint8Array, node: MemoryNode) =>
  createMessage({
    topicKey: key,
    identity: await identityFromSeed(node.seed),
    writer: new Uint8Array(8),
    sequence: 1,
    publishedAt: Date.now(),
    ttlMs: 60_000,
    data: encode('x'),
  })

describe('a publisher', () => {
  it('does not believe the one replica that takes its message', async () => {
    const { key, honest, client } = await network(1)
    const { id, replicas } = await client.pubsub.publish(TOPIC, 'kept')
    expect(liars[0]?.counters.publishes).toBe(1) // asked first, and it said yes
    expect(client.pubsub.counters().publisher.unconfirmed).toBe(1)
    expect(replicas).toBeGreaterThanOrEqual(3)
    expect(await holding(honest, key, id)).toBeGreaterThanOrEqual(2) // the third that counts is the liar
    await client.pubsub.publish(TOPIC, 'and another')
    expect(liars[0]?.counters.publishes).toBe(1) // and is not asked again
  })

  it('does not believe it either when it stood still itself until all others seem silent', async () => {
    const { key, honest } = await network(1)
    const options = { ...PATIENT, confirmMs: 300 }
    const client = await net.add({ stores: false, durable: false, dhtOptions: DHT_OPTIONS, options })
    const publishing = client.pubsub.publish(TOPIC, 'kept')
    while ((client.pubsub.counters().rpc.methods['topic/confirm']?.begun ?? 0) === 0) await setImmediate()
    const endMs = performance.now() + 2 * options.confirmMs
    while (performance.now() < endMs);
    const { id } = await publishing
    expect(client.pubsub.counters().publisher.unconfirmed).toBe(1)
    expect(await holding(honest, key, id)).toBeGreaterThanOrEqual(2)
  })

  it('does not believe two that vouch for each other', async () => {
    const { key, honest, client } = await network(2)
    const { id } = await client.pubsub.publish(TOPIC, 'kept')
    expect(client.pubsub.counters().publisher.unconfirmed).toBeGreaterThan(0)
    expect(await holding(honest, key, id)).toBeGreaterThanOrEqual(1)
  })

  it('does not believe two that sign for each other, nor what one signs in the name of the others', async () => {
    const { key, honest, client } = await network(2)
    const own = liars.map(({ identity }) => ({ identity, as: identity.publicKey }))
    const forger = (liars[0] as LyingHolder).identity
    const forged = honest.map(({ pubsub }) => ({ identity: forger, as: publicKeyOf(pubsub.nodeId) }))
    for (const liar of liars) liar.signs = [...own, ...forged]
    const { id } = await client.pubsub.publish(TOPIC, 'kept')
    expect(client.pubsub.counters().publisher.unconfirmed).toBeGreaterThan(0)
    expect(await holding(honest, key, id)).toBeGreaterThanOrEqual(1)
  })

  it('asks as many as are lacking, and one more, where some have signed', async () => {
    const { client } = await network(2)
    for (const liar of liars) liar.signs = liars.map(({ identity }) => ({ identity, as: identity.publicKey }))
    const asked = () => client.pubsub.counters().rpc.methods['topic/confirm']?.begun ?? 0
    const publishing = client.pubsub.publish(TOPIC, 'kept')
    await until(() => asked() > 0) // at once, in one turn; those that are left only half of the time later
    expect(asked()).toBe(2)
    await publishing
  })

  it('is told by a majority of liars that sign, and gives the honest one what they keep from it', async () => {
    const { key, honest, client } = await network(4)
    for (const liar of liars) liar.signs = liars.map(({ identity }) => ({ identity, as: identity.publicKey }))
    const { id } = await client.pubsub.publish(TOPIC, 'kept')
    expect(liars.map(({ counters }) => counters.confirms)).toEqual([0, 0, 0, 0]) // nobody was asked
    await until(async () => (await holding(honest, key, id)) > 0)
  })

  it('gives an honest replica what a majority of liars keeps from it', async () => {
    const { key, honest, client } = await network(4)
    const { id } = await client.pubsub.publish(TOPIC, 'kept')
    await until(async () => (await holding(honest, key, id)) > 0)
  })

  it('is not held up by a minority that says it has nothing', async () => {
    const { client } = await network(2)
    for (const liar of liars) liar.hasEverything = false
    for (let i = 0; i < 5; i++)
      expect(await client.pubsub.publish(TOPIC, i)).toMatchObject({ status: 'stored' })
    const { messages } = await client.pubsub.history(TOPIC)
    const own = messages.filter(({ publisher }) => publisher === client.pubsub.nodeId)
    expect(own.map(({ data }) => data)).toEqual([0, 1, 2, 3, 4])
  })

  it('comes back to one that is always busy in its first batch, and asks others in those that follow', async () => {
    await network(1)
    const options = { ...PATIENT, retryMs: 20 }
    const client = await net.add({ stores: false, durable: false, dhtOptions: DHT_OPTIONS, options })
    const [liar] = liars as [LyingHolder]
    liar.busyAfterMs = 0
    for (let i = 0; i < 3; i++)
      expect(await client.pubsub.publish(TOPIC, i)).toMatchObject({ status: 'stored' })
    expect(liar.counters.publishes).toBe(1 + DEFAULT_PUBSUB_OPTIONS.maxBusyReturns)
  })

  it('leaves time for another one where the first takes its time to be busy', async () => {
    const { client } = await network(1)
    const [liar] = liars as [LyingHolder]
    liar.busyAfterMs = 1_000 // four times of it are more than there is
    const stored = await client.pubsub.publish(TOPIC, 'kept', { deadlineMs: 3_800 })
    expect(stored).toMatchObject({ status: 'stored' })
    expect(liar.counters.publishes).toBeLessThanOrEqual(2)
  })

  it('loses one publish at most to one that says too late that it is busy', async () => {
    const { client } = await network(1)
    const [liar] = liars as [LyingHolder]
    liar.busyAfterMs = 3_000
    const publish = (data: number) => client.pubsub.publish(TOPIC, data, { deadlineMs: 2_900 })
    await expect(publish(0)).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' })
    for (let i = 1; i < 4; i++) expect(await publish(i)).toMatchObject({ status: 'stored' })
    expect(liar.counters.publishes).toBe(1)
  })

  it('asks one initiator and sends nothing twice where all are honest', async () => {
    const { client, honest } = await network(0)
    for (let i = 0; i < 20; i++) await client.pubsub.publish(TOPIC, i)
    const { publisher } = client.pubsub.counters()
    expect(publisher).toMatchObject({ stored: 20, requests: 20, unconfirmed: 0, offered: 0 })
    const initiators = honest.filter(({ pubsub }) => (pubsub.counters().initiator?.groups ?? 0) > 0)
    expect(initiators).toHaveLength(1)
    expect(honest.map(({ pubsub }) => pubsub.counters().waitingConfirms)).toEqual([0, 0, 0, 0, 0])
  })

  it('asks none of the replicas while it waits where a majority has signed', async () => {
    const { client } = await network(0)
    await client.pubsub.publish(TOPIC, 'hello')
    const asked = () => client.pubsub.counters().rpc.methods['topic/confirm']?.begun ?? 0
    expect(asked()).toBe(0)
    await until(() => asked() > 0) // those that were not waited for, later
    expect(asked()).toBeLessThanOrEqual(2)
  })
})

describe('a publisher that expects a version', () => {
  it('is not refused by one that claims to know nothing, and stores where one claims that all is new', async () => {
    const { client, honest } = await network(1)
    const [liar] = liars as [LyingHolder]
    liar.saysVersion = 0
    const { version } = await (honest[0] as MemoryNode).pubsub.publish(TOPIC, 'first', { deadlineMs: 5_000 })
    await client.pubsub.publish(TOPIC, 'next', { expect: { version } })
    expect(liar.counters.publishes).toBeGreaterThan(0)
    liar.saysVersion = 1_000
    const late = client.pubsub.publish(TOPIC, 'refused', { expect: { version: version + 1 } })
    await expect(late).rejects.toMatchObject({ code: 'UNEXPECTED_VERSION', version: 1_000 })
    const { messages } = await (honest[0] as MemoryNode).pubsub.history(TOPIC)
    expect(messages.map(({ data }) => data)).not.toContain('refused') // one word suffices: it is in no other hands
  })
})

describe('a publisher that asks to how many', () => {
  it('may be told too many, never more than a topic can have, and nothing by an answer that is none', async () => {
    const { client } = await network(1)
    const [liar] = liars as [LyingHolder]
    const { id } = await client.pubsub.publish(TOPIC, 'said')
    const count = async () => (await client.pubsub.delivered(TOPIC, [id]))[0]
    liar.deliveredTo = { count: 3, keyBytes: 8 }
    expect(await count()).toBe(3)
    for (const deliveredTo of [
      { count: 1_001, keyBytes: 8 },
      { count: 3, keyBytes: 9 },
    ]) {
      liar.deliveredTo = deliveredTo
      expect(await count()).toBe(0) // what the honest ones say
    }
    liar.deliveredTo = { count: 600, keyBytes: 8 }
    const told: number[] = []
    client.pubsub.onReceipt(({ delivered }) => delivered !== undefined && told.push(delivered))
    await client.pubsub.enqueue(TOPIC, 'enqueued', { delivered: true })
    await until(() => told.length === 2) // others each time
    expect(told).toEqual([600, 1_000])
  })
})

describe('a subscriber', () => {
  it('hears everything though its source and most of the others say that there is nothing', async () => {
    const { client } = await network(4)
    let seen: Message[] = []
    // the replica that a subscriber is assigned to follows from its id: until one gets a liar
    while (liars.every(({ counters }) => counters.attached === 0)) {
      const own: Message[] = []
      const onMessage = (message: Message) => message.publisher === client.pubsub.nodeId && own.push(message)
      await (await subscriber(200)).pubsub.subscribe(TOPIC, { onMessage })
      seen = own
    }
    for (let i = 0; i < 5; i++) await client.pubsub.publish(TOPIC, i)
    await until(() => seen.length === 5, 20_000)
    expect(seen.map(({ data }) => data)).toEqual([0, 1, 2, 3, 4])
  })

  it('is not held up by another replica that never shows what it says it has', async () => {
    const { client } = await network(1)
    const [liar] = liars
    if (liar === undefined) throw new Error('one liar')
    liar.keepsWaiting = true
    const seen: Message[] = []
    // one that an honest replica serves, and that would wait for an answer longer than this test
    let asked = 0
    for (let attached = -1; attached !== liar.counters.attached; ) {
      attached = liar.counters.attached
      asked = liar.counters.blocks
      seen.length = 0
      const dhtOptions = { ...DHT_OPTIONS, requestTimeoutMs: 120_000 }
      const options = { checkIntervalMs: 50 }
      const { pubsub } = await net.add({ stores: false, durable: false, dhtOptions, options })
      const onMessage = (message: Message) => message.publisher === client.pubsub.nodeId && seen.push(message)
      const subscription = await pubsub.subscribe(TOPIC, { onMessage })
      const isLiars = () => attached !== liar.counters.attached
      await until(() => subscription.status === 'synced' || isLiars(), 20_000)
      if (isLiars()) await subscription.close()
    }
    await until(() => liar.counters.blocks > asked)
    for (let i = 0; i < 5; i++) await client.pubsub.publish(TOPIC, i)
    await until(() => seen.length === 5, 20_000)
    expect(seen.map(({ data }) => data)).toEqual([0, 1, 2, 3, 4])
  })

  it('stays with a source that gives it everything', async () => {
    const { client } = await network(0)
    const seen: Message[] = []
    const subscription = await (await subscriber(50)).pubsub.subscribe(TOPIC, {
      onMessage: (message) => seen.push(message),
    })
    const { source } = subscription as TopicSubscription
    for (let i = 0; i < 100; i++) await client.pubsub.publish(TOPIC, i)
    await until(() => seen.length === 100)
    expect(seen.map(({ data }) => data)).toEqual(Array.from({ length: 100 }, (_, i) => i))
    expect((subscription as TopicSubscription).source).toBe(source)
  })
})

describe('an initiator', () => {
  /** What only these have. */
  async function addTo(holders: MemoryNode[], key: Uint8Array): Promise<VerifiedMessage> {
    const added = await message(key, await net.add({ stores: false }))
    const delta = encodeDelta({ nowMs: Date.now(), messages: [added], payloads: [], statements: [] })
    for (const { pubsub } of holders) {
      const record = await pubsub.dht.store.record(COORDINATOR, key)
      await record.exclusive(() => pubsub.dht.store.applyLocal(record, delta))
    }
    return added
  }

  /** The honest ones, the closest first, and what publishes to that one. */
  async function ranked(key: Uint8Array, client: MemoryNode, honest: MemoryNode[]) {
    const set = await client.pubsub.dht.replicas.set(key)
    const holders = set.flatMap(({ nodeId }) => honest.filter(({ pubsub }) => pubsub.nodeId === nodeId))
    expect(holders).toHaveLength(4)
    const [initiator] = holders as [MemoryNode]
    const publish = async () => {
      const { envelope } = await message(key, await net.add({ stores: false }))
      const body = { topic: key, messages: [envelope], payloads: [] }
      const timeoutMs = DEFAULT_PUBSUB_OPTIONS.publishAttemptMs
      return client.pubsub.dht.rpc.request(initiator.pubsub.nodeId, topicMethods.publish, body, { timeoutMs })
    }
    return { holders, initiator, publish }
  }

  /** Whom a majority has diverged from publishes. */
  async function conflicting(key: Uint8Array, client: MemoryNode, honest: MemoryNode[]) {
    const { holders, initiator, publish } = await ranked(key, client, honest)
    const publishDiverged = async () => {
      await addTo(holders.slice(0, 2), key)
      await addTo(holders.slice(2), key)
      return publish()
    }
    return { initiator, publish: publishDiverged }
  }

  it('waits once for a preferred one that never merges', async () => {
    const { key, client, honest } = await network(1, { requestTimeoutMs: 1_000, antiEntropyMs: 3_600_000 })
    const [liar] = liars as [LyingHolder]
    liar.hasDiverged = true
    const { initiator, publish } = await conflicting(key, client, honest)
    for (let round = 1; round <= 3; round++) {
      expect(await publish()).toMatchObject({ results: [null] })
      expect(initiator.pubsub.counters().commits?.retries).toBeGreaterThanOrEqual(round)
    }
    expect(liar.counters.offers).toBe(1)
    await until(async () => (await storedAt(initiator, key)).length === 9 + 1) // and what the liar shows
  })

  it('is not held up by one that has diverged too, and shows it block by block', async () => {
    const ofHolders = { requestTimeoutMs: 1_000, antiEntropyMs: 3_600_000, maxPeerRoundMs: -1 }
    const { key, client, honest } = await network(1, ofHolders, { large: 40 })
    const [liar] = liars as [LyingHolder]
    liar.hasDiverged = true
    liar.blocksAfterMs = 500
    const { publish } = await conflicting(key, client, honest)
    for (let round = 1; round <= 3; round++) expect(await publish()).toMatchObject({ results: [null] })
    expect(liar.counters.blocks).toBeGreaterThan(0)
  })

  it('is not held up by it where it recovers the topic either', async () => {
    const ofHolders = { requestTimeoutMs: 1_000, antiEntropyMs: 3_600_000, maxPeerRoundMs: -1 }
    const { key, client, honest } = await network(1, ofHolders, { large: 40 }, { maxFailedMerges: 1 })
    const [liar] = liars as [LyingHolder]
    liar.hasDiverged = true
    liar.blocksAfterMs = 500
    const { initiator, publish } = await conflicting(key, client, honest)
    const publishing = publish()
    await until(() => initiator.pubsub.getChannelState(TOPIC).then((state) => state === 'RECOVERING'))
    expect(await publishing).toMatchObject({ results: [null] })
  })

  it('merges another one meanwhile', async () => {
    const ofHolders = { requestTimeoutMs: 300, antiEntropyMs: 3_600_000, maxPeerRoundMs: -1 }
    const { key, client, honest } = await network(1, ofHolders, { large: 40 }, { commitDeadlineMs: 1_500 })
    const [liar] = liars as [LyingHolder]
    liar.hasDiverged = true
    liar.blocksAfterMs = 250
    const { holders, initiator, publish } = await ranked(key, client, honest)
    await publish()
    await until(() => liar.counters.blocks > 0)
    const { id } = await addTo(holders.slice(3), key)
    await publish()
    await until(async () => (await holding([initiator], key, cidOf(id))) === 1, 20_000)
  })
})

describe('a replica that has lost a block', () => {
  it('has it from another though the first that it asks never answers', async () => {
    const { key, client } = await network(0)
    const patient = await net.add({ dhtOptions: { ...DHT_OPTIONS, requestTimeoutMs: 120_000 } })
    liars = await LyingHolder.join(net, key, 1)
    const [liar] = liars as [LyingHolder]
    liar.keepsWaiting = true
    const { id, envelope } = await message(key, client)
    const ref = { kind: 'message', id }
    for (const { storage } of net.nodes.slice(0, 5))
      await storage.write([{ type: 'put', key: blockName(ref), value: envelope }])
    const record = await patient.pubsub.dht.store.record(COORDINATOR, key)
    expect(toHex(await record.read(ref))).toBe(toHex(envelope))
    expect(liar.counters.blocks).toBe(1)
  })
})

describe('a replica that is asked what it has', () => {
  it('answers when it has it on disk', async () => {
    const { key, honest, client } = await network(0)
    const { rpc } = client.pubsub.dht
    const { id, envelope } = await message(key, client)
    const asking = honest.map(({ pubsub }) =>
      rpc.request(pubsub.nodeId, topicMethods.confirm, { topic: key, ids: [id], waitMs: 10_000 }),
    )
    await until(() => honest.every(({ pubsub }) => pubsub.counters().waitingConfirms === 1))
    const [initiator] = await client.pubsub.dht.replicas.set(key)
    await rpc.request(initiator?.nodeId as string, topicMethods.publish, {
      topic: key,
      messages: [envelope],
      payloads: [],
    })
    expect(await Promise.all(asking)).toEqual(honest.map(() => ({ stored: [true] })))
    expect(await Promise.all(honest.map((node) => storedAt(node, key)))).toEqual(
      honest.map(() => [cidOf(id)]),
    )
  })

  it('signs what it has stored by a delta, and nothing else that it is sent', async () => {
    const { key, honest, client } = await network(0)
    const [replica] = honest as [MemoryNode]
    const replicaId = replica.pubsub.nodeId
    const said = await message(key, client)
    const deltaOf = (...messages: VerifiedMessage[]) =>
      encodeDelta({ nowMs: Date.now(), messages, payloads: [], statements: [] })
    const delta = deltaOf(said)
    const context = { verified: new VerifiedMessages(1), newestMs: undefined }
    const nothing = () => Promise.reject(new Error('nothing to read'))
    const { head } = await applyDelta(key, undefined, delta, nothing, context)
    const append = async (bytes: Uint8Array) => {
      const body = { kind: COORDINATOR, key, base: null, id: await sha256(head), delta: bytes }
      return client.pubsub.dht.rpc.request(replicaId, recordMethods.append, body)
    }
    const { outcome, signed = new Uint8Array() } = await append(delta)
    expect(outcome).toBe('stored')
    const signer = { replica: publicKeyOf(replicaId), now: Date.now() }
    await verifyStored(signed, { topicKey: key, ids: [said.id] }, signer)
    // it is there already: this delta was never looked at
    const never = await message(key, honest[1] as MemoryNode)
    expect(await append(deltaOf(never))).toEqual({ outcome: 'stored' })
    expect(await storedAt(replica, key)).toEqual([cidOf(said.id)])
  })

  it('hands on what others have signed, with the ids of at most 32 messages for each of the request', async () => {
    const { key, client } = await network(0)
    const [initiator] = await client.pubsub.dht.replicas.set(key)
    const identity = await identityFromSeed(client.seed)
    const publish = async (sequence: number) => {
      const { envelope } = await createMessage({
        ...{ topicKey: key, identity, writer: new Uint8Array(8), sequence },
        ...{ publishedAt: Date.now(), ttlMs: 60_000, data: encode(sequence) },
      })
      const body = { topic: key, messages: [envelope], payloads: [] }
      return client.pubsub.dht.rpc.request(initiator?.nodeId as string, topicMethods.publish, body)
    }
    expect((await publish(1)).signed?.by.length).toBeGreaterThan(0)
    // they meet in a few commits
    const answers = await Promise.all(Array.from({ length: 120 }, (_, i) => publish(2 + i)))
    expect(answers.every(({ results }) => results[0] === null)).toBe(true)
    for (const { signed } of answers) expect(signed?.ids.length ?? 0).toBeLessThanOrEqual(32)
  })

  it('says no to what it does not have, and keeps nobody waiting for ever', async () => {
    const { key, honest, client } = await network(0)
    await client.pubsub.publish(TOPIC, 'something else')
    const { id } = await message(key, client)
    const ask = (waitMs: number) =>
      client.pubsub.dht.rpc.request(honest[0]?.pubsub.nodeId as string, topicMethods.confirm, {
        topic: key,
        ids: [id],
        waitMs,
      })
    expect(await ask(0)).toEqual({ stored: [false] })
    expect(await ask(30)).toEqual({ stored: [false] })
    expect(honest[0]?.pubsub.counters().waitingConfirms).toBe(0)
  })

  it('lets one peer have so many waiting, and others theirs', async () => {
    net = new MemoryNet()
    liars = []
    const holder = await net.add({ options: { maxWaitingConfirmsPerPeer: 2 } })
    const key = await topicKeyOf(TOPIC)
    const [greedy, other] = [await net.add({ stores: false }), await net.add({ stores: false })]
    const ask = async (from: MemoryNode, waitMs: number) =>
      from.pubsub.dht.rpc
        .request(holder.pubsub.nodeId, topicMethods.confirm, {
          topic: key,
          ids: [new Uint8Array(32)],
          waitMs,
        })
        .then(
          ({ stored }) => stored[0],
          (error: { code: string }) => error.code,
        )
    const waiting = [ask(greedy, 200), ask(greedy, 200)]
    await until(() => holder.pubsub.counters().waitingConfirms === 2)
    expect(await ask(greedy, 200)).toBe('BUSY')
    expect(await ask(other, 1)).toBe(false)
    expect(await Promise.all(waiting)).toEqual([false, false])
    expect(await ask(greedy, 1)).toBe(false) // its places are free again
  })
})
