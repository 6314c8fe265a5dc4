import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { webSockets } from '@libp2p/websockets'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { until } from '../../support/memory-nodes.ts'
import { type Client, type System, usageOf } from '../system.ts'

/** Twice the size that a mesh strives for: enough neighbours, and not everybody a neighbour of everybody. */
const MAX_NEIGHBOURS = 12

export const system: System = {
  name: 'gossipsub',
  title: 'gossipsub',
  hasHistory: false,
  losesNothing: false,
  note: 'no servers, nothing stored, nothing promised: publishers and subscribers are the network',
  start: async () => ({
    place: undefined,
    replicas: 0,
    usage: async ({ sentBytes }) => usageOf([], { wireBytes: sentBytes, storageSentBytes: 0 }),
    stop: async () => undefined,
  }),
}

/** A node over the same transport, encryption and multiplexer as ours, connected to some of the subscribers. */
export async function connect(_place: unknown, peers: readonly string[]): Promise<Client> {
  const node = await createGossipNode()
  const neighbours = chosen(peers)
  for (const address of neighbours) await node.dial(multiaddr(address))
  const { pubsub } = node.services
  const listeners = new Map<string, (line: string) => void>()
  const decoder = new TextDecoder()
  pubsub.addEventListener('message', ({ detail }) =>
    listeners.get(detail.topic)?.(decoder.decode(detail.data)),
  )
  const encoder = new TextEncoder()
  return {
    address: String(node.getMultiaddrs()[0]),
    async publish(topic, line) {
      await pubsub.publish(topic, encoder.encode(line))
    },
    async subscribe(topic, _history, onLine) {
      listeners.set(topic, onLine)
      pubsub.subscribe(topic)
    },
    async ready(topic, subscribers) {
      const known = Math.min(subscribers, neighbours.length)
      await until(() => pubsub.getSubscribers(topic).length >= known, 60_000)
    },
    close: async () => {
      await node.stop()
    },
  }
}

const createGossipNode = () =>
  createLibp2p({
    addresses: { listen: ['/ip4/127.0.0.1/tcp/0/ws'] },
    transports: [webSockets()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionManager: { inboundConnectionThreshold: 1_000, maxIncomingPendingConnections: 256 },
    services: {
      identify: identify(),
      pubsub: gossipsub({
        // all nodes of the benchmark have one address, which gossipsub would take for an attack
        scoreParams: { IPColocationFactorWeight: 0 },
        // under load a publisher can lose its peers: what it then sends counts as not arrived
        allowPublishToZeroTopicPeers: true,
      }),
    },
  })

/** The last, so that those who came before are not only behind the first, and others evenly among the rest. */
function chosen(peers: readonly string[]): string[] {
  if (peers.length <= MAX_NEIGHBOURS) return [...peers]
  const step = peers.length / MAX_NEIGHBOURS
  const offset = Math.random() * step
  return Array.from({ length: MAX_NEIGHBOURS }, (_, i) => peers[Math.floor(offset + i * step)] as string)
}
