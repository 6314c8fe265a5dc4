import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { encode } from '../../../src/dht/index.ts'
import { type Gap, type Message, type OutboxError, openTopic } from '../../../src/pubsub/index.ts'
import { CuttableDisk } from '../../support/memory-faults.ts'
import { nested } from '../../support/nested.ts'
import { type OutboxClient, OutboxNet, StrictDisk } from '../../support/outbox-net.ts'

/** The shipped classes over an in-process network, in virtual time. */

let net: OutboxNet
beforeEach(() => {
  net = new OutboxNet()
})
afterEach(() => net.close())

const dataOf = (messages: { data: unknown }[]) => messages.map(({ data }) => data)
const isOver = (client: OutboxClient, count: number) => () => client.finals().length === count
const codesOf = (client: OutboxClient) => client.finals().map(({ error }) => error?.code)

describe('a message in the outbox', () => {
  it('is durable at once, sent as soon as somebody is there, and told at each step', async () => {
    const client = await net.client()
    const receipt = await net.during(client.pubsub.enqueue('room', { n: 1 }, { key: 'a' }))
    expect(receipt).toMatchObject({ key: 'a', topic: 'room', data: { n: 1 }, state: 'queued', attempts: 0 })
    await net.pass(60_000)
    expect(await client.pubsub.outbox()).toEqual([receipt]) // nobody is there: no attempt
    expect(await client.pubsub.outbox('hall')).toEqual([])
    const holder = await net.holder()
    await net.until(isOver(client, 1))
    expect(client.states('a')).toEqual(['queued', 'sending', 'stored'])
    expect(client.finals()).toMatchObject([
      { attempts: 1, stored: { status: 'stored', sequence: 1, duplicate: false } },
    ])
    expect(await client.pubsub.outbox()).toEqual([])
    const [message, ...others] = await net.read(holder, 'room')
    expect(others).toEqual([])
    expect(message).toMatchObject({
      data: { n: 1 },
      id: client.finals()[0]?.stored?.id,
      expiresAt: receipt.expiresAt,
    })
  })

  it('is what it was in the moment of the call, and so is what is published', async () => {
    const holder = await net.holder()
    const client = await net.client()
    const topic = await net.during(openTopic<{ n: number }>(client.pubsub, 'topic', { runtime: net.runtime }))
    const value = { n: 1 }
    const calls: Promise<unknown>[] = []
    for (; value.n <= 2; value.n++) {
      calls.push(client.pubsub.enqueue('enqueued', value), client.pubsub.publish('published', value))
      calls.push(client.pubsub.publish('keyed', value, { key: `${value.n}` }), topic.publish(value))
    }
    await net.during(Promise.all(calls))
    await net.until(isOver(client, 4))
    for (const name of ['enqueued', 'published', 'keyed', 'topic'])
      expect(dataOf(await net.read(holder, name)), name).toEqual([{ n: 1 }, { n: 2 }])
  })

  it('that waits for a publish under its key holds up those after it in its topic, and no other topic', async () => {
    const client = await net.client()
    const { pubsub } = client
    const publishing = pubsub.publish('room', 1, { key: 'k', deadlineMs: 30_000 }).catch(() => undefined)
    await net.pass(100)
    const enqueued = Promise.all([pubsub.enqueue('room', 1, { key: 'k' }), pubsub.enqueue('room', 2)])
    await net.during(pubsub.enqueue('hall', 3), 1_000)
    expect(dataOf(await pubsub.outbox())).toEqual([3])
    await net.during(Promise.all([publishing, enqueued]))
    expect(dataOf(await pubsub.outbox('room'))).toEqual([1, 2])
  })

  it('waits through restarts, clean and not, and goes out in the order of enqueueing, many in one request', async () => {
    let client = await net.client()
    const enqueue = (from: number, count: number) =>
      Promise.all(Array.from({ length: count }, (_, i) => client.pubsub.enqueue('room', from + i)))
    await net.during(enqueue(0, 100))
    client = await net.reopened(client)
    await net.during(enqueue(100, 100))
    client = await net.crashed(client)
    await net.during(enqueue(200, 50))
    expect(dataOf(await client.pubsub.outbox())).toEqual(Array.from({ length: 250 }, (_, i) => i))
    const holder = await net.holder()
    await net.until(isOver(client, 250))
    expect(client.requests.length).toBeLessThan(10)
    const messages = await net.read(holder, 'room')
    expect(dataOf(messages)).toEqual(Array.from({ length: 250 }, (_, i) => i))
    expect(messages.map(({ sequence }) => sequence)).toEqual(Array.from({ length: 250 }, (_, i) => i + 1))
  })

  it('is stored by a node that holds topics itself, alone', async () => {
    const { pubsub } = await net.holder()
    const states: string[] = []
    pubsub.onReceipt(({ state }) => states.push(state))
    await net.during(pubsub.enqueue('room', 'to myself'))
    await net.until(() => states.includes('stored'))
    expect(dataOf((await pubsub.history('room')).messages)).toEqual(['to myself'])
  })

  it('may be as large as a payload is', async () => {
    const client = await net.client()
    const large = new Uint8Array(100 * 1024).fill(7)
    for (const data of ['before', large, 'between', large.slice(1), 'after'])
      await net.during(client.pubsub.enqueue('room', data))
    const again = await net.crashed(client)
    const holder = await net.holder()
    await net.until(isOver(again, 5))
    const found = dataOf(await net.read(holder, 'room')) as (string | Uint8Array)[]
    expect(found.map((data) => (typeof data === 'string' ? data : data.byteLength))).toEqual([
      'before',
      large.byteLength,
      'between',
      large.byteLength - 1,
      'after',
    ])
  })

  it('is refused without a trace: what is invalid, more than there is room for, and what the disk does not take', async () => {
    const storage = new StrictDisk()
    const client = await net.client({ storage, options: { maxOutboxEntries: 3, maxOutboxBytes: 8_192 } })
    const { pubsub } = client
    const refused = (data: never, options: { key?: string; ttlMs?: number }, code: string) =>
      expect(pubsub.enqueue('room', data, options)).rejects.toMatchObject({ code })
    await refused(undefined as never, {}, 'INVALID_DATA')
    for (const depth of [65, 100_000]) await refused(nested(depth) as never, {}, 'INVALID_DATA')
    await refused(1 as never, { ttlMs: 0 }, 'INVALID_DATA')
    await refused(1 as never, { key: '' }, 'INVALID_DATA')
    await refused(1 as never, { key: 'é'.repeat(65) }, 'INVALID_DATA')
    await refused(new Uint8Array(200_000) as never, {}, 'TOO_LARGE')
    await refused(new Uint8Array(8_000) as never, {}, 'BUSY')
    storage.refuse = (key) => key.includes('/entry/')
    await refused(1 as never, { key: 'a' }, 'STORAGE_FULL')
    expect(await storage.outboxKeys()).toEqual([])
    storage.refuse = undefined
    for (const key of ['a', 'é'.repeat(64), 'c']) await pubsub.enqueue('room', 1, { key })
    await refused(1 as never, { key: 'd' }, 'BUSY')
    expect((await pubsub.outbox()).map(({ key }) => key)).toEqual(['a', 'é'.repeat(64), 'c'])
    const holder = await net.holder()
    await net.until(isOver(client, 3))
    expect(await net.read(holder, 'room')).toHaveLength(3)
    expect((await storage.outboxKeys()).filter((key) => !key.includes('/key/'))).toEqual([])
    await net.during(pubsub.enqueue('room', 1)) // there is room again
  })

  it('expires while it waits: it has failed, is told once, and is gone', async () => {
    const client = await net.client()
    await net.during(client.pubsub.enqueue('room', 'short', { ttlMs: 60_000 }))
    await net.during(client.pubsub.enqueue('room', 'long'))
    await net.until(isOver(client, 1))
    expect(client.finals()).toMatchObject([
      { data: 'short', state: 'failed', error: { code: 'EXPIRED' }, attempts: 0 },
    ])
    const holder = await net.holder()
    await net.until(isOver(client, 2))
    expect(dataOf(await net.read(holder, 'room'))).toEqual(['long'])
  })

  it('expires while other topics have their turn: it is not stored when nobody can read it any more', async () => {
    const holder = await net.holder()
    const client = await net.client({ options: { maxOutboxTopicsAtOnce: 1 } })
    client.isDeaf = true
    await net.during(client.pubsub.enqueue('hall', 'nobody answers'))
    await net.until(() => client.requests.length > 0)
    await net.during(client.pubsub.enqueue('room', 'for five seconds', { ttlMs: 5_000 }))
    await net.pass(8_000)
    client.isDeaf = false
    await net.until(isOver(client, 2))
    const final = client.finals().find(({ topic }) => topic === 'room')
    expect(final).toMatchObject({ state: 'failed', error: { code: 'EXPIRED' } })
    expect(await net.read(holder, 'room')).toEqual([])
  })

  it('of a tab that stores nothing itself is stored where one holder has it', async () => {
    await net.holder()
    const tab = await net.client({ options: { outboxAwaitsPeers: true } })
    await net.during(tab.pubsub.enqueue('room', 'hello'))
    await net.until(isOver(tab, 1))
    expect(tab.finals()).toMatchObject([{ state: 'stored', attempts: 1, stored: { replicas: 1 } }])
  })

  it('of a tab that loses all others in that moment waits for one, and is there once', async () => {
    const holder = await net.holder()
    for (let i = 0; i < 2; i++) await net.holder()
    const tab = await net.client({ stores: true, options: { outboxAwaitsPeers: true } })
    await net.during(tab.pubsub.publish('room', 'online')) // who the others are is known from now on
    net.cutOff(tab)
    await net.during(tab.pubsub.enqueue('room', 'offline'))
    await net.pass(60_000)
    expect([tab.finals(), (await tab.pubsub.outbox()).length]).toEqual([[], 1])
    net.heal()
    await net.until(isOver(tab, 1))
    expect(tab.finals()).toMatchObject([{ state: 'stored', stored: { replicas: 3 } }])
    expect(dataOf(await net.read(holder, 'room'))).toEqual(['online', 'offline'])
  })
})

