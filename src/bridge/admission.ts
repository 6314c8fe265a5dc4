/** Who has passed the challenge. Bounded: the longest unused admission is forgotten first; its peer passes again. */
export class Admission {
  readonly #maxPeers: number
  readonly #lifeMs: number
  readonly #now: () => number
  readonly #until = new Map<string, number>()

  constructor(maxPeers: number, lifeMs: number, monotonicNow: () => number = () => performance.now()) {
    this.#maxPeers = maxPeers
    this.#lifeMs = lifeMs
    this.#now = monotonicNow
  }

  /** `lifeMs` shortens the time, and never makes it longer. */
  admit(peerId: string, lifeMs = this.#lifeMs): void {
    this.#until.delete(peerId)
    if (this.#until.size >= this.#maxPeers) this.#until.delete(this.#until.keys().next().value as string)
    this.#until.set(peerId, this.#now() + Math.min(lifeMs, this.#lifeMs))
  }

  isAdmitted(peerId: string): boolean {
    const until = this.#until.get(peerId)
    if (until === undefined) return false
    this.#until.delete(peerId)
    if (until <= this.#now()) return false
    this.#until.set(peerId, until) // to the end of the order: it was used
    return true
  }

  get size(): number {
    return this.#until.size
  }
}
