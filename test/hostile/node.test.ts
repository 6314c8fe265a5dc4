import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { toHex } from '../../src/dht/index.ts'
import { topicKeyOf } from '../../src/pubsub/topic-key.ts'
import { LinkAttacker } from '../support/link-attacker.ts'
import { until } from '../support/memory-nodes.ts'
import { type ServingNode, servesHonest, startNode } from '../support/serving-node.ts'
import { type Attack, outcomeOf, type Stage } from './attacks/attack.ts'
import { collectionAttacks } from './attacks/collections.ts'
import { frameAttacks, requestAttacks } from './attacks/frames.ts'
import { blockAttacks, recordAttacks } from './attacks/records.ts'
import { messageAttacks, presenceAttacks, pushAttacks, statementAttacks } from './attacks/topics.ts'

/**
 * A serving node on real libp2p, and somebody with a key who speaks the link protocol by hand. Each attack is refused
 * with a code or ends its link; it leaves nothing on disk and nothing in memory, and an honest client is served on the
 * same topic afterwards.
 */

const MAX_LOADED_RECORDS = 32
let target: ServingNode
let attacker: LinkAttacker
let stage: Stage
let nextTopic = 0

beforeAll(async () => {
  target = await startNode('durable', { requestTimeoutMs: 300, maxLoadedRecords: MAX_LOADED_RECORDS })
})
afterAll(() => target?.close())

beforeEach(async () => {
  const topic = `attacked ${++nextTopic}`
  await target.pubsub.publish(topic, 'honest') // who is served is looked at afterwards
  attacker = await LinkAttacker.start(target)
  stage = { target, attacker, topic, topicKey: await topicKeyOf(topic), link: await attacker.link() }
})
afterEach(() => attacker.close())

/** The records on disk, and the commits of the topic that is attacked. */
async function stored(): Promise<Set<string>> {
  const names = new Set<string>()
  for (const prefix of ['head/', `log/coordinator/${toHex(stage.topicKey)}/`])
    for await (const name of target.storage.keys(prefix)) names.add(name)
  return names
}

const tables: [string, Attack[]][] = [
  ['a frame', frameAttacks],
  ['a request', requestAttacks],
  ['a message', messageAttacks],
  ['a statement', statementAttacks],
  ['a push', pushAttacks],
  ['a presence', presenceAttacks],
  ['a record', recordAttacks],
  ['a block', blockAttacks],
  ['a collection', collectionAttacks],
]

describe.each(tables)('hostile: %s', (_surface, attacks) => {
  it.each(attacks)('$name: $expected', async ({ act, expected, mayStore }) => {
    const before = await stored()
    expect(outcomeOf(await act(stage))).toBe(expected)
    if (!mayStore) expect([...(await stored())].filter((name) => !before.has(name))).toEqual([])
    await attacker.close()
    const { dht } = target.pubsub
    await until(() => dht.rpc.connectedPeers.length === 0)
    expect(target.pubsub.counters()).toMatchObject({ attachedTopics: 0, subscriptions: 0 })
    expect(target.pubsub.counters().loadedRecords).toBeLessThanOrEqual(MAX_LOADED_RECORDS)
    await servesHonest(target, stage.topic)
    expect((await dht.store.record('coordinator', stage.topicKey)).head?.byteLength).toBeLessThanOrEqual(
      1_024,
    )
  })
})
