import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { identify, identifyPush } from '@libp2p/identify'
import { peerIdFromString } from '@libp2p/peer-id'
import { ping } from '@libp2p/ping'
import { webSockets } from '@libp2p/websockets'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import {
  boundIntroductions,
  boundPeerStore,
  type DhtLibp2p,
  DialBackoff,
  dhtServices,
  endingOnAbort,
  introductions,
  keepNewest,
  listenOnRelay,
  PING_STREAMS,
  relayTransport,
  sparingNoise,
  sparingYamux,
} from '../dht/index.ts'
import { keepAlive } from './alive.ts'
import { defaultMaxConnections, keepBounded } from './connections.ts'
import { keepDirect } from './direct.ts'
import { installWebRtcRaceFix } from './webrtc-race.ts'

/**
 * A way to another tab is a handshake with it through the relay, then a WebRTC one: ten round trips, on a phone's network six
 * seconds. Many at once starve each other.
 */
const DIALLING = { maxParallelDials: 8, addressDialTimeout: 10_000, dialTimeout: 20_000 }

const INBOUND = {
  /** A second, from one host: all that other tabs open come from the relay's. libp2p's default is 5, and resets the others. */
  inboundConnectionThreshold: 50,
  /**
   * In their handshake at once, ten seconds each where nothing is said. libp2p's default is 10: a class opens a page at once.
   * Twice what a bridge lets one address open to one node, so that it alone cannot keep the others out.
   */
  maxIncomingPendingConnections: 128,
}

/** The most that the peer store takes. */
const MAX_TAG_VALUE = 100

export interface BrowserLibp2pOptions {
  /** 32 bytes: the Ed25519 seed this node's id comes from. */
  seed: Uint8Array
  /** `{ iceServers: [] }` keeps to the local network; the transport's default asks public STUN servers. */
  rtcConfiguration?: RTCConfiguration
  /** Default: 50 on a desktop, 20 on a phone. Each WebRTC connection costs memory and battery. */
  maxConnections?: number
  /** How often every connection is asked for a sign of life. Default: 20 s. */
  aliveRoundMs?: number
}

/** What a relay that comes later is told to. */
interface Bounds {
  backoff: DialBackoff
  /** Never pruned. */
  relayIds: Set<string>
}
const bounds = new WeakMap<DhtLibp2p, Bounds>()

/** A started libp2p node in a tab, always a fleeting one: websockets to relays and servers, WebRTC to other tabs. */
export async function createBrowserLibp2p(options: BrowserLibp2pOptions): Promise<DhtLibp2p> {
  installWebRtcRaceFix()
  // after the fix: the transport takes RTCPeerConnection from globalThis when it is loaded
  const { webRTC } = await import('./webrtc.ts')
  const { rtcConfiguration, maxConnections = defaultMaxConnections() } = options
  const backoff = new DialBackoff()
  const relayIds = new Set<string>()
  const libp2p = await createLibp2p({
    privateKey: await generateKeyPairFromSeed('Ed25519', options.seed),
    // relays follow by name (useRelay): a bare `/p2p-circuit` would search the DHT for some and can freeze the tab
    addresses: { listen: ['/webrtc'] },
    transports: [
      // of servers only: the way to a tab leads through a relay, and fails when that one does
      backoff.noting(endingOnAbort(webSockets())),
      webRTC(rtcConfiguration === undefined ? {} : { rtcConfiguration }),
      relayTransport(),
    ],
    connectionEncrypters: [sparingNoise()],
    streamMuxers: [sparingYamux()],
    // the browser default refuses private addresses and plain websockets: a local network would be out of reach
    connectionGater: {
      denyDialMultiaddr: (address) => backoff.isResting(address),
      ...boundIntroductions(),
    },
    connectionManager: { maxConnections, ...DIALLING, ...INBOUND },
    connectionMonitor: { enabled: false }, // keepAlive
    services: {
      ping: ping(PING_STREAMS),
      identify: identify(),
      identifyPush: identifyPush(),
      introductions: introductions(),
      ...dhtServices({ common: 'server', durable: 'client' }),
    },
  })
  bounds.set(libp2p, { backoff, relayIds })
  boundPeerStore(libp2p)
  keepNewest(libp2p)
  keepDirect(libp2p)
  keepAlive(libp2p, options.aliveRoundMs)
  keepBounded(libp2p, maxConnections, relayIds)
  const anew = () => backoff.clear() // what could not be reached from the last network may be from this one
  globalThis.addEventListener?.('online', anew)
  libp2p.addEventListener('stop', () => globalThis.removeEventListener?.('online', anew))
  return libp2p
}

/**
 * Makes the tab reachable through a relay, by its full multiaddr with `/p2p/…`, which must have admitted it, and keeps it so.
 * Rejects with UNREACHABLE.
 */
export async function useRelay(libp2p: DhtLibp2p, relay: string): Promise<void> {
  const id = peerIdFromString(relay.split('/p2p/').at(-1) as string)
  const { backoff, relayIds } = bounds.get(libp2p) as Bounds
  backoff.exempt(relay)
  relayIds.add(id.toString())
  // the tag is for libp2p's own pruner
  const tags = { 'sticky-relay': { value: MAX_TAG_VALUE } }
  await libp2p.peerStore.merge(id, { multiaddrs: [multiaddr(relay)], tags })
  await listenOnRelay(libp2p, relay)
}
