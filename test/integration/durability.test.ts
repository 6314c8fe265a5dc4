import { afterEach, describe, expect, it } from 'vitest'
import { type StickyError, toHex } from '../../src/dht/index.ts'
import { recordMethods } from '../../src/dht/wire.ts'
import type { Message } from '../../src/pubsub/index.ts'
import { topicKeyOf } from '../../src/pubsub/topic-key.ts'
import { CuttableDisk, crash, heal, restart, separate } from '../support/memory-faults.ts'
import { MemoryNet, type MemoryNode, type MemoryNodeOptions, until } from '../support/memory-nodes.ts'
import { StrictDisk } from '../support/outbox-net.ts'

/** Acknowledged means there, once: whatever happens to those who hold a topic. */

let net: MemoryNet
afterEach(async () => {
  const clients = net.nodes.filter(({ network }) => !network.stores)
  await Promise.all(clients.map(({ pubsub }) => pubsub.close()))
  for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate)
  await net.close()
})

const QUICK: MemoryNodeOptions = {
  dhtOptions: { requestTimeoutMs: 500, downMs: 100, maxDownMs: 200, antiEntropyMs: 200 },
  options: { publishAttemptMs: 2_000, commitDeadlineMs: 1_800, retryMs: 20, checkIntervalMs: 200 },
}
const holder = (options: MemoryNodeOptions = {}) =>
  net.add({ ...QUICK, storage: new CuttableDisk(), ...options })
const client = () => net.add({ ...QUICK, stores: false, durable: false })

async function network(holders: number): Promise<MemoryNode[]> {
  net = new MemoryNet()
  return Promise.all(Array.from({ length: holders }, () => holder()))
}
const byId = (nodeId: string): MemoryNode =>
  net.nodes.find(({ pubsub }) => pubsub.nodeId === nodeId) as MemoryNode

/** What an application does that is told that a holder did not answer: it asks again. */
async function whenReached<T>(ask: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await ask()
    } catch (error) {
      if (!(error as StickyError).retryable || attempt === 5) throw error
    }
  }
}

async function read(node: MemoryNode, topic: string): Promise<unknown[]> {
  const all: Message[] = []
  let before: string | undefined
  do {
    const page = await whenReached(() =>
      node.pubsub.history(topic, { limit: 256, ...(before === undefined ? {} : { before }) }),
    )
    all.unshift(...page.messages)
    before = page.before
  } while (before !== undefined)
  return all.map(({ data }) => data)
}
const sorted = (values: Iterable<unknown>) => [...values].map(String).sort()

/** Publishes one by one until told to stop; gives what was acknowledged, and what may be there or not. */
function keepPublishing(node: MemoryNode, topic: string, name: string) {
  const acknowledged: string[] = []
  const unknown: string[] = []
  let going = true
  const done = (async () => {
    for (let n = 0; going; n++) {
      const text = `${name} ${n}`
      await node.pubsub.publish(topic, text, { deadlineMs: 3_000 }).then(
        () => acknowledged.push(text),
        (error: { code: string }) => {
          if (error.code === 'OUTCOME_UNKNOWN') unknown.push(text)
          going &&= error.code !== 'CLOSED' // the test has failed and its nodes are gone
        },
      )
    }
  })()
  const stop = async () => {
    going = false
    await done
  }
  return { acknowledged, unknown, stop }
}

/** Every holder has the same head, and nobody writes any more: the anti-entropy rounds that follow change nothing. */
async function atRest(topic: string, holders: MemoryNode[]): Promise<void> {
  const key = await topicKeyOf(topic)
  const heads = () =>
    Promise.all(
      holders.map(async ({ pubsub }) => String((await pubsub.dht.store.record('coordinator', key)).headId)),
    )
  await until(
    async () => new Set(await heads()).size === 1,
    10_000,
    () => 'the heads differ',
  )
  let changes = 0
  const stops = holders.map(({ pubsub }) => pubsub.dht.store.onAdvance(() => void changes++))
  const before = await heads()
  for (let round = 0; round < 3; round++) for (const { pubsub } of holders) await pubsub.dht.reconcileNow()
  for (const stop of stops) stop()
  expect(await heads()).toEqual(before)
  expect(changes).toBe(0)
}

/** Of what was acknowledged each once; of what may be there, each at most once; nothing else. */
function expectOnce(found: unknown[], acknowledged: string[], unknown: string[] = []): void {
  expect(new Set(found).size).toBe(found.length)
  expect(sorted(acknowledged).filter((text) => !found.includes(text))).toEqual([])
  const known = new Set<unknown>([...acknowledged, ...unknown])
  expect(found.filter((text) => !known.has(text))).toEqual([])
}

