import type { Stream } from '@libp2p/interface'
import { lpStream } from '@libp2p/utils'
import {
  DialBackoff,
  HOP_PROTOCOL,
  jittered,
  type NodeId,
  type Runtime,
  StickyError,
  type Timer,
} from '../dht/index.ts'
import type { LightBook } from './light-book.ts'
import { type LightConnection, type LightKey, unlessAborted, upgrade } from './light-connection.ts'
import { hopConnect, IDENTIFY_PROTOCOL, readProfile, requireHopOk } from './light-messages.ts'
import { openSocket } from './light-socket.ts'

/**
 * The connections of a light node, one to each peer: straight where the peer can be dialled, else through the bridge's
 * relay. Decides how a peer is reached and which connections are kept; not what they are for.
 */

export interface PoolOptions {
  /** The longest unheard of go first, those that nothing uses before others. The relay takes 64 circuits of one peer. */
  maxConnections: number
  /** After this the relay's way is tried beside a straight one: half of what a link may take to open. */
  directMs: number
  /** From the dial to a connection. */
  dialMs: number
  /** Each connection is asked for a sign of life so often, and cut when it takes longer than the second. */
  pingMs: number
  pingTimeoutMs: number
}

export const DEFAULT_POOL_OPTIONS: PoolOptions = {
  maxConnections: 40,
  directMs: 2_000,
  dialMs: 5_000,
  pingMs: 20_000,
  pingTimeoutMs: 10_000,
}

/** What a peer says of itself once it is connected. */
const IDENTIFY_MS = 2_500
const MAX_HOP_ANSWER_BYTES = 4_096

export interface PoolInit {
  key: LightKey
  book: LightBook
  runtime: Runtime
  options: PoolOptions
  onLink(stream: Stream, connection: LightConnection): void
  /** A connection came or went. */
  onChange(): void
  /** Whom to ask may be others now: a peer was lost, or is not what it was said to be. */
  onNews(): void
}

export class LightPool {
  readonly #init: PoolInit
  readonly #closed = new AbortController()
  readonly #connections = new Map<NodeId, LightConnection>()
  readonly #dials = new Map<NodeId, Promise<LightConnection>>()
  readonly #backoff: DialBackoff
  readonly #identified = new WeakMap<LightConnection, Promise<void>>()
  /** Closed here for want of room: that tells nothing of the peers. */
  readonly #letGo = new WeakSet<LightConnection>()
  #bridge: { nodeId: NodeId; uri: string } | undefined
  #pings: Timer | undefined

  constructor(init: PoolInit) {
    this.#init = init
    const { runtime, options } = init
    // a straight way is given up earlier than libp2p would
    this.#backoff = new DialBackoff({ runtime, minAttemptMs: options.directMs / 2 })
    this.#ping()
  }

  get bridgeId(): NodeId | undefined {
    return this.#bridge?.nodeId
  }

