import type { Connection, PeerId } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import { multiaddr } from '@multiformats/multiaddr'
import { sha256 } from './codec.ts'
import { HOP_PROTOCOL, relayServer } from './libp2p-circuit.ts'
import type { DhtLibp2p } from './libp2p-services.ts'
import { type Quota, RateLimiter } from './rate-limit.ts'
import { routingTable } from './routing-table.ts'
import { type Runtime, systemRuntime } from './runtime.ts'

/**
 * Two tabs tell each other through a relay how they can be reached, and that relay is their bridge. When it is gone, a peer
 * that both are connected to introduces them: links that are lost come back, and the tabs of a network without any server
 * stay one network. Nobody holds a place at such a peer, and it passes on little: nothing else goes that way for long.
 */

/** What @libp2p/webrtc speaks over a relay: who does not is no tab, and cannot connect to one so. */
export const SIGNALLING_PROTOCOL = '/webrtc-signaling/0.0.1'

export interface IntroductionLimits {
  /** Both directions together: two handshakes and what the tabs tell each other take a tenth of it. */
  maxBytes: number
  maxMs: number
  /** That one peer has asked for. */
  maxAtOnce: number
  /** Of what one peer asks for, and of what all do: who makes new identities takes no more. */
  quota: Quota
  totalQuota: Quota
}

const DEFAULT_INTRODUCTION_LIMITS: IntroductionLimits = {
  maxBytes: 128 * 1024,
  maxMs: 30_000,
  maxAtOnce: 4,
  quota: { perSecond: 0.5, burst: 16 },
  totalQuota: { perSecond: 4, burst: 64 },
}

/** What the relay server asks for: who may be reached through it. */
interface WithPlaces {
  reservationStore: { get(peer: PeerId): unknown }
}
interface WithConnections {
  connectionManager: { getConnections(peer: PeerId): Connection[] }
}

/** The libp2p service: a relay to everybody who is connected directly, where nobody can reserve a place. */
export function introductions({ maxBytes, maxMs, maxAtOnce } = DEFAULT_INTRODUCTION_LIMITS) {
  const create = relayServer({ maxInboundHopStreams: maxAtOnce, reservations: { maxReservations: 0 } })
  return (components: Parameters<typeof create>[0] & WithConnections) => {
    // what comes through another introduction, or a relay, is not introduced anew, and ends with it
    const directTo = (peer: PeerId) =>
      components.connectionManager.getConnections(peer).filter(({ limits }) => limits === undefined)
    const connectionManager = { value: { getConnections: directTo } }
    const server = create(Object.create(components, { connectionManager }) as typeof components)
    const { reservationStore } = server as unknown as WithPlaces
    reservationStore.get = (peer) => {
      if (directTo(peer).length === 0) return undefined
      const limit = { data: BigInt(maxBytes), duration: maxMs }
      return { limit, signal: new AbortController().signal }
    }
    return server
  }
}

/** For the connection gater of who introduces: so much of it for each peer, and for all. */
export function boundIntroductions(
  runtime: Runtime = systemRuntime,
  { quota, totalQuota }: Pick<IntroductionLimits, 'quota' | 'totalQuota'> = DEFAULT_INTRODUCTION_LIMITS,
): { denyOutboundRelayedConnection(from: PeerId): boolean } {
  const limiter = new RateLimiter(runtime, MAX_COUNTED_PEERS)
  const mayTake = (from: PeerId) => limiter.take(from.toString(), quota) && limiter.take('all', totalQuota)
  return { denyOutboundRelayedConnection: (from) => !mayTake(from) }
}

/** More than can be connected. */
const MAX_COUNTED_PEERS = 1_024

/** So many are asked for one peer, those nearest to it first: they are the likeliest to be connected to it. */
const MAX_INTRODUCERS = 4
/** An introduction, and the connection that comes of it. */
const INTRODUCTION_MS = 10_000

/** Dials a peer; a tab, where no relay that it has a place at is connected, by way of those who may know it. */
export async function reach(libp2p: DhtLibp2p, peerId: PeerId, signal: AbortSignal): Promise<Connection> {
  for (const introducer of (await isCutOff(libp2p, peerId)) ? await introducersTo(libp2p, peerId) : []) {
    const address = multiaddr(`/p2p/${introducer}/p2p-circuit/webrtc/p2p/${peerId}`)
    const limit = AbortSignal.any([signal, AbortSignal.timeout(INTRODUCTION_MS)])
    const connection = await libp2p.dial(address, { signal: limit }).catch(() => undefined)
    noteLate(libp2p, introducer, limit.aborted)
    if (connection !== undefined) return connection
    signal.throwIfAborted()
  }
  return libp2p.dial(peerId, { signal })
}

/**
 * Those whose last introduction ran out of time, the earliest first. They are asked last: whoever dials has time for one, and
 * would ask the same one again each time.
 */
const lateOnes = new WeakMap<DhtLibp2p, Set<string>>()
const MAX_LATE = 64

function noteLate(libp2p: DhtLibp2p, introducer: PeerId, isLate: boolean): void {
  const late = lateOnes.get(libp2p) ?? new Set()
  lateOnes.set(libp2p, late)
  late.delete(String(introducer))
  if (isLate) late.add(String(introducer))
  if (late.size > MAX_LATE) late.delete(late.values().next().value as string)
}

/** The name of the relay in the address of a tab at one that has its own address: introducers are in none of these. */
const TAB_AT_RELAY = /^\/(?!p2p\/).*\/p2p\/([^/]+)\/p2p-circuit\/webrtc/

async function isCutOff(libp2p: DhtLibp2p, peerId: PeerId): Promise<boolean> {
  if (!libp2p.getProtocols().includes(SIGNALLING_PROTOCOL)) return false
  const known = await libp2p.peerStore.get(peerId).catch(() => undefined)
  const addresses = known?.addresses ?? []
  if (addresses.length === 0) return true // as a tab tells of itself when it has lost its bridge
  const relays = addresses.flatMap(({ multiaddr }) => TAB_AT_RELAY.exec(String(multiaddr))?.[1] ?? [])
  return (
    relays.length > 0 && relays.every((relay) => libp2p.getConnections(peerIdFromString(relay)).length === 0)
  )
}

async function introducersTo(libp2p: DhtLibp2p, peerId: PeerId): Promise<PeerId[]> {
  const table = routingTable(libp2p.services.kad)
  const place = await sha256(peerId.toMultihash().bytes)
  const introducers: PeerId[] = []
  const late = [...(lateOnes.get(libp2p) ?? [])]
  const lateness = (neighbour: PeerId) => late.indexOf(String(neighbour))
  const nearestFirst = table.closestPeers(place, { count: table.size })
  for (const neighbour of nearestFirst.toSorted((a, b) => lateness(a) - lateness(b))) {
    const isDirect = libp2p.getConnections(neighbour).some(({ limits }) => limits === undefined)
    if (neighbour.equals(peerId) || !isDirect) continue
    const known = await libp2p.peerStore.get(neighbour).catch(() => undefined)
    if (known?.protocols.includes(HOP_PROTOCOL)) introducers.push(neighbour)
    if (introducers.length === MAX_INTRODUCERS) break
  }
  return introducers
}
