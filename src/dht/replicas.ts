import { sha256, toHex } from './codec.ts'
import { asStickyError, type ErrorCode, StickyError } from './errors.ts'
import type { NodeId } from './identity.ts'
import type { ClosestPeer, PeerNetwork } from './network.ts'
import type { DhtOptions } from './options.ts'
import type { Rpc } from './rpc.ts'
import { jittered, type Runtime } from './runtime.ts'
import { recordMethods } from './wire.ts'

/**
 * Which nodes hold a key, and asking all of them at once. The look-up is cached, because it costs a DHT query; a peer
 * that cannot be reached is left out for a while, so that the set is of live nodes and a majority of it can answer
 * (a partition's two sides each go on with whom they reach, and merge on contact).
 */

interface CachedSet {
  peers: ClosestPeer[]
  atMs: number
  /** How often peers had come or gone when it was looked up. */
  topology: number
  refreshing: Promise<ClosestPeer[]> | undefined
}

export interface CommitRequest {
  kind: string
  key: Uint8Array
  head: Uint8Array
  /** How it came out of the head before; who has that one needs no more. */
  step?: { base: Uint8Array | undefined; delta: Uint8Array } | undefined
  /** Whether this node has made the other head, of this id, after this one: who has that has this. */
  isLater(headId: Uint8Array, than: Uint8Array): boolean
}

export interface Acknowledgement {
  replicas: number
  durableReplicas: number
}

/** What a holder has signed of the delta that it was sent. */
export interface SignedByHolder {
  peer: NodeId
  signed: Uint8Array
}

export interface CommitOutcome extends Acknowledgement {
  quorum: boolean
  /** Of those that have acknowledged, of the others than this node. */
  signed: SignedByHolder[]
  conflicts: { peer: NodeId; head: Uint8Array }[]
  failures: { peer: NodeId; code: ErrorCode }[]
}

export interface HeadAnswer {
  peer: NodeId
  durable: boolean
  head: Uint8Array | undefined
  error?: StickyError | undefined
}

export interface ReplicaSetView {
  /** Of the record, hexadecimal. */
  key: string
  ageMs: number
  peers: NodeId[]
}

/** A peer that could not be reached: left out for `forMs`, of which `leftMs` are left. At 0 it is asked again. */
export interface CooledPeer {
  nodeId: NodeId
  leftMs: number
  forMs: number
}

export const MAX_DOWN = 4_096

export class Replicas {
  readonly #network: PeerNetwork
  readonly #rpc: Rpc
  readonly #runtime: Runtime
  readonly #options: DhtOptions
  readonly #sets = new Map<string, CachedSet>()
  readonly #down = new Map<NodeId, { untilMs: number; forMs: number; sinceMs: number }>()
  readonly #closed = new AbortController()
  /** Raised whenever peers come or go: older sets are looked up again. */
  #topology = 0

  constructor(network: PeerNetwork, rpc: Rpc, runtime: Runtime, options: DhtOptions) {
    this.#network = network
    this.#rpc = rpc
    this.#runtime = runtime
    this.#options = options
    rpc.onPeerSeen((peer) => this.#down.delete(peer))
  }

  topologyChanged(): void {
    this.#topology += 1
  }

  /** Who could not be reached before this node slept, or was offline, may be there now. */
  lookAgain(): void {
    this.#down.clear()
    this.#topology += 1
  }

  /** The live holders of a key, nearest first, self included when this node is one. May be empty. */
  async set(key: Uint8Array): Promise<ClosestPeer[]> {
    const name = toHex(key)
    const cached = this.#sets.get(name) ?? {
      peers: [],
      atMs: Number.NEGATIVE_INFINITY,
      topology: 0,
      refreshing: undefined,
    }
    const isOld = this.#runtime.monotonicNow() - cached.atMs > this.#options.replicaSetTtlMs
    if (isOld || cached.peers.length === 0 || cached.topology < this.#topology) {
      cached.refreshing ??= this.#lookUp(key, name, cached)
      // a known set serves while its successor is looked up; a set with nobody to ask does not
      if (this.#live(cached.peers).length === 0) await cached.refreshing
      else cached.refreshing.catch(() => undefined)
    }
    const live = this.#live(cached.peers)
    // who is cut off from all of them finds out by trying that it is not any more
    return (live.length > 0 ? live : this.#chosen(cached.peers)).slice(0, this.#options.replication)
  }

  /** The look-up under way, which `set` began; undefined where what it gave is the newest there is. */
  refreshing(key: Uint8Array): Promise<unknown> | undefined {
    return this.#sets.get(toHex(key))?.refreshing
  }

  /** How many there are, as far as that is known, those included who are left out. */
  countOf(key: Uint8Array): number {
    return this.#chosen(this.#sets.get(toHex(key))?.peers ?? []).length
  }

  /** Whether nobody of them is left out but those who have gone for good. */
  isWhole(key: Uint8Array): boolean {
    const now = this.#runtime.monotonicNow()
    return this.#chosen(this.#sets.get(toHex(key))?.peers ?? []).every(({ nodeId }) => {
      const down = this.#down.get(nodeId)
      return down === undefined || down.untilMs <= now || now - down.sinceMs >= this.#options.goneMs
    })
  }

