import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Message, Topic, TopicReceipt } from '../../../web/chat-node.ts'
import type { ChatEntry } from '../../../web/entries.ts'
import { RoomLog } from '../../../web/room-log.ts'
import { RoomOutbox } from '../../../web/room-outbox.ts'
import { keepUnsent, loadUnsent } from '../../../web/unsent-kept.ts'
import { PATIENCE } from '../../support/patience.ts'

const stored = new Map<string, string>()
beforeEach(() => {
  vi.stubGlobal('localStorage', {
    getItem: (key: string) => stored.get(key) ?? null,
    setItem: (key: string, value: string) => stored.set(key, value),
  })
  vi.stubGlobal('addEventListener', () => undefined)
})
afterEach(() => {
  stored.clear()
  vi.unstubAllGlobals()
})

const author = { room: 'lobby', nodeId: 'me' }
const failed = {
  chat: { name: 'Noor', text: 'not sent yet', at: 1, typed: true },
  outboxKey: 'key 1',
  problem: 'Nobody was there.',
}

/** A topic whose outbox takes what is published when the test says so. */
function outboxOf(nodeId = 'me') {
  const taken = Promise.withResolvers<void>()
  const keys: unknown[] = []
  let tell: (receipt: TopicReceipt) => void = () => undefined
  const topic = {
    on: (_event: string, listener: typeof tell) => {
      tell = listener
      return () => undefined
    },
    outbox: async () => [],
    publish: async (_data: unknown, { key }: { key?: string }) => {
      keys.push(key)
      await taken.promise
      return { key, state: 'queued' }
    },
  } as unknown as Topic
  const log = new RoomLog(nodeId)
  const outbox = new RoomOutbox({
    room: 'lobby',
    nodeId,
    log,
    onChange: () => undefined,
    onFailed: () => undefined,
  })
  return { outbox, log, topic, taken, keys, tell: (receipt: object) => tell(receipt as TopicReceipt) }
}

const coded = (code: string) => Object.assign(new Error(code), { code })
const shown = (log: RoomLog) =>
  log.present.map((entry) => (entry.kind === 'message' ? [entry.text, entry.state] : entry))

describe('a message that is sent again', () => {
  it('is kept by this browser until the outbox has it', async () => {
    keepUnsent(author, failed)
    const { outbox, log, topic, taken, keys } = outboxOf()
    await outbox.attach(topic)
    outbox.retry(log.present[0] as ChatEntry)
    expect(keys).toEqual(['key 1'])
    expect(loadUnsent(author)).toEqual([failed]) // the page may be gone in this moment
    taken.resolve()
    await vi.waitFor(() => expect(loadUnsent(author)).toEqual([]), PATIENCE)
  })

  it('is kept while the room is being opened, and sent once it is', async () => {
    keepUnsent(author, failed)
    const { outbox, log, topic, taken, keys } = outboxOf()
    taken.resolve()
    const closed = { ...topic, outbox: () => new Promise(() => undefined) } as unknown as Topic
    void outbox.attach(closed)
    outbox.retry(log.present[0] as ChatEntry)
    expect([keys, loadUnsent(author)]).toEqual([[], [failed]])
    await outbox.attach(topic)
    await vi.waitFor(() => expect([keys, loadUnsent(author)]).toEqual([['key 1'], []]), PATIENCE)
    expect(log.present).toHaveLength(1)
  })
})

describe('a message that failed', () => {
  it('stands behind what has come since, once it is sent again', () => {
    keepUnsent(author, failed)
    keepUnsent(author, { ...failed, outboxKey: 'key 2', chat: { ...failed.chat, text: 'another' } })
    const { outbox, log } = outboxOf()
    outbox.retry(log.present[0] as ChatEntry)
    expect(shown(log)).toEqual([
      ['another', 'failed'],
      ['not sent yet', 'waiting'],
    ])
  })
})

