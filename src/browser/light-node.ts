import { ClientPubSub } from '../pubsub/index.ts'
import { createLightNetwork } from './light-network.ts'
import { type NetworkNode, type OriginNodeOptions, startOriginNode } from './origin-node.ts'
import { type BrowserNode, createTabNode, type TabNodeOptions } from './tab-node.ts'

/** The light node: it holds nothing for others and reaches the network through its bridge. */

export type LightNodeOptions = TabNodeOptions

/**
 * As `createBrowserNode`, by a node of 150 kB instead of 240 to download. The tabs of an origin share one node, of either kind: that
 * of the tab that leads.
 */
export const createLightNode = (options: LightNodeOptions): Promise<BrowserNode> =>
  createTabNode(options, startLightNode)

const startLightNode = (options: OriginNodeOptions): Promise<NetworkNode> =>
  startOriginNode(options, async ({ nodeId, seed }, onConnections, cleanups) => {
    const secureOnly = globalThis.location?.protocol === 'https:'
    const network = await createLightNetwork({ nodeId, seed, options: { secureOnly } })
    cleanups.add(() => network.close())
    network.onConnections(onConnections)
    const anew = () => network.forgetFailures()
    globalThis.addEventListener?.('online', anew)
    cleanups.add(async () => globalThis.removeEventListener?.('online', anew))
    return {
      network,
      createPubSub: (init) => new ClientPubSub(init),
      connected: () => network.connections(),
      way: {
        isConnected: (bridgeId) => network.isConnected(bridgeId),
        join: ({ relay, serverId }, signal) => network.join(relay, serverId, signal),
        // all can be dialled again
        dropDead: (signal) => network.dropDead(signal).then(() => false),
      },
    }
  })