describe('a replica', () => {
  it('that joins what others have says that it is stored once its disk has it, however often it is asked', async () => {
    const QUIET = { dhtOptions: { antiEntropyMs: 3_600_000 } }
    net = new MemoryNet()
    const first = await net.add(QUIET)
    await first.pubsub.publish('room', 'acknowledged by it alone')
    const key = await topicKeyOf('room')
    const { head } = await first.pubsub.dht.store.record('coordinator', key)
    const disk = new StrictDisk()
    const isHead = (name: string) => name.startsWith('head/')
    disk.hold = isHead
    const joining = await net.add({ ...QUIET, storage: disk })
    const answers: string[] = []
    const ask = async () => {
      const body = { kind: 'coordinator', key, head: head as Uint8Array }
      const request = first.pubsub.dht.rpc.request(joining.pubsub.nodeId, recordMethods.commit, body)
      answers.push((await request).outcome)
    }
    const asking = [ask()]
    await until(() => disk.waiting === 1)
    asking.push(ask())
    for (let turn = 0; turn < 100; turn++) await new Promise(setImmediate)
    expect(answers).toEqual([])
    expect(await Array.fromAsync(disk.keys('head/'))).toEqual([])
    disk.release()
    await Promise.all(asking)
    expect(answers).toEqual(['stored', 'stored'])
    expect(await Array.fromAsync(disk.keys('head/'))).toHaveLength(1)
  })
})

describe('holders that end without a word', () => {
  it('have everything acknowledged when they start again from their disks, all of them', async () => {
    const holders = await network(4)
    const publisher = await client()
    const publishing = keepPublishing(publisher, 'room', 'a')
    await until(() => publishing.acknowledged.length >= 150)
    const disks = await Promise.all(holders.map((node) => crash(net, node)))
    await publishing.stop()
    const again = await Promise.all(
      holders.map((node, i) => restart(net, node, disks[i] as CuttableDisk, QUICK)),
    )
    const reader = await client()
    expectOnce(await read(reader, 'room'), publishing.acknowledged, publishing.unknown)
    await expect(publisher.pubsub.publish('room', 'after')).resolves.toMatchObject({ status: 'stored' })
    await atRest('room', again)
  })

  it('may be a minority while publishing goes on, and come back with what they missed', async () => {
    const holders = await network(5)
    const publisher = await client()
    const seen: unknown[] = []
    const subscriber = await client()
    await subscriber.pubsub.subscribe('room', { onMessage: ({ data }) => seen.push(data) })
    const publishing = keepPublishing(publisher, 'room', 'a')
    await until(() => publishing.acknowledged.length >= 50)
    const gone = holders.slice(0, 2)
    const disks = await Promise.all(gone.map((node) => crash(net, node)))
    const before = publishing.acknowledged.length
    await until(() => publishing.acknowledged.length >= before + 50)
    const back = await Promise.all(gone.map((node, i) => restart(net, node, disks[i] as CuttableDisk, QUICK)))
    await until(() => publishing.acknowledged.length >= before + 100)
    await publishing.stop()
    await atRest('room', [...holders.slice(2), ...back])
    for (const node of [...back, await client()])
      expectOnce(await read(node, 'room'), publishing.acknowledged, publishing.unknown)
    await until(() => publishing.acknowledged.every((text) => seen.includes(text)))
    expectOnce(seen, publishing.acknowledged, publishing.unknown)
  })
})

describe('a holder whose disk has corrupted the head of one topic', () => {
  it('hands the others over all the same, and the topic goes on', async () => {
    net = new MemoryNet()
    const alone = await holder()
    const publisher = await client()
    await publisher.pubsub.publish('damaged', 1)
    await publisher.pubsub.publish('healthy', 2)
    await alone.pubsub.dht.store.close() // all of it is on the disk
    const disk = await crash(net, alone)
    const name = `head/coordinator/${toHex(await topicKeyOf('damaged'))}`
    const damaged = (await disk.get(name))?.slice() as Uint8Array
    damaged[10] = (damaged[10] as number) ^ 1
    await disk.write([{ type: 'put', key: name, value: damaged }])
    const again = await restart(net, alone, disk, QUICK)
    const other = await holder()
    await again.pubsub.dht.reconcileNow()
    expect(await read(other, 'healthy')).toEqual([2])
    await again.pubsub.dht.sweep()
    await expect(publisher.pubsub.publish('damaged', 3)).resolves.toMatchObject({ status: 'stored' })
    expect(await read(other, 'damaged')).toContain(3)
  })
})

