import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { identify, identifyPush } from '@libp2p/identify'
import { ping } from '@libp2p/ping'
import { webSockets } from '@libp2p/websockets'
import { createLibp2p } from 'libp2p'
import {
  boundAnswers,
  boundPeerStore,
  type DhtLibp2p,
  dhtServices,
  endingOnAbort,
  hardenedListeners,
  PING_STREAMS,
  PINGS,
  relayServer,
  sparingNoise,
  sparingYamux,
} from '../dht/index.ts'
import {
  type ClientOf,
  newRelayCounters,
  type RelayCounters,
  RelayGuard,
  type RelayGuardLimits,
} from './relay-guard.ts'

export interface RelayLimits extends RelayGuardLimits {
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
  maxConnectionsPerPeer: 8,
  // an office or a school is one address
  maxReservationsPerAddress: 128,
  maxCircuitsPerPeer: 64,
  maxCircuitsPerAddress: 512,
  // a holder that pages cannot dial has many; no address may take them all
  maxCircuitsToPeer: 256,
  // a peer whose network changed comes again before the circuits that it had are noticed to be dead
  maxCircuitsToPeerPerPeer: 4,
  maxCircuitsToPeerPerAddress: 64,
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
  /** Whose connection it is: every client seems to come from loopback here. Default: each is somebody else's. */
  clientOf?: ClientOf
  relayCounters?: RelayCounters
  maxConnections?: number
  /** Limits by address are the HTTP server's business. */
  inboundConnectionsPerSecondPerHost?: number
  maxPendingInboundConnections?: number
  /** From a new connection to a peer that has proved its key and was admitted. */
  inboundUpgradeTimeoutMs?: number
  /** The largest websocket message anybody may send. */
  maxMessageBytes?: number
}

/**
 * The bridge's libp2p node: relay and DHT server behind the admission gate. It does not run the link protocol, so that
 * nobody takes it for a holder of records.
 */
export async function createBridgeLibp2p(options: BridgeLibp2pOptions): Promise<DhtLibp2p> {
  const limits = { ...DEFAULT_RELAY_LIMITS, ...options.relay }
  const { maxMessageBytes, inboundUpgradeTimeoutMs: handshakeTimeoutMs } = options
  const listenerLimits = {
    ...(maxMessageBytes === undefined ? {} : { maxMessageBytes }),
    ...(handshakeTimeoutMs === undefined ? {} : { handshakeTimeoutMs }),
  }
  const guard = new RelayGuard(
    limits,
    options.clientOf ?? String,
    options.relayCounters ?? newRelayCounters(),
  )
  const refuse = (peerId: { toString(): string }): boolean => !options.admit(peerId.toString())
  const libp2p = await createLibp2p({
    privateKey: await generateKeyPairFromSeed('Ed25519', options.seed),
    addresses: { listen: [`/ip4/127.0.0.1/tcp/${options.listenPort}/ws`], announce: options.announce },
    transports: [hardenedListeners(endingOnAbort(webSockets()), listenerLimits)],
    connectionEncrypters: [sparingNoise()],
    streamMuxers: [boundAnswers(sparingYamux())],
    connectionGater: {
      denyInboundEncryptedConnection: refuse,
      denyInboundRelayReservation: (peerId) => refuse(peerId) || !guard.mayReserve(peerId),
      denyOutboundRelayedConnection: (from, to) => refuse(from) || !guard.mayRelay(from, to),
      denyDialPeer: refuse,
    },
    connectionManager: {
      maxConnections: options.maxConnections ?? 2_048,
      inboundConnectionThreshold: options.inboundConnectionsPerSecondPerHost ?? 10_000,
      inboundUpgradeTimeout: options.inboundUpgradeTimeoutMs ?? 10_000,
      maxIncomingPendingConnections: options.maxPendingInboundConnections ?? 256,
    },
    connectionMonitor: PINGS,
    services: {
      ping: ping(PING_STREAMS),
      identify: identify(),
      identifyPush: identifyPush(),
      relay: guard.guarded(
        relayServer({
          maxInboundHopStreams: limits.maxCircuitsPerPeer + 1,
          maxOutboundStopStreams: limits.maxCircuitsToPeer + 1,
          reservations: {
            maxReservations: limits.maxReservations,
            reservationTtl: limits.reservationTtlMs,
            defaultDataLimit: BigInt(limits.maxCircuitBytes),
            defaultDurationLimit: limits.maxCircuitMs,
          },
        }),
      ),
      ...dhtServices({ common: 'server', durable: 'server' }),
    },
  })
  boundPeerStore(libp2p)
  guard.watch(libp2p)
  return libp2p
}
