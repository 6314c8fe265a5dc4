import { multiaddr } from '@multiformats/multiaddr'
import {
  createLibp2pNetwork,
  type DhtLibp2p,
  type DhtOptions,
  identityFromSeed,
  memoryStorage,
  type NodeId,
  type PeerNetwork,
  type Storage,
} from '../../src/dht/index.ts'
import { createNodeLibp2p, type NodeLibp2pOptions, type NodeRole } from '../../src/node/transports.ts'
import { StickyPubSub } from '../../src/pubsub/index.ts'
import { until } from './memory-nodes.ts'

/** A node on real libp2p whose insides a test can look at. */
export interface ServingNode {
  pubsub: StickyPubSub
  libp2p: DhtLibp2p
  storage: Storage
  close(): Promise<void>
}

const newSeed = (): Uint8Array => crypto.getRandomValues(new Uint8Array(32))

export async function startNode(
  role: NodeRole,
  dhtOptions: Partial<DhtOptions> = {},
  knows?: ServingNode,
  libp2pOptions: Partial<NodeLibp2pOptions> = {},
): Promise<ServingNode> {
  const seed = newSeed()
  const libp2p = await createNodeLibp2p({
    seed,
    role,
    listen: role === 'client' ? [] : ['/ip4/127.0.0.1/tcp/0/ws'],
    ...libp2pOptions,
  })
  const network = createLibp2pNetwork({ libp2p, durable: role === 'durable', stores: role !== 'client' })
  const storage = memoryStorage()
  const identity = await identityFromSeed(seed)
  const pubsub = new StickyPubSub({ network, storage, identity, dhtOptions })
  if (knows !== undefined) {
    await libp2p.dial(multiaddr(addressOf(knows.libp2p)))
    await until(() => hasIdentified(network, knows.libp2p.peerId.toString()))
  }
  return {
    pubsub,
    libp2p,
    storage,
    async close() {
      await pubsub.close()
      await network.close()
      await libp2p.stop()
    },
  }
}

/** Until then nobody holds anything as far as it knows, and what it begins is tried again a while later. */
async function hasIdentified(network: PeerNetwork, peer: NodeId): Promise<boolean> {
  const signal = AbortSignal.timeout(20_000)
  const holders = await network.closestPeers(new Uint8Array(32), { count: 64, minDurable: 0, signal })
  return holders.some(({ nodeId }) => nodeId === peer)
}

export const addressOf = (libp2p: DhtLibp2p): string => String(libp2p.getMultiaddrs()[0])
export const portOf = (libp2p: DhtLibp2p): number => Number(/\/tcp\/(\d+)/.exec(addressOf(libp2p))?.[1])

/** Somebody who keeps to the rules is served: it subscribes, publishes, hears what it published, and reads it again. */
export async function servesHonest(node: ServingNode, topic: string): Promise<void> {
  const client = await startNode('client', {}, node)
  const heard: unknown[] = []
  try {
    const text = `honest ${crypto.randomUUID()}`
    await client.pubsub.subscribe(topic, { onMessage: ({ data }) => heard.push(data) })
    const receipt = await client.pubsub.publish(topic, text, { deadlineMs: 8_000 })
    const { messages } = await client.pubsub.history(topic, { limit: 1 })
    if (receipt.replicas < 1 || messages[0]?.data !== text)
      throw new Error(`Stored ${JSON.stringify(receipt)}, read ${JSON.stringify(messages)}`)
    await until(async () =>
      (await client.pubsub.subscribers(topic)).some(({ nodeId }) => nodeId === client.pubsub.nodeId),
    )
    await until(
      () => heard.includes(text),
      4_000,
      () => `a subscriber heard only ${JSON.stringify(heard)}`,
    )
  } finally {
    await client.close()
  }
}