describe('a network in two halves', () => {
  it('takes publishes on both sides, and has all of them once when it is whole again, and rests', async () => {
    const holders = await network(6)
    const [a, b] = [await client(), await client()]
    await a.pubsub.publish('room', 'base')
    const seen: unknown[] = []
    const subscriber = await client()
    await subscriber.pubsub.subscribe('room', { onMessage: ({ data }) => seen.push(data) })
    const sides = [
      [...holders.slice(0, 3), a, subscriber],
      [...holders.slice(3), b],
    ] as const
    separate([...sides[0]], [...sides[1]])
    const left = keepPublishing(a, 'room', 'left')
    const right = keepPublishing(b, 'room', 'right')
    await until(() => left.acknowledged.length >= 20 && right.acknowledged.length >= 20, 20_000)
    const [onLeft, onRight] = [await read(a, 'room'), await read(b, 'room')]
    expect(onLeft.some((text) => String(text).startsWith('right'))).toBe(false)
    expect(onRight.some((text) => String(text).startsWith('left'))).toBe(false)
    heal(net.nodes)
    await Promise.all([left.stop(), right.stop()])
    const acknowledged = ['base', ...left.acknowledged, ...right.acknowledged]
    const unknown = [...left.unknown, ...right.unknown]
    await atRest('room', holders)
    for (const node of [...holders, await client()])
      expectOnce(await read(node, 'room'), acknowledged, unknown)
    await until(() => acknowledged.every((text) => seen.includes(text)))
    expectOnce(seen, acknowledged, unknown)
  })
})

describe('a publisher', () => {
  it('whose initiator ends after storing and before answering stores once', async () => {
    await network(4)
    const publisher = await client()
    await publisher.pubsub.publish('room', 'base')
    const [first] = await publisher.pubsub.dht.replicas.set(await topicKeyOf('room'))
    const initiator = byId(first?.nodeId as string)
    // its commit reaches the others; its answer does not reach the publisher
    initiator.network.blackholes.add(publisher.pubsub.nodeId)
    const published = publisher.pubsub.publish('room', 'once', { deadlineMs: 10_000 })
    const others = net.nodes.filter((node) => node !== initiator && node !== publisher)
    const key = await topicKeyOf('room')
    const versions = () =>
      Promise.all(
        others.map(async ({ pubsub }) => (await pubsub.dht.store.record('coordinator', key)).headId),
      )
    const before = (await versions()).map(String)
    await until(async () => (await versions()).every((id, i) => String(id) !== before[i]))
    await crash(net, initiator)
    expect(await published).toMatchObject({ status: 'stored' })
    expect(publisher.pubsub.counters().publisher.requests).toBeGreaterThanOrEqual(3)
    expect(await read(publisher, 'room')).toEqual(['base', 'once'])
    await atRest('room', others)
    expect(await read(others[0] as MemoryNode, 'room')).toEqual(['base', 'once'])
  })

  it('whom nobody stores for is told so before its deadline, and served when somebody comes', async () => {
    net = new MemoryNet()
    const publisher = await client()
    await expect(publisher.pubsub.publish('room', 'x', { deadlineMs: 500 })).rejects.toMatchObject({
      code: 'QUORUM_FAILED',
      retryable: true,
    })
    await expect(publisher.pubsub.history('room')).rejects.toMatchObject({ code: 'NO_REPLICAS' })
    const waiting = publisher.pubsub.publish('room', 'y', { deadlineMs: 10_000 })
    await holder()
    expect(await waiting).toMatchObject({ status: 'stored', replicas: 1 })
    expect(await read(publisher, 'room')).toEqual(['y'])
  })

  it('who was told that it failed while holders were looked for does not send it afterwards', async () => {
    await network(3)
    const { pubsub } = await client()
    await pubsub.publish('room', 'base')
    const found = pubsub.dht.replicas.set.bind(pubsub.dht.replicas)
    const looking = Promise.withResolvers<void>()
    pubsub.dht.replicas.set = async (key) => {
      await looking.promise
      return found(key)
    }
    await expect(pubsub.publish('room', 'given up', { deadlineMs: 100 })).rejects.toMatchObject({
      code: 'QUORUM_FAILED',
    })
    looking.resolve()
    await pubsub.publish('room', 'next')
    expect(await read(await client(), 'room')).toEqual(['base', 'next'])
  })

  it('whose holders are all silent is told that the outcome is unknown, before its deadline', async () => {
    const holders = await network(3)
    const publisher = await client()
    await publisher.pubsub.publish('room', 'base')
    for (const { network } of holders) network.blackholes.add(publisher.pubsub.nodeId)
    await expect(publisher.pubsub.publish('room', 'x', { deadlineMs: 700 })).rejects.toMatchObject({
      code: 'OUTCOME_UNKNOWN',
    })
  })

  it('is not held up by a holder that takes everything and answers nothing', async () => {
    const holders = await network(5)
    const publisher = await client()
    await publisher.pubsub.publish('room', 'base')
    const set = await publisher.pubsub.dht.replicas.set(await topicKeyOf('room'))
    const slow = byId(set.at(-1)?.nodeId as string)
    for (const { pubsub } of net.nodes) slow.network.blackholes.add(pubsub.nodeId)
    const texts = Array.from({ length: 100 }, (_, n) => `${n}`)
    for (const text of texts)
      expect((await publisher.pubsub.publish('room', text)).replicas).toBeGreaterThanOrEqual(3)
    slow.network.blackholes.clear()
    await atRest('room', holders)
    expectOnce(await read(slow, 'room'), ['base', ...texts])
  })
})

