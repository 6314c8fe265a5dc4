import {
  asStickyError,
  type ClosestPeer,
  type Dht,
  delay,
  type Identity,
  type NodeId,
  type Timer,
} from '../dht/index.ts'
import { LIMITS } from './options.ts'
import { createPresence, type VerifiedPresence } from './presence-statement.ts'
import { ReplicasWatch } from './replicas-watch.ts'
import type { SigningClock } from './signing-clock.ts'
import { topicMethods } from './wire.ts'

/**
 * What a member says of itself in one topic: to all replicas at once, so that none that is slow keeps the others waiting;
 * when something changes, and at every heartbeat; and to one that becomes a replica in between, once it is known. Each
 * statement is the whole truth, so one that is lost needs no repair.
 */

export interface SpeakerInit {
  dht: Dht
  identity: Identity
  topicKey: Uint8Array
  clock: SigningClock
}

const FIRST_RETRY_MS = 250
const MAX_RETRIES = 5
/** Whoever closes waits for the replicas this long at most. */
const LEAVE_MS = 1_000

export class PresenceSpeaker {
  readonly #init: SpeakerInit
  #state: Uint8Array | undefined
  /** When this stay began; undefined while it is not there. */
  #since: number | undefined
  /** Of the newest statement: an older one is not sent again. */
  #at = 0
  /** Signed beforehand: a signature takes time, and a page that is closed has none. */
  #prepared: VerifiedPresence | undefined
  /** What was said last, and to whom. */
  #said: { statement: VerifiedPresence; to: Set<NodeId> } | undefined
  /** Who has heard that it is here. */
  readonly #told = new Set<NodeId>()
  #saidMs = Number.NEGATIVE_INFINITY
  #waiting: PromiseWithResolvers<void> | undefined
  readonly #timers = new Set<Timer>()
  readonly #watch: ReplicasWatch
  readonly #stop: () => void
  #closed = false

