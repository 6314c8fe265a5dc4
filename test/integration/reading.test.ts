import { afterEach, describe, expect, it } from 'vitest'
import { type HeldRecord, StickyError } from '../../src/dht/index.ts'
import { COORDINATOR } from '../../src/pubsub/options.ts'
import { topicKeyOf } from '../../src/pubsub/topic-key.ts'
import { MemoryNet, type MemoryNode } from '../support/memory-nodes.ts'

/** A client reads a topic, and the replica that it reads from shows its head and then none of the blocks below it. */

const TOPIC = 'room'

let net: MemoryNet
afterEach(() => net.close())

/** The replicas in the order in which they are asked. */
async function readable() {
  net = new MemoryNet()
  const dhtOptions = { antiEntropyMs: 3_600_000, requestTimeoutMs: 300 }
  const holders = await Promise.all([0, 1, 2].map(() => net.add({ dhtOptions })))
  const client = await net.add({ stores: false, durable: false, dhtOptions })
  for (const text of ['one', 'two']) await client.pubsub.publish(TOPIC, text)
  const key = await topicKeyOf(TOPIC)
  const set = await client.pubsub.dht.replicas.set(key)
  const asked = set.map(({ nodeId }) => holders.find(({ pubsub }) => pubsub.nodeId === nodeId) as MemoryNode)
  const records = await Promise.all(asked.map(({ pubsub }) => pubsub.dht.store.record(COORDINATOR, key)))
  const read = async () => (await client.pubsub.history(TOPIC)).messages.map(({ data }) => data)
  return { asked, records: records as [HeldRecord, ...HeldRecord[]], read }
}

describe('a history', () => {
  const failures: [string, (holder: MemoryNode) => Promise<never>][] = [
    ['has a disk that fails', () => Promise.reject(new StickyError('STORAGE_FAILED', 'It does not turn.'))],
    ['says nothing', () => new Promise(() => undefined)],
    [
      'ends in that moment',
      ({ pubsub }) => {
        net.hub.crash(pubsub.nodeId)
        return new Promise(() => undefined)
      },
    ],
  ]
  for (const [what, fail] of failures)
    it(`is read on at another replica when the first one ${what}`, async () => {
      const { asked, records, read } = await readable()
      records[0].local = () => fail(asked[0] as MemoryNode)
      expect(await read()).toEqual(['one', 'two'])
    })

  it('cannot be read where all of them fail, and says why', async () => {
    const { records, read } = await readable()
    for (const record of records)
      record.local = () => Promise.reject(new StickyError('STORAGE_FAILED', 'It does not turn.'))
    await expect(read()).rejects.toMatchObject({ code: 'STORAGE_FAILED' })
  })
})
