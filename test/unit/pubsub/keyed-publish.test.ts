import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { StickyError } from '../../../src/dht/index.ts'
import type { PublishOptions, PublishReceipt } from '../../../src/pubsub/index.ts'
import { type OutboxClient, OutboxNet, StrictDisk } from '../../support/outbox-net.ts'

/** Idempotency keys, of `publish` and of `enqueue`. */

let net: OutboxNet
beforeEach(() => {
  net = new OutboxNet()
})
afterEach(() => net.close())

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'ok',
    ({ code }: StickyError) => code,
  )
const dataOf = (messages: { data: unknown }[]) => messages.map(({ data }) => data)
const isOver = (client: OutboxClient, count: number) => () => client.finals().length === count
const again = (receipt: PublishReceipt): PublishReceipt => ({ ...receipt, duplicate: true })
const QUICK = { publishDeadlineMs: 1_000 }

describe('a second publish under a key', () => {
  it('gives the first receipt, also after restarts, and one message; each topic has its own keys', async () => {
    const holder = await net.holder()
    let client = await net.client()
    const publish = (topic = 'room', data = 'once') =>
      net.during(client.pubsub.publish(topic, data, { key: 'k' }))
    const first = await publish()
    expect(first).toMatchObject({ status: 'stored', sequence: 1, duplicate: false })
    expect(await publish()).toEqual(again(first))
    expect((await publish('hall')).duplicate).toBe(false)
    client = await net.crashed(client)
    expect(await publish()).toEqual(again(first))
    client = await net.reopened(client)
    expect(await publish()).toEqual(again(first))
    expect((await net.during(client.pubsub.publish('room', 'other'))).duplicate).toBe(false)
    expect(dataOf(await net.read(holder, 'room'))).toEqual(['once', 'other'])
  })

  it('at the same moment is answered by the first', async () => {
    const holder = await net.holder()
    const client = await net.client()
    const receipts = await net.during(
      Promise.all([1, 2, 3].map(() => client.pubsub.publish('room', 'once', { key: 'k' }))),
    )
    expect(receipts.map(({ duplicate }) => duplicate)).toEqual([false, true, true])
    expect(new Set(receipts.map(({ id }) => id)).size).toBe(1)
    expect(await net.read(holder, 'room')).toHaveLength(1)
  })

  it('at the same moment is made all the same where the first is aborted, or its time is over', async () => {
    const holder = await net.holder()
    for (const [i, limit] of (['signal', 'deadline', 'nothing'] as const).entries()) {
      const client = await net.client()
      client.fault = limit === 'nothing' ? undefined : 'never'
      const abort = new AbortController()
      const publish = (options: PublishOptions = {}) =>
        client.pubsub.publish('room', i, { key: 'k', ...options })
      const first = codeOf(
        publish(
          limit === 'signal' ? { signal: abort.signal } : { deadlineMs: limit === 'deadline' ? 500 : 5_000 },
        ),
      )
      const second = publish({ deadlineMs: 60_000 })
      second.catch(() => undefined) // looked at below
      await net.pass(250)
      abort.abort()
      expect(await net.during(first)).toBe(
        { signal: 'ABORTED', deadline: 'QUORUM_FAILED', nothing: 'ok' }[limit],
      )
      client.fault = undefined
      expect(await net.during(second)).toMatchObject({ status: 'stored', duplicate: limit === 'nothing' })
    }
    expect(dataOf(await net.read(holder, 'room'))).toEqual([0, 1, 2])
  })

  it('with other data is refused, whatever became of the first', async () => {
    const holder = await net.holder()
    const client = await net.client()
    const { pubsub } = client
    const first = pubsub.publish('room', 1, { key: 'k' })
    expect(await net.during(codeOf(pubsub.publish('room', 2, { key: 'k' })))).toBe('KEY_CONFLICT')
    await net.during(first)
    expect(await net.during(codeOf(pubsub.publish('room', 2, { key: 'k' })))).toBe('KEY_CONFLICT')
    expect(await net.during(codeOf(pubsub.enqueue('room', 2, { key: 'k' })))).toBe('KEY_CONFLICT')
    client.fault = 'never'
    await net.during(pubsub.enqueue('room', 1, { key: 'waits' }))
    expect(await net.during(codeOf(pubsub.enqueue('room', 2, { key: 'waits' })))).toBe('KEY_CONFLICT')
    expect(await net.during(codeOf(pubsub.publish('room', 2, { key: 'waits' })))).toBe('KEY_CONFLICT')
    client.fault = undefined
    await net.until(isOver(client, 1))
    expect(dataOf(await net.read(holder, 'room'))).toEqual([1, 1])
  })

  it('sends the same bytes where the outcome of the first is unknown, also after a crash', async () => {
    const holder = await net.holder()
    let client = await net.client({ options: QUICK })
    client.fault = 'lost'
    expect(await net.during(codeOf(client.pubsub.publish('room', 1, { key: 'a' })))).toBe('OUTCOME_UNKNOWN')
    client.fault = undefined
    expect(await net.during(client.pubsub.publish('room', 1, { key: 'a' }))).toMatchObject({
      duplicate: false,
    })
    client.isDeaf = true
    void client.pubsub.publish('room', 2, { key: 'b' }).catch(() => undefined)
    await net.until(async () => (await net.read(holder, 'room')).length === 2)
    client = await net.crashed(client)
    expect(await net.during(client.pubsub.publish('room', 2, { key: 'b' }))).toMatchObject({
      duplicate: false,
    })
    expect(await net.during(client.pubsub.publish('room', 2, { key: 'b' }))).toMatchObject({
      duplicate: true,
    })
    expect(dataOf(await net.read(holder, 'room'))).toEqual([1, 2])
  })

  it('is a new one after the first has failed for good', async () => {
    const holder = await net.holder()
    const client = await net.client()
    client.fault = 'refused'
    expect(await net.during(codeOf(client.pubsub.publish('room', 1, { key: 'k' })))).toBe('TOO_LARGE')
    client.fault = undefined
    expect((await net.during(client.pubsub.publish('room', 2, { key: 'k' }))).duplicate).toBe(false)
    expect(dataOf(await net.read(holder, 'room'))).toEqual([2])
  })
})

