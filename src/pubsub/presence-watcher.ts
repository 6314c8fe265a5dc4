import {
  asStickyError,
  type Dht,
  type NodeId,
  nodeIdOf,
  RateLimiter,
  StickyError,
  type Timer,
  toHex,
} from '../dht/index.ts'
import type { PresenceMember } from './api.ts'
import { LIMITS, type PubSubOptions } from './options.ts'
import { isPresenceVerified, openPresence, verifyPresence } from './presence-statement.ts'
import { PresenceView } from './presence-view.ts'
import { type Roster, topicMethods } from './wire.ts'

/**
 * The subscriber's side of presence in one topic: reads the list from the replica that serves it, takes what that one pushes,
 * and asks at every heartbeat whether anything was lost on the way. Changes are counted, so that is a small question.
 */

export interface WatcherInit {
  dht: Dht
  options: PubSubOptions
  topicKey: Uint8Array
  /** The replica that serves now. */
  source(): NodeId | undefined
  onChange(members: PresenceMember[]): void
}

const NO_EPOCH = new Uint8Array(8)
/** A full list has three, with the longest states. */
const MAX_PAGES = 8
const MAX_WAITING_PUSHES = 8
const FIRST_RETRY_MS = 500
const MAX_RETRY_MS = 4_000

export class PresenceWatcher {
  readonly #init: WatcherInit
  readonly #view = new PresenceView()
  readonly #limiter: RateLimiter
  /** Of which replica and list the count is. */
  #from: NodeId | undefined
  #epoch: Uint8Array = NO_EPOCH
  #counter = 0
  #listed = 0
  /** A whole list has begun to be read, and not ended. */
  #isListing = false
  /** When the replica last said something that was of use. */
  #heardMs = 0
  #failures = 0
  #queue: Promise<unknown> = Promise.resolve()
  #isReadQueued = false
  #waitingPushes = 0
  #shownMs = Number.NEGATIVE_INFINITY
  #showTimer: Timer | undefined
  #expiryTimer: Timer | undefined
  #retryTimer: Timer | undefined
  #closed = false

  constructor(init: WatcherInit) {
    this.#init = init
    this.#limiter = new RateLimiter(init.dht.runtime, 1)
    this.#heardMs = init.dht.runtime.monotonicNow()
  }

  list(): PresenceMember[] {
    return this.#view.list()
  }

