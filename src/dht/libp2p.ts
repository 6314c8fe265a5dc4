import type { Connection, IdentifyResult, PeerId, Stream } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import { choose, distanceBetween, type Ranked } from './closest.ts'
import { sha256 } from './codec.ts'
import type { NodeId } from './identity.ts'
import { KadFinder } from './libp2p-finder.ts'
import { reach } from './libp2p-introduce.ts'
import { linkOver, StreamLink } from './libp2p-link.ts'
import { keepMeeting } from './libp2p-meet.ts'
import { NeededPeers } from './libp2p-needed.ts'
import { isWebRtc, peersOf } from './libp2p-peers.ts'
import { type DhtLibp2p, KAD_DURABLE_PROTOCOL, KAD_PROTOCOL } from './libp2p-services.ts'
import {
  BUCKET_PEERS,
  DEFAULT_LOOK_UP_OPTIONS,
  type FindRequest,
  findInEach,
  type LookUpOptions,
  LookUps,
} from './look-ups.ts'
import {
  type ClosestOptions,
  type ClosestPeer,
  type ConnectedPeer,
  type Link,
  type LinkEvents,
  networkError,
  type PeerNetwork,
} from './network.ts'
import { routingTable } from './routing-table.ts'
import { type Runtime, systemRuntime, type Timer } from './runtime.ts'

/**
 * The production network: links are libp2p streams, peers are found through two kad-dht instances. A peer stores when it
 * speaks the link protocol and serves the common DHT; it is durable when it serves the durable one as well. Both are
 * taken from what the peer told of itself through identify, never from the peer store: libp2p adds every protocol a peer
 * opened a stream with there, so a client that has asked the DHT once would pass for a server.
 */

export const LINK_PROTOCOL = '/sticky-pubsub/link/1.0.0'

export interface Libp2pNetworkOptions extends LookUpOptions {
  /** Topology events that come together are told as one. */
  topologyDebounceMs: number
  /** With at most so many peers in the routing table of all who store, it holds them all and nothing is looked up. */
  smallNetworkPeers: number
  /** Streams of the link protocol one connection may open at once; the rpc layer above keeps fewer. */
  maxLinkStreams: number
  /** A connection on which a stream takes longer to open counts as dead; half of what a link may take to open. */
  stalledConnectionMs: number
  /** A connected peer that has not told its protocols is asked, and left out when it takes longer. */
  identifyTimeoutMs: number
  /** Peers whose role and place in the key space are remembered, the latest ones. */
  maxRememberedPeers: number
}

export const DEFAULT_LIBP2P_NETWORK_OPTIONS: Libp2pNetworkOptions = {
  ...DEFAULT_LOOK_UP_OPTIONS,
  topologyDebounceMs: 100,
  smallNetworkPeers: BUCKET_PEERS - 1,
  maxLinkStreams: 8,
  stalledConnectionMs: 2_500,
  identifyTimeoutMs: 1_000,
  maxRememberedPeers: 4_096,
}

export interface Libp2pNetworkInit {
  libp2p: DhtLibp2p
  durable: boolean
  stores: boolean
  runtime?: Runtime
  options?: Partial<Libp2pNetworkOptions>
}

export interface PeerProfile {
  stores: boolean
  durable: boolean
}

/** By the protocols that a peer says it speaks. */
export function profileOf(protocols: string[]): PeerProfile {
  const stores = protocols.includes(LINK_PROTOCOL) && protocols.includes(KAD_PROTOCOL)
  return { stores, durable: stores && protocols.includes(KAD_DURABLE_PROTOCOL) }
}

/** Puts an entry last and drops the first beyond the bound. */
function remember<T>(map: Map<NodeId, T>, nodeId: NodeId, value: T, options: Libp2pNetworkOptions): void {
  map.delete(nodeId)
  map.set(nodeId, value)
  if (map.size > options.maxRememberedPeers) map.delete(map.keys().next().value as NodeId)
}