describe('publish under a key', () => {
  it('sends nothing where the disk does not take it, or too late', async () => {
    const storage = new StrictDisk()
    const holder = await net.holder()
    const client = await net.client({ storage })
    storage.refuse = (key) => key.includes('/key/')
    expect(await net.during(codeOf(client.pubsub.publish('room', 1, { key: 'k' })))).toBe('STORAGE_FULL')
    storage.refuse = undefined
    storage.hold = (key) => key.includes('/key/')
    const late = client.pubsub.publish('room', 1, { key: 'k', deadlineMs: 3_000 })
    expect(await net.during(codeOf(late))).toBe('STORAGE_FAILED')
    storage.release()
    await net.pass(20_000)
    expect(client.requests).toEqual([])
    await net.during(client.pubsub.publish('room', 1, { key: 'k' }))
    expect(await net.read(holder, 'room')).toHaveLength(1)
  })

  it('is stored in the order of the calls, with those under other keys and under none', async () => {
    const holder = await net.holder()
    const client = await net.client()
    const publish = (data: string | Uint8Array, options?: PublishOptions) =>
      client.pubsub.publish('room', data, options)
    const receipts = await net.during(
      Promise.all([
        publish('first', { key: 'a' }),
        publish('second'),
        publish(new Uint8Array(1_000), { key: 'b' }), // takes longer to hash
        publish('fourth', { key: 'c' }),
        publish('first', { key: 'a' }),
        publish('fifth'),
      ]),
    )
    expect(receipts.map(({ sequence }) => sequence)).toEqual([1, 2, 3, 4, 1, 5])
    expect(dataOf(await net.read(holder, 'room'))).toEqual([
      'first',
      'second',
      new Uint8Array(1_000),
      'fourth',
      'fifth',
    ])
  })

  it('ends with its signal', async () => {
    const client = await net.client()
    const abort = new AbortController()
    const published = codeOf(client.pubsub.publish('room', 1, { key: 'k', signal: abort.signal }))
    await net.pass(1_000)
    abort.abort()
    expect(await net.during(published)).toBe('ABORTED')
  })

  it('ends with its signal, in whichever step it is', async () => {
    const client = await net.client()
    const codes = new Set<string>()
    for (let steps = 0; steps < 30; steps++) {
      const abort = new AbortController()
      const options = { key: `k${steps}`, signal: abort.signal, deadlineMs: 400 }
      const published = codeOf(client.pubsub.publish('room', steps, options))
      for (let i = 0; i < steps; i++) await undefined
      abort.abort()
      codes.add(await net.during(published))
    }
    expect([...codes]).toEqual(['ABORTED'])
  })

  it('waits for what is enqueued under it; gives up with its own deadline, and that goes on', async () => {
    const client = await net.client()
    await net.during(client.pubsub.enqueue('room', 1, { key: 'k' }))
    expect(await net.during(codeOf(client.pubsub.publish('room', 1, { key: 'k' })))).toBe('OUTCOME_UNKNOWN')
    const published = client.pubsub.publish('room', 1, { key: 'k', deadlineMs: 60_000 })
    const holder = await net.holder()
    expect(await net.during(published)).toMatchObject({ duplicate: true })
    expect(await net.read(holder, 'room')).toHaveLength(1)
  })
})

