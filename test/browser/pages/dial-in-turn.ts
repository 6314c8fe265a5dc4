import { multiaddr } from '@multiformats/multiaddr'
import { isSignalling } from '../../../src/browser/direct.ts'
import type { DhtLibp2p } from '../../../src/dht/index.ts'

export interface Dials {
  /** Of each dial that led to a connection on which the other side answered. */
  ms: number[]
  /** Why the others failed. */
  failures: string[]
}

/** One dial after the other to one address, each connection closed before the next. */
export async function dialInTurn(libp2p: DhtLibp2p, address: string, count: number): Promise<Dials> {
  const { ping } = libp2p.services as unknown as { ping: { ping(peer: unknown): Promise<number> } }
  const dials: Dials = { ms: [], failures: [] }
  for (let i = 0; i < count; i++) {
    const startedMs = performance.now()
    try {
      const connection = await dialWebRtc(libp2p, address, AbortSignal.timeout(15_000))
      await ping.ping(connection.remotePeer)
      dials.ms.push(performance.now() - startedMs)
      await closeAll(libp2p, connection.remotePeer)
    } catch (error) {
      dials.failures.push(`${i + 1}: ${error}`)
    }
  }
  return dials
}

/** A dial to the same peer that is under way is joined, and may bring a relayed connection: the one after it does not. */
async function dialWebRtc(libp2p: DhtLibp2p, address: string, signal: AbortSignal) {
  for (;;) {
    const connection = await libp2p.dial(multiaddr(address), { signal })
    if (connection.limits === undefined) return connection
  }
}

/** Once the peer, which may dial too, does so no more by way of one of them. */
async function closeAll(libp2p: DhtLibp2p, peerId: DhtLibp2p['peerId']): Promise<void> {
  while (libp2p.getConnections(peerId).some(isSignalling))
    await new Promise((resolve) => setTimeout(resolve, 10))
  const close = libp2p
    .getConnections(peerId)
    .map((one) => one.close().catch((error: Error) => one.abort(error)))
  await Promise.all(close)
}
