import type { DhtLibp2p } from './libp2p-services.ts'

/**
 * How many connections one peer may open to this node: the newest stay. Those of before are mostly dead without knowing it,
 * as a WebRTC connection is for 5 s or more after the other side closed it, and one peer could take the places of all.
 * Those that this node opened are the other side's to close: where both have dialled at once, each would take another one for
 * the oldest, and libp2p ends a third as one too many.
 */

/** Of each kind, direct and relayed. */
export const MAX_CONNECTIONS_FROM_PEER = 2

const CLOSE_MS = 1_000

/** For as long as the node runs. */
export function keepNewest(libp2p: DhtLibp2p): void {
  libp2p.addEventListener('connection:open', ({ detail: { remotePeer, limits } }) => {
    const isRelayed = limits !== undefined
    const open = libp2p
      .getConnections(remotePeer)
      .filter(({ status, direction }) => status === 'open' && direction === 'inbound')
      .filter((one) => (one.limits !== undefined) === isRelayed)
      .toSorted((a, b) => b.timeline.open - a.timeline.open)
    for (const old of open.slice(MAX_CONNECTIONS_FROM_PEER))
      old.close({ signal: AbortSignal.timeout(CLOSE_MS) }).catch((error: Error) => old.abort(error))
  })
}
