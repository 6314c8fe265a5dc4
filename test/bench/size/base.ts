import { circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { identify, identifyPush } from '@libp2p/identify'
import { kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { noise } from '@libp2p/noise'
import { peerIdFromString } from '@libp2p/peer-id'
import { ping } from '@libp2p/ping'
import { webRTC } from '@libp2p/webrtc'
import { webSockets } from '@libp2p/websockets'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

/** The libp2p parts of a browser node and nothing else: what own code is measured over. */
export {
  circuitRelayTransport,
  createLibp2p,
  generateKeyPairFromSeed,
  identify,
  identifyPush,
  kadDHT,
  multiaddr,
  noise,
  passthroughMapper,
  peerIdFromString,
  ping,
  webRTC,
  webSockets,
  yamux,
}
