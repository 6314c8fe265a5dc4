import { type Hole, type KnownWriter, type WriterPlace, writerName } from './known-writers.ts'

/**
 * What a tracker (gaps.ts) remembers of each writer, and of whom: bounded in all and for each publisher. Whom an earlier run
 * knew is kept beside them, as it was, until it is heard of again.
 */

export type WriterName = Pick<WriterPlace, 'publisher' | 'writer'>

export const keyOf = ({ publisher, writer }: WriterName): string => `${publisher}/${writer}`

export interface TrackedWriter<T> {
  publisher: string
  writer: string
  /** Everything below has been delivered, given up, or lies in `open`. */
  next: number
  /** Numbers below `next` that were never delivered, oldest first: below the floor, or released. */
  open: Hole[]
  /** The number with which it began for this reader. */
  floor: number
  /** What lies below the floor was told, by an earlier run or by this one. */
  hasToldFloor: boolean
  /** Why it lacks that; undefined where it is no news, because the topic had trimmed it before the reader first came. */
  lacks: 'expired' | 'trimmed' | undefined
  /** Not heard of since the earlier run: what is missing next may have expired meanwhile. */
  mayHaveExpired: boolean
  /** Not heard of since the topic has trimmed what the reader had not read. */
  mayBeTrimmed: boolean
  /** Waiting above `next`, by number. Two under one number: the publisher contradicts itself, both are kept. */
  held: Map<number, { messages: T[]; sinceMs: number }>
  /** When the first of what waits now came: the numbers before it are overdue since then, all of them. */
  waitingSinceMs: number
}

/** Heard of for the first time in this run. */
export function makeWriter<T>(
  { publisher, writer }: WriterName,
  { floor, hasToldFloor, next, open }: Omit<KnownWriter, 'name'>,
): TrackedWriter<T> {
  const why = { lacks: 'expired' as const, mayHaveExpired: false, mayBeTrimmed: false }
  const place = { floor, hasToldFloor, next, open: [...open] }
  return { publisher, writer, ...place, ...why, held: new Map(), waitingSinceMs: 0 }
}

export interface WriterBounds {
  /** Beyond, the one that was silent longest is forgotten. */
  maxWriters: number
  /** Of these, of one publisher. */
  maxWritersPerPublisher: number
}

export class TrackedWriters<T> {
  readonly #bounds: WriterBounds
  /** In order of use: the longest silent first. */
  readonly #awake = new Map<string, TrackedWriter<T>>()
  /** How many of them each publisher has. */
  readonly #ofPublisher = new Map<string, number>()
  /** Writers of an earlier run that have not been heard of since, by `writerName`. */
  readonly #asleep: Map<string, KnownWriter>

  /** `earlier`: those that an earlier run knew, the longest silent first. */
  constructor(bounds: WriterBounds, earlier: KnownWriter[] = []) {
    this.#bounds = bounds
    this.#asleep = new Map(earlier.map((writer) => [writer.name, writer]))
  }

  /** Heard of in this run. */
  get size(): number {
    return this.#awake.size
  }

  /** Heard of in this run, the longest silent first. */
  values(): Iterable<TrackedWriter<T>> {
    return this.#awake.values()
  }

  /** Also one that only an earlier run has heard of. */
  find(name: WriterName): Omit<KnownWriter, 'name'> | undefined {
    return this.#awake.get(keyOf(name)) ?? this.#asleep.get(writerName(name))
  }

  /** Something of this writer came. `begin` makes what is not tracked yet, of what an earlier run knew where there is that. */
  heard(name: WriterName, begin: (known: KnownWriter | undefined) => TrackedWriter<T>): TrackedWriter<T> {
    const { publisher } = name
    const key = keyOf(name)
    let writer = this.#awake.get(key)
    if (writer === undefined) {
      writer = begin(this.#awaken(name))
      this.#ofPublisher.set(publisher, (this.#ofPublisher.get(publisher) ?? 0) + 1)
    } else {
      this.#awake.delete(key)
    }
    this.#awake.set(key, writer)
    if ((this.#ofPublisher.get(publisher) ?? 0) > this.#bounds.maxWritersPerPublisher)
      this.#forgetOne(publisher)
    else if (this.#awake.size > this.#bounds.maxWriters) this.#forgetOne()
    return writer
  }

  /** All of both runs, as they are kept over a restart, the longest silent first. */
  known(): KnownWriter[] {
    const awake = [...this.#awake.values()].map((writer) => {
      const { floor, next, open } = writer
      const hasToldFloor = writer.hasToldFloor || writer.lacks === undefined
      return { name: writerName(writer), floor, hasToldFloor, next, open: open.map((hole) => ({ ...hole })) }
    })
    return [...this.#asleep.values(), ...awake]
  }

  #awaken(name: WriterName): KnownWriter | undefined {
    const known = this.#asleep.get(writerName(name))
    if (known !== undefined) this.#asleep.delete(known.name)
    return known
  }

  /** The longest silent writer with nothing waiting. There is one unless there are as many holes as writers. */
  #forgetOne(of?: string): void {
    for (const [key, { publisher, held }] of this.#awake) {
      if (held.size > 0 || (of !== undefined && publisher !== of)) continue
      this.#awake.delete(key)
      const left = (this.#ofPublisher.get(publisher) ?? 1) - 1
      if (left > 0) this.#ofPublisher.set(publisher, left)
      else this.#ofPublisher.delete(publisher)
      return
    }
  }
}
