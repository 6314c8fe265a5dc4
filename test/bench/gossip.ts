import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { webSockets } from '@libp2p/websockets'
import { yamux } from '@libp2p/yamux'
import { createLibp2p } from 'libp2p'

/** A gossipsub node over the same transport, encryption and multiplexer as ours. */
export const createGossipNode = (listen: string[]) =>
  createLibp2p({
    addresses: { listen },
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

export type GossipNode = Awaited<ReturnType<typeof createGossipNode>>
