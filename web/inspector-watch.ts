/**
 * Asks again and again while somebody looks: one question at a time, the next one a pause after the answer, none while
 * the page is hidden, and nothing is shown after the end.
 */

export const REFRESH_MS = 2_000

export interface Watch<T> {
  ask(): Promise<T>
  show(answer: T): void
  isVisible(): boolean
  everyMs?: number
}

export class Watcher<T> {
  readonly #watch: Watch<T>
  #timer: ReturnType<typeof setTimeout> | undefined
  #isAsking = false
  #isStopped = false

  constructor(watch: Watch<T>) {
    this.#watch = watch
  }

  /** Asks now, unless a question is open; also to be called when the page is shown again. */
  wake(): void {
    if (this.#isStopped || this.#isAsking || !this.#watch.isVisible()) return
    clearTimeout(this.#timer)
    void this.#round()
  }

  stop(): void {
    this.#isStopped = true
    clearTimeout(this.#timer)
  }

  async #round(): Promise<void> {
    this.#isAsking = true
    try {
      const answer = await this.#watch.ask()
      if (!this.#isStopped) this.#watch.show(answer)
    } catch {
      // what was shown stays until the next answer
    } finally {
      this.#isAsking = false
      if (!this.#isStopped) this.#timer = setTimeout(() => this.wake(), this.#watch.everyMs ?? REFRESH_MS)
    }
  }
}
