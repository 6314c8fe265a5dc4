import { afterEach, describe, expect, it } from 'vitest'
import { encode, identityFromSeed, memoryStorage } from '../../src/dht/index.ts'
import { createMessage } from '../../src/pubsub/message.ts'
import { LIMITS } from '../../src/pubsub/options.ts'
import { topicKeyOf } from '../../src/pubsub/topic-key.ts'
import { topicMethods } from '../../src/pubsub/wire.ts'
import { MemoryNet, type MemoryNode, until } from '../support/memory-nodes.ts'

/** A message is sent again to a replica that has started anew since, and has only read what came last. */

const TOPIC = 'room'
const OTHERS = LIMITS.maxDuplicateScan + 100

let net: MemoryNet
afterEach(() => net.close())

/** Resolves with the replica that has started anew, when it was sent the message again. */
async function sentAgain(publishedAt: number) {
  net = new MemoryNet()
  const key = await topicKeyOf(TOPIC)
  const storage = { ...memoryStorage(), close: async () => undefined }
  const { seed, pubsub } = await net.add({ storage })
  const client = await net.add({ stores: false, durable: false })
  const { envelope } = await createMessage({
    topicKey: key,
    identity: await identityFromSeed(client.seed),
    writer: new Uint8Array(8),
    sequence: 1,
    publishedAt,
    ttlMs: 3_600_000,
    data: encode('first'),
  })
  const send = (to: string) =>
    client.pubsub.dht.rpc.request(to, topicMethods.publish, {
      topic: key,
      messages: [envelope],
      payloads: [],
    })
  await send(pubsub.nodeId)
  for (let left = OTHERS; left > 0; left -= 100)
    await Promise.all(
      Array.from({ length: Math.min(left, 100) }, (_, i) => client.pubsub.publish(TOPIC, left - i)),
    )
  await pubsub.close()
  const replica = await net.add({ seed, storage })
  await until(() => client.pubsub.loadCoordinator(TOPIC).catch(() => undefined)) // it is back
  expect(await send(pubsub.nodeId)).toMatchObject({ results: [null] })
  const times = async ({ pubsub }: MemoryNode) => {
    const view = await pubsub.loadMessageCollection(TOPIC)
    return { count: view?.count, first: (await textsOf(pubsub)).filter((text) => text === 'first').length }
  }
  return { replica, times }
}

async function textsOf(pubsub: MemoryNode['pubsub']): Promise<unknown[]> {
  const texts: unknown[] = []
  let before: string | undefined
  do {
    const page = await pubsub.history(TOPIC, before === undefined ? { limit: 500 } : { limit: 500, before })
    texts.push(...page.messages.map(({ data }) => data))
    before = page.before
  } while (before !== undefined)
  return texts
}

describe('a message that is sent again', () => {
  it('after a while is kept once, however many have followed', async () => {
    const { replica, times } = await sentAgain(Date.now() - 60_000)
    expect(await times(replica)).toEqual({ count: OTHERS + 1, first: 1 })
  })

  it('at once, and is kept twice, keeps nobody from taking the topic over', async () => {
    const { replica, times } = await sentAgain(Date.now())
    expect(await times(replica)).toEqual({ count: OTHERS + 2, first: 2 })
    const newcomer = await net.add()
    await until(async () => (await newcomer.pubsub.replicas(TOPIC)).every(({ headId }) => headId))
    expect((await times(newcomer)).first).toBeGreaterThan(0)
  })
})
