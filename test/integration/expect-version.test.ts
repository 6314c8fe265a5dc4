import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { StickyError } from '../../src/dht/index.ts'
import { decodeCoordinator } from '../../src/pubsub/coordinator.ts'
import {
  openTopic,
  type PublishOptions,
  type TopicReceipt,
  UnexpectedVersionError,
} from '../../src/pubsub/index.ts'
import { COORDINATOR } from '../../src/pubsub/options.ts'
import { topicKeyOf } from '../../src/pubsub/topic-key.ts'
import { topicMethods } from '../../src/pubsub/wire.ts'
import { heal, separate } from '../support/memory-faults.ts'
import type { MemoryNode } from '../support/memory-nodes.ts'
import { type OutboxClient, OutboxNet, StrictDisk } from '../support/outbox-net.ts'

/** `publish` with `expect`: refused where the topic has moved on. In virtual time. */

const ROOM = 'room'

let net: OutboxNet
beforeEach(() => {
  net = new OutboxNet()
})
afterEach(() => net.close())

/** Rejections are given, not thrown. */
async function outcome(work: Promise<unknown>) {
  const settled = work.then(
    (value) => ({ value, code: 'ok', version: undefined as number | undefined }),
    (error: StickyError) => ({
      value: undefined,
      code: error.code as string,
      version: error instanceof UnexpectedVersionError ? error.version : undefined,
    }),
  )
  return net.during(settled)
}
const say = (
  { pubsub }: { pubsub: MemoryNode['pubsub'] },
  data: string,
  version?: number,
  more: PublishOptions = {},
) => pubsub.publish(ROOM, data, { ...more, ...(version === undefined ? {} : { expect: { version } }) })

const textsAt = async (node: MemoryNode) => (await net.read(node, ROOM)).map(({ data }) => data)

/** The holders, the one that publishers ask first in front. */
async function holders(count: number): Promise<MemoryNode[]> {
  for (let i = 0; i < count; i++) await net.holder()
  const [first] = net.net.nodes as [MemoryNode]
  const set = await first.pubsub.dht.replicas.set(await topicKeyOf(ROOM))
  return set.map(({ nodeId }) => net.net.nodes.find(({ pubsub }) => pubsub.nodeId === nodeId) as MemoryNode)
}