describe('a subscriber', () => {
  const subscribed = async () => {
    const subscriber = await client()
    const seen: unknown[] = []
    const subscription = await subscriber.pubsub.subscribe('room', {
      onMessage: ({ data }) => seen.push(data),
    })
    await new Promise((resolve) => subscription.on('history-end', resolve))
    const { source } = subscription as unknown as { source: string }
    return { subscriber, subscription, seen, source }
  }

  it('whose source ends is served by another, and misses and repeats nothing', async () => {
    await network(4)
    const publisher = await client()
    const { subscription, seen, source } = await subscribed()
    const publishing = keepPublishing(publisher, 'room', 'a')
    await until(() => seen.length >= 30)
    await crash(net, byId(source))
    const before = seen.length
    await until(() => seen.length >= before + 30)
    expect((subscription as unknown as { source: string }).source).not.toBe(source)
    await publishing.stop()
    await until(() => publishing.acknowledged.every((text) => seen.includes(text)))
    expectOnce(seen, publishing.acknowledged, publishing.unknown)
    const order = seen.map((text) => Number(String(text).slice(2)))
    expect(order).toEqual([...order].sort((x, y) => x - y))
  })

  it.each([
    { lost: 'the next push', checkIntervalMs: 3_600_000, more: true },
    { lost: 'the periodic check', checkIntervalMs: 100, more: false },
  ])('gets a message whose push was lost, told by $lost', async ({ checkIntervalMs, more }) => {
    await network(3)
    const publisher = await client()
    const { dhtOptions, options } = QUICK
    const subscriber = await net.add({
      stores: false,
      durable: false,
      ...(dhtOptions ? { dhtOptions } : {}),
      options: { ...options, checkIntervalMs },
    })
    const lost: unknown[] = []
    const seen: unknown[] = []
    // acknowledged to the replica, and never seen by the subscription
    let drops = 0
    const subscription = await subscriber.pubsub.subscribe('room', {
      onMessage: ({ data }) => seen.push(data),
    })
    await new Promise((resolve) => subscription.on('history-end', resolve))
    const receiver = subscription as unknown as { receive(push: unknown, from: string): void }
    const receive = receiver.receive.bind(receiver)
    receiver.receive = (push, from) => {
      if (drops++ === 0) lost.push(push)
      else receive(push, from)
    }
    await publisher.pubsub.publish('room', 1)
    await until(() => lost.length === 1)
    if (more) await publisher.pubsub.publish('room', 2)
    const expected = more ? [1, 2] : [1]
    await until(() => seen.length >= expected.length)
    expect(seen).toEqual(expected)
  })

  it('that reaches nobody for a while catches up, once and in order', async () => {
    const holders = await network(3)
    const publisher = await client()
    const { subscriber, subscription, seen } = await subscribed()
    const states: string[] = []
    subscription.on('sync', (status) => states.push(status))
    await publisher.pubsub.publish('room', 0)
    await until(() => seen.length === 1)
    separate([subscriber], holders)
    for (let n = 1; n <= 100; n++) await publisher.pubsub.publish('room', n)
    await until(() => states.includes('degraded'))
    heal(net.nodes)
    await until(() => seen.length === 101)
    expect(seen).toEqual(Array.from({ length: 101 }, (_, n) => n))
    await until(() => subscription.status === 'synced')
  })
})