export class Libp2pNetwork implements PeerNetwork {
  readonly self: NodeId
  readonly stores: boolean
  readonly durable: boolean
  readonly #libp2p: DhtLibp2p
  readonly #runtime: Runtime
  readonly #options: Libp2pNetworkOptions
  readonly #positions = new Map<NodeId, Uint8Array>()
  readonly #profiles = new Map<NodeId, PeerProfile>()
  readonly #started: Promise<void>
  readonly #identifying = new Map<NodeId, Promise<void>>()
  /** Kept until somebody comes or goes: who holds a thousand records looks for the peers of each once a minute. */
  #known: ReadonlyMap<NodeId, PeerId> | undefined
  #accept: ((link: Link) => LinkEvents) | undefined
  #onTopologyChange: (() => void) | undefined
  #topologyTimer: Timer | undefined
  readonly #stopMeeting: () => void
  readonly #needed: NeededPeers
  /** In the DHT of all who store, and in that of the durable ones. */
  readonly #lookUps: LookUps<PeerId>[]

  constructor(init: Libp2pNetworkInit) {
    this.#libp2p = init.libp2p
    this.self = init.libp2p.peerId.toString()
    this.stores = init.stores
    this.durable = init.durable
    this.#runtime = init.runtime ?? systemRuntime
    this.#options = { ...DEFAULT_LIBP2P_NETWORK_OPTIONS, ...init.options }
    this.#needed = new NeededPeers(this.#libp2p, this.#runtime)
    const { kad, kadDurable } = this.#libp2p.services
    const placeOf = (peerId: PeerId) => this.#positionOf(peerId)
    this.#lookUps = [kad, kadDurable].map(
      (one) => new LookUps(new KadFinder(one, placeOf), this.#runtime, this.#options),
    )
    this.#stopMeeting = keepMeeting(this.#libp2p, this.#runtime, (peerId) => this.#mayStore(peerId))
    this.#started = this.#start()
    this.#started.catch(() => undefined) // told by the first operation, which waits for it
  }

