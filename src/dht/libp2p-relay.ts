import type { Libp2p, PeerId } from '@libp2p/interface'
import { jittered, type Runtime, systemRuntime, type Timer } from './runtime.ts'

/** What the circuit relay transport offers beyond its published type. */
export interface ReservationStore {
  hasReservation(relay: PeerId): boolean
  addRelay(relay: PeerId, type: 'configured'): Promise<unknown>
}

export function reservationStore(libp2p: Libp2p): ReservationStore | undefined {
  const { components } = libp2p as unknown as {
    components: { transportManager: { getTransports(): Array<{ reservationStore?: ReservationStore }> } }
  }
  return components.transportManager
    .getTransports()
    .map((transport) => transport.reservationStore)
    .find((store) => store !== undefined)
}

export interface ReservationOptions {
  /** The pause after a refusal; it doubles up to `maxRetryMs`. */
  retryMs: number
  maxRetryMs: number
  runtime: Runtime
}

export const DEFAULT_RESERVATION_OPTIONS: ReservationOptions = {
  retryMs: 1_000,
  maxRetryMs: 30_000,
  runtime: systemRuntime,
}

/**
 * Reserves again whenever one of `relays` (multiaddrs) has come back. libp2p does so for relays that it discovered, not
 * for those listened on by name: without this a node stays unreachable for good once its bridge has restarted. A relay
 * that refuses is asked again while it is connected.
 */
export function keepReservations(
  libp2p: Libp2p,
  relays: string[],
  options: ReservationOptions = DEFAULT_RESERVATION_OPTIONS,
): void {
  const store = reservationStore(libp2p)
  if (store === undefined) return
  const relayIds = new Set(relays.map((relay) => relay.split('/p2p/').at(-1)))
  const retries = new Map<string, Timer>()
  let stopped = false
  const reserve = async (relay: PeerId, waitMs: number): Promise<void> => {
    retries.get(relay.toString())?.clear()
    if (stopped || store.hasReservation(relay) || libp2p.getConnections(relay).length === 0) return
    try {
      await store.addRelay(relay, 'configured')
    } catch {
      if (stopped) return // else refused for now: a full relay, or one that does not know this node yet
      const retry = () => void reserve(relay, Math.min(waitMs * 2, options.maxRetryMs))
      retries.set(relay.toString(), options.runtime.setTimer(retry, jittered(options.runtime, waitMs)))
    }
  }
  libp2p.addEventListener('peer:identify', ({ detail: { peerId } }) => {
    if (relayIds.has(peerId.toString())) void reserve(peerId, options.retryMs)
  })
  libp2p.addEventListener('stop', () => {
    stopped = true
    for (const timer of retries.values()) timer.clear()
  })
}
