import { publicKeyOf, toHex } from '../dht/index.ts'
import type { Message } from './api.ts'
import type { GivenReader } from './given.ts'
import { hadNotCome } from './known-writers.ts'
import { decodePosition, type SavedPosition } from './saved-position.ts'

/**
 * A reader elsewhere, of which only its positions are told, each with the messages that it stands for: several at once. It
 * says what was handed over here in the middle of these, too.
 */

/** A position, and how many messages had come by then. */
interface Told {
  position: string
  come: number
}

/** Who is further behind is taken back to the oldest of them, and reads more than it lacks. */
const MAX_TOLD = 1_024

export class ToldReader implements GivenReader {
  readonly #topicKey: Uint8Array
  readonly #told: Told[] = []
  /** How many had come before those that it came with. */
  readonly #cameBehind = new WeakMap<Message, number>()
  /** Told, and not handed over yet. */
  #waiting: Message[] = []
  #come = 0

  constructor(topicKey: Uint8Array) {
    this.#topicKey = topicKey
  }

  /** `messages` come with it; of those before, some may be `behind`: not given to everybody. */
  tell(position: string, messages: Message[], isBehind: boolean): void {
    for (const message of messages) this.#cameBehind.set(message, this.#come)
    this.#waiting = messages
    this.#come += messages.length
    this.#told.push({ position, come: this.#come })
    if (!isBehind) this.#told.splice(0, this.#told.length - 2)
    else if (this.#told.length > MAX_TOLD) this.#told.splice(1, 1)
  }

  /** The next one is being handed over. */
  hand(message: Message): void {
    if (this.#waiting[0] === message) this.#waiting.shift()
  }

  saved(): SavedPosition {
    return this.without(this.#decoded(this.#told.at(-1)), this.#waiting)
  }

  /** What the reader had seen is taken from a position before the first of them: collections do not tell what is in them. */
  without(saved: SavedPosition, messages: Message[]): SavedPosition {
    if (messages.length === 0) return saved
    const first = messages.reduce(
      (least, message) => Math.min(least, this.#cameBehind.get(message) ?? 0),
      Number.POSITIVE_INFINITY,
    )
    const { begin, seen } = this.#decoded(this.#told.findLast(({ come }) => come <= first) ?? this.#told[0])
    const places = messages.map(({ publisher, writer, sequence }) => ({
      ...{ writer, sequence },
      publisher: toHex(publicKeyOf(publisher)),
    }))
    return { ...saved, begin, seen, writers: hadNotCome(saved.writers, places) }
  }

  #decoded(told: Told | undefined): SavedPosition {
    return decodePosition(this.#topicKey, told?.position)
  }
}
