import type { ClosestPeer, Dht, Timer } from '../dht/index.ts'

/**
 * Looks who the replicas of a topic are after peers came or went. Who has just started knows nobody, and may be its own
 * only replica until somebody is met: what it said or read then, it said to nobody and read from nobody.
 */

export interface ReplicasWatchInit {
  dht: Dht
  topicKey: Uint8Array
  /** Whether there is a reason to look. */
  isWanted(): boolean
  /** True when the next look should come soon, e.g. because this one brought somebody: others are met after the first. */
  onReplicas(set: ClosestPeer[]): boolean
}

const FIRST_PAUSE_MS = 250
/** The pause doubles up to here while peers come and go that concern nobody: in a large network a look is a DHT query. */
const MAX_PAUSE_MS = 4_000
/** What is known, what the look-up under way finds, and what one finds that begins after it. */
const MAX_LOOKS = 3
/** After the last change once more: who could not be reached for a moment is left out of all sets for up to three seconds. */
const LAST_LOOK_MS = 4_000

export class ReplicasWatch {
  readonly #init: ReplicasWatchInit
  readonly #stop: () => void
  #timer: Timer | undefined
  #lastTimer: Timer | undefined
  #lookedMs = Number.NEGATIVE_INFINITY
  #pauseMs = FIRST_PAUSE_MS
  #closed = false

  constructor(init: ReplicasWatchInit) {
    this.#init = init
    this.#stop = init.dht.onTopologyChange(() => this.#changed())
  }

  #changed(): void {
    if (this.#closed || this.#timer !== undefined || !this.#init.isWanted()) return
    const { runtime } = this.#init.dht
    const sinceMs = runtime.monotonicNow() - this.#lookedMs
    if (sinceMs > 2 * this.#pauseMs) this.#pauseMs = FIRST_PAUSE_MS // it was quiet for a while
    this.#timer = runtime.setTimer(() => void this.#lookInTurn(), Math.max(0, this.#pauseMs - sinceMs))
  }

  async #lookInTurn(): Promise<void> {
    this.#timer = undefined
    this.#lookedMs = this.#init.dht.runtime.monotonicNow()
    const isSoonAgain = await this.look()
    this.#pauseMs = isSoonAgain ? FIRST_PAUSE_MS : Math.min(2 * this.#pauseMs, MAX_PAUSE_MS)
    this.#lastTimer?.clear()
    if (this.#closed) return
    this.#lastTimer = this.#init.dht.runtime.setTimer(() => {
      if (this.#init.isWanted()) void this.look()
    }, LAST_LOOK_MS)
  }

  /** At once, for who has just used a set that may be one of before: where it is not, this asks nobody. */
  async look(): Promise<boolean> {
    const { dht, topicKey, isWanted, onReplicas } = this.#init
    let isSoonAgain = false
    for (let look = 0; look < MAX_LOOKS; look++) {
      const set = await dht.replicas.set(topicKey).catch(() => [])
      if (this.#closed || !isWanted()) break
      isSoonAgain = onReplicas(set) || isSoonAgain
      const refreshing = dht.replicas.refreshing(topicKey)
      if (refreshing === undefined) break
      await refreshing.catch(() => undefined)
    }
    return isSoonAgain
  }

  close(): void {
    this.#closed = true
    this.#timer?.clear()
    this.#lastTimer?.clear()
    this.#stop()
  }
}
