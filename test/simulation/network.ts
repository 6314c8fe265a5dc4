import { choose } from '../../src/dht/closest.ts'
import {
  type ClosestOptions,
  type ClosestPeer,
  type Link,
  type LinkEvents,
  type NodeId,
  type PeerNetwork,
  StickyError,
} from '../../src/dht/index.ts'
import { DEFAULT_MEET_OPTIONS } from '../../src/dht/libp2p-meet.ts'
import type { SimulatedHub } from './hub.ts'
import {
  BUCKET_SIZE,
  byDistance,
  contactOf,
  distance,
  lookUp,
  positionOf,
  positionOfKey,
  RoutingTable,
} from './routing.ts'
import { SimulatedRuntime } from './world.ts'

/** One node's network: links through the hub, and a routing table for all holders and one for durable ones. */

export interface SimulatedNetworkInit {
  hub: SimulatedHub
  self: NodeId
  label: string
  stores: boolean
  durable: boolean
  /** Known addresses, asked again whenever neighbours are looked for. */
  bootstrap: NodeId[]
  /** With at most so many peers known no look-up is made, as in the libp2p network (20 there). */
  smallNetworkPeers?: number
  /** Answers routing questions in the place of the true table. */
  lie?: (target: Uint8Array) => NodeId[]
}

interface Profile {
  stores: boolean
  durable: boolean
}

const TOPOLOGY_DEBOUNCE_MS = 100
/** How often it looks for its neighbours, as the libp2p network does. */
const { firstMs: MEET_FIRST_MS, lossMs: MEET_LOSS_MS, maxMs: MEET_MAX_MS } = DEFAULT_MEET_OPTIONS
/** While a known address does not answer: src/node/keep-bridge.ts asks a bridge that it lost as often. */
const REENTER_MAX_MS = 6_000

export class SimulatedNetwork implements PeerNetwork {
  readonly self: NodeId
  readonly stores: boolean
  readonly durable: boolean
  readonly #hub: SimulatedHub
  readonly #bootstrap: NodeId[]
  readonly #smallNetworkPeers: number
  readonly #lie: SimulatedNetworkInit['lie']
  readonly #runtime: SimulatedRuntime
  readonly #table: RoutingTable
  readonly #durableTable: RoutingTable
  readonly #profiles = new Map<NodeId, Profile>()
  #accept: ((link: Link) => LinkEvents) | undefined
  #onTopologyChange: (() => void) | undefined
  #isTopologyTimerSet = false
  #meetPauseMs = MEET_FIRST_MS
  #meetDueMs = 0
  #metAtMs = Number.NEGATIVE_INFINITY
  #meetTimer: { clear(): void } | undefined

  constructor(init: SimulatedNetworkInit) {
    this.#hub = init.hub
    this.self = init.self
    this.stores = init.stores
    this.durable = init.durable
    this.#bootstrap = init.bootstrap.filter((nodeId) => nodeId !== init.self)
    this.#smallNetworkPeers = init.smallNetworkPeers ?? 0
    this.#lie = init.lie
    this.#runtime = new SimulatedRuntime(init.hub.world, init.hub.world.random(`network ${init.label}`))
    const changed = () => this.#topologyChanged()
    this.#table = new RoutingTable(this.self, changed)
    this.#durableTable = new RoutingTable(this.self, changed)
    init.hub.name(this.self, init.label)
    init.hub.join(this)
  }

  get acceptLink(): ((link: Link) => LinkEvents) | undefined {
    const accept = this.#accept
    if (accept === undefined) return undefined
    return (link) => this.#watched(accept(link))
  }

  onInboundLink(accept: (link: Link) => LinkEvents): void {
    this.#accept = accept
  }

  onTopologyChange(listener: () => void): void {
    this.#onTopologyChange = listener
  }

  /** Meets the network, and goes on looking for neighbours. Resolves after the first round. */
  async join(): Promise<void> {
    await this.#meet()
    this.#scheduleMeeting()
  }

  pause(forMs: number): void {
    this.#runtime.pausedUntilMs = this.#hub.world.nowMs + forMs
  }

  stop(): void {
    this.#runtime.stop()
    this.#accept = undefined
    this.#onTopologyChange = undefined
  }