describe('a message that no outbox has taken yet', () => {
  it('is sent by the next page, under its key, where this one is gone before its room is open', async () => {
    const gone = outboxOf()
    gone.outbox.send('Noor', 'quickly')
    expect([gone.outbox.hasOnlyHere, gone.outbox.hasWaiting]).toEqual([true, false])
    const [kept] = loadUnsent(author)
    expect(kept).toMatchObject({ chat: { text: 'quickly' }, outboxKey: expect.any(String) })

    const next = outboxOf()
    await next.outbox.attach(next.topic)
    expect(shown(next.log)).toEqual([['quickly', 'waiting']])
    expect(next.keys).toEqual([kept?.outboxKey])
    expect(loadUnsent(author)).toEqual([kept])
    next.taken.resolve()
    await vi.waitFor(() => expect(loadUnsent(author)).toEqual([]), PATIENCE)
    expect([next.outbox.hasOnlyHere, next.outbox.hasWaiting]).toEqual([false, true])
  })

  it('is not sent twice where the outbox has it after all, and forgotten where the topic brings it', async () => {
    const { outbox, topic, keys, log } = outboxOf()
    outbox.send('Noor', 'taken')
    outbox.send('Noor', 'stored')
    const [taken, stored] = loadUnsent(author)
    const left = [{ key: taken?.outboxKey, state: 'queued', data: { kind: 'chat', ...taken?.chat } }]
    const reading = Promise.withResolvers<unknown[]>()
    const attaching = outbox.attach({ ...topic, outbox: () => reading.promise } as unknown as Topic)
    const said = { publisher: 'me', id: 'id' } as Message
    expect(outbox.arrived(said, stored?.chat ?? { name: '', text: '' })).toBe(log.present[1])
    reading.resolve(left)
    await attaching
    expect(keys).toEqual([])
    expect(loadUnsent(author)).toEqual([])
    expect(shown(log)).toEqual([
      ['taken', 'waiting'],
      ['stored', 'sent'],
    ])
  })

  it('is the next identity’s to send, unless this one’s outbox has it', async () => {
    const before = outboxOf()
    before.outbox.send('Noor', 'while the room was opened')
    const heirs: string[] = []
    const heir = ({ text }: ChatEntry) => heirs.push(text)
    before.outbox.handOver(heir)
    expect([heirs, loadUnsent(author)]).toEqual([['while the room was opened'], []])

    const open = outboxOf()
    await open.outbox.attach(open.topic)
    open.outbox.send('Noor', 'not taken')
    open.outbox.handOver(heir)
    expect(heirs).toHaveLength(1)
    open.taken.reject(coded('WRONG_IDENTITY'))
    await vi.waitFor(() => expect(heirs).toEqual(['while the room was opened', 'not taken']), PATIENCE)
    expect(loadUnsent(author)).toEqual([])

    const begun = outboxOf()
    await begun.outbox.attach(begun.topic)
    begun.outbox.send('Noor', 'nobody knows')
    begun.outbox.handOver(heir)
    begun.taken.reject(coded('OUTCOME_UNKNOWN'))
    await vi.waitFor(() => expect(shown(begun.log)).toEqual([['nobody knows', 'failed']]), PATIENCE)
    expect(heirs).toHaveLength(2)
    expect(loadUnsent(author)).toMatchObject([{ chat: { text: 'nobody knows' } }])
    const other = outboxOf('somebody else')
    await other.outbox.attach(other.topic)
    expect(shown(other.log)).toEqual([])
  })

  it('is shown, and in its place, before its room is open again', async () => {
    outboxOf().outbox.send('Noor', 'first')
    const next = outboxOf()
    expect(shown(next.log)).toEqual([['first', 'waiting']])
    expect(next.outbox.hasOnlyHere).toBe(true)
    next.outbox.send('Noor', 'second')
    const keys = loadUnsent(author).map(({ outboxKey }) => outboxKey)
    await next.outbox.attach(next.topic)
    expect(next.keys).toEqual(keys)
  })

  it('is nobody else’s once it was handed over, or its room was left, while the topic was being opened', async () => {
    for (const end of ['handOver', 'leave'] as const) {
      const { outbox, topic, keys } = outboxOf()
      outbox.send('Noor', 'early')
      const reading = Promise.withResolvers<unknown[]>()
      const attaching = outbox.attach({ ...topic, outbox: () => reading.promise } as unknown as Topic)
      outbox[end](() => undefined)
      reading.resolve([])
      await attaching
      expect(keys).toEqual([])
      stored.clear()
    }
  })

  it('waits where its node was asked to send it, also when it is left', async () => {
    const { outbox, topic } = outboxOf()
    await outbox.attach(topic)
    outbox.send('Noor', 'asked')
    expect([outbox.hasOnlyHere, outbox.hasWaiting]).toEqual([false, true])
  })

  it('is shown as failed where it has waited for more than a day', () => {
    vi.useFakeTimers({ now: 0 })
    outboxOf().outbox.send('Noor', 'long ago')
    vi.setSystemTime(25 * 60 * 60_000)
    const { log, outbox } = outboxOf()
    vi.useRealTimers()
    expect(shown(log)).toEqual([['long ago', 'failed']])
    expect(outbox.hasOnlyHere).toBe(true)
  })

  it('is not kept any more once its room is left, whatever becomes of it', async () => {
    const { outbox, topic, taken, log, tell } = outboxOf()
    await outbox.attach(topic)
    outbox.send('Noor', 'on its way')
    taken.resolve()
    await vi.waitFor(() => expect(loadUnsent(author)).toEqual([]), PATIENCE)
    const { outboxKey: key } = log.present[0] as ChatEntry
    const data = { kind: 'chat', name: 'Noor', text: 'on its way', at: (log.present[0] as ChatEntry).said }
    outbox.leave()
    tell({ key, data, state: 'failed', error: { code: 'EXPIRED', message: '' } })
    expect(loadUnsent(author)).toEqual([])
  })
})

describe('an own message that is stored by the word of a receipt', () => {
  it('is the one that the topic brings later', async () => {
    const { outbox, topic, log, tell, taken } = outboxOf()
    await outbox.attach(topic)
    taken.resolve()
    outbox.send('Noor', 'hello')
    const entry = log.present[0] as ChatEntry
    const chat = { name: 'Noor', text: 'hello', at: entry.said ?? 0 }
    const stored = { id: 'its id', replicas: 3 }
    tell({ key: entry.outboxKey, data: { kind: 'chat', ...chat }, state: 'stored', stored })
    expect(entry).toMatchObject({ state: 'sent', id: 'its id', replicas: 3 })
    expect(log.has('its id')).toBe(false)
    const message = (id: string) => ({ publisher: 'me', id }) as Message
    expect(outbox.arrived(message('another of the same text'), chat)).toBeUndefined()
    expect(outbox.arrived(message('its id'), chat)).toBe(entry)
    expect(outbox.arrived(message('its id'), chat)).toBeUndefined()
  })
})
