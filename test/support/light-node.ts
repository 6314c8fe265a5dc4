import { type BridgeLink, keepBridge } from '../../src/browser/bridge-link.ts'
import {
  createLightNetwork,
  type LightNetwork,
  type LightNetworkOptions,
} from '../../src/browser/light-network.ts'
import {
  Cleanups,
  type Identity,
  identityFromSeed,
  memoryStorage,
  systemRuntime,
} from '../../src/dht/index.ts'
import { ClientPubSub } from '../../src/pubsub/index.ts'

/** A light node as in a page, but for what only a page has: its keys and what waits are in memory. */

export interface LightNode extends AsyncDisposable {
  identity: Identity
  network: LightNetwork
  pubsub: ClientPubSub
  bridge: BridgeLink
  /** How attempts to join the bridge ended; undefined: well. */
  attempts: unknown[]
  close(): Promise<void>
}

export async function startLightNode(
  bridgeUrl: string,
  options: Partial<LightNetworkOptions> = {},
): Promise<LightNode> {
  const seed = crypto.getRandomValues(new Uint8Array(32))
  const identity = await identityFromSeed(seed)
  const cleanups = new Cleanups()
  const network = await createLightNetwork({ nodeId: identity.nodeId, seed, options })
  cleanups.add(() => network.close())
  const pubsub = new ClientPubSub({
    network,
    storage: memoryStorage(),
    identity,
    options: { awaitPeersMs: 3_000 },
  })
  cleanups.add(() => pubsub.close())
  const attempts: unknown[] = []
  const bridge = keepBridge({
    bridgeUrl,
    identity,
    way: {
      isConnected: (bridgeId) => network.isConnected(bridgeId),
      join: ({ relay, serverId }, signal) => network.join(relay, serverId, signal),
      dropDead: (signal) => network.dropDead(signal).then(() => false),
    },
    runtime: systemRuntime,
    onAttempt: ({ error }) => attempts.push(error),
  })
  cleanups.add(() => bridge.stop())
  const close = () => cleanups.close()
  return { identity, network, pubsub, bridge, attempts, close, [Symbol.asyncDispose]: close }
}
