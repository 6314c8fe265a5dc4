import { createBridgeLibp2p } from '../../src/bridge/transports.ts'
import { identityFromSeed } from '../../src/dht/identity.ts'
import { createLibp2pNetwork, type Libp2pNetwork, type Libp2pNetworkOptions } from '../../src/dht/libp2p.ts'
import { joinDht } from '../../src/dht/libp2p-join.ts'
import { listenOnRelay } from '../../src/dht/libp2p-relay.ts'
import type { DhtLibp2p } from '../../src/dht/libp2p-services.ts'
import { createNodeLibp2p, type NodeRole } from '../../src/node/transports.ts'

/** A network of real libp2p nodes on loopback, joined through a bridge that admits whoever the test lets in. */

export interface TestPeer {
  seed: Uint8Array
  libp2p: DhtLibp2p
  network: Libp2pNetwork
}

export interface AddOptions {
  admit?: boolean
  join?: boolean
  relayed?: boolean
  /** Its one port. */
  listenPort?: number
  /** Told to others instead of it. */
  announcePort?: number
}

const websocketAt = (port: number) => `/ip4/127.0.0.1/tcp/${port}/ws`

export interface TestLibp2pNet {
  bridge: DhtLibp2p
  bridgeAddress: string
  /** Ids that have passed the challenge, as far as the bridge knows. */
  admitted: Set<string>
  peers: TestPeer[]
  /** Starts a node; joined unless `join` is false. Its id is admitted first unless `admit` is false. `relayed`: only reachable through the bridge. */
  add(role: NodeRole, options?: AddOptions): Promise<TestPeer>
  stop(): Promise<void>
}

let lastSeed = 0 // ids differ between all networks of the process, and from those that tests choose: seeds of one byte
const newSeed = (): Uint8Array => {
  const seed = new Uint8Array(32)
  new DataView(seed.buffer).setUint32(0, ++lastSeed)
  return seed
}

export async function startLibp2pNet(
  roles: NodeRole[],
  networkOptions: Partial<Libp2pNetworkOptions> = {},
): Promise<TestLibp2pNet> {
  const admitted = new Set<string>()
  const bridge = await createBridgeLibp2p({
    seed: newSeed(),
    listenPort: 0,
    announce: [],
    admit: (peerId) => admitted.has(peerId),
  })
  const bridgeAddress = String(bridge.getMultiaddrs()[0])
  const peers: TestPeer[] = []

  const add: TestLibp2pNet['add'] = async (role, options = {}) => {
    const { admit = true, join = true, relayed = false, listenPort = 0, announcePort } = options
    const listen = role === 'client' || relayed ? [] : [websocketAt(listenPort)]
    const announce = announcePort === undefined ? {} : { announce: [websocketAt(announcePort)] }
    const seed = newSeed()
    if (admit) admitted.add((await identityFromSeed(seed)).nodeId)
    const libp2p = await createNodeLibp2p({ seed, listen, role, ...announce })
    if (relayed) await listenOnRelay(libp2p, bridgeAddress)
    const network = createLibp2pNetwork({
      libp2p,
      durable: role === 'durable',
      stores: role !== 'client',
      options: networkOptions,
    })
    const peer = { seed, libp2p, network }
    peers.push(peer)
    if (join) await joinDht(libp2p, [bridgeAddress], { signal: AbortSignal.timeout(10_000) })
    return peer
  }

  const stop = async () => {
    await Promise.all(peers.map(({ network }) => network.close()))
    await Promise.all([...peers.map(({ libp2p }) => libp2p.stop()), bridge.stop()])
  }
  for (const role of roles) await add(role)
  return { bridge, bridgeAddress, admitted, peers, add, stop }
}