  constructor(init: SpeakerInit) {
    this.#init = init
    this.#watch = new ReplicasWatch({
      dht: init.dht,
      topicKey: init.topicKey,
      isWanted: () => this.isHere,
      onReplicas: (set) => this.#sayToNewcomers(set),
    })
    // should it come back, it may have forgotten: a table is in memory only
    this.#stop = init.dht.rpc.onPeerGone((peer) => void this.#said?.to.delete(peer))
  }

  get isHere(): boolean {
    return this.#state !== undefined
  }

  /** At most four times a second; what is set meanwhile takes the place of what waits. Resolves when a replica has it, or none could be reached. */
  set(state: Uint8Array | undefined): Promise<void> {
    this.#state = state
    if (state === undefined) return this.#leave()
    const { runtime } = this.#init.dht
    const waitMs = this.#saidMs + LIMITS.presencePushMs - runtime.monotonicNow()
    if (waitMs <= 0) return this.say()
    if (this.#waiting === undefined) {
      this.#waiting = Promise.withResolvers()
      this.#after(waitMs, () => {
        this.#waiting?.resolve(this.say())
        this.#waiting = undefined
      })
    }
    return this.#waiting.promise
  }

  /** Once more, where it is here: at most four times a second, too. */
  async again(): Promise<void> {
    if (this.#state !== undefined) await this.set(this.#state)
  }

  /** "Still here." */
  async say(): Promise<void> {
    if (this.#state === undefined || this.#closed) return
    const { dht, topicKey } = this.#init
    this.#saidMs = dht.runtime.monotonicNow()
    const statement = await this.#sign(this.#state)
    void this.#prepareLeave().catch(() => undefined)
    const said = { statement, to: new Set<NodeId>() }
    this.#said = said
    const set = await dht.replicas.set(topicKey).catch(() => [])
    for (const { nodeId } of set) said.to.add(nodeId)
    void this.#watch.look()
    await anyOf(set.map(({ nodeId }) => this.#send(nodeId, statement, 0)))
  }

  /** The same once more, to replicas that were none when it was said. True when there are any. */
  #sayToNewcomers(set: ClosestPeer[]): boolean {
    const said = this.#said
    if (said === undefined || said.statement.body.at !== this.#at) return false
    const newcomers = set.filter(({ nodeId }) => !said.to.has(nodeId))
    for (const { nodeId } of newcomers) {
      said.to.add(nodeId)
      void this.#send(nodeId, said.statement, 0)
    }
    return newcomers.length > 0
  }

  /**
   * To all who may show it, also those that are no replicas any more; to those who were told that it is here, in this very
   * turn: a page that is closed has no other. Resolves when they have answered, or cannot be waited for.
   */
  async #leave(): Promise<void> {
    if (this.#since === undefined) return
    const { dht, topicKey } = this.#init
    const statement = this.#takePrepared() ?? (await this.#sign(undefined))
    const told = new Set(this.#told)
    this.#told.clear()
    const sent = [...told].map((peer) => this.#send(peer, statement, 0, LEAVE_MS))
    const waited = delay(dht.runtime, LEAVE_MS).then(() => [])
    const set = await Promise.race([dht.replicas.set(topicKey).catch(() => []), waited])
    for (const { nodeId } of set) if (!told.has(nodeId)) sent.push(this.#send(nodeId, statement, 0, LEAVE_MS))
    await Promise.all(sent)
  }

  /** The leave that would follow on what was said last. */
  async #prepareLeave(): Promise<void> {
    const { identity, topicKey, clock } = this.#init
    const at = clock.next()
    this.#prepared = undefined
    const since = Math.min(this.#since ?? at, at)
    const leave = await createPresence({ topicKey, identity, state: undefined, since, at })
    if (leave.body.at > this.#at) this.#prepared = leave
  }

  #takePrepared(): VerifiedPresence | undefined {
    const prepared = this.#prepared
    this.#prepared = undefined
    if (prepared === undefined || prepared.body.at <= this.#at) return undefined
    this.#at = prepared.body.at
    this.#since = undefined
    return prepared
  }

  #sign(state: Uint8Array | undefined): Promise<VerifiedPresence> {
    const { identity, topicKey, clock } = this.#init
    const at = clock.next()
    const since = Math.min(this.#since ?? at, at)
    this.#at = at
    this.#since = state === undefined ? undefined : since
    return createPresence({ topicKey, identity, state, since, at })
  }

  /** True when it was taken. What failed for now is tried again until something newer is said. */
  async #send(
    peer: NodeId,
    statement: VerifiedPresence,
    attempt: number,
    timeoutMs?: number,
  ): Promise<boolean> {
    const { dht, topicKey } = this.#init
    const body = { topic: topicKey, statement: statement.envelope }
    try {
      await dht.rpc.request(peer, topicMethods.presence, body, timeoutMs === undefined ? {} : { timeoutMs })
      if (!statement.body.leaves) this.#told.add(peer)
      return true
    } catch (error) {
      const failure = asStickyError(error, 'UNREACHABLE')
      dht.replicas.noteFailure(peer, failure)
      // who is no replica, as far as it knows, will hardly be one in a moment
      const isWorthIt = failure.retryable && failure.code !== 'NOT_FOUND'
      if (isWorthIt && attempt < MAX_RETRIES)
        this.#after(FIRST_RETRY_MS * 2 ** attempt, () => {
          if (statement.body.at === this.#at) void this.#send(peer, statement, attempt + 1, timeoutMs)
        })
      return false
    }
  }

  #after(delayMs: number, work: () => void): void {
    if (this.#closed) return
    const timer = this.#init.dht.runtime.setTimer(() => {
      this.#timers.delete(timer)
      work()
    }, delayMs)
    this.#timers.add(timer)
  }

  /** Leaves, where it was there. */
  async close(): Promise<void> {
    this.#closed = true
    this.#watch.close()
    this.#stop()
    for (const timer of this.#timers) timer.clear()
    this.#timers.clear()
    this.#waiting?.resolve()
    this.#state = undefined
    await this.#leave()
  }
}

/** Resolves with the first that is true, or when all are false. */
function anyOf(outcomes: Promise<boolean>[]): Promise<void> {
  return new Promise((resolve) => {
    for (const outcome of outcomes) void outcome.then((taken) => taken && resolve())
    void Promise.all(outcomes).then(() => resolve())
  })
}
