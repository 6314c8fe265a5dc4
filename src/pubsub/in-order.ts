import { toHex } from '../dht/index.ts'

/** What is done about one topic is done one after the other, in the order of the calls. */
export class InOrder {
  readonly #last = new Map<string, Promise<void>>()

  run<T>(topicKey: Uint8Array, work: () => Promise<T>): Promise<T> {
    const name = toHex(topicKey)
    const turn = (this.#last.get(name) ?? Promise.resolve()).then(work)
    const over = () => {
      if (this.#last.get(name) === ended) this.#last.delete(name)
    }
    const ended: Promise<void> = turn.then(over, over)
    this.#last.set(name, ended)
    return turn
  }

  /** What was begun or waits has ended. */
  ended(): Promise<unknown> {
    return Promise.all(this.#last.values())
  }
}
