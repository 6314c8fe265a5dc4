import { toHex } from '../../src/dht/index.ts'
import { decodeCoordinator } from '../../src/pubsub/coordinator.ts'

/**
 * Sees from the heads alone that messages of two lineages were united: a collection is made in one version, so two of the
 * same version are no ancestors of each other, and a head that has both behind it is a join.
 */
export class Joins {
  readonly #madeIn = new Map<string, number>()
  readonly #joined = new Set<string>()

  /** Each head that a holder comes to, in any order. */
  note(head: Uint8Array): void {
    const { version, messages, messageHistory } = decodeCoordinator(head)
    if (messages !== null) {
      const root = toHex(messages)
      this.#madeIn.set(root, Math.min(version, this.#madeIn.get(root) ?? version))
    }
    const rootOf = new Map<number, string>()
    for (const root of messageHistory.map(toHex)) {
      const madeIn = this.#madeIn.get(root)
      if (madeIn === undefined) continue
      const other = rootOf.get(madeIn)
      if (other !== undefined) this.#joined.add([root, other].sort().join())
      rootOf.set(madeIn, root)
    }
  }

  /** Pairs of collections that were united. */
  get count(): number {
    return this.#joined.size
  }
}