describe('an attempt that fails', () => {
  it('is followed by others after 2, 4, 8 and 16 s, five in all, and then the message has failed', async () => {
    const holder = await net.holder()
    const client = await net.client({ options: { publishDeadlineMs: 1_000 } })
    const times: [string, number][] = []
    client.pubsub.onReceipt(({ state }) => times.push([state, net.runtime.monotonicNow()]))
    client.fault = 'never'
    await net.during(client.pubsub.enqueue('room', 'never'))
    await net.until(isOver(client, 1))
    expect(client.finals()).toMatchObject([
      { state: 'failed', attempts: 5, error: { code: 'QUORUM_FAILED' } },
    ])
    const waits = times.flatMap(([state, atMs], i) => {
      const before = times[i - 1]
      return state === 'sending' && before !== undefined && i > 1
        ? [Math.round((atMs - before[1]) / 1_000)]
        : []
    })
    expect(waits).toEqual([2, 4, 8, 16])
    expect(await client.pubsub.outbox()).toEqual([])
    client.fault = undefined
    await net.pass(60_000)
    expect(await net.read(holder, 'room')).toEqual([])
  })

  it('without any peer counts for nothing, however many there are', async () => {
    const holder = await net.holder()
    const client = await net.client({ options: { publishDeadlineMs: 1_000 } })
    await net.during(client.pubsub.publish('room', 0))
    net.cutOff(client)
    net.net.hub.crash(client.pubsub.nodeId) // its links are gone, and it finds the holder still
    await net.during(client.pubsub.enqueue('room', 1))
    await net.pass(60_000)
    expect(await client.pubsub.outbox()).toMatchObject([{ state: 'queued', attempts: 0 }])
    net.heal()
    await net.until(isOver(client, 1))
    expect(dataOf(await net.read(holder, 'room'))).toEqual([0, 1])
  })

  it('for good is the last one', async () => {
    const holder = await net.holder()
    const client = await net.client()
    client.fault = 'refused'
    await net.during(client.pubsub.enqueue('room', 'bad'))
    await net.until(isOver(client, 1))
    expect(client.finals()).toMatchObject([{ state: 'failed', attempts: 1, error: { code: 'TOO_LARGE' } }])
    client.fault = undefined
    await net.during(client.pubsub.enqueue('room', 'good'))
    await net.until(isOver(client, 2))
    expect(dataOf(await net.read(holder, 'room'))).toEqual(['good'])
  })

  it('is cut short by drainOutbox, and by nothing but it', async () => {
    const client = await net.client({ options: { publishDeadlineMs: 1_000, outboxRetryMs: 60_000 } })
    await net.holder()
    client.fault = 'never'
    await net.during(client.pubsub.enqueue('room', 1))
    await net.until(() => client.receipts.at(-1)?.error !== undefined)
    client.fault = undefined
    await net.pass(30_000)
    expect(await client.pubsub.outbox()).toMatchObject([
      { state: 'queued', attempts: 1, error: { code: 'QUORUM_FAILED' } },
    ])
    client.pubsub.drainOutbox()
    await net.until(isOver(client, 1), 2_000)
    expect(client.states(client.receipts[0]?.key as string)).toEqual([
      'queued',
      'sending',
      'queued',
      'sending',
      'stored',
    ])
  })

  it('whose outcome is unknown is repeated with the same bytes: one message', async () => {
    const holder = await net.holder()
    const client = await net.client({ options: { publishDeadlineMs: 1_000 } })
    client.fault = 'lost'
    for (const n of [1, 2, 3]) await net.during(client.pubsub.enqueue('room', n))
    await net.until(() => client.receipts.some(({ error }) => error?.code === 'OUTCOME_UNKNOWN'))
    client.fault = undefined
    await net.until(isOver(client, 3))
    expect(client.finals().map(({ state }) => state)).toEqual(['stored', 'stored', 'stored'])
    expect(client.finals()[0]?.attempts).toBeGreaterThan(1)
    expect(new Set(client.requests.flat()).size).toBe(3)
    expect(dataOf(await net.read(holder, 'room'))).toEqual([1, 2, 3])
  })

  it('does not make what others publish here wait, and leaves readers no gap', async () => {
    const holder = await net.holder()
    const client = await net.client({ options: { publishDeadlineMs: 1_000, outboxRetryMs: 30_000 } })
    const seen: Message[] = []
    const gaps: Gap[] = []
    const subscribing = holder.pubsub.subscribe('room', { onMessage: (message) => seen.push(message) })
    const subscription = await net.during(subscribing)
    subscription.on('gap', (gap) => gaps.push(gap))
    await net.during(client.pubsub.publish('room', 'first'))
    client.fault = 'never'
    await net.during(client.pubsub.enqueue('room', 'late'))
    await net.until(() => client.receipts.at(-1)?.error !== undefined)
    client.fault = undefined
    await net.during(client.pubsub.publish('room', 'second'))
    await net.until(() => seen.length === 2, 3_000) // sooner than a hole is given up
    await net.until(() => seen.length === 3)
    expect(dataOf(seen)).toEqual(['first', 'second', 'late'])
    expect(gaps).toEqual([])
  })

  it('because the own disk is full is none: nothing is sent, and nothing lost', async () => {
    const storage = new StrictDisk()
    const holder = await net.holder()
    const client = await net.client({ storage })
    storage.refuse = (key) => key.includes('/sent/')
    await net.during(client.pubsub.enqueue('room', 1))
    await net.pass(60_000)
    expect(client.requests).toEqual([])
    expect(await client.pubsub.outbox()).toMatchObject([{ attempts: 0, error: { code: 'STORAGE_FULL' } }])
    storage.refuse = undefined
    await net.until(isOver(client, 1))
    expect(dataOf(await net.read(holder, 'room'))).toEqual([1])
  })
})