  /** Asks the replica that serves now what has changed. Never rejects. */
  read(): void {
    if (this.#isReadQueued || this.#closed) return
    this.#isReadQueued = true
    void this.#serially(async () => {
      this.#isReadQueued = false
      const source = this.#init.source()
      if (source !== undefined) await this.#readFrom(source)
    }).then(
      () => {
        this.#failures = 0
      },
      () => this.#retry(),
    )
  }

  #retry(): void {
    if (this.#closed) return
    this.#retryTimer?.clear()
    const delayMs = Math.min(FIRST_RETRY_MS * 2 ** this.#failures, MAX_RETRY_MS)
    this.#failures += 1
    this.#retryTimer = this.#init.dht.runtime.setTimer(() => this.read(), delayMs)
  }

  /** Whoever serves no more is not listened to. Rejects with what is wrong about it. */
  async receive(from: NodeId, roster: Roster): Promise<void> {
    if (from !== this.#init.source()) throw new StickyError('NOT_FOUND', 'Another replica serves this node.')
    if (this.#waitingPushes >= MAX_WAITING_PUSHES) throw new StickyError('BUSY', 'Enough is waiting here.')
    this.#waitingPushes += 1
    await this.#serially(async () => {
      this.#waitingPushes -= 1
      const follows =
        from === this.#from && isSame(roster.epoch, this.#epoch) && roster.since <= this.#counter
      if (!follows) return this.read() // a push before this one was lost
      if (roster.counter <= this.#counter) return
      const failure = await this.#take(roster)
      this.#counter = roster.counter
      this.#heard()
      if (failure !== undefined) throw failure
    })
  }

  #serially(work: () => Promise<void>): Promise<void> {
    const run = this.#queue.then(() => (this.#closed ? undefined : work()))
    this.#queue = run.catch(() => undefined)
    return run
  }

  async #readFrom(source: NodeId): Promise<void> {
    if (source !== this.#from) {
      this.#from = source
      this.#epoch = NO_EPOCH
      this.#counter = 0
      this.#listed = 0
    }
    const { dht, topicKey } = this.#init
    for (let page = 0; page < MAX_PAGES; page++) {
      const asked = { epoch: this.#epoch, since: this.#counter, listed: this.#listed }
      const roster = await dht.rpc.request(source, topicMethods.roster, { topic: topicKey, ...asked })
      if (this.#closed || source !== this.#init.source()) return
      const begins = roster.since === 0
      if (!begins && !(isSame(roster.epoch, asked.epoch) && roster.since === asked.since))
        throw new StickyError('MALFORMED', 'An answer to another question.')
      if (begins) {
        this.#view.beginListing()
        this.#isListing = true
        this.#listed = roster.latest
        this.#epoch = roster.epoch
      }
      const failure = await this.#take(roster)
      this.#counter = roster.counter
      this.#heard()
      const isWhole = roster.counter >= roster.latest
      if (isWhole && this.#isListing) {
        this.#isListing = false
        this.#view.endListing(this.#nowMs)
        this.#armExpiry()
      }
      if (failure !== undefined) throw failure
      if (isWhole || roster.counter <= roster.since) return
    }
  }

  /**
   * What verifies is taken; gives what is wrong about the rest. Throws RATE_LIMITED, and has taken nothing for good then,
   * where more signatures are to be checked than an honest replica has for its subscribers.
   */
  async #take(roster: Roster): Promise<StickyError | undefined> {
    const outcomes = await Promise.allSettled(roster.entries.map((envelope) => this.#takeOne(envelope)))
    let isChange = outcomes.some((outcome) => outcome.status === 'fulfilled' && outcome.value)
    for (const client of roster.gone) isChange = this.#view.drop(nodeIdOf(client)) || isChange
    if (isChange) this.#show()
    const failures = outcomes
      .filter((outcome) => outcome.status === 'rejected')
      .map(({ reason }) => asStickyError(reason, 'MALFORMED'))
    const limited = failures.find(({ code }) => code === 'RATE_LIMITED')
    if (limited !== undefined) throw limited
    // what is too old or too new may be so by the clocks
    return failures.find(({ action }) => action === 'penalise')
  }

  async #takeOne(envelope: Uint8Array): Promise<boolean> {
    const { dht, options, topicKey } = this.#init
    const claimed = openPresence(envelope, topicKey, dht.runtime.now())
    const nodeId = nodeIdOf(claimed.body.client)
    if (!claimed.body.leaves) this.#view.confirm(nodeId)
    if (!this.#view.isNews(nodeId, claimed, this.#nowMs)) return false
    const quota = { perSecond: options.presenceChecksPerSecond, burst: options.maxPresenceChecks }
    if (!isPresenceVerified(envelope) && !this.#limiter.take('checks', quota))
      throw new StickyError('RATE_LIMITED', 'More members than an honest replica has to tell of.')
    const statement = await verifyPresence(claimed)
    if (this.#closed || !this.#view.isNews(nodeId, claimed, this.#nowMs)) return false
    return this.#view.take(statement, this.#nowMs)
  }

  // --- time

  get #nowMs(): number {
    return this.#init.dht.runtime.monotonicNow()
  }

  #heard(): void {
    this.#heardMs = this.#nowMs
    this.#armExpiry()
  }

  /** For whoever is in doubt, and for the silence of the replica. */
  #armExpiry(): void {
    this.#expiryTimer?.clear()
    this.#expiryTimer = undefined
    if (this.#closed || this.#view.size === 0) return
    const silentMs = this.#heardMs + LIMITS.presenceExpiryMs
    const dueMs = Math.min(silentMs, this.#view.nextMs ?? silentMs)
    this.#expiryTimer = this.#init.dht.runtime.setTimer(
      () => {
        const isSilent = this.#heardMs + LIMITS.presenceExpiryMs <= this.#nowMs
        if (isSilent ? this.#view.clear() : this.#view.expire(this.#nowMs)) this.#show()
        if (isSilent) this.#from = undefined // whoever speaks next begins with the whole list
        this.#armExpiry()
      },
      Math.max(0, dueMs - this.#nowMs),
    )
  }

  #show(): void {
    if (this.#showTimer !== undefined || this.#closed) return
    const waitMs = this.#shownMs + LIMITS.presencePushMs - this.#nowMs
    const show = () => {
      this.#showTimer = undefined
      this.#shownMs = this.#nowMs
      this.#init.onChange(this.#view.list())
    }
    if (waitMs <= 0) show()
    else this.#showTimer = this.#init.dht.runtime.setTimer(show, waitMs)
  }

  close(): void {
    this.#closed = true
    for (const timer of [this.#showTimer, this.#expiryTimer, this.#retryTimer]) timer?.clear()
    this.#view.clear()
  }
}

const isSame = (a: Uint8Array, b: Uint8Array): boolean => toHex(a) === toHex(b)
