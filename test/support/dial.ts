import { multiaddr } from '@multiformats/multiaddr'
import type { DhtLibp2p } from '../../src/dht/index.ts'

/** Dials, and rejects when the other side did not take the connection. */
export async function dial(libp2p: DhtLibp2p, address: string): Promise<void> {
  const connection = await libp2p.dial(multiaddr(address), { signal: AbortSignal.timeout(20_000) })
  // who refuses closes only after the handshake: a ping tells whether anybody is there
  const { ping } = libp2p.services as unknown as { ping: { ping(peer: unknown): Promise<number> } }
  await ping.ping(connection.remotePeer)
}