describe('a process that ends in the middle', () => {
  it('after the holder has stored it, and before the answer: there is one message', async () => {
    const holder = await net.holder()
    let client = await net.client()
    client.isDeaf = true
    for (const n of [1, 2, 3]) await net.during(client.pubsub.enqueue('room', n))
    await net.until(async () => (await net.read(holder, 'room')).length > 0)
    const sent = client.requests.flat()
    client = await net.crashed(client)
    await net.until(isOver(client, 3))
    expect(sent.length).toBeGreaterThan(0)
    expect(client.requests.flat()).toEqual(expect.arrayContaining(sent))
    expect(dataOf(await net.read(holder, 'room'))).toEqual([1, 2, 3])
  })

  it('ends with a clean close: the same', async () => {
    const holder = await net.holder()
    let client = await net.client()
    client.isDeaf = true
    await net.during(client.pubsub.enqueue('room', 1))
    await net.until(async () => (await net.read(holder, 'room')).length > 0)
    client = await net.reopened(client)
    await net.until(isOver(client, 1))
    await net.during(client.pubsub.publish('room', 2))
    expect(dataOf(await net.read(holder, 'room'))).toEqual([1, 2])
  })

  it('has what it sends on its disk before it sends', async () => {
    const storage = new StrictDisk()
    await net.holder()
    const client = await net.client({ storage })
    storage.hold = (key) => key.includes('/sent/')
    await net.during(client.pubsub.enqueue('room', 1))
    await net.pass(20_000)
    expect(client.requests).toEqual([])
    storage.release()
    await net.until(isOver(client, 1))
    expect(client.requests).toHaveLength(1)
  })

  it('goes on counting attempts, and tells of what failed while nobody listened', async () => {
    await net.holder()
    const options = { publishDeadlineMs: 1_000 }
    let client = await net.client({ options })
    client.fault = 'never'
    await net.during(client.pubsub.enqueue('room', 1))
    await net.until(() => client.receipts.some(({ attempts, state }) => attempts === 3 && state === 'queued'))
    await net.pass(100)
    client = await net.crashed(client, options)
    expect(await client.pubsub.outbox()).toMatchObject([{ attempts: 3 }])
  })

  it('leaves entries that cannot be read aside, says so, and sends the others', async () => {
    const disk = new CuttableDisk()
    let client = await net.client({ storage: disk })
    for (const n of [1, 2, 3, 4]) await net.during(client.pubsub.enqueue('room', n))
    await net.during(client.pubsub.close())
    const [first, second, third] = (await Array.fromAsync(disk.keys('outbox/'))) as [string, string, string]
    await disk.write([
      { type: 'put', key: first, value: new Uint8Array(300_000) },
      { type: 'put', key: second, value: encode({ v: 1, topic: 'room' }) },
      { type: 'put', key: third.replace('/entry/', '/sent/'), value: Uint8Array.of(1) },
    ])
    net.net.hub.crash(client.pubsub.nodeId)
    client = await net.client({ storage: disk, seed: client.node.seed })
    await net.pass(1_000)
    const errors: OutboxError[] = []
    client.pubsub.onOutboxError((error) => errors.push(error))
    const holder = await net.holder()
    await net.until(isOver(client, 1))
    expect(errors.map(({ code }) => code)).toEqual(['TOO_LARGE', 'MALFORMED', 'MALFORMED'])
    expect(dataOf(await net.read(holder, 'room'))).toEqual([4])
    expect((await Array.fromAsync(disk.keys('outbox/'))).every((key) => key.includes('/aside/'))).toBe(true)
    await net.reopened(client)
    expect(await Array.fromAsync(disk.keys('outbox/'))).toHaveLength(3)
  })
})

