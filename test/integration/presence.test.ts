import { afterEach, expect, it } from 'vitest'
import { identityFromSeed, memoryStorage } from '../../src/dht/index.ts'
import { type PresenceMember, StickyPubSub, type Subscription, topicKeyOf } from '../../src/pubsub/index.ts'
import { startLibp2pNet, type TestLibp2pNet } from '../support/libp2p-net.ts'
import { until } from '../support/memory-nodes.ts'

/** Who is here, over real libp2p: a durable node, a fleeting one and a client. */

let net: TestLibp2pNet | undefined
const nodes: StickyPubSub[] = []
afterEach(async () => {
  await Promise.all(nodes.splice(0).map((node) => node.close()))
  await net?.stop()
})

const statesOf = ({ present }: Subscription) =>
  present
    .map(({ state }: PresenceMember) => state)
    .toSorted()
    .join(', ')

it('three nodes see who joins, what changes and who leaves, those that store the topic and the one that does not', async () => {
  net = await startLibp2pNet(['durable', 'fleeting', 'client'])
  for (const { network, seed } of net.peers)
    nodes.push(
      new StickyPubSub({ network, storage: memoryStorage(), identity: await identityFromSeed(seed) }),
    )
  const key = await topicKeyOf('room')
  for (const { dht } of nodes) await until(async () => (await dht.replicas.set(key)).length === 2)
  const roles = ['durable', 'fleeting', 'client']
  const inRoom = await Promise.all(
    nodes.map((node, i) => node.subscribe('room', { presence: roles[i] as string })),
  )
  for (const subscription of inRoom)
    await until(
      () => statesOf(subscription) === 'client, durable, fleeting',
      10_000,
      () => statesOf(subscription),
    )
  const [client] = nodes.slice(-1) as [StickyPubSub]
  const seen = inRoom[0]?.present.find(({ state }) => state === 'client')
  expect(seen?.nodeId).toBe(client.nodeId)

  await inRoom[2]?.setPresence('client, typing')
  for (const subscription of inRoom)
    await until(() => statesOf(subscription) === 'client, typing, durable, fleeting')

  await client.close() // cleanly
  for (const subscription of inRoom.slice(0, 2))
    await until(() => statesOf(subscription) === 'durable, fleeting')
})
