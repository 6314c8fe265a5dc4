import { type EarlierRun, type Hole, isIn, type KnownWriter } from './known-writers.ts'
import { keyOf, makeWriter, type TrackedWriter, TrackedWriters, type WriterName } from './tracked-writers.ts'

/**
 * Puts what arrives into each writer's order and sees what is missing: a pure state machine per (publisher, writer).
 * A message above a hole waits until the hole is filled, or until patience ends and the hole is reported as a gap; a
 * message that comes even later is still delivered. Nothing here knows where messages come from.
 */

export interface Numbered {
  id: string
  publisher: string
  writer: string
  /** Gapless from 1 per publisher and writer. */
  sequence: number
  /** All that the writer had said before had expired by then, as it says itself. */
  lapsed?: boolean
}

export interface TrackerOptions {
  /** Writers remembered; beyond, the one that was silent longest is forgotten and starts anew when it comes back. */
  maxWriters: number
  /** Of these, of one publisher: who invents writers makes this reader forget its own ones, not those of others. */
  maxWritersPerPublisher: number
  /** Messages waiting above holes, all writers together; beyond, the oldest hole is given up. */
  maxHeld: number
  /** How long a hole is waited for. */
  patienceMs: number
  /**
   * Everything from a writer's beginning is wanted: one that first appears with a number above 1 has a hole below it.
   * In the history that is no reason to wait, `goLive` tells it. Otherwise the first number seen is where the writer
   * begins for this reader.
   */
  strict: boolean
  /** Released holes remembered per writer; beyond, the oldest one counts as over and its messages as duplicates. */
  maxOpenHoles: number
  /** Delivered ids remembered, to tell a second message under one number (an equivocation) from a duplicate. */
  maxRememberedIds: number
}

const DEFAULTS: TrackerOptions = {
  maxWriters: 10_000,
  maxWritersPerPublisher: 100,
  maxHeld: 1_000,
  patienceMs: 10_000,
  strict: true,
  maxOpenHoles: 64,
  maxRememberedIds: 20_000,
}

export interface ReleasedGap {
  publisher: string
  writer: string
  fromSequence: number
  toSequence: number
  /** expired, trimmed: not in the history any more when the reader came. withheld: no replica has had it for a while. */
  reason: 'expired' | 'trimmed' | 'withheld'
}

export interface Released<T> {
  /** In the writer's order. */
  deliver: T[]
  /** To be told before the delivery: what comes out of its writer's order comes after a gap. */
  gaps: ReleasedGap[]
}

/** Nothing to deliver when the message waits or is a duplicate. */
export interface Offered<T> extends Released<T> {
  duplicate: boolean
  /** The numbers just below this message that have not come yet. */
  hole?: Hole
}

export interface Tracker<T extends Numbered> {
  /** `nowMs` of a clock that never goes back. */
  offer(message: T, nowMs?: number): Offered<T>
  /** Whether it was delivered, in this run or an earlier one, as far as that is remembered. */
  wasDelivered(message: Numbered): boolean
  /** Whether its writer is known and had begun for this reader by that number: then it is wanted, whatever its age. */
  isAskedFor(message: Numbered): boolean
  /** Gives up holes that are older than the patience. */
  release(nowMs: number): Released<T>
  /**
   * What is offered until the next call comes behind what the topic has trimmed: before the reader first came, which is no
   * news to it, or since.
   */
  readTrimmed(when: 'before' | 'since' | undefined): void
  /** From here on, messages are new ones. */
  goLive(): void
  /** Every writer that is known, the longest silent first. What is held counts as not delivered. */
  known(): KnownWriter[]
  /** What waits above holes. */
  held(): T[]
  /** When `release` has something to do next, undefined when nothing waits. */
  readonly nextReleaseMs: number | undefined
  readonly heldCount: number
  readonly writerCount: number
}

/** `earlier`: the run that this one goes on from. */
export function createTracker<T extends Numbered>(
  options: Partial<TrackerOptions> = {},
  earlier?: EarlierRun,
): Tracker<T> {
  return new SequenceTracker<T>({ ...DEFAULTS, ...options }, earlier)
}