describe('a publish that expects a version', () => {
  it('is stored where nothing was said since, and else refused with the version that there is', async () => {
    const [holder] = (await holders(3)) as [MemoryNode]
    const ada = await net.client()
    expect((await outcome(say(ada, 'one', 0))).code).toBe('ok')
    const second = await net.during(say(ada, 'two', 1))
    const requests = ada.requests.length
    for (const version of [0, 1])
      expect(await outcome(say(ada, 'late', version))).toMatchObject({
        code: 'UNEXPECTED_VERSION',
        version: second.version,
      })
    expect(ada.requests).toHaveLength(requests + 2) // one replica's word each, and no other is tried
    const third = await net.during(say(ada, 'three', second.version))
    expect(third.sequence).toBe(1) // what was refused leaves no hole: another numbering follows
    expect(await textsAt(holder)).toEqual(['one', 'two', 'three'])
  })

  it('asks what was said: subscriptions count no more than nothing', async () => {
    const [holder] = (await holders(2)) as [MemoryNode]
    const ada = await net.client()
    const { version } = await net.during(say(ada, 'one', 0))
    await net.during((await net.client()).pubsub.subscribe(ROOM))
    const coordinator = () => net.during(holder.pubsub.loadCoordinator(ROOM))
    await net.until(async () => ((await coordinator())?.version ?? 0) > version)
    expect((await outcome(say(ada, 'two', version))).code).toBe('ok')
  })

  it('is one of several that succeeds, at one replica', async () => {
    const [holder] = (await holders(3)) as [MemoryNode]
    const all = await Promise.all([net.client(), net.client(), net.client()])
    const { version } = await net.during(say(all[0], 'open'))
    const results = await net.during(Promise.allSettled(all.map((client, i) => say(client, `${i}`, version))))
    const refused = results.flatMap((result) => (result.status === 'rejected' ? [result.reason.code] : []))
    expect(refused).toEqual(['UNEXPECTED_VERSION', 'UNEXPECTED_VERSION'])
    expect(await textsAt(holder)).toHaveLength(2)
  })

  it('is one of two that succeeds also where both wait for the same disk', async () => {
    const disk = new StrictDisk()
    const holder = await net.holder({ storage: disk })
    const [ada, bob, eve] = [await net.client(), await net.client(), await net.client()]
    const { version } = await net.during(say(ada, 'open'))
    disk.hold = (key) => key.startsWith('log/')
    const subscribing = eve.pubsub.subscribe(ROOM)
    await net.until(
      () =>
        (holder.pubsub.counters().commits?.commits ?? 0) < (holder.pubsub.counters().initiator?.groups ?? 0),
    )
    const both = Promise.allSettled([say(ada, 'a', version), say(bob, 'b', version)])
    await net.until(() => holder.pubsub.counters().openMessages === 2)
    disk.release()
    const statuses = (await net.during(both)).map(({ status }) => status)
    expect(statuses.toSorted()).toEqual(['fulfilled', 'rejected'])
    expect(await textsAt(holder)).toHaveLength(2)
    await net.during(subscribing)
  })

  it('travels alone, and refuses nothing of what is published beside it', async () => {
    const [holder] = (await holders(2)) as [MemoryNode]
    const ada = await net.client()
    const all = [say(ada, 'one'), say(ada, 'two'), say(ada, 'late', 0), say(ada, 'three'), say(ada, 'four')]
    const results = await net.during(Promise.allSettled(all))
    expect(results.map(({ status }) => status)).toEqual([
      'fulfilled',
      'fulfilled',
      'rejected',
      ...Array(2).fill('fulfilled'),
    ])
    expect(await textsAt(holder)).toEqual(['one', 'two', 'three', 'four'])
  })

  it('asks another replica where one has not come so far, and is refused where none has', async () => {
    await holders(3)
    const ada = await net.client()
    const { version } = await net.during(say(ada, 'one'))
    const before = ada.requests.length
    expect(await outcome(say(ada, 'two', version + 1))).toMatchObject({ code: 'UNEXPECTED_VERSION', version })
    expect(ada.requests).toHaveLength(before + 2)
  })

  it('takes a version only, and no place in the outbox', async () => {
    const [holder] = (await holders(1)) as [MemoryNode]
    const ada = await net.client()
    for (const version of [-1, 0.5, Number.NaN, 2 ** 50])
      expect((await outcome(say(ada, 'odd', version))).code).toBe('INVALID_DATA')
    const options = { expect: { version: 0 } } as object
    expect((await outcome(ada.pubsub.enqueue(ROOM, 'waits', options))).code).toBe('INVALID_DATA')
    expect(await textsAt(holder)).toEqual([])
  })

  it('is stored once under its key, and may be said anew where it was refused', async () => {
    const [holder] = (await holders(2)) as [MemoryNode]
    const ada = await net.client()
    await net.during(say(ada, 'one'))
    expect((await outcome(say(ada, 'two', 0, { key: 'k' }))).code).toBe('UNEXPECTED_VERSION')
    expect((await outcome(say(ada, 'two', 1, { key: 'k' }))).value).toMatchObject({ duplicate: false })
    expect((await outcome(say(ada, 'two', 1, { key: 'k' }))).value).toMatchObject({ duplicate: true })
    expect(await textsAt(holder)).toEqual(['one', 'two'])
  })

  it('goes past the outbox of an open topic, with a receipt, also encrypted', async () => {
    await holders(2)
    const ada = await net.client()
    const topic = await net.during(
      openTopic<string>(ada.pubsub, 'diary', {
        secret: { key: new Uint8Array(32).fill(1) },
        runtime: net.runtime,
      }),
    )
    const told: TopicReceipt<string>[] = []
    topic.on('receipt', (receipt) => told.push(receipt))
    const receipt = await net.during(topic.publish('dear', { expect: { version: 0 }, ttlMs: 60_000 }))
    expect(receipt).toMatchObject({ topic: 'diary', data: 'dear', state: 'stored', attempts: 1 })
    expect(receipt.expiresAt - receipt.queuedAt).toBe(60_000)
    await net.until(() => told.length === 1)
    expect(told).toEqual([receipt])
    expect((await outcome(topic.publish('late', { expect: { version: 0 } }))).code).toBe('UNEXPECTED_VERSION')
    const both = { expect: { version: 1 }, delivered: true }
    expect((await outcome(topic.publish('both', both))).code).toBe('INVALID_DATA')
    expect(told).toHaveLength(1)
    await net.during(topic.close())
  })
})

