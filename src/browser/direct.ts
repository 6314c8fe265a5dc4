import { multiaddr } from '@multiformats/multiaddr'
import { type DhtLibp2p, jittered, SIGNALLING_PROTOCOL, systemRuntime } from '../dht/index.ts'
import { isAlive } from './alive.ts'

/**
 * A connection that goes through a relay is meant for want of better: it is slow, limited, and ends with the relay. While a
 * peer has no other one, a direct one is tried again and again, and replaces it.
 */

/** The first try comes after the dial that made the connection has tried everything; the pause doubles to the maximum. */
const FIRST_TRY_MS = 5_000
const MAX_TRY_MS = 60_000
const DIAL_MS = 10_000

type Connection = ReturnType<DhtLibp2p['getConnections']>[number]

const isRelayed = ({ remoteAddr }: Connection): boolean => {
  const address = remoteAddr.toString()
  return address.includes('/p2p-circuit') && !address.includes('/webrtc')
}

/**
 * Another WebRTC connection is being made by way of it, as the other side may do at the same time: without it that would hang
 * at one end, and be taken for a way to the peer at the other one, for half a minute.
 */
export const isSignalling = ({ streams }: Connection): boolean =>
  streams.some(({ protocol }) => protocol === SIGNALLING_PROTOCOL)

/** WebRTC to the peer by way of the same relay. */
const directAddress = ({ remoteAddr }: Connection): string =>
  remoteAddr.toString().replace('/p2p-circuit/', '/p2p-circuit/webrtc/')

/** For as long as the node runs. */
export function keepDirect(libp2p: DhtLibp2p): void {
  const timers = new Map<string, ReturnType<typeof setTimeout>>()
  const forget = (id: string) => {
    clearTimeout(timers.get(id))
    timers.delete(id)
  }
  const tryLater = (connection: Connection, waitMs: number) => {
    const attempt = () => void upgrade(connection, waitMs)
    timers.set(connection.id, setTimeout(attempt, jittered(systemRuntime, waitMs)))
  }
  const upgrade = async (connection: Connection, waitMs: number) => {
    const { remotePeer } = connection
    timers.delete(connection.id)
    if (connection.status !== 'open') return
    try {
      const { protocols } = await libp2p.peerStore.get(remotePeer)
      if (!protocols.includes(SIGNALLING_PROTOCOL)) return // no tab
      const signal = AbortSignal.timeout(DIAL_MS)
      if (directTo(remotePeer) === undefined)
        await libp2p.dial(multiaddr(directAddress(connection)), { signal })
      const direct = directTo(remotePeer)
      // the other side may be negotiating still, by way of the relay, and would give up without that
      const isProven = direct !== undefined && (await isAlive(direct, signal))
      if (isProven && !isSignalling(connection))
        // what is sent on it goes on over the other one
        await connection.close().catch((error: Error) => connection.abort(error))
      else tryLater(connection, isProven ? FIRST_TRY_MS : Math.min(waitMs * 2, MAX_TRY_MS))
    } catch {
      tryLater(connection, Math.min(waitMs * 2, MAX_TRY_MS))
    }
  }
  const directTo = (peerId: Connection['remotePeer']): Connection | undefined =>
    libp2p.getConnections(peerId).find((other) => other.status === 'open' && !isRelayed(other))
  libp2p.addEventListener('connection:open', ({ detail: connection }) => {
    // one side is enough, and who dialled knows where the other one can be dialled
    if (connection.direction === 'outbound' && isRelayed(connection)) tryLater(connection, FIRST_TRY_MS)
  })
  libp2p.addEventListener('connection:close', ({ detail: connection }) => {
    forget(connection.id)
  })
  libp2p.addEventListener('stop', () => {
    for (const id of [...timers.keys()]) forget(id)
  })
}
