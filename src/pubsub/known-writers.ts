/** What a reader knows of the writers of a topic, in the form that survives its end. */

export interface Hole {
  from: number
  to: number
}

export const isIn = ({ from, to }: Hole, sequence: number): boolean => from <= sequence && sequence <= to

/** One writer, as it is kept over a restart. */
export interface KnownWriter {
  /** `writerName` of it. */
  name: string
  /** The number with which it began for this reader; what is lower was not asked for, or was gone. */
  floor: number
  /** What lies below the floor was told to be missing, or is no news. */
  hasToldFloor: boolean
  /** Everything below has been delivered, given up, or lies in `open`. */
  next: number
  /** Numbers below `next` that were never delivered, oldest first. */
  open: Hole[]
}

/** Where an earlier run of a reader ended. */
export interface EarlierRun {
  /** The longest silent first. */
  writers: KnownWriter[]
  /** It is so long ago that what is missing may have expired since, and left the collection. */
  mayHaveExpired: boolean
}

export interface WriterPlace {
  publisher: string
  writer: string
  sequence: number
}

/**
 * Half of the publisher's key, and the writer: too long for anybody to make a key that collides with another's, and short
 * enough that a position holds many.
 */
export const writerName = ({ publisher, writer }: Pick<WriterPlace, 'publisher' | 'writer'>): string =>
  publisher.slice(0, 16) + writer

/**
 * The same writers, had these messages not come, in this order. One that is not known yet begins with the lowest of them, of
 * which nothing below was told.
 */
export function hadNotCome(writers: KnownWriter[], messages: WriterPlace[]): KnownWriter[] {
  const known = new Map(writers.map((writer) => [writer.name, { ...writer, open: [...writer.open] }]))
  const begun = new Map<string, KnownWriter>()
  for (const message of messages.toReversed()) {
    const { sequence } = message
    const name = writerName(message)
    const writer = known.get(name)
    if (writer === undefined) {
      const floor = Math.min(sequence, begun.get(name)?.floor ?? sequence)
      begun.set(name, { name, floor, hasToldFloor: false, next: floor, open: belowOf(floor) })
      continue
    }
    if (writer.open.some((hole) => isIn(hole, sequence))) continue // named twice: two iterations have not come to it
    if (sequence === writer.next - 1) writer.next = sequence
    else if (sequence < writer.next) {
      writer.open.push({ from: sequence, to: sequence })
      writer.open.sort((a, b) => a.from - b.from)
    }
  }
  return [...known.values(), ...begun.values()]
}

const belowOf = (sequence: number): Hole[] => (sequence > 1 ? [{ from: 1, to: sequence - 1 }] : [])
