import type { ClosestPeer, Dht, Timer } from '../dht/index.ts'
import { COORDINATOR, type PubSubOptions } from './options.ts'
import { ReplicasWatch } from './replicas-watch.ts'

/**
 * For a subscriber that has only itself to attach to because it knows nobody yet: tells, once, when other replicas are
 * known. Where it may wait for them (`awaitPeersMs`) and holds nothing of the topic, it is to attach to nobody before
 * that: its own empty topic would be its whole history, and what was said before would come as if it were new.
 */

export interface FirstOthersInit {
  dht: Dht
  topicKey: Uint8Array
  options: PubSubOptions
}

export class FirstOthers {
  readonly #init: FirstOthersInit
  readonly #watch: ReplicasWatch
  /** It is time to attach, or to attach anew. */
  readonly #onTurn: () => void
  readonly #unawaited = Promise.withResolvers<void>()
  #isAlone = false
  #hasMet = false
  #hasWaited: boolean
  #timer: Timer | undefined

  constructor(init: FirstOthersInit, onTurn: () => void) {
    this.#init = init
    this.#onTurn = onTurn
    this.#hasWaited = init.options.awaitPeersMs === 0
    if (this.#hasWaited) this.#unawaited.resolve()
    this.#watch = new ReplicasWatch({
      dht: init.dht,
      topicKey: init.topicKey,
      isWanted: () => this.#isAlone,
      onReplicas: (set) => this.#isMet(set),
    })
  }

  /** Resolves once nobody is waited for (any more): before that nothing is said to the topic. */
  get unawaited(): Promise<void> {
    return this.#unawaited.promise
  }

  /**
   * Among these it attaches, unless others are to be waited for. Once it has met others it has other ways to go on when it
   * loses them.
   */
  async areAwaited(set: ClosestPeer[]): Promise<boolean> {
    this.#hasMet ||= this.#hasOthers(set)
    this.#isAlone = !this.#hasMet && set.length > 0
    if (this.#isAlone) void this.#watch.look()
    else if (this.#hasMet) this.#watch.close()
    const areAwaited = this.#isAlone && !this.#hasWaited && !(await this.#holdsTopic())
    if (!areAwaited) this.#endWait()
    else if (this.#isAlone) this.#timer ??= this.#init.dht.runtime.setTimer(() => this.#goOn(), this.#waitMs)
    return areAwaited
  }

  get #waitMs(): number {
    return this.#init.options.awaitPeersMs
  }

  /** What it holds is shown at once, also offline. Where that cannot be read, no wait makes it better. */
  async #holdsTopic(): Promise<boolean> {
    const { dht, topicKey } = this.#init
    return dht.store.record(COORDINATOR, topicKey).then(
      ({ head }) => head !== undefined,
      () => true,
    )
  }

  #endWait(): void {
    this.#hasWaited = true
    this.#timer?.clear()
    this.#unawaited.resolve()
  }

  #goOn(): void {
    this.#endWait()
    this.#onTurn()
  }

  #isMet(set: ClosestPeer[]): true {
    if (this.#hasOthers(set)) {
      this.#isAlone = false
      this.#goOn()
    }
    return true
  }

  #hasOthers(set: ClosestPeer[]): boolean {
    return set.some(({ nodeId }) => nodeId !== this.#init.dht.self)
  }

  close(): void {
    this.#watch.close()
    this.#endWait()
  }
}
