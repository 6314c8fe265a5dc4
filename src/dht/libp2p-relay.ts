import type { Libp2p, PeerId } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { asStickyError, StickyError } from './errors.ts'
import { jittered, type Runtime, systemRuntime, type Timer } from './runtime.ts'

/** What the circuit relay transport offers beyond its published type. */
export interface ReservationStore {
  hasReservation(relay: PeerId): boolean
  addRelay(relay: PeerId, type: 'configured'): Promise<unknown>
}

/** One for each relay that is listened on, and others. */
interface RelayListener {
  reservationStore?: ReservationStore
  /** Set once the relay has given a reservation. */
  relay?: PeerId
  close(): Promise<void>
}

interface TransportManager {
  getTransports(): Array<{ reservationStore?: ReservationStore }>
  getListeners(): RelayListener[]
  listen(addresses: unknown[]): Promise<void>
}

const transportManager = (libp2p: Libp2p): TransportManager =>
  (libp2p as unknown as { components: { transportManager: TransportManager } }).components.transportManager

export function reservationStore(libp2p: Libp2p): ReservationStore | undefined {
  return transportManager(libp2p)
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
  const relayIds = new Set(relays.map(idOfRelay))
  for (const relayId of relayIds) relaysOf(libp2p).add(relayId)
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

const listenedOn = new WeakMap<Libp2p, Set<string | undefined>>()

function relaysOf(libp2p: Libp2p): Set<string | undefined> {
  const known = listenedOn.get(libp2p) ?? new Set()
  listenedOn.set(libp2p, known)
  return known
}

/** A listener is never closed: libp2p would give up the places at all relays with it. Mostly there is one. */
const MAX_RELAYS = 8

const idOfRelay = (relay: string): string | undefined => relay.split('/p2p/').at(-1)

/**
 * Makes a node that was started without this relay reachable through it (a multiaddr), which must have admitted it, and
 * keeps it so. Once for each relay; a relay that has come back is `keepReservations`' business. Rejects with UNREACHABLE.
 */
export async function listenOnRelay(
  libp2p: Libp2p,
  relay: string,
  options: ReservationOptions = DEFAULT_RESERVATION_OPTIONS,
): Promise<void> {
  const relayId = idOfRelay(relay)
  if (relaysOf(libp2p).has(relayId)) return
  if (relaysOf(libp2p).size >= MAX_RELAYS)
    throw new StickyError(
      'UNREACHABLE',
      `This node has had places at ${MAX_RELAYS} relays. Restart it for another one.`,
    )
  const manager = transportManager(libp2p)
  let failure: unknown
  try {
    await manager.listen([multiaddr(`${relay}/p2p-circuit`)])
  } catch (error) {
    failure = error
  }
  // a manager that tolerates faults says nothing of them
  if (!manager.getListeners().some((one) => one.relay?.toString() === relayId)) {
    const useless = manager.getListeners().filter((one) => one.reservationStore && one.relay === undefined)
    await Promise.allSettled(useless.map((one) => one.close())) // each attempt would leave one behind
    throw asStickyError(failure ?? new Error(`${relay} gives no reservation.`), 'UNREACHABLE')
  }
  keepReservations(libp2p, [relay], options) // not before: whoever reserves first, it must be the listener
}
