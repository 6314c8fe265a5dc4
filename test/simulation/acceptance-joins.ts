import { toHex } from '../../src/dht/index.ts'
import { decodeCoordinator } from '../../src/pubsub/coordinator.ts'

/**
 * Sees from the heads alone that messages of two lineages were united, which the nodes' own counters do not tell from
 * one lineage taking the place of the other: the two collections right behind such a head do not follow on each other.
 */
export class Joins {
  /** What lies behind each collection. */
  readonly #behind = new Map<string, Set<string>>()
  /** Collections that are a union. */
  count = 0

  /** Each head that a holder comes to, as it does. */
  note(head: Uint8Array): void {
    const { messages, messageHistory } = decodeCoordinator(head)
    if (messages === null || this.#behind.has(toHex(messages))) return
    const history = messageHistory.map(toHex)
    this.#behind.set(toHex(messages), new Set(history))
    const [one, other] = history
    if (one === undefined || other === undefined) return
    if (!this.#isBehind(one, other) && !this.#isBehind(other, one)) this.count += 1
  }

  #isBehind(older: string, newer: string): boolean {
    return this.#behind.get(newer)?.has(older) ?? false
  }
}
