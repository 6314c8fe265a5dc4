/**
 * How far the application has come with a topic, as a text to go on from. The subscription's own position says what it
 * has handed to the topic; of that, some may still wait for the application. So what counts is the last position whose
 * messages have all been taken, and the ids of those that were taken beyond it. Who goes on from there passes over these.
 */

export interface Place {
  /** Of a subscription. */
  position: string
  /** Shortened ids of messages that were taken after it. */
  beyond: string[]
}

interface Mark {
  position: string
  /** How many messages had arrived, and how many of these and of those passed over. */
  arrived: number
  seen: number
}

export class TopicCursor {
  #base: Mark
  #beyond: string[] = []
  /** Positions whose messages have not all been taken yet, oldest first. */
  readonly #marks: Mark[] = []
  #arrived = 0
  #taken = 0
  #seen = 0
  /** Taken in an earlier run. */
  readonly #takenBefore: ReadonlySet<string>
  /** Those of them that the base does not stand for yet, with the count at which they came by. */
  readonly #passing: Map<string, number>

  constructor({ position, beyond }: Place) {
    this.#base = { position, arrived: 0, seen: 0 }
    this.#takenBefore = new Set(beyond)
    this.#passing = new Map(beyond.map((id) => [id, Number.POSITIVE_INFINITY]))
  }

  /** Whether a message that comes in was taken in an earlier run. */
  passesOver(id: string): boolean {
    const short = shortened(id)
    if (!this.#takenBefore.has(short)) return false
    this.#seen += 1
    if (this.#passing.has(short)) this.#passing.set(short, this.#seen)
    return true
  }

  /** What has not come by until the end of history has expired. */
  endHistory(): void {
    this.#seen += 1
    for (const [id, seen] of this.#passing)
      if (seen === Number.POSITIVE_INFINITY) this.#passing.set(id, this.#seen)
  }

  /** True when what has arrived since the last mark is worth a new one: taking a position costs more than an id. */
  arrive(): boolean {
    this.#arrived += 1
    this.#seen += 1
    return this.#arrived - (this.#marks.at(-1)?.arrived ?? this.#taken) >= MARK_EVERY
  }

  /** `position` stands for everything that has come up to now. */
  mark(position: string): void {
    if (this.#marks.at(-1)?.arrived === this.#arrived) this.#marks.pop()
    this.#marks.push({ position, arrived: this.#arrived, seen: this.#seen })
    this.#settle()
  }

  /** In the order of arrival. */
  take(id: string): void {
    this.#taken += 1
    this.#beyond.push(shortened(id))
    if (this.#beyond.length > MAX_BEYOND) this.#beyond.shift()
    this.#settle()
  }

  get text(): string {
    const beyond = [...this.#passing.keys(), ...this.#beyond].slice(-MAX_BEYOND)
    return beyond.length === 0 ? this.#base.position : `${this.#base.position}~${beyond.join('.')}`
  }

  #settle(): void {
    const [next] = this.#marks
    if (next === undefined || next.arrived > this.#taken) return
    this.#base = next
    this.#beyond = []
    this.#marks.shift()
    for (const [id, seen] of this.#passing) if (seen <= next.seen) this.#passing.delete(id)
    this.#settle()
  }
}

/** The text again. Whether its position is one says the subscription. */
export function placeOf(text: string): Place {
  const [position = '', ids = ''] = text.split('~', 2)
  return { position, beyond: ids === '' ? [] : ids.split('.').slice(-MAX_BEYOND) }
}

/** 100 bits of the hash. */
const shortened = (id: string): string => id.slice(-20)

const MARK_EVERY = 256
/** Four times what comes between two marks: a subscription may hand over many at once. Beyond, the oldest come again. */
const MAX_BEYOND = 1_024
