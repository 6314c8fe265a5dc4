import { type Dht, fromHex, nodeIdOf } from '../dht/index.ts'
import type { Message, SubscriptionEvents } from './api.ts'
import { countDelivered, type SubscriptionCounters } from './diagnostics.ts'
import { ExpiredGaps } from './expired.ts'
import { createTracker, type Released, type ReleasedGap, type Tracker } from './gaps.ts'
import type { KnownWriter } from './known-writers.ts'
import { LIMITS, type PubSubOptions } from './options.ts'
import type { Place, SavedPosition } from './saved-position.ts'

/**
 * What one reader has read, on its way to the application: each once and in its writer's order, but for what has expired;
 * what is missing is told as a gap. Knows nothing of where it was read.
 */

export interface Arrived extends Place {
  view: Message
  /** What the writer had said before has all expired. */
  lapsed: boolean
  isPushed: boolean
  id: string
}

export interface ArrivalsInit {
  dht: Dht
  options: PubSubOptions
  /** What an earlier run of the same reader had been given. */
  from: SavedPosition | undefined
  counters: SubscriptionCounters
  /** Everything from each writer's beginning was asked for. */
  strict: boolean
  signal: AbortSignal
  emit<E extends keyof SubscriptionEvents>(event: E, value: SubscriptionEvents[E]): void
}

export class Arrivals {
  readonly #init: ArrivalsInit
  readonly #tracker: Tracker<Arrived>
  /** Taken in order, and not delivered yet: the one before is being delivered, or closed the subscription. */
  readonly #undelivered: Arrived[] = []
  readonly #arrivedAs = new WeakMap<Message, Arrived>()
  readonly #expired = new ExpiredGaps((gap) => this.#tellGap(gap))
  /** A gap was told, or what came behind the position that it began from was trimmed. */
  #hasMissed = false
  #historicCount = 0
  #isLive = false

  constructor(init: ArrivalsInit, nowMs: number) {
    this.#init = init
    const { from, strict } = init
    const earlier = from && {
      writers: from.writers,
      mayHaveExpired: nowMs - from.readAtMs > LIMITS.graceMs - LIMITS.maxAheadMs,
    }
    this.#tracker = createTracker({ strict, patienceMs: init.options.gapPatienceMs }, earlier)
  }

  get hasMissed(): boolean {
    return this.#hasMissed
  }

  /** Messages of the history that were delivered. */
  get historicCount(): number {
    return this.#historicCount
  }

  get undelivered(): readonly Arrived[] {
    return this.#undelivered
  }

  /** What waits above holes. */
  held(): Arrived[] {
    return this.#tracker.held()
  }

  get areHeld(): boolean {
    return this.#tracker.heldCount > 0
  }

  writers(): KnownWriter[] {
    return this.#tracker.known()
  }

  /** Of messages that were delivered. */
  placesOf(messages: Message[]): Place[] {
    return messages.flatMap((message) => this.#arrivedAs.get(message) ?? [])
  }

  /** Not what was delivered before; of what is older than what was asked for, only what its writer's numbers ask for. */
  isWanted(place: Place & Pick<Arrived, 'id'>, isOld: boolean): boolean {
    return !this.#tracker.wasDelivered(place) && (!isOld || this.#tracker.isAskedFor(place))
  }

  /** Whether what is taken next comes behind what was trimmed. Before a reader first came that is no news to it. */
  noteTrimmed(isTrimmed: boolean): void {
    const { from } = this.#init
    const isNew = !this.#isLive && (from === undefined || (!from.joined && from.seen.length === 0))
    this.#tracker.readTrimmed(isTrimmed ? (isNew ? 'before' : 'since') : undefined)
    if (isTrimmed && !isNew) this.#hasMissed = true
  }

  /** The history is over. */
  goLive(): void {
    this.#isLive = true
    this.#tracker.goLive()
  }

  take(arrived: Arrived | undefined): void {
    this.#init.signal.throwIfAborted()
    if (arrived === undefined) return
    this.#hand(this.#tracker.offer(arrived, this.#init.dht.runtime.monotonicNow()))
  }

  /** Gives up on what has been waited for long enough. */
  release(nowMs = this.#init.dht.runtime.monotonicNow()): void {
    this.#hand(this.#tracker.release(nowMs))
    this.#expired.tell()
  }

  /** What was read together is over. */
  tellExpired(): void {
    this.#expired.tell()
  }

  #tellGap(gap: ReleasedGap): void {
    this.#hasMissed = true
    this.#init.emit('gap', { ...gap, publisher: nodeIdOf(fromHex(gap.publisher)) })
  }

  /** One after the other: who asks for the position at one, or at a gap, has not been given those behind it. */
  #hand({ deliver, gaps }: Released<Arrived>): void {
    this.#undelivered.push(...deliver)
    for (const gap of gaps) this.#tellGap(gap)
    while (!this.#init.signal.aborted) {
      const [next] = this.#undelivered
      if (next === undefined) return
      this.#deliver(next)
    }
  }

  /** The first that is undelivered. Who is told of a gap before it may close the subscription there. */
  #deliver(arrived: Arrived): void {
    const { view } = arrived
    const isExpired = view.expiresAt <= this.#init.dht.runtime.now()
    if (isExpired) this.#noteExpired(arrived)
    else this.#expired.tell(arrived)
    if (this.#init.signal.aborted) return
    this.#undelivered.shift()
    if (isExpired) return
    if (view.historic) this.#historicCount += 1
    countDelivered(this.#init.counters, view.historic ? 'history' : arrived.isPushed ? 'push' : 'read')
    this.#arrivedAs.set(view, arrived)
    this.#init.emit('message', view)
  }

  /** That what was there before a reader first came has expired is no news; that it expired while it was away is. */
  #noteExpired(arrived: Arrived): void {
    if (this.#isLive || this.#init.from !== undefined) this.#expired.add(arrived)
  }
}