class SequenceTracker<T extends Numbered> implements Tracker<T> {
  readonly #options: TrackerOptions
  readonly #writers: TrackedWriters<T>
  /** Writers with something held, so that a release does not walk all of them. */
  readonly #waiting = new Set<TrackedWriter<T>>()
  readonly #delivered = new Map<string, string[]>()
  #pending: Released<T> = { deliver: [], gaps: [] }
  readonly #earlier: EarlierRun | undefined
  #held = 0
  #live = false
  #trimmed: 'before' | 'since' | undefined
  /** For those who were silent then. */
  #wasTrimmed: 'before' | 'since' | undefined

  constructor(options: TrackerOptions, earlier: EarlierRun | undefined) {
    this.#options = options
    this.#earlier = earlier
    this.#writers = new TrackedWriters(options, earlier?.writers)
  }

  get heldCount(): number {
    return this.#held
  }

  get writerCount(): number {
    return this.#writers.size
  }

  get nextReleaseMs(): number | undefined {
    let oldest: number | undefined
    for (const { waitingSinceMs } of this.#waiting)
      if (oldest === undefined || waitingSinceMs < oldest) oldest = waitingSinceMs
    return oldest === undefined ? undefined : oldest + this.#options.patienceMs
  }

  readTrimmed(when: 'before' | 'since' | undefined): void {
    this.#trimmed = when
    if (this.#wasTrimmed !== 'since') this.#wasTrimmed = when ?? this.#wasTrimmed
    if (when !== 'since') return
    for (const writer of this.#writers.values()) writer.mayBeTrimmed = true
  }

  goLive(): void {
    this.#live = true
    for (const writer of this.#writers.values())
      for (const gap of this.#tellBelowFloor(writer)) this.#report(gap)
  }

  /** Once: what an earlier run has found missing, and had no time to tell, is told when the writer is heard of again. */
  #tellBelowFloor(tracked: TrackedWriter<T>): ReleasedGap[] {
    const { publisher, writer, open, floor, hasToldFloor, lacks: reason } = tracked
    if (!this.#options.strict || hasToldFloor || reason === undefined) return []
    tracked.hasToldFloor = true
    const holes = open.filter(({ to }) => to < floor)
    return holes.map(({ from, to }) => ({ publisher, writer, fromSequence: from, toSequence: to, reason }))
  }

  known(): KnownWriter[] {
    return this.#writers.known()
  }

  held(): T[] {
    return [...this.#waiting].flatMap(({ held }) => [...held.values()].flatMap(({ messages }) => messages))
  }

  offer(message: T, nowMs = 0): Offered<T> {
    if (this.wasDelivered(message)) return DUPLICATE // though its writer may be forgotten since
    const writer = this.#writers.heard(message, (known) =>
      known === undefined ? this.#begin(message) : this.#goOn(message, known),
    )
    const untold = this.#live ? this.#tellBelowFloor(writer) : []
    const offered = this.#take(writer, message, nowMs)
    return untold.length === 0 ? offered : { ...offered, gaps: [...untold, ...offered.gaps] }
  }

  #take(writer: TrackedWriter<T>, message: T, nowMs: number): Offered<T> {
    const { sequence } = message
    if (sequence < writer.next) return this.#offerLate(writer, message)
    if (sequence === writer.next) {
      const deliver = this.#advance(writer, [message])
      return { deliver, gaps: [], duplicate: false }
    }
    if (message.lapsed) return this.#takeLapsed(writer, message, nowMs)
    return this.#hold(writer, message, nowMs)
  }

  wasDelivered(message: Numbered): boolean {
    const ids = this.#delivered.get(numberOf(message, message.sequence))
    return ids?.includes(message.id) ?? this.#wasDeliveredBefore(message)
  }

  isAskedFor(message: Numbered): boolean {
    const writer = this.#writers.find(message)
    return writer !== undefined && message.sequence >= writer.floor
  }

  /** By its number: below the next one, and no hole. Which message it was is not known any more. */
  #wasDeliveredBefore(message: Numbered): boolean {
    const writer = this.#writers.find(message)
    if (writer === undefined || message.sequence >= writer.next) return false
    return !writer.open.some((hole) => isIn(hole, message.sequence))
  }

  release(nowMs: number): Released<T> {
    for (const writer of [...this.#waiting]) {
      while (this.#waiting.has(writer) && nowMs - writer.waitingSinceMs >= this.#options.patienceMs)
        this.#giveUp(writer, this.#pending)
    }
    const released = this.#pending
    this.#pending = { deliver: [], gaps: [] }
    return released
  }

  #begin({ publisher, writer, sequence }: T): TrackedWriter<T> {
    // In the history the first one is where the rest has expired, or is not here yet: nobody waits for it.
    const begins = !this.#live || !this.#options.strict
    const wasKnown = this.#delivered.has(numberOf({ publisher, writer }, sequence - 1))
    const floor = begins || wasKnown ? sequence : 1
    const open = floor > 1 ? [{ from: 1, to: floor - 1 }] : []
    // a new one that begins above 1 may have been silent since the topic trimmed all that it had said
    const trimmed = this.#live ? this.#wasTrimmed : this.#trimmed
    const wasGone = trimmed === 'before'
    const mayBeTrimmed = trimmed === 'since'
    return {
      ...makeWriter<T>({ publisher, writer }, { floor, hasToldFloor: !begins, next: floor, open }),
      lacks: wasGone ? undefined : mayBeTrimmed ? 'trimmed' : 'expired',
      mayHaveExpired: this.#live ? wasGone : (this.#earlier?.mayHaveExpired ?? false),
      mayBeTrimmed,
    }
  }

  /** One that an earlier run knew goes on where it was. */
  #goOn(message: T, known: KnownWriter): TrackedWriter<T> {
    const { mayHaveExpired = false } = this.#earlier ?? {}
    const mayBeTrimmed = this.#wasTrimmed === 'since'
    return { ...makeWriter<T>(message, known), mayHaveExpired, mayBeTrimmed }
  }

  /** Below what was delivered: fills a released hole, comes from below the floor, contradicts, or is a duplicate. */
  #offerLate(writer: TrackedWriter<T>, message: T): Offered<T> {
    const { sequence, id } = message
    const index = writer.open.findIndex((hole) => isIn(hole, sequence))
    if (index >= 0) {
      const { from, to } = writer.open[index] as Hole
      const gap = this.#untold(writer, { from, to })
      const rest = [
        { from, to: sequence - 1 },
        { from: sequence + 1, to },
      ].filter((hole) => hole.from <= hole.to)
      writer.open.splice(index, 1, ...rest)
      this.#boundOpen(writer)
      this.#remember(writer, message)
      return { deliver: [message], gaps: gap ? [gap] : [], duplicate: false }
    }
    const known = this.#delivered.get(numberOf(writer, sequence))
    if (known === undefined || known.length >= MAX_PER_NUMBER) return DUPLICATE
    known.push(id)
    return { deliver: [message], gaps: [], duplicate: false }
  }

  /** What lies below where the writer began is told when the history ends, and before that where some of it comes late. */
  #untold(writer: TrackedWriter<T>, { from, to }: Hole): ReleasedGap | undefined {
    if (!this.#options.strict || to >= writer.floor || writer.hasToldFloor) return undefined
    writer.hasToldFloor = true
    const { publisher, writer: name } = writer
    return { publisher, writer: name, fromSequence: from, toSequence: to, reason: 'withheld' }
  }

  #hold(writer: TrackedWriter<T>, message: T, nowMs: number): Offered<T> {
    const held = writer.held.get(message.sequence) ?? { messages: [], sinceMs: nowMs }
    if (held.messages.some(({ id }) => id === message.id) || held.messages.length >= MAX_PER_NUMBER)
      return DUPLICATE
    if (writer.held.size === 0) {
      writer.waitingSinceMs = nowMs
      this.#waiting.add(writer)
    }
    held.messages.push(message)
    writer.held.set(message.sequence, held)
    this.#held += 1
    const hole = { from: writer.next, to: Math.min(...writer.held.keys()) - 1 }
    const out: Released<T> = { deliver: [], gaps: [] }
    if (this.#held > this.#options.maxHeld) this.#giveUp(this.#longestWaiting(), out)
    return { ...out, duplicate: false, hole }
  }

  /** What is missing before it will not come: it is told, and not waited for. */
  #takeLapsed(writer: TrackedWriter<T>, message: T, nowMs: number): Offered<T> {
    const { deliver, gaps, duplicate } = this.#hold(writer, message, nowMs)
    const out: Released<T> = { deliver: [...deliver], gaps: [...gaps] }
    while (writer.next <= message.sequence && this.#waiting.has(writer)) this.#giveUp(writer, out, 'expired')
    return { ...out, duplicate }
  }

  #longestWaiting(): TrackedWriter<T> {
    return [...this.#waiting].reduce((a, b) => (b.waitingSinceMs < a.waitingSinceMs ? b : a))
  }

  /** Skips the hole in front of what waits, reports it and delivers what it held back. */
  #giveUp(writer: TrackedWriter<T>, out: Released<T>, known?: 'expired'): void {
    const first = Math.min(...writer.held.keys())
    const hole = { from: writer.next, to: first - 1 }
    writer.open.push(hole)
    this.#boundOpen(writer)
    const { publisher, writer: name } = writer
    out.gaps.push({
      publisher,
      writer: name,
      fromSequence: hole.from,
      toSequence: hole.to,
      reason: known ?? (writer.mayBeTrimmed ? 'trimmed' : writer.mayHaveExpired ? 'expired' : 'withheld'),
    })
    writer.next = first
    const ready = writer.held.get(first)?.messages ?? []
    writer.held.delete(first)
    this.#held -= ready.length
    for (const message of this.#advance(writer, ready)) out.deliver.push(message)
  }

  /** Delivers `ready`, which has the number `next`, and everything that waited right behind it. */
  #advance(writer: TrackedWriter<T>, ready: T[]): T[] {
    const deliver: T[] = []
    if (this.#live) writer.mayHaveExpired = false
    writer.mayBeTrimmed = false
    for (
      let batch: T[] | undefined = ready;
      batch !== undefined;
      batch = writer.held.get(writer.next)?.messages
    ) {
      if (writer.held.delete(writer.next)) this.#held -= batch.length
      for (const message of batch) {
        this.#remember(writer, message)
        deliver.push(message)
      }
      writer.next += 1
    }
    if (writer.held.size === 0) this.#waiting.delete(writer)
    else writer.waitingSinceMs = Math.min(...[...writer.held.values()].map(({ sinceMs }) => sinceMs))
    return deliver
  }

  #remember(writer: TrackedWriter<T>, { sequence, id }: T): void {
    const key = numberOf(writer, sequence)
    const known = this.#delivered.get(key)
    if (known !== undefined) {
      known.push(id)
      return
    }
    this.#delivered.set(key, [id])
    if (this.#delivered.size > this.#options.maxRememberedIds)
      this.#delivered.delete(this.#delivered.keys().next().value as string)
  }

  #boundOpen(writer: TrackedWriter<T>): void {
    if (writer.open.length > this.#options.maxOpenHoles) writer.open.shift()
  }

  /** Told by the next release; the bound holds while nobody releases. */
  #report(gap: ReleasedGap): void {
    this.#pending.gaps.push(gap)
    if (this.#pending.gaps.length > this.#options.maxHeld) this.#pending.gaps.shift()
  }
}

const DUPLICATE: Offered<never> = { deliver: [], gaps: [], duplicate: true }

/** Contradicting messages kept under one number. */
const MAX_PER_NUMBER = 4

const numberOf = (name: WriterName, sequence: number): string => `${keyOf(name)}/${sequence}`