  openLink(peer: NodeId, events: LinkEvents, { signal }: { signal: AbortSignal }): Promise<Link> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(abortError(signal))
      const onAbort = () => reject(abortError(signal))
      signal.addEventListener('abort', onAbort, { once: true })
      this.#hub.dial(this, peer, (error, link) => {
        signal.removeEventListener('abort', onAbort)
        if (link === undefined) return reject(error)
        if (signal.aborted || this.#runtime.isStopped) return link.close()
        link.setEvents(this.#watched(events))
        this.#topologyChanged()
        resolve(link)
      })
    })
  }

  async closestPeers(key: Uint8Array, { count, minDurable, signal }: ClosestOptions): Promise<ClosestPeer[]> {
    if (signal.aborted) throw abortError(signal)
    const target = positionOfKey(key)
    if (this.#table.size === 0) await this.#meet() // forgotten by all, as after an outage of everybody: enter anew
    const known = new Set([...this.#table.all(), ...this.#durableTable.all()].map(({ nodeId }) => nodeId))
    let found: NodeId[] = [...known]
    if (known.size > this.#smallNetworkPeers) {
      const [all, durable] = await Promise.all([
        this.#lookUp(target, this.#table, false),
        this.#lookUp(target, this.#durableTable, true),
      ])
      if (signal.aborted) throw abortError(signal)
      found = [...new Set([...all, ...durable])]
    }
    const ranked = found.flatMap((nodeId) => {
      const profile = this.#profiles.get(nodeId)
      if (!profile?.stores) return []
      return [{ nodeId, durable: profile.durable, distance: distance(positionOf(nodeId), target) }]
    })
    if (this.stores)
      ranked.push({
        nodeId: this.self,
        durable: this.durable,
        distance: distance(positionOf(this.self), target),
      })
    return choose(ranked, count, minDurable)
  }

  async #lookUp(target: Uint8Array, table: RoutingTable, durableOnly: boolean): Promise<NodeId[]> {
    const contacts = await lookUp(target, table.closest(target), (nodeId) =>
      this.#ask(nodeId, target, durableOnly),
    )
    return contacts.map(({ nodeId }) => nodeId)
  }

  /** Who a peer knows near a place. The answer also says what the peer is. */
  async #ask(nodeId: NodeId, target: Uint8Array, durableOnly: boolean): Promise<NodeId[] | undefined> {
    const asker: Profile = { stores: this.stores, durable: this.durable }
    const answer = await this.#hub.query(this.self, nodeId, (peer) =>
      peer.#answer(this.self, asker, target, durableOnly),
    )
    if (this.#runtime.isStopped) return undefined
    if (answer === undefined) {
      this.#table.remove(nodeId)
      this.#durableTable.remove(nodeId)
      return undefined
    }
    this.#heardOf(nodeId, answer.profile)
    return answer.closer.filter((closer) => closer !== this.self)
  }

  #answer(asker: NodeId, profile: Profile, target: Uint8Array, durableOnly: boolean) {
    this.#heardOf(asker, profile)
    const own: Profile = { stores: this.stores, durable: this.durable }
    if (this.#lie !== undefined) return { profile: own, closer: this.#lie(target) }
    const table = durableOnly ? this.#durableTable : this.#table
    const closer = byDistance(table.all(), target)
      .filter(({ nodeId }) => nodeId !== asker)
      .slice(0, BUCKET_SIZE)
    return { profile: own, closer: closer.map(({ nodeId }) => nodeId) }
  }

  /** Only nodes that store are entries of anybody's routing table; clients merely ask. */
  #heardOf(nodeId: NodeId, profile: Profile): void {
    this.#profiles.set(nodeId, profile)
    if (!profile.stores) return
    this.#table.add(contactOf(nodeId))
    if (profile.durable) this.#durableTable.add(contactOf(nodeId))
  }

  #watched(events: LinkEvents): LinkEvents {
    return {
      onFrame: (frame) => {
        if (!this.#runtime.isStopped) events.onFrame(frame)
      },
      onClose: () => {
        if (this.#runtime.isStopped) return
        this.#meetAgainSoon()
        this.#topologyChanged()
        events.onClose()
      },
    }
  }

  #topologyChanged(): void {
    if (this.#isTopologyTimerSet) return
    this.#isTopologyTimerSet = true
    this.#runtime.setTimer(() => {
      this.#isTopologyTimerSet = false
      this.#onTopologyChange?.()
    }, TOPOLOGY_DEBOUNCE_MS)
  }

  /** Looks for itself, which makes it known to its neighbours; true when that brought somebody new. */
  async #meet(): Promise<boolean> {
    const before = this.#table.size
    const own = positionOf(this.self)
    const strangers = this.#bootstrap.filter((nodeId) => !this.#table.has(nodeId))
    await Promise.all(strangers.map((nodeId) => this.#ask(nodeId, own, false)))
    await Promise.all([this.#lookUp(own, this.#table, false), this.#lookUp(own, this.#durableTable, true)])
    return this.#table.size > before
  }

  #scheduleMeeting(waitMs = this.#meetPauseMs): void {
    this.#meetTimer?.clear()
    const pauseMs = waitMs * (0.5 + this.#runtime.random())
    this.#meetDueMs = this.#runtime.monotonicNow() + pauseMs
    this.#meetTimer = this.#runtime.setTimer(async () => {
      this.#metAtMs = this.#runtime.monotonicNow()
      const isNew = await this.#meet()
      const isCutOff = this.#bootstrap.some((nodeId) => !this.#table.has(nodeId))
      const maxMs = isCutOff ? REENTER_MAX_MS : MEET_MAX_MS
      this.#meetPauseMs = isNew ? MEET_FIRST_MS : Math.min(this.#meetPauseMs * 2, maxMs)
      this.#scheduleMeeting()
    }, pauseMs)
  }

  /** As src/dht/libp2p-meet.ts does where a neighbour is lost. */
  #meetAgainSoon(): void {
    this.#meetPauseMs = Math.min(this.#meetPauseMs, MEET_LOSS_MS)
    const now = this.#runtime.monotonicNow()
    const waitMs = Math.max(MEET_FIRST_MS, this.#metAtMs + MEET_LOSS_MS - now)
    if (now + waitMs < this.#meetDueMs) this.#scheduleMeeting(waitMs)
  }
}

function abortError(signal: AbortSignal): StickyError {
  if (signal.reason instanceof StickyError) return signal.reason
  return new StickyError('ABORTED', 'The operation was aborted.', { cause: signal.reason })
}
