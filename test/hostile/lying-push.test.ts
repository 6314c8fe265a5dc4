import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { recordMethods } from '../../src/dht/wire.ts'
import { DEFAULT_PUBSUB_OPTIONS } from '../../src/pubsub/options.ts'
import type { TopicSubscription } from '../../src/pubsub/subscription.ts'
import { type Push, topicMethods } from '../../src/pubsub/wire.ts'
import type { MemoryNode } from '../support/memory-nodes.ts'
import { type OutboxClient, OutboxNet } from '../support/outbox-net.ts'

/** A replica that says of what it pushes that it is all, and has left something out; in virtual time. */

const { checkIntervalMs, confirmPushesMs } = DEFAULT_PUBSUB_OPTIONS
/** A check comes up to half an interval late, waits a tenth of it for others, and the source is looked at by turns. */
const CONFIRMED_MS = confirmPushesMs + 4 * checkIntervalMs

let net: OutboxNet
let holders: MemoryNode[]
let publisher: OutboxClient
let reader: OutboxClient
let subscription: TopicSubscription
let seen: unknown[]
let gaps: unknown[]

beforeEach(async () => {
  net = new OutboxNet()
  holders = [await net.holder(), await net.holder(), await net.holder()]
  publisher = await net.client()
  reader = await net.client()
  seen = []
  gaps = []
  subscription = (await net.during(
    reader.pubsub.subscribe('room', { onMessage: ({ data }) => seen.push(data) }),
  )) as TopicSubscription
  subscription.on('gap', (gap) => gaps.push(gap))
  await net.until(() => subscription.status === 'synced')
  await publish('one')
  await net.until(() => seen.length === 1)
})
afterEach(() => net.close())

const publish = (data: string) => net.during(publisher.pubsub.publish('room', data))

/** The replica that pushes leaves these out of the next push that has any. */
function leaveOut(isLeftOut: (index: number) => boolean): MemoryNode {
  const source = holders.find(({ pubsub }) => pubsub.nodeId === subscription.source) as MemoryNode
  const { rpc } = source.pubsub.dht
  const request = rpc.request.bind(rpc)
  let isOver = false
  rpc.request = ((...args: Parameters<typeof request>) => {
    const [to, method, body, ...rest] = args
    const { entries = [] } = body as Partial<Push>
    if (method.name !== topicMethods.push.name || isOver || entries.length === 0) return request(...args)
    isOver = true
    return request(
      to,
      method,
      { ...(body as Push), entries: entries.filter((_, i) => !isLeftOut(i)) },
      ...rest,
    )
  }) as typeof request
  return source
}

describe('a push that leaves something out', () => {
  it('and says that it is all does not keep it from the subscriber, who leaves that replica', async () => {
    const liar = leaveOut(() => true)
    await publish('two')
    await net.until(() => seen.length === 2, CONFIRMED_MS)
    expect([seen, gaps]).toEqual([['one', 'two'], []])
    await net.until(() => subscription.source !== liar.pubsub.nodeId && subscription.status === 'synced')
    await publish('three')
    await net.until(() => seen.length === 3, checkIntervalMs)
    expect(seen).toEqual(['one', 'two', 'three'])
  })

  it('is found at the next check where a later message of the same writer comes', async () => {
    leaveOut(() => true)
    await publish('two')
    await publish('three')
    await net.until(() => seen.length === 3, 15_000)
    expect([seen.toSorted(), gaps]).toEqual([['one', 'three', 'two'], []])
  })

  it('does not count as read by who goes on from that position', async () => {
    leaveOut(() => true)
    await publish('two')
    await net.pass(checkIntervalMs)
    const { position } = subscription
    await net.during(subscription.close())
    const again: unknown[] = []
    const options = {
      history: { from: position },
      onMessage: ({ data }: { data: unknown }) => again.push(data),
    }
    await net.during(reader.pubsub.subscribe('room', options))
    await net.until(() => again.length > 0)
    expect(again).toEqual(['two'])
  })
})

describe('pushes that are whole', () => {
  it('are read at another replica once a minute, nothing is given twice, and the source stays', async () => {
    const { rpc } = reader.pubsub.dht
    const request = rpc.request.bind(rpc)
    let reads = 0
    rpc.request = ((...args: Parameters<typeof request>) => {
      if (args[1].name === recordMethods.blocks.name) reads += 1
      return request(...args)
    }) as typeof request
    const { source } = subscription
    const all = ['one']
    for (let n = 0; n < 60; n++) {
      all.push(`${n}`)
      await publish(`${n}`)
      await net.pass(5_000)
    }
    expect(seen).toEqual(all)
    expect([gaps, subscription.source]).toEqual([[], source])
    // five minutes; a root and its tail are one read or two, where another replica is a commit behind some more
    expect(reads).toBeGreaterThan(0)
    expect(reads).toBeLessThan(20)
  })
})