describe('who listens', () => {
  it('hears a final receipt that came before, once', async () => {
    await net.holder()
    const node = await net.net.add({ runtime: net.runtime, stores: false, durable: false })
    await net.during(node.pubsub.enqueue('room', 1))
    await net.until(async () => (await node.pubsub.outbox()).length === 0)
    const heard: string[] = []
    const stop = node.pubsub.onReceipt(({ state }) => heard.push(state))
    await net.pass(100)
    node.pubsub.onReceipt(({ state }) => heard.push(`again ${state}`))
    await net.pass(100)
    expect(heard).toEqual(['stored'])
    stop()
  })

  it('hears of a failure after a restart when nobody did before', async () => {
    const disk = new CuttableDisk()
    const options = { runtime: net.runtime, storage: disk, stores: false, durable: false }
    const node = await net.net.add(options)
    await net.during(node.pubsub.enqueue('room', 1, { ttlMs: 1_000 }))
    await net.until(async () => (await node.pubsub.outbox()).length === 0)
    await net.during(node.pubsub.close())
    net.net.hub.crash(node.pubsub.nodeId)
    let client = await net.client({ storage: disk, seed: node.seed })
    await net.until(isOver(client, 1))
    expect(codesOf(client)).toEqual(['EXPIRED'])
    client = await net.reopened(client)
    await net.pass(10_000)
    expect(client.receipts).toEqual([])
    expect(await Array.fromAsync(disk.keys('outbox/'))).toEqual([])
  })

  it('hears of each failure for which there is room, and those that are not told stop nothing new', async () => {
    const options = { maxOutboxEntries: 6, maxUntoldReceipts: 2 }
    const disk = new CuttableDisk()
    const node = await net.net.add({
      ...{ runtime: net.runtime, storage: disk, stores: false, durable: false },
      options,
    })
    const { pubsub } = node
    for (const n of [1, 2, 3, 4, 5, 6]) await net.during(pubsub.enqueue('room', n, { ttlMs: 1_000 }))
    await net.until(async () => (await pubsub.outbox()).length === 0)
    expect((await pubsub.diagnostics()).bounds.outboxEntries).toEqual({ held: 6, limit: 6 })
    pubsub.onReceipt(() => expect.unreachable(), 'another room')
    await net.pass(100)
    await net.during(pubsub.close())
    net.net.hub.crash(pubsub.nodeId)
    const { pubsub: again } = await net.net.add({
      ...{ runtime: net.runtime, storage: disk, seed: node.seed, stores: false, durable: false },
      options,
    })
    const heard: unknown[] = []
    for (const n of ['a', 'b']) await net.during(again.enqueue('another room', n))
    const held = again.diagnostics().then(({ bounds }) => bounds.outboxEntries)
    expect(await held).toEqual({ held: 6, limit: 6 })
    const stop = again.onReceipt(({ data, state }) => heard.push([data, state]), 'room')
    await net.pass(100)
    stop()
    expect(heard).toEqual([3, 4, 5, 6].map((n) => [n, 'failed'])) // the oldest made room
    expect(await Array.fromAsync(disk.keys('outbox/'))).toHaveLength(2)
    for (const n of [7, 8, 9, 10]) await net.during(again.enqueue('another room', n))
    await expect(again.enqueue('another room', 11)).rejects.toMatchObject({ code: 'BUSY' })
  })

  it('hears of the last that was stored, which leaves failures alone and takes no room', async () => {
    const options = { maxOutboxEntries: 4, maxUntoldReceipts: 2 }
    const { pubsub } = await net.net.add({ runtime: net.runtime, stores: false, durable: false, options })
    await net.during(pubsub.enqueue('room', 'failed', { ttlMs: 1_000 }))
    await net.until(async () => (await pubsub.outbox()).length === 0)
    await net.holder()
    for (const n of [1, 2, 3, 4, 5]) {
      await net.during(pubsub.enqueue('room', n))
      await net.until(async () => (await pubsub.outbox()).length === 0)
    }
    const heard: unknown[] = []
    pubsub.onReceipt(({ data }) => heard.push(data))
    await net.pass(100)
    expect(heard).toEqual(['failed', 4, 5])
    expect((await pubsub.diagnostics()).bounds.outboxBytes?.held).toBe(0)
  })
})
