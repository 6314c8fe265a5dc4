import { afterEach, describe, expect, it } from 'vitest'
import { memoryStorage, StickyError, type Storage } from '../../src/dht/index.ts'
import { recordMethods } from '../../src/dht/wire.ts'
import type { Gap, Message } from '../../src/pubsub/index.ts'
import { topicKeyOf } from '../../src/pubsub/topic-key.ts'
import { FaultStorage } from '../support/fault-storage.ts'
import { MemoryNet, type MemoryNode, until } from '../support/memory-nodes.ts'

/** What becomes of work that is under way when a node closes or its caller gives up. */

let net: MemoryNet
afterEach(() => net.close().catch(() => undefined))

async function network(holders: number): Promise<MemoryNode[]> {
  net = new MemoryNet()
  for (let i = 0; i < holders; i++) await net.add()
  return [...net.nodes]
}
const client = (storage?: Storage, seed?: Uint8Array) =>
  net.add({ stores: false, durable: false, ...(storage ? { storage } : {}), ...(seed ? { seed } : {}) })
/** A disk that stays readable after its node has let go of it. */
const kept = (storage: Storage): Storage => ({ ...storage, close: async () => undefined })

async function listen(node: MemoryNode) {
  const seen: Message[] = []
  const gaps: Gap[] = []
  const subscription = await node.pubsub.subscribe('room', { onMessage: (message) => seen.push(message) })
  subscription.on('gap', (gap) => gaps.push(gap))
  return { seen, gaps }
}

describe('a node that closes', () => {
  it('tells its publisher that the outcome is unknown when the message was sent', async () => {
    const holders = await network(4)
    const [first] = await (holders[0] as MemoryNode).pubsub.dht.replicas.set(await topicKeyOf('room'))
    const initiator = holders.find(({ pubsub }) => pubsub.nodeId === first?.nodeId) as MemoryNode
    const others = holders.filter((node) => node !== initiator)
    await initiator.pubsub.publish('room', 0)
    for (const { network } of others) network.blackholes.add(initiator.pubsub.nodeId) // its requests still arrive
    const published = initiator.pubsub.publish('room', 1)
    const told = expect(published).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' })
    const heads = () =>
      Promise.all(others.map(async ({ pubsub }) => (await pubsub.loadCoordinator('room'))?.version))
    const before = await heads()
    await until(async () => String(await heads()) !== String(before))
    await initiator.pubsub.close()
    await told
    net.hub.crash(initiator.pubsub.nodeId)
    const { messages } = await (others[0] as MemoryNode).pubsub.history('room')
    expect(messages.map(({ data }) => data)).toEqual([0, 1])
  })

  it('leaves no hole in its numbers for a message that may never come', async () => {
    const holders = await network(3)
    const disk = kept(memoryStorage())
    const publisher = await client(disk)
    const { seen, gaps } = await listen(await client())
    await publisher.pubsub.publish('room', 1)
    for (const { pubsub } of holders) publisher.network.blackholes.add(pubsub.nodeId)
    const lost = expect(publisher.pubsub.publish('room', 2)).rejects.toMatchObject({
      code: 'OUTCOME_UNKNOWN',
    })
    await until(() => publisher.pubsub.counters().publisher.requests > 1)
    await publisher.pubsub.close()
    await lost
    net.hub.crash(publisher.pubsub.nodeId)
    const again = await client(disk, publisher.seed)
    await again.pubsub.publish('room', 3)
    await until(() => seen.length === 2, 3_000) // sooner than a hole is given up
    expect(seen.map(({ data, sequence }) => [data, sequence])).toEqual([
      [1, 1],
      [3, 1],
    ])
    expect(gaps).toEqual([])
  })

  it('lets go of everything though its disk refuses the last write', async () => {
    const [other] = await network(1)
    const disk = new FaultStorage()
    let isClosed = false
    disk.close = async () => {
      isClosed = true
    }
    const { pubsub } = await net.add({ storage: disk })
    await pubsub.publish('room', 1)
    disk.failWhen(() => true)
    await expect(pubsub.close()).rejects.toBeInstanceOf(StickyError)
    expect(isClosed).toBe(true)
    const asking = pubsub.dht.rpc.request(other?.pubsub.nodeId as string, recordMethods.head, {
      kind: 'coordinator',
      key: await topicKeyOf('room'),
    })
    await expect(asking).rejects.toMatchObject({ code: 'CLOSED' })
  })
})

