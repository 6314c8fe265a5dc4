import type { Message, SubscriptionEvents } from './api.ts'
import type { Emitter } from './emitter.ts'
import type { TopicReader } from './reader.ts'
import { encodePosition, type SavedPosition, without } from './saved-position.ts'

/**
 * The position of a subscription: what its application has been given, which is less than what was read. An iteration has
 * messages before it that it has not come to. One that was left, or fell too far behind, has been given nothing since,
 * unless somebody else listens.
 */
export class GivenPosition {
  readonly #topicKey: Uint8Array
  readonly #reader: Pick<TopicReader, 'saved' | 'placesOf'>
  readonly #emitter: Emitter<SubscriptionEvents>
  #leftAt: SavedPosition | undefined

  constructor(topicKey: Uint8Array, reader: TopicReader, emitter: Emitter<SubscriptionEvents>) {
    this.#topicKey = topicKey
    this.#reader = reader
    this.#emitter = emitter
  }

  get text(): string {
    const saved = this.#leftAt ?? this.#reader.saved()
    return encodePosition(this.#topicKey, this.#without(saved, this.#emitter.unread('message')))
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
      this.#leftAt = this.#without(this.#reader.saved(), notGiven)
    })
  }

  #without(saved: SavedPosition, notGiven: Message[]): SavedPosition {
    return without(saved, this.#reader.placesOf(notGiven))
  }
}
