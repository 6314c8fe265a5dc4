import { multiaddr } from '@multiformats/multiaddr'
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
      const connection = await libp2p.dial(multiaddr(address), { signal: AbortSignal.timeout(15_000) })
      if (!String(connection.remoteAddr).includes('/webrtc')) throw new Error('not by WebRTC')
      await ping.ping(connection.remotePeer)
      dials.ms.push(performance.now() - startedMs)
      await Promise.all(libp2p.getConnections(connection.remotePeer).map((one) => one.close()))
    } catch (error) {
      dials.failures.push(`${i + 1}: ${error}`)
    }
  }
  return dials
}
