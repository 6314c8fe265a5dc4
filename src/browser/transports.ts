import { circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { identify, identifyPush } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { webSockets } from '@libp2p/websockets'
import { yamux } from '@libp2p/yamux'
import { createLibp2p } from 'libp2p'
import { type DhtLibp2p, dhtServices, endingOnAbort, keepReservations, PING_STREAMS } from '../dht/index.ts'
import { installWebRtcRaceFix } from './webrtc-race.ts'

export interface BrowserLibp2pOptions {
  /** 32 bytes: the Ed25519 seed this node's id comes from. */
  seed: Uint8Array
  /** The relay or relays to hold a reservation on, by full multiaddr with `/p2p/…`. They must have admitted this node. */
  relay: string | string[]
  /** `{ iceServers: [] }` keeps to the local network; the transport's default asks public STUN servers. */
  rtcConfiguration?: RTCConfiguration
  /** 50 on a desktop, 20 on a phone: each WebRTC connection costs memory and battery. */
  maxConnections?: number
}

/**
 * A started libp2p node in a tab, always a fleeting one: websockets to relays and servers, WebRTC to other tabs. Relays are listened on by name;
 * a bare `/p2p-circuit` would search the DHT for relays and can freeze the tab.
 */
export async function createBrowserLibp2p(options: BrowserLibp2pOptions): Promise<DhtLibp2p> {
  installWebRtcRaceFix()
  // after the fix: the transport takes RTCPeerConnection from globalThis when it is loaded
  const { webRTC } = await import('@libp2p/webrtc')
  const { rtcConfiguration } = options
  const relays = [options.relay].flat()
  const libp2p = await createLibp2p({
    privateKey: await generateKeyPairFromSeed('Ed25519', options.seed),
    addresses: { listen: [...relays.map((relay) => `${relay}/p2p-circuit`), '/webrtc'] },
    transports: [
      endingOnAbort(webSockets()),
      webRTC(rtcConfiguration === undefined ? {} : { rtcConfiguration }),
      circuitRelayTransport(),
    ],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    // the browser default refuses private addresses and plain websockets: a local network would be out of reach
    connectionGater: { denyDialMultiaddr: () => false },
    connectionManager: { maxConnections: options.maxConnections ?? 50 },
    services: {
      ping: ping(PING_STREAMS),
      identify: identify(),
      identifyPush: identifyPush(),
      ...dhtServices({ common: 'server', durable: 'client' }),
    },
  })
  keepReservations(libp2p, relays)
  return libp2p
}