  /** Open ones. */
  get all(): LightConnection[] {
    return [...this.#connections.values()].filter(({ isOpen }) => isOpen)
  }

  standing(peer: NodeId): LightConnection | undefined {
    const connection = this.#connections.get(peer)
    return connection?.isOpen ? connection : undefined
  }

  /** Connects to the bridge, which must have admitted this node. */
  async connectBridge(nodeId: NodeId, uri: string, signal: AbortSignal): Promise<void> {
    this.#bridge = { nodeId, uri }
    this.#backoff.clear() // those behind its relay may have a way now
    this.#backoff.exempt(uri)
    await this.connect(nodeId, signal)
  }

  /** The network is another one now: what could not be reached from the last may be from this one. */
  forgetFailures(): void {
    this.#backoff.clear()
  }

  /** The standing connection, or a new one. Who waits no longer leaves the dial to others, for `dialMs` at most. */
  async connect(peer: NodeId, signal: AbortSignal): Promise<LightConnection> {
    signal.throwIfAborted()
    const standing = this.standing(peer)
    if (standing !== undefined) return standing
    return unlessAborted(this.#dials.get(peer) ?? this.#dial(peer), signal)
  }

  /** As `connect`, and what the peer says of itself is in the book then, if it has said it in good time. */
  async meet(peer: NodeId, signal: AbortSignal): Promise<void> {
    const connection = await this.connect(peer, signal)
    await unlessAborted(this.#identified.get(connection), signal)
  }

  /** Cuts those that give no sign of life before the signal aborts. */
  async dropDead(signal: AbortSignal): Promise<void> {
    await Promise.all(this.all.map((connection) => connection.requireAlive(signal)))
  }

  async close(): Promise<void> {
    this.#closed.abort(new StickyError('CLOSED', 'This node is closed.'))
    this.#pings?.clear()
    await Promise.allSettled(this.#dials.values())
    await Promise.all([...this.#connections.values()].map((connection) => connection.close()))
  }

  #dial(peer: NodeId): Promise<LightConnection> {
    const { dialMs } = this.#init.options
    const signal = AbortSignal.any([this.#closed.signal, AbortSignal.timeout(dialMs)])
    const dial = this.#dialEach(peer, signal).finally(() => this.#dials.delete(peer))
    this.#dials.set(peer, dial)
    dial.catch(() => this.#init.book.forgetProfile(peer)) // it may have gone; so may those who asked
    return dial
  }

  /**
   * The first way that answers. A straight one that is slow goes on beside the relay's: a relay has no place for a peer
   * that can be dialled.
   */
  async #dialEach(peer: NodeId, signal: AbortSignal): Promise<LightConnection> {
    const isBridge = peer === this.#bridge?.nodeId
    const uris = isBridge ? [this.#bridge?.uri as string] : this.#init.book.urisOf(peer)
    const found = new AbortController()
    const either = AbortSignal.any([signal, found.signal])
    const dial = (way: string) => this.#dialNoted(peer, way, either)
    const straight = uris.map(dial)
    const limit = AbortSignal.timeout(this.#init.options.directMs)
    const relayed = () => unlessAborted(Promise.any(straight), limit).catch(() => dial(circuitTo(peer)))
    try {
      const first = await Promise.any(isBridge ? straight : [...straight, relayed()])
      return this.standing(peer) ?? first // of two in the same moment the second is kept
    } catch (error) {
      throw (error as AggregateError).errors.at(-1)
    } finally {
      found.abort()
    }
  }

  async #dialNoted(peer: NodeId, way: string, limit: AbortSignal): Promise<LightConnection> {
    if (this.#backoff.isResting(way))
      throw new StickyError('UNREACHABLE', `There is no way to ${peer} at the moment.`)
    const dial = (_way: string, { signal }: { signal: AbortSignal }) =>
      way === circuitTo(peer) ? this.#circuit(peer, signal) : this.#direct(peer, way, signal)
    return this.#backoff
      .noting(() => ({ dial }))(undefined)
      .dial(way, { signal: limit })
  }

  async #direct(peer: NodeId, uri: string, signal: AbortSignal): Promise<LightConnection> {
    const socket = await openSocket(uri, signal)
    const connection = await this.#upgraded(socket, peer, false, signal)
    this.#init.book.noteProven(peer, uri)
    return connection
  }

  async #circuit(peer: NodeId, signal: AbortSignal): Promise<LightConnection> {
    const bridge = this.#bridge && this.standing(this.#bridge.nodeId)
    if (bridge === undefined)
      throw new StickyError('UNREACHABLE', 'The bridge, through which that peer is reached, is gone.')
    const stream = await bridge.newStream(HOP_PROTOCOL, signal)
    try {
      const messages = lpStream(stream, { maxDataLength: MAX_HOP_ANSWER_BYTES })
      await messages.write(hopConnect(peer), { signal })
      requireHopOk((await messages.read({ signal })).subarray())
      return await this.#upgraded(messages.unwrap(), peer, true, signal)
    } catch (error) {
      stream.abort(error as Error)
      throw error
    }
  }

  async #upgraded(
    raw: Parameters<typeof upgrade>[0],
    peer: NodeId,
    relayed: boolean,
    signal: AbortSignal,
  ): Promise<LightConnection> {
    const { key, onLink } = this.#init
    const connection = await upgrade(raw, { key, peer, relayed, onLink, signal })
    if (signal.aborted) {
      connection.abort('Another way was faster.')
      throw signal.reason
    }
    this.#keep(connection)
    return connection
  }

  /** The newest counts: one of before that is open still is mostly dead without knowing it. */
  #keep(connection: LightConnection): void {
    const { peer } = connection
    const { book, onChange, onNews, options } = this.#init
    const older = this.#connections.get(peer)
    this.#connections.delete(peer)
    this.#connections.set(peer, connection)
    older?.abort('There is a newer connection.')
    connection.onClose(() => {
      if (this.#connections.get(peer) !== connection) return // there is a newer one
      this.#connections.delete(peer)
      onChange()
      if (this.#letGo.has(connection)) return
      book.forgetProfile(peer) // it may be another one when it comes back, or has gone for good
      onNews()
    })
    if (this.#connections.size > options.maxConnections) this.#makeRoom(connection)
    if (peer !== this.#bridge?.nodeId) this.#identified.set(connection, this.#identify(connection))
    onChange()
  }

  #makeRoom(newest: LightConnection): void {
    const candidates = [...this.#connections.values()].filter(
      (one) => one !== newest && one.peer !== this.#bridge?.nodeId,
    )
    const [first] = candidates.toSorted(
      (a, b) => Number(b.isIdle) - Number(a.isIdle) || a.lastHeardMs - b.lastHeardMs,
    )
    if (first === undefined) return
    this.#letGo.add(first)
    void first.close()
  }

  async #identify(connection: LightConnection): Promise<void> {
    const signal = AbortSignal.any([this.#closed.signal, AbortSignal.timeout(IDENTIFY_MS)])
    try {
      const profile = readProfile(await connection.ask(IDENTIFY_PROTOCOL, undefined, signal))
      const believed = this.#init.book.profileOf(connection.peer)
      this.#init.book.noteProfile(connection.peer, profile)
      if (believed?.stores !== profile.stores || believed.durable !== profile.durable) this.#init.onNews()
    } catch {
      // it stays what others say it is
    }
  }

  /** A connection may stand for longer than what was said at its beginning is believed. */
  #askAgain(): void {
    for (const connection of this.all)
      if (connection.peer !== this.bridgeId && this.#init.book.isDue(connection.peer))
        this.#identified.set(connection, this.#identify(connection))
  }

  #ping(): void {
    const { runtime, options } = this.#init
    this.#pings = runtime.setTimer(
      () => {
        const limit = AbortSignal.any([this.#closed.signal, AbortSignal.timeout(options.pingTimeoutMs)])
        void this.dropDead(limit)
        this.#askAgain()
        this.#ping()
      },
      jittered(runtime, options.pingMs),
    )
  }
}

/** For the memory of what failed. */
const circuitTo = (peer: NodeId): string => `circuit to ${peer}`
