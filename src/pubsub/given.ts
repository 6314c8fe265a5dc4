import type { Message, SubscriptionEvents } from './api.ts'
import type { Emitter } from './emitter.ts'
import { encodePosition, type SavedPosition } from './saved-position.ts'

/** Who reads: here, or in another tab. */
export interface GivenReader {
  /** All that has been delivered. */
  saved(): SavedPosition
  /** Had these, which were delivered, not come. */
  without(position: SavedPosition, messages: Message[]): SavedPosition
}

/**
 * The position of a subscription: what its application has been given, which is less than what was read. An iteration has
 * messages before it that it has not come to. One that was left, or fell too far behind, has been given nothing since,
 * unless somebody else listens.
 */
export class GivenPosition {
  readonly #topicKey: Uint8Array
  readonly #reader: GivenReader
  readonly #emitter: Emitter<SubscriptionEvents>
  #leftAt: SavedPosition | undefined

  constructor(topicKey: Uint8Array, reader: GivenReader, emitter: Emitter<SubscriptionEvents>) {
    this.#topicKey = topicKey
    this.#reader = reader
    this.#emitter = emitter
  }

  get text(): string {
    const saved = this.#leftAt ?? this.#reader.saved()
    return encodePosition(this.#topicKey, this.#reader.without(saved, this.#emitter.unread('message')))
  }

  /** From now on somebody is given what comes. */
  beginsAnew(): void {
    this.#leftAt = undefined
  }

  iterate(): AsyncGenerator<Message> {
    this.beginsAnew()
    return this.#emitter.iterate('message', (lost) => {
      if (this.#emitter.listeners('message') > 1) return
      const notGiven = lost === undefined ? this.#emitter.unread('message') : [lost]
      this.#leftAt = this.#reader.without(this.#reader.saved(), notGiven)
    })
  }
}
