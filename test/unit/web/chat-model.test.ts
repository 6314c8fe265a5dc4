import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { systemRuntime } from '../../../src/dht/index.ts'
import { openTopic, type TopicOptions } from '../../../src/pubsub/index.ts'
import { chatMessage } from '../../../web/chat-data.ts'
import { RoomModel } from '../../../web/chat-model.ts'
import type { ChatNode, Data } from '../../../web/chat-node.ts'
import type { Entry } from '../../../web/entries.ts'
import { heal, separate } from '../../support/memory-faults.ts'
import { MemoryNet, type MemoryNode, until } from '../../support/memory-nodes.ts'

/** A room as the chat has it, over real nodes. */

let net: MemoryNet
let models: RoomModel[] = []
beforeEach(() => {
  net = new MemoryNet()
  vi.stubGlobal('document', Object.assign(new EventTarget(), { visibilityState: 'visible' }))
  vi.stubGlobal('addEventListener', () => undefined)
})
afterEach(async () => {
  heal(net.nodes) // who says that he leaves waits for an answer
  await Promise.all(models.map((model) => model.close()))
  models = []
  await net.close()
  vi.unstubAllGlobals()
})

let peers: { nodeId: string }[] = []
let tellStatus: (status: { peers: unknown[] }) => void = () => undefined

function openRoom({ pubsub }: MemoryNode): RoomModel {
  const node = {
    nodeId: pubsub.nodeId,
    pubsub,
    status: () => ({ peers }),
    onStatus: (listener: typeof tellStatus) => {
      tellStatus = listener
      return () => undefined
    },
    openTopic: (name: string, options: TopicOptions<Data>) => openTopic(pubsub, name, options),
  } as unknown as ChatNode
  const model = new RoomModel(node, { name: 'room' }, 'Ada')
  models.push(model)
  model.open()
  return model
}

let at = 1
const say = ({ pubsub }: MemoryNode, text: string) => pubsub.publish('room', chatMessage('Bo', text, at++))
const shown = (entries: readonly Entry[]) =>
  entries.map((entry) => (entry.kind === 'message' ? entry.text : entry.count))

describe('a room that is joined where nobody sees it', () => {
  it('counts what came before as read, and nothing after that', async () => {
    const [node, other] = [await net.add(), await net.add()]
    await say(other, 'before')
    const first = openRoom(node)
    await until(() => first.joined)
    await say(other, 'after')
    await until(() => first.unread === 1)
    expect(shown(first.past)).toEqual(['before'])
    await first.close()

    const again = openRoom(node)
    await until(() => again.joined)
    await until(() => again.unread === 1)
    expect(shown(again.present)).toEqual(['after'])
    again.setActive(true)
    await again.close()
    const read = openRoom(node)
    await until(() => read.joined)
    expect([read.unread, shown(read.present)]).toEqual([0, []])
  })
})

describe('the older messages of a room', () => {
  it('are looked for again once more nodes are there than when there were none', async () => {
    let offMs = -60 * 60_000
    const options = {
      runtime: { ...systemRuntime, now: () => Date.now() + offMs },
      dhtOptions: { requestTimeoutMs: 300, downMs: 100, maxDownMs: 200 },
      options: { checkIntervalMs: 200, publishAttemptMs: 1_000, retryMs: 20 },
    }
    const [node, other] = [await net.add(options), await net.add(options)]
    separate([node], [other])
    await say(other, 'an hour ago')
    offMs = 0
    const model = openRoom(node)
    await until(() => model.joined)
    await model.loadOlder()
    expect([model.older, shown(model.past)]).toEqual(['none', []])
    heal(net.nodes)
    peers = [{ nodeId: other.pubsub.nodeId }]
    tellStatus({ peers })
    await until(() => model.past.length > 0, 30_000)
    expect([model.older, shown(model.past), shown(model.present)]).toEqual(['none', ['an hour ago'], []])
  })
})
