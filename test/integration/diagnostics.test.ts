import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { toHex } from '../../src/dht/index.ts'
import { type Diagnostics, openTopic } from '../../src/pubsub/index.ts'
import { topicKeyOf } from '../../src/pubsub/topic-key.ts'
import { MemoryNet, type MemoryNode, until } from '../support/memory-nodes.ts'

/** What a node tells of itself, in one object: right, whole, bounded, and without anybody's words. */

const WORDS = {
  data: 'nobody else reads this',
  presence: 'at the window',
  info: 'Ada the First',
  hidden: 'behind',
}
const MAX_BYTES = 64 * 1024

const net = new MemoryNet()
let holder: MemoryNode
let client: MemoryNode

beforeAll(async () => {
  holder = await net.add()
  await net.add()
  client = await net.add({ stores: false, durable: false })
  const { info, presence } = WORDS
  const subscription = await client.pubsub.subscribe('lobby', { info, presence })
  await client.pubsub.publish('lobby', WORDS.data)
  await until(() => subscription.status === 'synced' && subscription.lastSeenVersion > 0)
  const secret = { passphrase: 'the passphrase of a room' }
  const room = await openTopic(client.pubsub, WORDS.hidden, { secret })
  await room.publish(WORDS.data)
  await until(() => client.pubsub.counters().publisher.stored === 2)
  await until(() => client.pubsub.counters().subscribed.delivered === 2)
  await until(() => net.nodes.some(({ pubsub }) => (pubsub.counters().delivery?.acknowledged ?? 0) > 0))
  for (const { storage } of net.nodes.slice(0, 2))
    await until(async () => (await Array.fromAsync(storage.keys('head/'))).length === 2)
}, 30_000)
afterAll(() => net.close())

/** Paths of everything that is no text, number, truth value, list or object. */
function holes(value: unknown, path = ''): string[] {
  if (typeof value === 'string' || typeof value === 'boolean') return []
  if (typeof value === 'number') return Number.isFinite(value) ? [] : [path]
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return [path]
  return Object.entries(value).flatMap(([key, inner]) => holes(inner, `${path}/${key}`))
}

describe('the diagnostics of a node', () => {
  it('say who it is, with whom, and what it has done', async () => {
    const told = await client.pubsub.diagnostics()
    expect(told.node).toMatchObject({ nodeId: client.pubsub.nodeId, stores: false, durable: false })
    expect(told.node.uptimeMs).toBeGreaterThan(0)
    expect(Math.abs(told.asOf - Date.now())).toBeLessThan(5_000)
    expect(told.peers).toMatchObject({ linked: 2, direct: 0, relayed: 0, cooled: [] })
    expect(told.peers.list).toContainEqual({
      nodeId: holder.pubsub.nodeId,
      path: 'unknown',
      linked: true,
      score: 1,
    })
    expect(told.publisher).toMatchObject({ begun: 2, stored: 2, failures: {}, pending: 0 })
    expect(told.outbox).toMatchObject({ taken: 1, stored: 1, pending: 0, bytes: 0 })
    expect(told.subscriptions).toMatchObject({
      open: 2,
      delivered: 2,
      gaps: { expired: 0, trimmed: 0, withheld: 0 },
    })
    const { history, push, read } = told.subscriptions.ways
    expect(history + push + read).toBe(2)
    const [lobby] = told.subscriptions.list
    expect(lobby).toMatchObject({ topic: 'lobby', status: 'synced', remaining: 0 })
    expect(net.nodes.map(({ pubsub }) => pubsub.nodeId)).toContain(lobby?.source)
    expect(told.records).toMatchObject({ held: 0, loaded: 0, merges: 0 })
    expect(told.records.sets.map(({ key }) => key)).toContain(toHex(await topicKeyOf('lobby')))
    expect(told.replica).toBeUndefined()
    const { stages } = told
    for (const stage of ['decode', 'serve', 'verify', 'disk'] as const)
      expect(stages[stage].count).toBeGreaterThan(0)
    for (const stage of ['load', 'apply', 'commit', 'fanOut'] as const) expect(stages[stage].count).toBe(0)
  })

  it('say of one that stores what it does for others', async () => {
    const all = await Promise.all(net.nodes.slice(0, 2).map(({ pubsub }) => pubsub.diagnostics()))
    const sum = (part: (told: NonNullable<Diagnostics['replica']>) => number) =>
      all.reduce((total, { replica }) => total + (replica === undefined ? Number.NaN : part(replica)), 0)
    expect(all.map(({ records }) => records.held)).toEqual([2, 2])
    expect(sum(({ initiator }) => initiator.received)).toBe(2)
    expect(sum(({ initiator }) => initiator.stored)).toBe(2)
    expect(sum(({ commits }) => commits?.commits ?? 0)).toBeGreaterThanOrEqual(2)
    expect(sum(({ delivery }) => delivery.subscribers)).toBe(2)
    expect(sum(({ delivery }) => delivery.acknowledged)).toBeGreaterThanOrEqual(1)
    expect(sum(({ presence }) => presence.taken)).toBeGreaterThanOrEqual(1)
    expect(sum(({ delivery }) => delivery.waiting.messages)).toBe(0)
    const stagesDone = (stage: 'load' | 'apply' | 'commit' | 'dedupe' | 'fanOut') =>
      all.reduce((total, { stages }) => total + stages[stage].count, 0)
    for (const stage of ['load', 'apply', 'commit', 'dedupe', 'fanOut'] as const)
      expect(stagesDone(stage), stage).toBeGreaterThan(0)
  })

  it('begin anew with each start, and tell it', async () => {
    const first = await net.add({ stores: false })
    const second = await net.add({ stores: false, seed: first.seed })
    const [one, other] = await Promise.all([first.pubsub.diagnostics(), second.pubsub.diagnostics()])
    expect(one.node.nodeId).toBe(other.node.nodeId)
    expect(one.node.bootId).not.toBe(other.node.bootId)
    expect(one.publisher.begun).toBe(0)
    const { pubsub } = first
    await pubsub.close()
    await expect(pubsub.diagnostics()).rejects.toMatchObject({ code: 'CLOSED' })
  })

  it('have no hole, pass a port and JSON unchanged, and do not change afterwards', async () => {
    for (const { pubsub } of [holder, client]) {
      const told = await pubsub.diagnostics()
      expect(holes(told)).toEqual([])
      expect(structuredClone(told)).toEqual(told)
      expect(JSON.parse(JSON.stringify(told))).toEqual(told)
      const before = JSON.stringify(told)
      await client.pubsub.publish('elsewhere', 'x')
      expect(JSON.stringify(told)).toBe(before)
      expect((await pubsub.diagnostics()).requests.bytesReceived).toBeGreaterThan(told.requests.bytesReceived)
    }
  })

  it('show each bound, and what is held within it', async () => {
    for (const { pubsub } of [holder, client]) {
      const { bounds } = await pubsub.diagnostics()
      expect(Object.keys(bounds).length).toBeGreaterThan(8)
      for (const [name, { held, limit }] of Object.entries(bounds)) {
        expect(limit, name).toBeGreaterThan(0)
        expect(held, name).toBeLessThanOrEqual(limit)
      }
    }
    const { bounds } = await holder.pubsub.diagnostics()
    expect(bounds.loadedRecords?.held).toBeGreaterThanOrEqual(2)
    expect(bounds.rateBuckets?.held).toBeGreaterThan(0)
    expect((await client.pubsub.diagnostics()).bounds.numberedTopics?.held).toBeGreaterThan(0)
  })
})

