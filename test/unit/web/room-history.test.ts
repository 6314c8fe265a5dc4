import { afterEach, describe, expect, it, vi } from 'vitest'
import { systemRuntime, toHex } from '../../../src/dht/index.ts'
import { openTopic, type Topic } from '../../../src/pubsub/index.ts'
import { topicKeyOf } from '../../../src/pubsub/topic-key.ts'
import { chatMessage } from '../../../web/chat-data.ts'
import type { TopicReceipt } from '../../../web/chat-node.ts'
import type { Entry } from '../../../web/entries.ts'
import { RoomHistory } from '../../../web/room-history.ts'
import { RoomLog } from '../../../web/room-log.ts'
import { RoomOutbox } from '../../../web/room-outbox.ts'
import { heal, separate } from '../../support/memory-faults.ts'
import { MemoryNet, type MemoryNode, until } from '../../support/memory-nodes.ts'

/** Older messages of a room, read over real nodes while a partition heals. */

let net: MemoryNet
afterEach(() => {
  vi.unstubAllGlobals()
  heal(net.nodes) // who says that he leaves waits for an answer
  return net.close()
})

const texts = (prefix: string, count: number) => Array.from({ length: count }, (_, n) => `${prefix} ${n}`)
const publish = (node: MemoryNode, all: string[]) =>
  Promise.all(all.map((text) => node.pubsub.publish('room', text)))

/** Two sides that have said something apart `agoMs` ago, and a room that is open at one of them. */
async function partedRoom(agoMs: number) {
  net = new MemoryNet()
  let offMs = -agoMs
  const options = {
    runtime: { ...systemRuntime, now: () => Date.now() + offMs },
    dhtOptions: { requestTimeoutMs: 300, downMs: 100, maxDownMs: 200, antiEntropyMs: 200 },
    options: { publishAttemptMs: 1_000, commitDeadlineMs: 800, retryMs: 20, checkIntervalMs: 200 },
  }
  const holders: MemoryNode[] = []
  for (let n = 0; n < 4; n++) holders.push(await net.add(options))
  const client = () => net.add({ ...options, stores: false, durable: false })
  const [here, there] = [await client(), await client()]
  await publish(here, texts('before', 5))
  separate([...holders.slice(0, 2), here], [...holders.slice(2), there])
  await publish(here, texts('here', 150))
  await publish(there, texts('there', 20))
  offMs = 0

  const log = new RoomLog(here.pubsub.nodeId)
  const history = new RoomHistory(log, { arrived: () => undefined }, () => undefined)
  const topic: Topic = await openTopic(here.pubsub, 'room', { history: { last: 10 } })
  let isJoined = false
  topic.on('message', (message) => {
    if (!log.has(message.id))
      log.add(log.entryOf(message, { name: '', text: String(message.data) }), 'present')
  })
  topic.on('history-end', ({ version }) => {
    history.joinedAt(version)
    isJoined = true
  })
  await until(() => isJoined)
  const shown = () =>
    [...log.past, ...log.present].flatMap((entry) => (entry.kind === 'message' ? [entry.text] : []))
  const joined = async () => {
    heal(net.nodes)
    const key = await topicKeyOf('room')
    await until(async () => {
      const records = holders.map(({ pubsub }) => pubsub.dht.store.record('coordinator', key))
      const heads = (await Promise.all(records)).map(({ headId }) => headId && toHex(headId))
      return new Set(heads).size === 1
    })
    offMs = 31_000 // a head is read again
  }
  return { topic, history, shown, joined }
}

describe('older messages of a room', () => {
  it('are all shown, once, though a merge has put them elsewhere since the first were', async () => {
    for (const agoMs of [0, 20 * 60_000]) {
      const { topic, history, shown, joined } = await partedRoom(agoMs)
      await history.load(topic)
      expect(history.state).toBe('more')
      const before = shown()
      expect(before).toHaveLength(110)
      await joined()
      while (history.state === 'more') await history.load(topic)
      expect(history.state).toBe('none')
      const all = [...texts('before', 5), ...texts('here', 150), ...texts('there', 20)]
      await until(() => shown().length >= all.length)
      expect(shown().sort()).toEqual(all.sort())
      await topic.close()
      if (agoMs === 0) await net.close()
    }
  })

  it('are in order where nothing has happened', async () => {
    const { topic, history, shown } = await partedRoom(0)
    while (history.state !== 'none') await history.load(topic)
    expect(shown()).toEqual([...texts('before', 5), ...texts('here', 150)])
    await topic.close()
  })

  it('hold an own message once, in its place, that a reload has found in the outbox as well', async () => {
    net = new MemoryNet()
    vi.stubGlobal('addEventListener', () => undefined)
    await net.add()
    const node = await net.add()
    const said = (text: string, at: number) => chatMessage('Ada', text, at)
    await node.pubsub.publish('room', said('stored, and not told of', 1))
    await node.pubsub.publish('room', said('after it', 2))
    const topic = await openTopic(node.pubsub, 'room', { history: 'none' })
    const log = new RoomLog(node.pubsub.nodeId)
    const onChange = () => undefined
    const outbox = new RoomOutbox({
      room: 'room',
      nodeId: node.pubsub.nodeId,
      log,
      onChange,
      onFailed: onChange,
    })
    const left = ['stored, and not told of', 'not sent'].map((text, n) => ({
      key: text,
      state: 'queued',
      data: said(text, n * 2 + 1),
    }))
    await outbox.attach({
      on: () => () => undefined,
      outbox: async () => left as unknown as TopicReceipt[],
    } as unknown as Topic)
    const history = new RoomHistory(log, outbox, onChange)
    history.joinedAt(Number.MAX_SAFE_INTEGER)
    await history.load(topic)
    const shown = (entries: readonly Entry[]) =>
      entries.map((entry) => (entry.kind === 'message' ? [entry.text, entry.state] : entry))
    expect(shown(log.past)).toEqual([
      ['stored, and not told of', 'sent'],
      ['after it', 'sent'],
    ])
    expect(shown(log.present)).toEqual([['not sent', 'waiting']])
    outbox.close()
    await topic.close()
  })
})
