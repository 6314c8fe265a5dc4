import { afterEach, describe, expect, it } from 'vitest'
import { byPreference, encode, identityFromSeed, systemRuntime } from '../../src/dht/index.ts'
import { encodeDelta } from '../../src/pubsub/delta.ts'
import { createMessage } from '../../src/pubsub/message.ts'
import { COORDINATOR, DEFAULT_PUBSUB_OPTIONS } from '../../src/pubsub/options.ts'
import { topicKeyOf } from '../../src/pubsub/topic-key.ts'
import { topicMethods } from '../../src/pubsub/wire.ts'
import { heal, separate } from '../support/memory-faults.ts'
import { MemoryNet, type MemoryNode, until } from '../support/memory-nodes.ts'

/** Topics in which more is said than one commit takes, or by more than one initiator at a time. */

const TOPIC = 'room'
/** More than a replica reads back for a message that it is asked for (`LIMITS.maxDuplicateScan`). */
const OTHERS = 1_200

let net: MemoryNet
afterEach(() => net.close())

const newMessage = async (key: Uint8Array, { seed }: MemoryNode, sequence = 1) =>
  createMessage({
    topicKey: key,
    identity: await identityFromSeed(seed),
    writer: new Uint8Array(8),
    sequence,
    publishedAt: Date.now(),
    ttlMs: 60_000,
    data: encode('first'),
  })

const send = (from: MemoryNode, to: MemoryNode, key: Uint8Array, envelope: Uint8Array) =>
  from.pubsub.dht.rpc.request(to.pubsub.nodeId, topicMethods.publish, {
    topic: key,
    messages: [envelope],
    payloads: [],
  })

const initiatorOf = ({ pubsub }: MemoryNode) => {
  const { initiator } = pubsub.counters()
  if (initiator === undefined) throw new Error('A client is no initiator.')
  return initiator
}

async function has({ pubsub }: MemoryNode, key: Uint8Array, id: Uint8Array): Promise<boolean | undefined> {
  const question = { topic: key, ids: [id], waitMs: 0 }
  const { stored } = await pubsub.dht.rpc.request(pubsub.nodeId, topicMethods.confirm, question)
  return stored[0]
}

/** The holders, in the order in which they are turned to. */
async function ranked(client: MemoryNode, holders: MemoryNode[]): Promise<MemoryNode[]> {
  const set = byPreference(await client.pubsub.dht.replicas.set(await topicKeyOf(TOPIC)))
  return set.map(({ nodeId }) => holders.find(({ pubsub }) => pubsub.nodeId === nodeId) as MemoryNode)
}

/** One message, asked after once, and then many others. */
async function said() {
  net = new MemoryNet()
  const key = await topicKeyOf(TOPIC)
  const holders = await Promise.all([0, 1, 2].map(() => net.add()))
  const client = await net.add({ stores: false, durable: false })
  const { id, envelope } = await newMessage(key, client)
  await send(client, holders[0] as MemoryNode, key, envelope)
  const allHaveIt = async () =>
    (await Promise.all(holders.map((holder) => has(holder, key, id)))).every(Boolean)
  await until(allHaveIt)
  for (let left = OTHERS; left > 0; left -= 200)
    await Promise.all(Array.from({ length: 200 }, (_, i) => client.pubsub.publish(TOPIC, i)))
  return { key, holders, client, envelope, allHaveIt }
}