describe('enqueue under a key', () => {
  it('that waits, is stored or was published gives what there is', async () => {
    const holder = await net.holder()
    const client = await net.client()
    const { pubsub } = client
    const [one, two] = await net.during(
      Promise.all([1, 2].map(() => pubsub.enqueue('room', 1, { key: 'k' }))),
    )
    expect(two?.queuedAt).toBe(one?.queuedAt)
    await net.until(isOver(client, 1))
    const stored = client.finals()[0]?.stored as PublishReceipt
    expect(await net.during(pubsub.enqueue('room', 1, { key: 'k' }))).toMatchObject({
      state: 'stored',
      stored: again(stored),
    })
    expect(await net.during(pubsub.publish('room', 1, { key: 'k' }))).toEqual(again(stored))
    const published = await net.during(pubsub.publish('room', 2, { key: 'p' }))
    expect(await net.during(pubsub.enqueue('room', 2, { key: 'p' }))).toMatchObject({
      stored: again(published),
    })
    expect(await pubsub.outbox()).toEqual([])
    expect(dataOf(await net.read(holder, 'room'))).toEqual([1, 2])
  })

  it('that failed with an unknown outcome sends the same bytes again; the key may be one made by chance', async () => {
    const holder = await net.holder()
    let client = await net.client({ options: QUICK })
    client.fault = 'lost'
    const { key } = await net.during(client.pubsub.enqueue('room', 1))
    await net.until(isOver(client, 1))
    expect(client.finals()).toMatchObject([
      { state: 'failed', attempts: 5, error: { code: 'OUTCOME_UNKNOWN' } },
    ])
    const sent = new Set(client.requests.flat())
    client = await net.crashed(client)
    await net.during(client.pubsub.enqueue('room', 1, { key }))
    await net.until(isOver(client, 1))
    expect(new Set(client.requests.flat())).toEqual(sent)
    expect(sent.size).toBe(1)
    expect(await net.read(holder, 'room')).toHaveLength(1)
  })
})

describe('keys', () => {
  it('are forgotten after a time, the oldest when there are too many, and leave the disk', async () => {
    const storage = new StrictDisk()
    const holder = await net.holder()
    const options = { maxRememberedKeys: 3, rememberedKeyMs: 60_000 }
    let client = await net.client({ storage, options })
    const publish = (key: string) =>
      net
        .during(client.pubsub.publish('room', 'data', { key, ttlMs: 30_000 }))
        .then(({ duplicate }) => duplicate)
    for (const key of ['a', 'b', 'c', 'd']) expect(await publish(key)).toBe(false)
    expect(await publish('d')).toBe(true)
    expect(await publish('b')).toBe(true)
    expect(await publish('a')).toBe(false)
    expect(client.pubsub.counters().rememberedKeys).toBe(3)
    client = await net.reopened(client, options)
    expect(await publish('a')).toBe(true)
    await net.pass(70_000)
    expect(await publish('a')).toBe(false)
    expect(await storage.outboxKeys()).toHaveLength(1)
    await net.pass(70_000)
    await net.reopened(client, options)
    await net.pass(1_000)
    expect(await storage.outboxKeys()).toEqual([])
    expect(await net.read(holder, 'room')).toEqual([])
  })
})