  async #lookUp(key: Uint8Array, name: string, cached: CachedSet): Promise<ClosestPeer[]> {
    const startedAtMs = this.#runtime.monotonicNow()
    const topology = this.#topology
    try {
      // a few more than needed, to fill the places of those that are down
      cached.peers = await this.#network.closestPeers(key, {
        count: this.#options.replication * 2,
        minDurable: this.#options.minDurable * 2,
        signal: this.#closed.signal,
      })
      cached.atMs = startedAtMs
      cached.topology = topology
      this.#sets.delete(name)
      if (this.#sets.size >= this.#options.maxCachedReplicaSets)
        this.#sets.delete(this.#sets.keys().next().value as string)
      this.#sets.set(name, cached)
      return cached.peers
    } finally {
      cached.refreshing = undefined
    }
  }

  #live(peers: ClosestPeer[]): ClosestPeer[] {
    const now = this.#runtime.monotonicNow()
    return this.#chosen(peers.filter(({ nodeId }) => (this.#down.get(nodeId)?.untilMs ?? 0) <= now))
  }

  /** The closest durable ones first (minDurable of them), the closest of any kind for the rest. */
  #chosen(peers: ClosestPeer[]): ClosestPeer[] {
    const durable = new Set(peers.filter((peer) => peer.durable).slice(0, this.#options.minDurable))
    const others = peers
      .filter((peer) => !durable.has(peer))
      .slice(0, this.#options.replication - durable.size)
    const chosen = new Set([...durable, ...others])
    return peers.filter((peer) => chosen.has(peer))
  }

  /** Remembers that a peer could not be reached; doubles each time until it is seen again. */
  markDown(peer: NodeId): void {
    if (peer === this.#network.self) return
    const now = this.#runtime.monotonicNow()
    const before = this.#down.get(peer)
    // one link takes with it all that was under way on it: that is one time
    if (before !== undefined && before.untilMs > now) return
    const forMs = Math.min(
      before === undefined ? this.#options.downMs : before.forMs * 2,
      this.#options.maxDownMs,
    )
    this.#down.delete(peer)
    if (this.#down.size >= MAX_DOWN) this.#down.delete(this.#down.keys().next().value as NodeId)
    const untilMs = now + jittered(this.#runtime, forMs)
    this.#down.set(peer, { untilMs, forMs, sinceMs: before?.sinceMs ?? now })
  }

  /** A peer that is merely slow stays in the set, so that slowness never lowers what a majority is. */
  noteFailure(peer: NodeId, error: StickyError): void {
    // with a link to it, it is the peer that says so, of somebody else
    const isUnreachable = error.code === 'UNREACHABLE' && !this.#rpc.isConnected(peer)
    if (isUnreachable || error.code === 'LINK_CLOSED') this.markDown(peer)
  }

  /**
   * Sends a commit to every holder at once. `local` is this node's own write. `onQuorum` is called as soon as a majority
   * that includes a durable holder (where the set has one) has it on disk; the outcome comes when all have answered.
   */
  async commit(
    set: ClosestPeer[],
    request: CommitRequest,
    local: Promise<unknown>,
    onQuorum: (ack: Acknowledgement & { signed: SignedByHolder[] }) => void,
  ): Promise<CommitOutcome> {
    const outcome: CommitOutcome = {
      quorum: false,
      replicas: 0,
      durableReplicas: 0,
      signed: [],
      conflicts: [],
      failures: [],
    }
    const id = sha256(request.head)
    const needed = Math.floor(set.length / 2) + 1
    const needsDurable = set.some((peer) => peer.durable)
    const acknowledge = (peer: ClosestPeer, signed?: Uint8Array) => {
      if (signed !== undefined) outcome.signed.push({ peer: peer.nodeId, signed })
      outcome.replicas += 1
      if (peer.durable) outcome.durableReplicas += 1
      if (outcome.quorum || outcome.replicas < needed || (needsDurable && outcome.durableReplicas === 0))
        return
      outcome.quorum = true
      const { replicas, durableReplicas } = outcome
      onQuorum({ replicas, durableReplicas, signed: [...outcome.signed] })
    }
    const ask = async (peer: ClosestPeer) => {
      try {
        if (peer.nodeId === this.#network.self) {
          await local
          return acknowledge(peer)
        }
        const { kind, key, head, step } = request
        if (step !== undefined) {
          const body = { kind, key, base: step.base ?? null, id: await id, delta: step.delta }
          const answer = await this.#rpc.request(peer.nodeId, recordMethods.append, body)
          if (answer.outcome === 'stored') return acknowledge(peer, answer.signed)
        }
        const answer = await this.#rpc.request(peer.nodeId, recordMethods.commit, { kind, key, head })
        const hasIt = answer.outcome === 'stored' || request.isLater(await sha256(answer.head), await id)
        if (hasIt) acknowledge(peer)
        else outcome.conflicts.push({ peer: peer.nodeId, head: answer.head })
      } catch (error) {
        const failure = asStickyError(error, 'STORAGE_FAILED')
        this.noteFailure(peer.nodeId, failure)
        outcome.failures.push({ peer: peer.nodeId, code: failure.code })
      }
    }
    await Promise.all(set.map(ask))
    return outcome
  }

  /** The heads of a key at its live holders, asked in parallel: at a majority, and at those hardly slower than it. */
  async heads(kind: string, key: Uint8Array, signal?: AbortSignal): Promise<HeadAnswer[]> {
    const set = await this.set(key)
    const answers = set.map(({ nodeId, durable }): HeadAnswer => {
      const error = new StickyError('TIMEOUT', `${nodeId} did not answer in time.`)
      return { peer: nodeId, durable, head: undefined, error }
    })
    const enough = Promise.withResolvers<void>()
    let answered = 0
    const all = answers.map(async (answer) => {
      Object.assign(answer, await this.#headAt(answer, kind, key, signal))
      if (answer.error !== undefined) return
      answered += 1
      if (answered !== Math.floor(set.length / 2) + 1) return
      this.#runtime.setTimer(enough.resolve, this.#options.stragglerMs)
    })
    await Promise.race([Promise.all(all), enough.promise])
    return answers.map((answer) => ({ ...answer }))
  }

  async #headAt({ peer }: HeadAnswer, kind: string, key: Uint8Array, signal?: AbortSignal) {
    try {
      const { head } = await this.#rpc.request(
        peer,
        recordMethods.head,
        { kind, key },
        signal ? { signal } : {},
      )
      return { head: head ?? undefined, error: undefined }
    } catch (error) {
      const failure = asStickyError(error, 'UNREACHABLE')
      this.noteFailure(peer, failure)
      return { head: undefined, error: failure }
    }
  }

  close(): void {
    this.#closed.abort(new StickyError('CLOSED', 'This node is closed.'))
  }

  get downCount(): number {
    return this.#down.size
  }

  get cachedSets(): number {
    return this.#sets.size
  }

  /** The sets looked up last, newest first, and who is left out of all of them for a while. */
  view(max: number): { sets: ReplicaSetView[]; cooled: CooledPeer[] } {
    const now = this.#runtime.monotonicNow()
    const sets = [...this.#sets].slice(-max).reverse()
    return {
      sets: sets.map(([key, { peers, atMs }]) => ({
        key,
        ageMs: now - atMs,
        peers: this.#live(peers).map(({ nodeId }) => nodeId),
      })),
      cooled: [...this.#down]
        .slice(-max)
        .map(([nodeId, { untilMs, forMs }]) => ({ nodeId, leftMs: Math.max(0, untilMs - now), forMs })),
    }
  }
}
