import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { identify, identifyPush } from '@libp2p/identify'
import { ping } from '@libp2p/ping'
import { webSockets } from '@libp2p/websockets'
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { type AddressManagerInit, createLibp2p } from 'libp2p'
import {
  boundAnswers,
  boundIntroductions,
  boundPeerStore,
  type DhtLibp2p,
  dhtServices,
  endingOnAbort,
  hardenedListeners,
  introductions,
  keepNewest,
  PING_STREAMS,
  PINGS,
  relayTransport,
  sparingNoise,
  sparingYamux,
} from '../dht/index.ts'
import { addressOf } from './address-group.ts'
import { capConnections } from './cap-connections.ts'
import { connectWebSocket } from './websocket.ts'

/** durable: disk-backed and meant to stay. fleeting: stores while it is here. client: asks only, stores nothing. */
export type NodeRole = 'durable' | 'fleeting' | 'client'

export interface NodeLibp2pOptions {
  /** 32 bytes: the Ed25519 seed this node's id comes from. */
  seed: Uint8Array
  /** Websocket multiaddrs, for example `/ip4/127.0.0.1/tcp/0/ws`. Empty for a node that only dials. */
  listen: string[]
  /** Told to others instead of the listen addresses: a public name in front of a proxy. */
  announce?: string[]
  role: NodeRole
  maxConnections?: number
  /** Sockets, whatever has become of them, from one address that is not this machine's. */
  maxConnectionsPerAddress?: number
  /** libp2p's default of 5 a second for each address stops a local network from forming. */
  inboundConnectionsPerSecondPerHost?: number
  /** Connections in handshake at once; above it new ones are refused. */
  maxPendingInboundConnections?: number
}

/** Connections in handshake. Each may take ten seconds. */
const MAX_HANDSHAKES = 1_024
/** Of these libp2p takes 500, and 1,024 in handshake. The process needs descriptors for its disk, too. */
const MAX_SOCKETS = 2_048
/** An office or a school is one address. */
const MAX_SOCKETS_PER_ADDRESS = 128

/** Of a proxy on this machine, or of its other nodes. */
const isLoopback = (address: string): boolean => address === '127.0.0.1' || address === addressOf('::1')

const withoutOwnId = (address: Multiaddr): string => String(address).replace(/\/p2p\/[^/]+$/, '')

/** Instead of what it listens on. libp2p's `announce` leaves out the places at relays too, and not everybody can dial a name. */
function announcing(addresses: string[]): AddressManagerInit {
  if (addresses.length === 0) return {}
  const told = addresses.map((address) => withoutOwnId(multiaddr(address)))
  const isTold = (address: string) => told.includes(address) || address.endsWith('/p2p-circuit')
  return {
    appendAnnounce: told,
    announceFilter: (all) => all.filter((address) => isTold(withoutOwnId(address))),
  }
}

/** A started libp2p node over websockets. It dials nobody on its own. */
export async function createNodeLibp2p(options: NodeLibp2pOptions): Promise<DhtLibp2p> {
  const caps = {
    maxConnections: MAX_SOCKETS,
    maxConnectionsPerAddress: options.maxConnectionsPerAddress ?? MAX_SOCKETS_PER_ADDRESS,
    isOfMany: isLoopback,
  }
  const libp2p = await createLibp2p({
    privateKey: await generateKeyPairFromSeed('Ed25519', options.seed),
    addresses: { listen: options.listen, ...announcing(options.announce ?? []) },
    transports: [
      hardenedListeners(endingOnAbort(webSockets(), connectWebSocket), {}, capConnections(caps)),
      relayTransport(),
    ],
    connectionEncrypters: [sparingNoise()],
    streamMuxers: [boundAnswers(sparingYamux())],
    connectionGater: boundIntroductions(),
    connectionManager: {
      maxConnections: options.maxConnections ?? 500,
      inboundConnectionThreshold: options.inboundConnectionsPerSecondPerHost ?? 1_000,
      maxIncomingPendingConnections: options.maxPendingInboundConnections ?? MAX_HANDSHAKES,
    },
    connectionMonitor: PINGS,
    services: {
      ping: ping(PING_STREAMS),
      identify: identify(),
      identifyPush: identifyPush(),
      introductions: introductions(),
      ...dhtServices({
        common: options.role === 'client' ? 'client' : 'server',
        durable: options.role === 'durable' ? 'server' : 'client',
      }),
    },
  })
  boundPeerStore(libp2p)
  keepNewest(libp2p)
  return libp2p
}
