/** What was opened, in order, so that it can be closed again: last opened, first closed, each once. */
export class Cleanups {
  readonly #steps: (() => unknown)[] = []
  #closing: Promise<void> | undefined

  add(step: () => unknown): void {
    this.#steps.push(step)
  }

  /** Every step runs, also after one that fails; rejects with the first failure. Whoever calls again waits for the same. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    const failures: unknown[] = []
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step()
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 0) throw failures[0]
  }
}
