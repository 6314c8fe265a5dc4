import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Topic } from '../../../web/chat-node.ts'
import type { ChatEntry } from '../../../web/entries.ts'
import { keepFailed, loadFailed } from '../../../web/failed-kept.ts'
import { RoomLog } from '../../../web/room-log.ts'
import { RoomOutbox } from '../../../web/room-outbox.ts'
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

const failed = {
  chat: { name: 'Noor', text: 'not sent yet', at: 1, typed: true },
  outboxKey: 'key 1',
  problem: 'Nobody was there.',
}

/** A topic whose outbox takes what is published when the test says so. */
function outboxOf() {
  const taken = Promise.withResolvers<void>()
  const keys: unknown[] = []
  const topic = {
    on: () => () => undefined,
    outbox: async () => [],
    publish: async (_data: unknown, { key }: { key?: string }) => {
      keys.push(key)
      await taken.promise
      return { key, state: 'queued' }
    },
  } as unknown as Topic
  const log = new RoomLog('me')
  const outbox = new RoomOutbox({
    room: 'lobby',
    nodeId: 'me',
    log,
    onChange: () => undefined,
    onFailed: () => undefined,
  })
  return { outbox, log, topic, taken, keys }
}

describe('a message that is sent again', () => {
  it('is kept by this browser until the outbox has it', async () => {
    keepFailed('lobby', failed)
    const { outbox, log, topic, taken, keys } = outboxOf()
    await outbox.attach(topic)
    outbox.retry(log.present[0] as ChatEntry)
    expect(keys).toEqual(['key 1'])
    expect(loadFailed('lobby')).toEqual([failed]) // the page may be gone in this moment
    taken.resolve()
    await vi.waitFor(() => expect(loadFailed('lobby')).toEqual([]), PATIENCE)
  })

  it('is kept while the room is being opened, and sent once it is', async () => {
    keepFailed('lobby', failed)
    const { outbox, log, topic, taken, keys } = outboxOf()
    taken.resolve()
    const closed = { ...topic, outbox: () => new Promise(() => undefined) } as unknown as Topic
    void outbox.attach(closed)
    outbox.retry(log.present[0] as ChatEntry)
    expect([keys, loadFailed('lobby')]).toEqual([[], [failed]])
    await outbox.attach(topic)
    await vi.waitFor(() => expect([keys, loadFailed('lobby')]).toEqual([['key 1'], []]), PATIENCE)
    expect(log.present).toHaveLength(1)
  })
})