  async #start(): Promise<void> {
    this.#libp2p.addEventListener('peer:identify', this.#identified)
    this.#libp2p.addEventListener('peer:connect', this.#connected)
    this.#libp2p.addEventListener('peer:disconnect', this.#disconnected)
    for (const [target, event] of this.#tableEvents()) target.addEventListener(event, this.#topologyChanged)
    const { maxLinkStreams } = this.#options
    await this.#libp2p.handle(
      LINK_PROTOCOL,
      (stream, connection) => this.#inbound(stream, connection.remotePeer.toString()),
      {
        runOnLimitedConnection: true, // tabs that have only the relay between them still talk
        maxInboundStreams: maxLinkStreams,
        maxOutboundStreams: maxLinkStreams,
      },
    )
  }

  /** Takes no more links and tells no more changes. Open links live as long as the libp2p node. */
  async close(): Promise<void> {
    for (const [target, event] of this.#tableEvents())
      target.removeEventListener(event, this.#topologyChanged)
    this.#libp2p.removeEventListener('peer:disconnect', this.#disconnected)
    this.#libp2p.removeEventListener('peer:connect', this.#connected)
    this.#libp2p.removeEventListener('peer:identify', this.#identified)
    this.#stopMeeting()
    this.#topologyTimer?.clear()
    this.#onTopologyChange = undefined
    this.#accept = undefined
    await this.#libp2p.unhandle(LINK_PROTOCOL)
  }

  onInboundLink(accept: (link: Link) => LinkEvents): void {
    this.#accept = accept
  }

  onTopologyChange(listener: () => void): void {
    this.#onTopologyChange = listener
  }

  connections(): ConnectedPeer[] {
    return peersOf(this.#libp2p.getConnections())
  }

  async openLink(peer: NodeId, events: LinkEvents, { signal }: { signal: AbortSignal }): Promise<Link> {
    try {
      signal.throwIfAborted()
      await this.#started
      const stream = await this.#openStream(peerIdFromString(peer), signal)
      return linkOver(peer, stream, this.#runtime, events)
    } catch (error) {
      throw networkError(error, signal)
    }
  }

  async closestPeers(key: Uint8Array, { count, minDurable, signal }: ClosestOptions): Promise<ClosestPeer[]> {
    try {
      signal.throwIfAborted()
      await this.#started
      const target = await sha256(key)
      const found = await this.#lookUp({ key, target, signal }, [count, minDurable])
      const known = new Map(this.#knownPeers())
      for (const peerId of found) known.set(peerId.toString(), peerId)
      known.delete(this.self)
      const ranked = await Promise.all([...known.values()].map((peerId) => this.#rank(peerId, target)))
      signal.throwIfAborted()
      const holders = ranked.filter((peer) => peer !== undefined)
      if (this.stores)
        holders.push(await this.#ranked(this.#libp2p.peerId, { stores: true, durable: this.durable }, target))
      const chosen = choose(holders, count, minDurable)
      this.#needed.note(chosen)
      return chosen
    } catch (error) {
      throw networkError(error, signal)
    }
  }

  async #openStream(peerId: PeerId, signal: AbortSignal): Promise<Stream> {
    const options = { signal, runOnLimitedConnection: true }
    try {
      const stream = await this.#streamOnStanding(peerId, signal)
      if (stream !== undefined) return stream
      const connection = await reach(this.#libp2p, peerId, signal)
      return await connection.newStream(LINK_PROTOCOL, options)
    } catch (error) {
      // a direct dial may fail where a relayed connection stands
      const relayed = this.#libp2p
        .getConnections(peerId)
        .find(({ status, limits }) => status === 'open' && limits)
      if (signal.aborted || relayed === undefined) throw error
      return relayed.newStream(LINK_PROTOCOL, options)
    }
  }

  /**
   * libp2p takes a standing connection for a live one, also when the other side has lost it without a word: one that
   * opens no stream in good time is cut, with those that are older, and undefined says to dial anew.
   */
  async #streamOnStanding(peerId: PeerId, signal: AbortSignal): Promise<Stream | undefined> {
    const standing = this.#libp2p
      .getConnections(peerId)
      .filter(({ status, limits }) => status === 'open' && limits === undefined)
      .toSorted((a, b) => b.timeline.open - a.timeline.open)
    const [newest] = standing
    if (newest === undefined) return undefined
    const limit = new AbortController()
    const stop = () => limit.abort(signal.reason)
    // a tab may be slow, and can be dialled only through a relay: it is cut only where it is reached through one
    const isRelayed = ({ status, limits }: Connection) => status === 'open' && limits !== undefined
    const giveUp = () => {
      if (!isWebRtc(newest) || this.#libp2p.getConnections(peerId).some(isRelayed)) limit.abort()
    }
    const timer = this.#runtime.setTimer(giveUp, this.#options.stalledConnectionMs)
    signal.addEventListener('abort', stop, { once: true })
    try {
      return await newest.newStream(LINK_PROTOCOL, { signal: limit.signal })
    } catch (error) {
      signal.throwIfAborted()
      // libp2p would take one of those left for the dial, and there is no time to try each
      if (limit.signal.aborted)
        for (const connection of standing) connection.abort(new Error('The connection opens no streams.'))
      else if (newest.status === 'open') throw error // e.g. the peer does not speak the protocol
      return undefined
    } finally {
      timer.clear()
      signal.removeEventListener('abort', stop)
    }
  }

  #inbound(stream: Stream, peer: NodeId): void {
    const accept = this.#accept
    if (accept === undefined) {
      stream.abort(new Error('No links are taken here.'))
      return
    }
    const link = new StreamLink(peer, stream, this.#runtime)
    link.start(accept(link))
  }

  /** Routing tables and connections: in a small network every node sees the same set without asking anyone. */
  #knownPeers(): ReadonlyMap<NodeId, PeerId> {
    if (this.#known !== undefined) return this.#known
    const { kad, kadDurable } = this.#libp2p.services
    const tables = [kad, kadDurable].flatMap((service) => {
      const table = routingTable(service)
      return table.closestPeers(new Uint8Array(32), { count: table.size })
    })
    const all = [...tables, ...this.#libp2p.getPeers()]
    this.#known = new Map(all.map((peerId) => [peerId.toString(), peerId]))
    return this.#known
  }

  async #lookUp(request: FindRequest, counts: number[]): Promise<PeerId[]> {
    if (routingTable(this.#libp2p.services.kad).size <= this.#options.smallNetworkPeers) return []
    return (await findInEach(this.#lookUps, request, counts)).flat()
  }

  /** What a peer told of itself. Undefined when it has told nothing and is not connected, or does not answer. */
  async profile(peerId: PeerId): Promise<PeerProfile | undefined> {
    const nodeId = peerId.toString()
    if (!this.#profiles.has(nodeId)) await this.#identify(peerId)
    return this.#profiles.get(nodeId)
  }

  /** libp2p identifies each new connection; this asks again where that was missed or is still under way. */
  #identify(peerId: PeerId): Promise<void> | undefined {
    const nodeId = peerId.toString()
    const running = this.#identifying.get(nodeId)
    const connection = this.#libp2p.getConnections(peerId).find(({ status }) => status === 'open')
    if (running !== undefined || connection === undefined) return running
    const limit = new AbortController()
    const timer = this.#runtime.setTimer(() => limit.abort(), this.#options.identifyTimeoutMs)
    const asking = this.#libp2p.services.identify
      .identify(connection, { signal: limit.signal })
      .then(({ protocols }) => remember(this.#profiles, nodeId, profileOf(protocols), this.#options))
      .catch(() => undefined)
      .finally(() => {
        timer.clear()
        this.#identifying.delete(nodeId)
      })
    this.#identifying.set(nodeId, asking)
    return asking
  }

  /** Each new connection is. A peer that stores nothing is in no replica set: for it nothing is looked up anew. */
  readonly #identified = ({ detail }: CustomEvent<IdentifyResult>): void => {
    const nodeId = detail.peerId.toString()
    const before = this.#profiles.get(nodeId)
    const profile = profileOf(detail.protocols)
    remember(this.#profiles, nodeId, profile, this.#options)
    if (before?.stores || profile.stores) this.#topologyChanged()
  }

  readonly #connected = (): void => {
    this.#known = undefined
  }

  readonly #disconnected = ({ detail }: CustomEvent<PeerId>): void => {
    this.#known = undefined
    if (this.#mayStore(detail)) this.#topologyChanged()
  }

  #mayStore(peerId: PeerId): boolean {
    return this.#profiles.get(peerId.toString())?.stores !== false
  }

  async #rank(peerId: PeerId, target: Uint8Array): Promise<Ranked | undefined> {
    const profile = await this.profile(peerId)
    return profile?.stores ? this.#ranked(peerId, profile, target) : undefined
  }

  async #ranked(peerId: PeerId, profile: PeerProfile, target: Uint8Array): Promise<Ranked> {
    const distance = distanceBetween(await this.#positionOf(peerId), target)
    return { nodeId: peerId.toString(), durable: profile.durable, distance }
  }

  /** Where a peer lies in the key space, as kad-dht places it: SHA-256 of the multihash in its id. */
  async #positionOf(peerId: PeerId): Promise<Uint8Array> {
    const nodeId = peerId.toString()
    const position = this.#positions.get(nodeId) ?? (await sha256(peerId.toMultihash().bytes))
    remember(this.#positions, nodeId, position, this.#options)
    return position
  }

  #tableEvents(): Array<[EventTarget, string]> {
    const { kad, kadDurable } = this.#libp2p.services
    return [kad, kadDurable].flatMap((service) =>
      ['peer:add', 'peer:remove'].map((event): [EventTarget, string] => [routingTable(service), event]),
    )
  }

  readonly #topologyChanged = (): void => {
    this.#known = undefined
    this.#topologyTimer ??= this.#runtime.setTimer(() => {
      this.#topologyTimer = undefined
      for (const one of this.#lookUps) one.forget()
      this.#onTopologyChange?.()
    }, this.#options.topologyDebounceMs)
  }
}

/** The network of a started libp2p node. Create it before the node joins: others then learn at once that it takes links. */
export const createLibp2pNetwork = (init: Libp2pNetworkInit): Libp2pNetwork => new Libp2pNetwork(init)
