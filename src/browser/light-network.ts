import type { Stream } from '@libp2p/interface'
import {
  type ClosestOptions,
  type ClosestPeer,
  choose,
  DEFAULT_LOOK_UP_OPTIONS,
  distanceBetween,
  type Finder,
  type FindRequest,
  findInEach,
  jittered,
  KAD_DURABLE_PROTOCOL,
  KAD_PROTOCOL,
  LINK_PROTOCOL,
  type Link,
  type LinkEvents,
  type LookUpOptions,
  LookUps,
  linkOver,
  type NodeId,
  networkError,
  type PeerNetwork,
  type PeerView,
  peerIdBytesOf,
  type Ranked,
  type Runtime,
  StickyError,
  StreamLink,
  sha256,
  systemRuntime,
  type Timer,
} from '../dht/index.ts'
import { uriOfText } from './light-address.ts'
import { type BookOptions, DEFAULT_BOOK_OPTIONS, LightBook } from './light-book.ts'
import { type LightConnection, lightKeyOf } from './light-connection.ts'
import { DEFAULT_QUESTION_OPTIONS, lookUp, type QuestionOptions } from './light-look-up.ts'
import { findNodeRequest, readFindNode } from './light-messages.ts'
import { DEFAULT_POOL_OPTIONS, LightPool, type PoolOptions } from './light-pool.ts'

/**
 * The network of a light node: it asks both DHTs and serves neither, and links to holders as any node does. It holds
 * nothing for others and nobody can dial it, so it is there as long as it is connected.
 */

export interface LightNetworkOptions extends PoolOptions, LookUpOptions, QuestionOptions, BookOptions {
  /** One question of it, the dial included; and one round of meeting those that are chosen. */
  questionMs: number
  /** A connection on which a stream takes longer to open counts as dead; half of what a link may take to open. */
  stalledConnectionMs: number
  /** News that come together are told as one. */
  topologyDebounceMs: number
  /** The bridge is asked for newcomers after this; the pause doubles up to the maximum while there are none. */
  firstWatchMs: number
  maxWatchMs: number
}

export const DEFAULT_LIGHT_NETWORK_OPTIONS: LightNetworkOptions = {
  ...DEFAULT_POOL_OPTIONS,
  ...DEFAULT_LOOK_UP_OPTIONS,
  ...DEFAULT_QUESTION_OPTIONS,
  ...DEFAULT_BOOK_OPTIONS,
  questionMs: 2_500,
  stalledConnectionMs: 2_500,
  topologyDebounceMs: 100,
  firstWatchMs: 250,
  maxWatchMs: 30_000,
}

/** In which those chosen are met, each `questionMs` at most; each round replaces those that are not there. */
const MAX_ROUNDS = 3

/** Holders that are asked where the bridge is gone. */
const MAX_SEEDS = 3

/** What a look-up has found. */
interface Named {
  all: Set<NodeId>
  durable: Set<NodeId>
}

export interface LightNetworkInit {
  nodeId: NodeId
  /** 32 bytes: the Ed25519 seed that the node id comes from. */
  seed: Uint8Array
  runtime?: Runtime
  options?: Partial<LightNetworkOptions>
}

export async function createLightNetwork(init: LightNetworkInit): Promise<LightNetwork> {
  return new LightNetwork(init, await lightKeyOf(init.seed))
}

export class LightNetwork implements PeerNetwork {
  readonly self: NodeId
  readonly stores = false
  readonly durable = false
  readonly #runtime: Runtime
  readonly #options: LightNetworkOptions
  readonly #book: LightBook
  readonly #pool: LightPool
  /** In the DHT of all who store, and in that of the durable ones. */
  readonly #lookUps: LookUps<NodeId>[]
  readonly #listeners = new Set<() => void>()
  #accept: ((link: Link) => LinkEvents) | undefined
  #onTopologyChange: (() => void) | undefined
  #topologyTimer: Timer | undefined
  #watchTimer: Timer | undefined
  #watchMs = 0
  /** Whom the bridge named last as close to this node. */
  #neighbours: ReadonlySet<NodeId> = new Set()
  #isClosed = false