describe('a caller that gives up', () => {
  const aborted = { name: 'StickyError', code: 'ABORTED' }

  it('before it asks is told so, by publish and by subscribe', async () => {
    await network(2)
    const { pubsub } = await client()
    const signal = AbortSignal.abort()
    await expect(pubsub.publish('room', 1, { signal })).rejects.toMatchObject(aborted)
    await expect(pubsub.subscribe('room', { signal })).rejects.toMatchObject(aborted)
    expect(await pubsub.loadCoordinator('room')).toBeUndefined()
    expect(pubsub.counters().subscriptions).toBe(0)
  })

  it('while the number is taken has published nothing, and the next message follows at once', async () => {
    await network(2)
    const disk = new FaultStorage()
    const { pubsub } = await client(disk)
    const { seen, gaps } = await listen(await client())
    const go = disk.hold()
    const controller = new AbortController()
    const publishing = pubsub.publish('room', 1, { signal: controller.signal })
    const told = expect(publishing).rejects.toMatchObject(aborted)
    await until(() => disk.writes.length > 0)
    controller.abort()
    go()
    await told
    await pubsub.publish('room', 2)
    await until(() => seen.length === 1, 3_000)
    expect(seen.map(({ data }) => data)).toEqual([2])
    expect(gaps).toEqual([])
  })

  it('by its deadline, while its own disk takes longer, has published nothing, and the next follows at once', async () => {
    await network(2)
    const disk = new FaultStorage()
    const { pubsub } = await client(disk)
    const { seen, gaps } = await listen(await client())
    const go = disk.hold()
    const late = [1, 2].map((data) => pubsub.publish('room', data, { deadlineMs: 100 }))
    for (const publishing of late) await expect(publishing).rejects.toMatchObject({ code: 'STORAGE_FAILED' })
    go()
    await pubsub.publish('room', 3)
    await until(() => seen.length === 1, 3_000)
    expect(seen.map(({ data }) => data)).toEqual([3])
    expect(gaps).toEqual([])
  })

  it('keeps waiting while a further one, beyond what may wait, is told so at once', async () => {
    await network(2)
    const disk = new FaultStorage()
    const storage = { stores: false, durable: false, storage: disk, options: { maxQueuedPerTopic: 3 } }
    const { pubsub } = await net.add(storage)
    const go = disk.hold()
    const waiting = [1, 2, 3].map((data) => pubsub.publish('room', data))
    await expect(pubsub.publish('room', 4)).rejects.toMatchObject({ code: 'BUSY' })
    go()
    await Promise.all(waiting)
    expect(await pubsub.publish('room', 5)).toMatchObject({ sequence: 4 })
  })

  it('with what cannot be published uses up no number', async () => {
    await network(2)
    const { pubsub } = await client()
    const { seen, gaps } = await listen(await client())
    await pubsub.publish('room', 1)
    await expect(pubsub.publish('room', 2, { ttlMs: 0 })).rejects.toMatchObject({ code: 'INVALID_DATA' })
    await expect(pubsub.publish('room', Number.NaN)).rejects.toMatchObject({ code: 'INVALID_DATA' })
    await pubsub.publish('room', 3)
    await until(() => seen.length === 2, 3_000)
    expect(seen.map(({ sequence }) => sequence)).toEqual([1, 2])
    expect(gaps).toEqual([])
  })

  it('by a signal that outlives the subscription leaves nothing on it', async () => {
    await network(2)
    const { pubsub } = await client()
    const { signal } = new AbortController()
    let listeners = 0
    const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)]
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners += 1
      add(...args)
    }
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners -= 1
      remove(...args)
    }
    await (await pubsub.subscribe('room', { signal })).close()
    expect(listeners).toBe(0)
  })
})
