import { createLibp2pNetwork, joinDht, peersOf } from '../dht/index.ts'
import { StickyPubSub } from '../pubsub/index.ts'
import { dropDeadConnections } from './alive.ts'
import { type NetworkNode, type OriginNodeOptions, startOriginNode } from './origin-node.ts'
import { createBrowserLibp2p, useRelay } from './transports.ts'

/** The whole node: it holds records for others, and reaches other tabs by WebRTC. */

export interface NetworkNodeOptions extends OriginNodeOptions {
  rtcConfiguration?: RTCConfiguration
}

/** As `startOriginNode`. */
export const startNetworkNode = ({
  rtcConfiguration,
  ...options
}: NetworkNodeOptions): Promise<NetworkNode> =>
  startOriginNode(options, async ({ seed }, onConnections, cleanups) => {
    const libp2p = await createBrowserLibp2p({ seed, ...(rtcConfiguration ? { rtcConfiguration } : {}) })
    cleanups.add(() => libp2p.stop())
    libp2p.addEventListener('connection:open', onConnections)
    libp2p.addEventListener('connection:close', onConnections)
    const network = await createLibp2pNetwork({ libp2p, durable: false, stores: true })
    cleanups.add(() => network.close())
    return {
      network,
      createPubSub: (init) => new StickyPubSub(init),
      connected: () => peersOf(libp2p.getConnections()),
      way: {
        isConnected: (bridgeId) =>
          libp2p.getConnections().some(({ remotePeer }) => String(remotePeer) === bridgeId),
        join: async ({ relay }, signal) => {
          await useRelay(libp2p, relay)
          await joinDht(libp2p, [relay], { signal })
        },
        dropDead: (signal) => dropDeadConnections(libp2p, signal, 'a server'),
      },
    }
  })