  constructor(init: LightNetworkInit, key: Awaited<ReturnType<typeof lightKeyOf>>) {
    this.self = init.nodeId
    this.#runtime = init.runtime ?? systemRuntime
    this.#options = { ...DEFAULT_LIGHT_NETWORK_OPTIONS, ...init.options }
    this.#book = new LightBook(this.#options, this.#runtime)
    this.#pool = new LightPool({
      key,
      book: this.#book,
      runtime: this.#runtime,
      options: this.#options,
      onLink: (stream, connection) => this.#inbound(stream, connection),
      onChange: () => {
        for (const listener of this.#listeners) listener()
      },
      onNews: () => this.#news(),
    })
    this.#lookUps = [KAD_PROTOCOL, KAD_DURABLE_PROTOCOL].map(
      (protocol) => new LookUps(this.#finder(protocol), this.#runtime, this.#options),
    )
  }

  onInboundLink(accept: (link: Link) => LinkEvents): void {
    this.#accept = accept
  }

  onTopologyChange(listener: () => void): void {
    this.#onTopologyChange = listener
  }

  /** Called when a connection came or went. */
  onConnections(listener: () => void): void {
    this.#listeners.add(listener)
  }

  connections(): PeerView[] {
    return this.#pool.all.map(({ peer, relayed }) => ({ nodeId: peer, direct: !relayed, webrtc: false }))
  }

  isConnected(peer: NodeId): boolean {
    return this.#pool.standing(peer) !== undefined
  }

  /**
   * Connects to the bridge, which must have admitted this node, by its multiaddr. Rejects with UNREACHABLE,
   * WRONG_IDENTITY or ABORTED.
   */
  async join(relay: string, bridgeId: NodeId, signal: AbortSignal): Promise<void> {
    const uri = uriOfText(relay)
    if (uri === undefined || (this.#options.secureOnly && !uri.startsWith('wss:')))
      throw new StickyError('UNREACHABLE', `This page cannot connect to the bridge's address ${relay}.`)
    try {
      this.#book.setBridge(uri)
      await this.#pool.connectBridge(bridgeId, uri, signal)
      await this.#look(signal) // a bridge that did not mean it cuts the connection now
      this.#watchMs = this.#options.firstWatchMs
      this.#watch()
      this.#news()
    } catch (error) {
      // else it would count as joined, and nobody would try again
      this.#pool.standing(bridgeId)?.abort('The bridge could not be joined.')
      throw networkError(error, signal)
    }
  }

  /** The network is another one now: what could not be reached from the last may be from this one. */
  forgetFailures(): void {
    this.#pool.forgetFailures()
  }

  /** Cuts what gives no sign of life before the signal aborts. */
  async dropDead(signal: AbortSignal): Promise<void> {
    this.forgetFailures()
    await this.#pool.dropDead(signal)
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#topologyTimer?.clear()
    this.#watchTimer?.clear()
    this.#accept = undefined
    this.#onTopologyChange = undefined
    await this.#pool.close()
    this.#listeners.clear()
  }

  async openLink(peer: NodeId, events: LinkEvents, { signal }: { signal: AbortSignal }): Promise<Link> {
    try {
      signal.throwIfAborted()
      return linkOver(peer, await this.#openStream(peer, signal), this.#runtime, events)
    } catch (error) {
      const told = networkError(error, signal)
      // whoever answered in its place, this peer was not reached
      if (signal.aborted || told.code === 'UNREACHABLE') throw told
      throw new StickyError('UNREACHABLE', told.message, { cause: told })
    }
  }

  async closestPeers(key: Uint8Array, { count, minDurable, signal }: ClosestOptions): Promise<ClosestPeer[]> {
    try {
      signal.throwIfAborted()
      const target = await sha256(key)
      const [common, durable] = await findInEach(this.#lookUps, { key, target, signal }, [count, minDurable])
      signal.throwIfAborted()
      const all = new Set([...(common ?? []), ...(durable ?? []), ...this.#book.holders()])
      const named = { all, durable: new Set(durable) }
      return await this.#met(named, target, { count, minDurable, signal })
    } catch (error) {
      throw networkError(error, signal)
    }
  }

  /**
   * The closest that are there. Each round meets twice as many, and nobody twice while others are there: one liar names
   * twenty that are not, and may have each of them say nothing. Once one that is merely slow answers, that is news.
   */
  async #met(
    named: Named,
    target: Uint8Array,
    { count, minDurable, signal }: ClosestOptions,
  ): Promise<ClosestPeer[]> {
    const tried = new Set<NodeId>()
    for (let round = 0; ; round++) {
      const ranked = await this.#rank(named, target)
      const met = ranked.filter(this.#isMet)
      const isOpen = (peer: ClosestPeer) => met.length === 0 || this.#isMet(peer) || !tried.has(peer.nodeId)
      const open = ranked.filter(isOpen)
      if (round === MAX_ROUNDS || choose(open, count, minDurable).every(this.#isMet))
        return choose(met, count, minDurable)
      const chosen = choose(open, count * 2 ** round, minDurable * 2 ** round)
      const strangers = chosen.filter((peer) => !this.#isMet(peer))
      for (const { nodeId } of strangers) tried.add(nodeId)
      await this.#meet(strangers, named, signal)
      signal.throwIfAborted()
    }
  }

  /** Those that may hold something: by their own word, or by others' where they have given none. */
  #rank(named: Named, target: Uint8Array): Promise<Ranked[]> {
    return Promise.all(
      [...named.all]
        .filter((nodeId) => this.#mayHold(nodeId))
        .map(async (nodeId) => ({
          nodeId,
          durable: this.#book.profileOf(nodeId)?.durable ?? named.durable.has(nodeId),
          distance: distanceBetween(await this.#book.placeOf(nodeId), target),
        })),
    )
  }

  readonly #isMet = ({ nodeId }: ClosestPeer): boolean =>
    this.#book.profileOf(nodeId) !== undefined || this.isConnected(nodeId)

  /** Others go on naming who has gone: out with those. Not within the look-up's time, which a liar can use up. */
  async #meet(strangers: ClosestPeer[], named: Named, within: AbortSignal): Promise<void> {
    const signal = AbortSignal.any([within, AbortSignal.timeout(this.#options.questionMs)])
    const meetings = strangers.map(({ nodeId }) =>
      this.#pool.meet(nodeId, signal).catch(() => {
        if (!signal.aborted) named.all.delete(nodeId)
      }),
    )
    await Promise.all(meetings)
  }

  #mayHold(nodeId: NodeId): boolean {
    if (nodeId === this.self || nodeId === this.#pool.bridgeId) return false
    return this.#book.profileOf(nodeId)?.stores ?? true // others named it as one that serves the DHT
  }

  async #openStream(peer: NodeId, signal: AbortSignal): Promise<Stream> {
    const standing = this.#pool.standing(peer)
    const stream = standing && (await this.#onStanding(standing, signal))
    if (stream !== undefined) return stream
    return this.#linkStream(await this.#pool.connect(peer, signal), signal)
  }

  /** Undefined where the connection was dead and is cut. */
  async #onStanding(connection: LightConnection, signal: AbortSignal): Promise<Stream | undefined> {
    const stalled = AbortSignal.timeout(this.#options.stalledConnectionMs)
    const { lastHeardMs } = connection
    try {
      return await this.#linkStream(connection, AbortSignal.any([signal, stalled]))
    } catch (error) {
      signal.throwIfAborted()
      const isSilent = connection.lastHeardMs === lastHeardMs // else it is busy: on a slow line the answer waits behind data
      if (stalled.aborted && isSilent) connection.abort('The connection opens no streams.')
      else if (connection.isOpen) throw error // e.g. the peer does not speak the protocol
      return undefined
    }
  }

  async #linkStream(connection: LightConnection, signal: AbortSignal): Promise<Stream> {
    try {
      return await connection.newStream(LINK_PROTOCOL, signal)
    } catch (error) {
      if (error instanceof StickyError && error.code === 'UNKNOWN_METHOD')
        this.#book.noteProfile(connection.peer, { stores: false, durable: false })
      throw error
    }
  }

  #inbound(stream: Stream, { peer }: LightConnection): void {
    const accept = this.#accept
    if (accept === undefined) return stream.abort(new Error('No links are taken here.'))
    const link = new StreamLink(peer, stream, this.#runtime)
    link.start(accept(link))
  }

  #finder(protocol: string): Finder<NodeId> {
    const placeOf = (peer: NodeId) => this.#book.placeOf(peer)
    return {
      placeOf,
      canAsk: () => this.#seeds().some((together) => together.length > 0),
      find: ({ key, target, signal }: FindRequest) => {
        const question = findNodeRequest(key)
        const ask = (peer: NodeId) => this.#ask(peer, protocol, question, signal)
        const areAll = (peers: NodeId[]) => this.#areAll(peers, protocol)
        return lookUp({ target, seeds: this.#seeds(), ask, placeOf, areAll, signal, options: this.#options })
      },
    }
  }

  /**
   * Those around a key and those around this node are the same ones only where there are no others. A peer of which the
   * bridge knows no address it does not name, so fewer than it could name may still be a part.
   */
  #areAll(peers: NodeId[], protocol: string): boolean {
    const areNeighbours = peers.every((peer) => this.#neighbours.has(peer))
    const isWhole = protocol === KAD_DURABLE_PROTOCOL || peers.length === this.#neighbours.size
    return areNeighbours && isWhole && this.#neighbours.size < this.#options.bucketPeers
  }

  #seeds(): NodeId[][] {
    const { bridgeId } = this.#pool
    const holders = this.#pool.all.filter(({ peer }) => this.#mayHold(peer))
    const direct = holders.toSorted((a, b) => Number(a.relayed) - Number(b.relayed)).map(({ peer }) => peer)
    const bridge = bridgeId !== undefined && this.isConnected(bridgeId) ? [bridgeId] : []
    return [bridge, direct.slice(0, MAX_SEEDS)]
  }

  async #ask(peer: NodeId, protocol: string, question: Uint8Array, within: AbortSignal): Promise<NodeId[]> {
    const signal = AbortSignal.any([within, AbortSignal.timeout(this.#options.questionMs)])
    const connection = await this.#pool.connect(peer, signal)
    const named = readFindNode(await connection.ask(protocol, question, signal))
    for (const { nodeId, addresses } of named) this.#book.noteAddresses(nodeId, addresses)
    return named.map(({ nodeId }) => nodeId).filter((nodeId) => nodeId !== this.self)
  }

  /** Who is close to this node, as the bridge sees it: a sign of who came and went. True where that has changed. */
  async #look(signal: AbortSignal): Promise<boolean> {
    const bridge = this.#pool.bridgeId as NodeId
    const question = findNodeRequest(peerIdBytesOf(this.self))
    const named = await this.#ask(bridge, KAD_PROTOCOL, question, signal)
    const neighbours = new Set(named)
    const before = this.#neighbours
    const isOther = neighbours.size !== before.size || named.some((peer) => !before.has(peer))
    this.#neighbours = neighbours
    return isOther
  }

  #watch(): void {
    this.#watchTimer?.clear()
    this.#watchTimer = this.#runtime.setTimer(
      () => void this.#watchOnce(),
      jittered(this.#runtime, this.#watchMs),
    )
  }

  async #watchOnce(): Promise<void> {
    const { firstWatchMs, maxWatchMs, questionMs } = this.#options
    const { bridgeId } = this.#pool
    if (bridgeId === undefined || !this.isConnected(bridgeId)) return // the next join begins anew
    const isOther = await this.#look(AbortSignal.timeout(questionMs)).catch(() => false)
    if (this.#isClosed) return
    this.#watchMs = isOther ? firstWatchMs : Math.min(this.#watchMs * 2, maxWatchMs)
    if (isOther) this.#news()
    this.#watch()
  }

  #news(): void {
    if (this.#isClosed) return
    this.#topologyTimer ??= this.#runtime.setTimer(() => {
      this.#topologyTimer = undefined
      for (const one of this.#lookUps) one.forget()
      this.#onTopologyChange?.()
    }, this.#options.topologyDebounceMs)
  }
}
