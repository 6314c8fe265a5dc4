import { circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { webSockets } from '@libp2p/websockets'
import { yamux } from '@libp2p/yamux'
import { createLibp2p } from 'libp2p'
import { type DhtLibp2p, endingOnAbort } from '../../src/dht/index.ts'
import { keepReservations } from '../../src/dht/libp2p-relay.ts'
import { connectWebSocket } from '../../src/node/websocket.ts'

/** A libp2p node without a DHT: it connects to nobody but whom a test tells it to. With a `relay` it reserves there. */
export async function bareNode(seed: Uint8Array, relay?: string): Promise<DhtLibp2p> {
  const libp2p = await createLibp2p({
    privateKey: await generateKeyPairFromSeed('Ed25519', seed),
    addresses: { listen: relay === undefined ? [] : [`${relay}/p2p-circuit`] },
    transports: [endingOnAbort(webSockets(), connectWebSocket), circuitRelayTransport()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    services: { ping: ping(), identify: identify() },
  })
  keepReservations(libp2p, relay === undefined ? [] : [relay])
  return libp2p as unknown as DhtLibp2p
}