describe('a message that many others have followed', () => {
  it('is there for all that its replicas say, and kept once when it is sent again', async () => {
    const { key, holders, client, envelope, allHaveIt } = await said()
    expect(await allHaveIt()).toBe(true)
    for (const holder of holders)
      expect(await send(client, holder, key, envelope)).toMatchObject({ results: [null] })
    expect((await client.pubsub.loadMessageCollection(TOPIC))?.count).toBe(OTHERS + 1)
  })

  it('counts as missing again where a disk has lost it', async () => {
    net = new MemoryNet()
    const key = await topicKeyOf(TOPIC)
    const dhtOptions = { antiEntropyMs: 3_600_000, checkpointCommits: 1, keptOldCommits: 0, aloneMs: 0 }
    const [one, other] = [await net.add({ dhtOptions }), await net.add({ dhtOptions })]
    separate([one], [other])
    const { id, envelope } = await newMessage(key, one)
    await send(one, one, key, envelope)
    await other.pubsub.publish(TOPIC, 'of the other')
    expect(await has(one, key, id)).toBe(true)

    const names = await Array.fromAsync(one.storage.keys('block/messages'))
    await one.storage.write(names.map((name) => ({ type: 'delete', key: name })))
    heal([one, other])
    const { head } = await other.pubsub.dht.store.record(COORDINATOR, key)
    await one.pubsub.dht.pull(COORDINATOR, key, head as Uint8Array, other.pubsub.nodeId)
    expect(await has(one, key, id)).toBe(false)
  })
})

describe('an initiator that has more than it can commit in time', () => {
  async function crowded() {
    net = new MemoryNet()
    const key = await topicKeyOf(TOPIC)
    let aheadMs = 0
    const runtime = { ...systemRuntime, monotonicNow: () => systemRuntime.monotonicNow() + aheadMs }
    const holder = await net.add({ runtime })
    const client = await net.add({ stores: false, durable: false })
    const { envelope: first } = await newMessage(key, client, 1)
    const { envelope: second } = await newMessage(key, client, 2)
    const record = await holder.pubsub.dht.store.record(COORDINATOR, key)
    const gate = Promise.withResolvers<void>()
    const held = record.exclusive(() => gate.promise)
    const committing = send(client, holder, key, first)
    await until(() => initiatorOf(holder).groups === 1)
    const waiting = send(client, holder, key, second)
    await until(() => initiatorOf(holder).received === 2)
    const goOn = async (afterMs: number) => {
      aheadMs = afterMs
      gate.resolve()
      await held
    }
    return { key, holder, client, committing, waiting, goOn, again: () => send(client, holder, key, second) }
  }

  it('sends back what has waited too long, and stores it when it comes again', async () => {
    const { holder, committing, waiting, goOn, again } = await crowded()
    const outcome = expect(waiting).rejects.toMatchObject({ code: 'BUSY' })
    await goOn(4_000)
    expect(await committing).toMatchObject({ results: [null] })
    await outcome
    const { received, stored, failures, groupedMessages } = initiatorOf(holder)
    expect({ received, stored, failures, groupedMessages }).toEqual({
      ...{ received: 2, stored: 1, failures: { BUSY: 1 }, groupedMessages: 1 },
    })
    expect(await again()).toMatchObject({ results: [null] })
    expect((await holder.pubsub.loadMessageCollection(TOPIC))?.count).toBe(2)
  })

  it('commits what has waited for less', async () => {
    const { committing, waiting, goOn } = await crowded()
    await goOn(2_000)
    expect(await committing).toMatchObject({ results: [null] })
    expect(await waiting).toMatchObject({ results: [null] })
  })
})

describe('a publisher whose initiator is busy', () => {
  it('comes back to it, where another one would be in its way', async () => {
    net = new MemoryNet()
    const holders = await Promise.all([0, 1, 2].map(() => net.add()))
    const client = await net.add({ stores: false, durable: false, options: { retryMs: 20 } })
    const [preferred, ...others] = (await ranked(client, holders)) as [MemoryNode, ...MemoryNode[]]
    await preferred.pubsub.close()
    const busy = await net.add({ seed: preferred.seed, options: { maxQueuedPerTopic: 0 } })
    await client.pubsub.publish(TOPIC, 'x')
    const { maxBusyReturns } = DEFAULT_PUBSUB_OPTIONS
    expect(initiatorOf(busy).refusals).toEqual({ BUSY: 1 + maxBusyReturns })
    expect(others.map((holder) => initiatorOf(holder).received)).toEqual([1, 0])
  })
})