describe('when something goes wrong on the way', () => {
  /** The first publish request of a client ends in this way; `before` happens first. */
  function once(
    client: OutboxClient,
    isSent: boolean,
    after: () => Promise<unknown> = async () => undefined,
  ) {
    const { rpc } = client.pubsub.dht
    const request = rpc.request.bind(rpc)
    let isDone = false
    rpc.request = async (to, method, body, options) => {
      if (isDone || method.name !== topicMethods.publish.name) return request(to, method, body, options)
      isDone = true
      if (isSent) await request(to, method, body, options)
      await after()
      throw new StickyError('TIMEOUT', 'The answer was lost.')
    }
  }

  it('a message that is there already from a lost attempt is stored, also when others have followed', async () => {
    const [holder] = (await holders(3)) as [MemoryNode]
    const [ada, bob] = [await net.client(), await net.client()]
    once(ada, true, () => say(bob, 'behind it'))
    expect((await outcome(say(ada, 'once', 0))).code).toBe('ok')
    expect(await textsAt(holder)).toEqual(['once', 'behind it'])
  })

  it('it is unknown, and not refused, when somebody may have it', async () => {
    await holders(3)
    const [ada, bob] = [await net.client(), await net.client()]
    once(ada, false, () => say(bob, 'first'))
    expect((await outcome(say(ada, 'late', 0))).code).toBe('OUTCOME_UNKNOWN')
  })

  it('a conflict brings others’ messages: it is unknown, and not sent on as if nothing were', async () => {
    const [stale, ...others] = (await holders(3)) as [MemoryNode, MemoryNode, MemoryNode]
    const [ada, bob] = [await net.client(), await net.client()]
    const { version } = await net.during(say(ada, 'open'))
    await net.until(async () => (await net.read(stale, ROOM)).length === 1)
    separate([stale], [...others, bob.node])
    await net.during(say(bob, 'meanwhile'))
    heal(net.net.nodes)
    const before = ada.requests.length
    expect((await outcome(say(ada, 'late', version))).code).toBe('OUTCOME_UNKNOWN')
    expect(ada.requests).toHaveLength(before + 1) // and no other replica is asked to take it
    expect(stale.pubsub.counters().commits?.conflicts).toBeGreaterThan(0)
    await net.until(async () => (await textsAt(others[0] as MemoryNode)).length === 3)
    expect((await textsAt(stale)).toSorted()).toEqual(['late', 'meanwhile', 'open']) // it did appear, once
  })

  it('a conflict over subscriptions only is none', async () => {
    const [stale, ...others] = (await holders(3)) as [MemoryNode, MemoryNode, MemoryNode]
    const [ada, bob] = [await net.client(), await net.client()]
    const { version } = await net.during(say(ada, 'open'))
    await net.until(async () => (await net.read(stale, ROOM)).length === 1)
    separate([stale], [...others, bob.node])
    await net.during(bob.pubsub.subscribe(ROOM))
    const versionAt = async ({ pubsub }: MemoryNode) => {
      const { head } = await pubsub.dht.store.record(COORDINATOR, await topicKeyOf(ROOM))
      return head === undefined ? 0 : decodeCoordinator(head).version
    }
    await net.until(async () => (await versionAt(others[0] as MemoryNode)) > version)
    heal(net.net.nodes)
    expect((await outcome(say(ada, 'next', version))).code).toBe('ok')
    expect(stale.pubsub.counters().commits?.conflicts).toBeGreaterThan(0)
  })
})
