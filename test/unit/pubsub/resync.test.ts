import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Message } from '../../../src/pubsub/index.ts'
import { OutboxNet } from '../../support/outbox-net.ts'

let net: OutboxNet
beforeEach(() => {
  net = new OutboxNet()
})
afterEach(() => net.close())

const dataOf = (messages: { data: unknown }[]) => messages.map(({ data }) => data)

describe('resync', () => {
  it('attaches every subscription anew, reads what it missed, and drains the outbox', async () => {
    const holder = await net.holder()
    // nothing of this happens by itself within an hour
    const hourMs = 3_600_000
    const slow = {
      checkIntervalMs: 0,
      retryMs: hourMs,
      maxRetryMs: hourMs,
      maxCheckMs: hourMs,
      outboxRetryMs: hourMs,
    }
    const client = await net.client({
      options: { ...slow, maxOutboxRetryMs: hourMs, publishDeadlineMs: 1_000 },
      dhtOptions: { downMs: hourMs, maxDownMs: hourMs },
    })
    const seen: Message[][] = [[], []]
    for (const [i, topic] of ['room', 'hall'].entries())
      await net.during(client.pubsub.subscribe(topic, { onMessage: (message) => seen[i]?.push(message) }))
    await net.pass(1_000)
    client.fault = 'never'
    await net.during(client.pubsub.enqueue('room', 'mine'))
    await net.until(() => client.receipts.at(-1)?.error !== undefined)
    client.fault = undefined
    net.cutOff(client)
    client.node.network.closeAll()
    await net.pass(1_000)
    await net.during(holder.pubsub.publish('room', 'missed'))
    await net.during(holder.pubsub.publish('hall', 'missed too'))
    client.node.network.onTopologyChange(() => undefined) // it slept, and nobody tells it that the others are there again
    net.heal()
    await net.pass(60_000)
    expect(seen).toEqual([[], []])
    await net.during(client.pubsub.resync('test'))
    await net.until(() => seen.flat().length === 3, 3_000)
    expect(seen.map((messages) => dataOf(messages).toSorted())).toEqual([['mine', 'missed'], ['missed too']])
    expect(client.pubsub.counters().resync).toEqual({ runs: 1, lastReason: 'test' })
  })

  it('says who is here, to those for whom it had gone', async () => {
    await net.holder()
    const watcher = await net.during((await net.client()).pubsub.subscribe('room'))
    const client = await net.client()
    const isShown = () => watcher.present.length === 1
    await net.during(client.pubsub.subscribe('room', { presence: 'ada' }))
    const quiet = await net.during(client.pubsub.subscribe('hall'))
    await net.until(isShown)
    net.cutOff(client)
    client.node.network.closeAll()
    await net.until(() => !isShown())
    // until no heartbeat is being repeated, and none is near
    await net.pass(50_000 - net.runtime.monotonicNow())
    net.heal()
    await net.pass(1_500)
    expect(isShown()).toBe(false)
    await net.during(client.pubsub.resync('awake'))
    await net.until(isShown, 1_000)
    expect([watcher.present[0]?.state, quiet.present]).toEqual(['ada', []])
  })

  it('answers calls during a run by it, and runs once more for all of them', async () => {
    await net.holder()
    const client = await net.client()
    await net.during(client.pubsub.subscribe('room'))
    const runs = Array.from({ length: 10 }, () => client.pubsub.resync('storm'))
    expect(new Set(runs).size).toBe(1)
    await net.during(Promise.all(runs))
    await net.pass(30_000)
    expect(client.pubsub.counters().resync.runs).toBe(2)
    await net.during(client.pubsub.resync('later'))
    expect(client.pubsub.counters().resync.runs).toBe(3)
  })

  it('ends though nobody answers, and with the node', async () => {
    const holder = await net.holder()
    const client = await net.client()
    await net.during(client.pubsub.subscribe('room'))
    await net.during(client.pubsub.enqueue('room', 1))
    holder.network.blackholes.add(client.pubsub.nodeId)
    client.node.network.blackholes.add(holder.pubsub.nodeId)
    await net.during(client.pubsub.resync('nobody'), 16_000)
    const last = client.pubsub.resync('at the end')
    const closing = client.pubsub.close()
    await net.during(last, 100)
    await net.during(closing)
    await client.pubsub.resync('after the end')
  })
})