describe('hostile: the diagnostics of a node', () => {
  it('have nobody’s words, and no name of a topic that others named', async () => {
    const nodes = [net.nodes[0], net.nodes[1], client] as MemoryNode[]
    const told = await Promise.all(
      nodes.map(async ({ pubsub }) => JSON.stringify(await pubsub.diagnostics())),
    )
    for (const text of told)
      for (const secret of [
        ...Object.values(WORDS),
        'the passphrase',
        toHex(client.seed),
        toHex(holder.seed),
      ])
        expect(text).not.toContain(secret)
    const holders = told.slice(0, 2).join()
    expect(holders).not.toContain('lobby') // they know a key, and nothing else
    expect(holders).toContain(toHex(await topicKeyOf('lobby')))
    expect(told[2]).toContain('lobby') // the client's own word for it
  })

  it('stay small however many topics, subscriptions and peers there are', { timeout: 60_000 }, async () => {
    const before = JSON.stringify(await client.pubsub.diagnostics()).length
    const topics = Array.from({ length: 100 }, (_, i) => `${i} ${'long '.repeat(40)}`)
    await Promise.all(topics.map((topic) => client.pubsub.subscribe(topic, { history: 'none' })))
    for (let i = 0; i < 60; i++) client.pubsub.dht.replicas.markDown(`12D3KooW${i}`)
    const told = await client.pubsub.diagnostics()
    expect(told.subscriptions.open).toBe(102)
    expect(told.subscriptions.list).toHaveLength(32)
    expect(told.records.sets).toHaveLength(32)
    expect(told.peers.cooled).toHaveLength(32)
    expect(told.bounds.cooledPeers?.held).toBe(60)
    expect(told.bounds.replicaSets?.held).toBeGreaterThanOrEqual(100)
    const size = JSON.stringify(told).length
    expect(size).toBeGreaterThan(before)
    expect(size).toBeLessThan(MAX_BYTES)
  })

  it('invent no room for methods and codes that a peer makes up', async () => {
    const { rpc } = client.pubsub.dht
    for (let i = 0; i < 20; i++) {
      const method = { name: `made/up/${i}`, request: undefined, response: undefined, quota: undefined }
      await expect(rpc.request(holder.pubsub.nodeId, method as never, {})).rejects.toMatchObject({
        code: 'UNKNOWN_METHOD',
      })
    }
    const { refusals, methods } = (await holder.pubsub.diagnostics()).requests
    expect(Object.keys(methods).filter((name) => name.startsWith('made/'))).toEqual([])
    expect(Object.values(methods).some(({ received }) => received > 0)).toBe(true)
    expect(refusals.UNKNOWN_METHOD).toBe(20)
  })

  it('do not go through the disk for everyone who asks', async () => {
    let scans = 0
    const { storage } = holder
    const keys = storage.keys.bind(storage)
    storage.keys = (prefix) => {
      if (prefix === 'head/') scans += 1
      return keys(prefix)
    }
    const other = await net.add({ storage })
    await Promise.all(Array.from({ length: 50 }, () => other.pubsub.diagnostics()))
    expect(scans).toBe(1)
  })
})
