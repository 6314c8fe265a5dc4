import { circuitRelayServer } from '@libp2p/circuit-relay-v2'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { identify, identifyPush } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { webSockets } from '@libp2p/websockets'
import { yamux } from '@libp2p/yamux'
import { createLibp2p } from 'libp2p'
import { type DhtLibp2p, dhtServices, endingOnAbort, hardenedListeners } from '../dht/index.ts'

export interface RelayLimits {
  /** Peers that may be reachable through this relay at once. */
  maxReservations: number
  reservationTtlMs: number
  /** One relayed circuit is cut after so many bytes or so long: it is meant for signalling and for want of better. */
  maxCircuitBytes: number
  maxCircuitMs: number
}

export const DEFAULT_RELAY_LIMITS: RelayLimits = {
  maxReservations: 1_024,
  reservationTtlMs: 2 * 3_600_000,
  maxCircuitBytes: 64 * 1024 * 1024,
  maxCircuitMs: 3_600_000,
}

export interface BridgeLibp2pOptions {
  /** 32 bytes: the Ed25519 seed the bridge's id comes from. */
  seed: Uint8Array
  /** Loopback port of the websocket listener; the public port is the HTTP server's, which pipes upgrades here. 0: any. */
  listenPort: number
  /** The multiaddrs clients dial: those of the public port. Empty: the loopback ones. */
  announce: string[]
  /** Whether a peer has passed the challenge. Asked for each connection, reservation and dial. */
  admit: (peerId: string) => boolean
  relay?: Partial<RelayLimits>
  maxConnections?: number
  /** Every client seems to come from loopback here, so limits by address are the HTTP server's business. */
  inboundConnectionsPerSecondPerHost?: number
  maxPendingInboundConnections?: number
  /** The largest websocket message anybody may send. */
  maxMessageBytes?: number
}

/**
 * The bridge's libp2p node: relay and DHT server behind the admission gate. It does not run the link protocol, so that
 * nobody takes it for a holder of records.
 */
export async function createBridgeLibp2p(options: BridgeLibp2pOptions): Promise<DhtLibp2p> {
  const limits = { ...DEFAULT_RELAY_LIMITS, ...options.relay }
  const listenerLimits =
    options.maxMessageBytes === undefined ? {} : { maxMessageBytes: options.maxMessageBytes }
  const refuse = (peerId: { toString(): string }): boolean => !options.admit(peerId.toString())
  return createLibp2p({
    privateKey: await generateKeyPairFromSeed('Ed25519', options.seed),
    addresses: { listen: [`/ip4/127.0.0.1/tcp/${options.listenPort}/ws`], announce: options.announce },
    transports: [hardenedListeners(endingOnAbort(webSockets()), listenerLimits)],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionGater: {
      denyInboundEncryptedConnection: refuse,
      denyInboundRelayReservation: refuse,
      denyDialPeer: refuse,
    },
    connectionManager: {
      maxConnections: options.maxConnections ?? 2_048,
      inboundConnectionThreshold: options.inboundConnectionsPerSecondPerHost ?? 10_000,
      maxIncomingPendingConnections: options.maxPendingInboundConnections ?? 256,
    },
    services: {
      ping: ping(),
      identify: identify(),
      identifyPush: identifyPush(),
      relay: circuitRelayServer({
        reservations: {
          maxReservations: limits.maxReservations,
          reservationTtl: limits.reservationTtlMs,
          defaultDataLimit: BigInt(limits.maxCircuitBytes),
          defaultDurationLimit: limits.maxCircuitMs,
        },
      }),
      ...dhtServices({ common: 'server', durable: 'server' }),
    },
  })
}
