import { type ClosestPeer, type Dht, type NodeId, StickyError } from '../dht/index.ts'
import type { AvoidedReplicas } from './avoided.ts'
import type { Coordinator } from './coordinator.ts'
import type { Beside, TopicReader } from './reader.ts'

/** What a replica beside the source shows. */
export interface Elsewhere {
  peer: NodeId
  coordinator: Coordinator
}

/** `lacks`: something that another replica had, for the first time; `withholds`: again. */
export type Finding = 'level' | 'lacks' | 'withholds'

/** Compares the replica that serves a subscription with the others, one of them at a time: it may withhold something. */
export class SourceWatch {
  readonly #dht: Dht
  readonly #reader: TopicReader
  readonly #avoided: AvoidedReplicas
  readonly #closed: AbortSignal
  #looks = 0
  /** The replica that had what the source lacked at the last look. */
  #ahead: NodeId | undefined

  constructor(dht: Dht, reader: TopicReader, avoided: AvoidedReplicas, closed: AbortSignal) {
    this.#dht = dht
    this.#reader = reader
    this.#avoided = avoided
    this.#closed = closed
  }

  /**
   * At another replica, each time the next one: one that is level with the source may withhold the same. Who has nothing of
   * a topic that has a subscriber has just come, or hides it, and the one after it is asked.
   */
  async look(set: ClosestPeer[], source: NodeId): Promise<Elsewhere | undefined> {
    const others = set.map(({ nodeId }) => nodeId).filter((nodeId) => nodeId !== source)
    this.#looks += 1
    const first = this.#looks % (others.length || 1)
    const inTurn = this.#avoided.last([...others.slice(first), ...others.slice(0, first)], (peer) => peer)
    const ahead = others.filter((nodeId) => nodeId === this.#ahead)
    for (const [i, peer] of [...ahead, ...inTurn].entries()) {
      // who is asked after somebody else does not wait for other questions once more
      const isFirst = i === 0 && ahead.length === 0
      const coordinator = await this.#reader
        .coordinatorAt(peer, isFirst ? 'any' : 'nothing')
        .catch(() => null)
      if (coordinator === null) return undefined // it cannot be asked: another time
      if (coordinator !== undefined) return { peer, coordinator }
    }
    return undefined
  }

  /**
   * Takes what another replica had before the source was last read, and the source did not give. Once that may be a commit
   * on its way; a source that lacks such things still when it is looked at again withholds them.
   */
  async compare({ peer, coordinator }: Elsewhere): Promise<Finding> {
    const beside = await this.#takeBeside(peer, coordinator)
    const isProven = beside === 'left out' || (beside === 'new' && this.#ahead === peer)
    this.#ahead = beside === 'new' && !isProven ? peer : undefined
    if (beside === 'nothing') return 'level'
    return isProven ? 'withholds' : 'lacks'
  }

  /** What the source pushes waits meanwhile, so whoever takes long over it, or shows what is wrong, is asked last for a while. */
  async #takeBeside(peer: NodeId, coordinator: Coordinator): Promise<Beside> {
    const tooLong = new AbortController()
    const timer = this.#dht.runtime.setTimer(
      () => tooLong.abort(new StickyError('TIMEOUT', `${peer} takes too long to show what it has.`)),
      MAX_BESIDE_MS,
    )
    try {
      return await this.#reader.takeBeside(peer, coordinator, AbortSignal.any([this.#closed, tooLong.signal]))
    } catch {
      this.#avoided.add(peer)
      return 'nothing'
    } finally {
      timer.clear()
    }
  }
}

/** How long another replica may take to show what the source lacks; the rest follows once that one is the source. */
const MAX_BESIDE_MS = 2_000
