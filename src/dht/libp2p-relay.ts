import type { Libp2p, PeerId } from '@libp2p/interface'

/** What the circuit relay transport offers beyond its published type. */
interface ReservationStore {
  hasReservation(relay: PeerId): boolean
  addRelay(relay: PeerId, type: 'configured'): Promise<unknown>
}

function reservationStore(libp2p: Libp2p): ReservationStore | undefined {
  const { components } = libp2p as unknown as {
    components: { transportManager: { getTransports(): Array<{ reservationStore?: ReservationStore }> } }
  }
  return components.transportManager
    .getTransports()
    .map((transport) => transport.reservationStore)
    .find((store) => store !== undefined)
}

/**
 * Reserves again whenever one of `relays` (multiaddrs) has come back. libp2p does so for relays that it discovered, not
 * for those listened on by name: without this a node stays unreachable for good once its bridge has restarted.
 */
export function keepReservations(libp2p: Libp2p, relays: string[]): void {
  const store = reservationStore(libp2p)
  const relayIds = new Set(relays.map((relay) => relay.split('/p2p/').at(-1)))
  libp2p.addEventListener('peer:identify', ({ detail: { peerId } }) => {
    if (store === undefined || !relayIds.has(peerId.toString()) || store.hasReservation(peerId)) return
    store.addRelay(peerId, 'configured').catch(() => undefined) // refused now: its next connection tries again
  })
}
