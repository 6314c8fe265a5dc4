import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openLevelStorage } from '../../src/node/object-store.ts'
import type { Receipt } from '../../src/pubsub/index.ts'
import { topicMethods } from '../../src/pubsub/wire.ts'
import { MemoryNet, type MemoryNode, until } from '../support/memory-nodes.ts'

/** The outbox on a real LevelDB. */

let net: MemoryNet
let folder: string
beforeEach(() => {
  net = new MemoryNet()
  folder = mkdtempSync(join(tmpdir(), 'sticky-outbox-'))
})
afterEach(async () => {
  await net.close()
  rmSync(folder, { recursive: true, force: true })
})

const SEED = new Uint8Array(32).fill(5)

async function client(directory = join(folder, 'disk')) {
  const storage = await openLevelStorage(directory)
  const node = await net.add({
    seed: SEED,
    storage,
    stores: false,
    durable: false,
    options: { offlineCheckMs: 100 },
  })
  const receipts: Receipt[] = []
  node.pubsub.onReceipt((receipt) => receipts.push(receipt))
  const stored = () => receipts.flatMap(({ state, data }) => (state === 'stored' ? [data] : []))
  return { node, receipts, stored, pubsub: node.pubsub }
}

async function close(node: MemoryNode): Promise<void> {
  await node.pubsub.close()
  net.hub.crash(node.pubsub.nodeId)
  net.nodes.splice(net.nodes.indexOf(node), 1)
}

const found = async ({ pubsub }: MemoryNode) =>
  (await pubsub.history('room')).messages.map(({ data }) => data)

describe('an outbox on LevelDB', () => {
  it('has everything after a restart, in order, and leaves nothing but the keys once it is sent', async () => {
    const first = await client()
    const large = new Uint8Array(100 * 1024).fill(3)
    for (const [i, data] of ['one', large, 'three'].entries())
      await first.pubsub.enqueue('room', data, { key: `key ${i}` })
    await close(first.node)
    const second = await client()
    expect((await second.pubsub.outbox()).map(({ key }) => key)).toEqual(['key 0', 'key 1', 'key 2'])
    const holder = await net.add()
    await until(() => second.stored().length === 3)
    expect(await found(holder)).toEqual(['one', large, 'three'])
    await close(second.node)
    const third = await client()
    expect(await third.pubsub.outbox()).toEqual([])
    expect(await third.pubsub.enqueue('room', 'one', { key: 'key 0' })).toMatchObject({
      state: 'stored',
      stored: { duplicate: true, sequence: 1 },
    })
    expect(await Array.fromAsync(third.node.storage.keys('outbox/'))).toHaveLength(3)
    expect(await found(holder)).toHaveLength(3)
  })

  it('sends the same bytes from the disk that a process left when it ended after the message was stored', async () => {
    const holder = await net.add()
    const first = await client()
    const { rpc } = first.pubsub.dht
    const request = rpc.request.bind(rpc)
    let isAnswered = false
    rpc.request = async (to, method, body, options) => {
      const answer = await request(to, method, body, options)
      if (method.name !== topicMethods.publish.name) return answer
      isAnswered = true
      return new Promise(() => undefined) // nothing that follows happens any more
    }
    await first.pubsub.enqueue('room', 'once')
    await until(() => isAnswered)
    cpSync(join(folder, 'disk'), join(folder, 'left'), { recursive: true })
    await close(first.node)
    const second = await client(join(folder, 'left'))
    await until(() => second.stored().length === 1)
    expect(await found(holder)).toEqual(['once'])
  })
})
