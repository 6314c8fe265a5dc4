import { Emitter } from './emitter.ts'

/**
 * Who reads a topic: listeners and iterations. A value is given to all of them at once, when each is ready for it; as long
 * as nobody reads, nothing is given.
 */
export class TopicReaders<V> {
  readonly #emitter = new Emitter<{ message: V }>(0)
  readonly #iterations = new Set<Iteration<V>>()
  #listeners = 0
  #isEnded = false
  #changed = Promise.withResolvers<void>()

  listen(listener: (value: V) => void): () => void {
    const stop = this.#emitter.on('message', listener)
    let isOn = true
    this.#listeners += 1
    this.#change()
    return () => {
      stop()
      if (!isOn) return
      isOn = false
      this.#listeners -= 1
      this.#change()
    }
  }

  /** It reads from its first `next` to its end; before that nobody waits for it. */
  iterate(): AsyncIterator<V> {
    const iteration: Iteration<V> = { wanted: [] }
    const end = async () => {
      this.#iterations.delete(iteration)
      for (const wanted of iteration.wanted.splice(0)) wanted({ done: true, value: undefined })
      this.#change()
      return { done: true, value: undefined } as const
    }
    let isOver = false
    return {
      next: () => {
        if (this.#isEnded || isOver) return Promise.resolve({ done: true, value: undefined })
        this.#iterations.add(iteration)
        const { promise, resolve } = Promise.withResolvers<IteratorResult<V>>()
        iteration.wanted.push(resolve)
        this.#change()
        return promise
      },
      return: () => {
        isOver = true
        return end()
      },
    }
  }

  /** Resolves once somebody reads; false when it is over. */
  async present(): Promise<boolean> {
    while (!this.#isEnded) {
      if (this.#listeners > 0 || this.#iterations.size > 0) return true
      await this.#changed.promise
    }
    return false
  }

  /** Waits until all are ready. `onTaken` is called in the moment of giving; false when it was over before. */
  async give(value: V, onTaken: () => void): Promise<boolean> {
    while (await this.present()) {
      if (this.#isReady()) {
        onTaken()
        for (const { wanted } of this.#iterations) wanted.shift()?.({ done: false, value })
        this.#emitter.emit('message', value)
        return true
      }
      await this.#changed.promise
    }
    return false
  }

  end(): void {
    this.#isEnded = true
    for (const { wanted } of this.#iterations)
      for (const resolve of wanted.splice(0)) resolve({ done: true, value: undefined })
    this.#iterations.clear()
    this.#emitter.end()
    this.#change()
  }

  #isReady(): boolean {
    const isAnyoneHere = this.#listeners > 0 || this.#iterations.size > 0
    return isAnyoneHere && !this.#isEnded && [...this.#iterations].every(({ wanted }) => wanted.length > 0)
  }

  #change(): void {
    this.#changed.resolve()
    this.#changed = Promise.withResolvers<void>()
  }
}

interface Iteration<V> {
  /** Calls of `next` that wait, oldest first. */
  wanted: ((result: IteratorResult<V>) => void)[]
}