describe('two initiators at once', () => {
  it('leave merging to the one that everybody prefers', async () => {
    net = new MemoryNet()
    const key = await topicKeyOf(TOPIC)
    const dhtOptions = { antiEntropyMs: 3_600_000, maxPeerRoundMs: -1 } // nothing is repaired by comparing
    const holders = await Promise.all([0, 1, 2, 3, 4].map(() => net.add({ dhtOptions })))
    const client = await net.add({ stores: false, durable: false })
    const [preferred, second, ...others] = await ranked(client, holders)
    for (let round = 0; round < 20; round++) {
      const sent = [preferred, second].map(async (holder, i) => {
        const { envelope } = await newMessage(key, client, 2 * round + i + 1)
        return send(client, holder as MemoryNode, key, envelope)
      })
      for (const { results } of await Promise.all(sent)) expect(results).toEqual([null])
    }
    expect((await client.pubsub.loadMessageCollection(TOPIC))?.count).toBe(40)
    expect(second?.pubsub.counters().commits?.conflicts).toBeGreaterThan(0)
    const merges = [second, ...others].map((holder) => holder?.pubsub.counters().merges)
    expect(merges).toEqual([0, 0, 0, 0])
  })

  it('go on as replicas of the same set though the preferred one does not take what it is offered', async () => {
    net = new MemoryNet()
    const key = await topicKeyOf(TOPIC)
    const dhtOptions = { antiEntropyMs: 3_600_000 }
    const holders = await Promise.all([0, 1, 2, 3, 4].map(() => net.add({ dhtOptions })))
    const client = await net.add({ stores: false, durable: false })
    const [preferred, second] = (await ranked(client, holders)) as [MemoryNode, MemoryNode]
    preferred.pubsub.dht.store.options.maxSyncBlocks = 0
    const { replicas, rpc } = second.pubsub.dht
    const isRefused = () => {
      const { received = 0 } = preferred.pubsub.dht.rpc.counters.methods['record/offer'] ?? {}
      return received > 0 && (rpc.counters.failures.TOO_LARGE ?? 0) > 0
    }
    for (let sequence = 1; !isRefused(); sequence += 2) {
      const sent = [preferred, second].map(async (holder, i) => {
        const { envelope } = await newMessage(key, client, sequence + i)
        return send(client, holder, key, envelope)
      })
      await Promise.allSettled(sent)
    }
    await until(() => rpc.pendingCount === 0)
    expect(replicas.view(5).cooled).toEqual([])
  })

  it('merge what the preferred one does not know, though they go on meanwhile', async () => {
    net = new MemoryNet()
    const key = await topicKeyOf(TOPIC)
    const dhtOptions = { antiEntropyMs: 3_600_000, maxPeerRoundMs: -1 } // nothing is repaired by comparing
    const holders = await Promise.all([0, 1, 2, 3, 4].map(() => net.add({ dhtOptions })))
    const client = await net.add({ stores: false, durable: false })
    const all = (await ranked(client, holders)) as [MemoryNode, MemoryNode, ...MemoryNode[]]
    const [{ pubsub: preferred }, second] = all
    const openLink = second.network.openLink.bind(second.network)
    second.network.openLink = (peer, events) => {
      if (peer !== preferred.nodeId) return openLink(peer, events)
      return openLink(peer, { ...events, onFrame: (frame) => void setTimeout(events.onFrame, 100, frame) })
    }
    const publish = async (sequence: number) =>
      send(client, second, key, (await newMessage(key, client, sequence)).envelope)
    await publish(1)
    const { store } = (all.at(-1) as MemoryNode).pubsub.dht
    const record = await store.record(COORDINATOR, key)
    await until(() => record.head !== undefined)
    const lonely = await newMessage(key, await net.add({ stores: false }))
    const delta = encodeDelta({ nowMs: Date.now(), messages: [lonely], payloads: [], statements: [] })
    await record.exclusive(() => store.applyLocal(record, delta))
    let sequence = 2
    await until(async () => {
      await publish(sequence++)
      return has(second, key, lonely.id)
    }, 20_000)
  })
})
