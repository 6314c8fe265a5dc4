import { StickyError } from '../dht/index.ts'

/** Typed listeners, and bounded async iteration over one event. */
export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<(value: never) => void>>()
  readonly #endListeners = new Set<() => void>()
  /** What the iterations of each event have not come to yet. */
  readonly #unread = new Map<keyof Events, Set<unknown[]>>()
  readonly #maxUnread: number
  #ended = false

  constructor(maxUnread: number) {
    this.#maxUnread = maxUnread
  }

  on<E extends keyof Events>(event: E, listener: (value: Events[E]) => void): () => void {
    const listeners = this.#listeners.get(event) ?? new Set()
    this.#listeners.set(event, listeners)
    listeners.add(listener)
    return () => listeners.delete(listener)
  }

  /** A listener that throws does not keep the others from hearing; its error surfaces as an uncaught one. */
  emit<E extends keyof Events>(event: E, value: Events[E]): void {
    for (const listener of this.#listeners.get(event) ?? []) {
      try {
        ;(listener as (value: Events[E]) => void)(value)
      } catch (error) {
        queueMicrotask(() => {
          throw error
        })
      }
    }
  }

  end(): void {
    this.#ended = true
    for (const listener of this.#endListeners) listener()
    this.#endListeners.clear()
    this.#listeners.clear()
  }

  /** How many listen to an event, iterations among them. */
  listeners(event: keyof Events): number {
    return this.#listeners.get(event)?.size ?? 0
  }

  /** What iterations of it have not come to yet. */
  unread<E extends keyof Events>(event: E): Events[E][] {
    return [...(this.#unread.get(event) ?? [])].flat() as Events[E][]
  }

  /**
   * From now on; ends with the emitter. A reader that falls `maxUnread` behind gets BUSY instead of silent loss. `onStop`
   * is called once: before it is left, with nothing, or with the first value that there is no room for.
   */
  async *iterate<E extends keyof Events>(
    event: E,
    onStop: (lost?: Events[E]) => void = () => undefined,
  ): AsyncGenerator<Events[E]> {
    const unread: Events[E][] = []
    const allUnread = this.#unread.get(event) ?? new Set()
    this.#unread.set(event, allUnread.add(unread))
    let overflowed = false
    let wake = Promise.withResolvers<void>()
    const notify = () => {
      wake.resolve()
      wake = Promise.withResolvers<void>()
    }
    const stop = this.on(event, (value) => {
      if (unread.length < this.#maxUnread) unread.push(value)
      else if (!overflowed) {
        overflowed = true
        onStop(value)
      }
      notify()
    })
    this.#endListeners.add(notify)
    try {
      for (;;) {
        const woken = wake.promise
        while (unread.length > 0) yield unread.shift() as Events[E]
        if (overflowed)
          throw new StickyError('BUSY', `The reader fell more than ${this.#maxUnread} messages behind.`)
        if (this.#ended) return
        await woken
      }
    } finally {
      if (!overflowed) onStop()
      stop()
      allUnread.delete(unread)
      this.#endListeners.delete(notify)
    }
  }
}
