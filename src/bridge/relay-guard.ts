import { AsyncLocalStorage } from 'node:async_hooks'
import { type DhtLibp2p, HOP_PROTOCOL, type relayServer } from '../dht/index.ts'

/**
 * What an admitted peer, and all peers of one address, may take of the relay. libp2p bounds the reservations in all and
 * the circuits of one connection; it keeps the reservation of somebody who has gone, for hours, and knows no addresses.
 */

const STOP_PROTOCOL = '/libp2p/circuit/relay/0.2.0/stop'

export interface RelayGuardLimits {
  /** Connections of one peer at once; a newer one ends the oldest. */
  maxConnectionsPerPeer: number
  maxReservationsPerAddress: number
  /** Circuits that one peer, or all of one address, have opened. */
  maxCircuitsPerPeer: number
  maxCircuitsPerAddress: number
  /** Circuits that end at one peer, and those of them that one other peer, or all of one address, have opened. */
  maxCircuitsToPeer: number
  maxCircuitsToPeerPerPeer: number
  maxCircuitsToPeerPerAddress: number
}

/** Since the start. */
export interface RelayCounters {
  circuits: number
  refusedCircuits: number
  refusedReservations: number
}

export const newRelayCounters = (): RelayCounters => ({
  circuits: 0,
  refusedCircuits: 0,
  refusedReservations: 0,
})

type Connection = ReturnType<DhtLibp2p['getConnections']>[number]
type PeerId = Connection['remotePeer']
type Stream = Connection['streams'][number]

interface Reservation {
  signal: { clear(): void }
}
interface Relay {
  onHop: (stream: Stream, connection: Connection) => Promise<void>
  reservations: {
    get(peer: PeerId): Reservation | undefined
    has(peer: PeerId): boolean
    delete(peer: PeerId): void
    keys(): Iterable<PeerId>
  }
}

/** Whose connection it is, of its address in libp2p's eyes. */
export type ClientOf = (remoteAddress: string) => string

export class RelayGuard {
  readonly #limits: RelayGuardLimits
  readonly #clientOf: ClientOf
  readonly #counters: RelayCounters
  #libp2p: DhtLibp2p | undefined
  /** The stream on which the relay is asked for what it asks the guard about. */
  readonly #asking = new AsyncLocalStorage<Stream>()
  /** Where the circuits of streams lead that were let through. */
  readonly #targets = new WeakMap<Stream, PeerId>()

  constructor(limits: RelayGuardLimits, clientOf: ClientOf, counters: RelayCounters) {
    this.#counters = counters
    this.#limits = limits
    this.#clientOf = clientOf
  }

  /** From here on connections are counted, and a reservation ends with the last connection of its peer. */
  watch(libp2p: DhtLibp2p): void {
    this.#libp2p = libp2p
    libp2p.addEventListener('connection:open', ({ detail }) => this.#endOldest(detail.remotePeer))
    libp2p.addEventListener('peer:disconnect', ({ detail }) => this.#release(detail))
  }

  /** The relay server to be guarded: circuits from one peer to one other can be counted then. */
  guarded(create: ReturnType<typeof relayServer>): typeof create {
    return (components) => {
      const server = create(components)
      const relay = server as unknown as Relay
      const { onHop } = relay
      relay.onHop = (stream, connection) => this.#asking.run(stream, () => onHop(stream, connection))
      return server
    }
  }

  mayReserve(peer: PeerId): boolean {
    const may = this.#hasRoomToReserve(peer)
    if (!may) this.#counters.refusedReservations += 1
    return may
  }

  mayRelay(from: PeerId, to: PeerId): boolean {
    const may = this.#hasRoomToRelay(from, to)
    this.#counters[may ? 'circuits' : 'refusedCircuits'] += 1
    const stream = this.#asking.getStore()
    if (may && stream !== undefined) this.#targets.set(stream, to)
    return may
  }

  #hasRoomToReserve(peer: PeerId): boolean {
    const { reservations } = this.#relay() ?? {}
    if (reservations === undefined) return true
    if (reservations.has(peer)) {
      // A renewal takes nothing new. It becomes a reservation of its own: retimeable-signal 1.0.1 keeps the timer of an
      // earlier renewal when it is reset again, and ends the reservation at that one's time.
      this.#release(peer)
      return true
    }
    const addresses = this.#addressesOf(peer)
    let sharing = 0
    for (const other of reservations.keys())
      if (!other.equals(peer) && intersects(this.#addressesOf(other), addresses)) sharing += 1
    return sharing < this.#limits.maxReservationsPerAddress
  }

  #hasRoomToRelay(from: PeerId, to: PeerId): boolean {
    const limits = this.#limits
    if (count(this.#connections(to), STOP_PROTOCOL) >= limits.maxCircuitsToPeer) return false
    const addresses = this.#addressesOf(from)
    const neighbours = this.#connections().filter((connection) => addresses.has(this.#address(connection)))
    const hasRoom = (connections: Connection[], most: number, mostToOne: number) =>
      count(connections, HOP_PROTOCOL) <= most && // the request itself is one of the streams
      count(connections, HOP_PROTOCOL, (stream) => this.#targets.get(stream)?.equals(to)) < mostToOne
    return (
      hasRoom(this.#connections(from), limits.maxCircuitsPerPeer, limits.maxCircuitsToPeerPerPeer) &&
      hasRoom(neighbours, limits.maxCircuitsPerAddress, limits.maxCircuitsToPeerPerAddress)
    )
  }

  #relay(): Relay | undefined {
    return (this.#libp2p?.services as unknown as { relay: Relay } | undefined)?.relay
  }

  #connections(peer?: PeerId): Connection[] {
    return this.#libp2p?.getConnections(peer) ?? []
  }

  #address({ remoteAddr }: Connection): string {
    return this.#clientOf(remoteAddr.toString())
  }

  #addressesOf(peer: PeerId): Set<string> {
    return new Set(this.#connections(peer).map((connection) => this.#address(connection)))
  }

  #endOldest(peer: PeerId): void {
    const open = this.#connections(peer).toSorted((a, b) => a.timeline.open - b.timeline.open)
    for (const connection of open.slice(0, -this.#limits.maxConnectionsPerPeer))
      connection.abort(new Error('The peer has newer connections than may be open at once.'))
  }

  #release(peer: PeerId): void {
    const reservations = this.#relay()?.reservations
    const reservation = reservations?.get(peer)
    if (reservations === undefined || reservation === undefined) return
    reservation.signal.clear() // else it would end, at its time, the reservation that comes after it
    reservations.delete(peer)
  }
}

const intersects = (a: Set<string>, b: Set<string>): boolean => [...a].some((each) => b.has(each))

/** Streams of a protocol that are not over, or those of them that are `counted`. */
function count(
  connections: Connection[],
  protocol: string,
  counted: (stream: Stream) => boolean | undefined = () => true,
): number {
  const streams = connections.flatMap((connection) => connection.streams)
  return streams.filter((each) => each.protocol === protocol && each.status === 'open' && counted(each))
    .length
}
