import { type Acknowledgement, asStickyError, type ClosestPeer, type Dht, type NodeId } from '../dht/index.ts'
import type { AvoidedReplicas } from './avoided.ts'
import type { PubSubOptions } from './options.ts'
import { requestConfirm, type Sent } from './publish-request.ts'

/**
 * The publisher's own look at what an initiator says is stored: the other replicas are asked for it themselves, in the
 * same moment, so that an honest answer costs no further round trip, and a lie costs the liar its place.
 */

export interface ConfirmationInit {
  dht: Dht
  options: PubSubOptions
  topicKey: Uint8Array
  /** Replicas of the topic, the initiator among them or not. */
  set: ClosestPeer[]
  initiator: NodeId
  batch: readonly Sent[]
  /** Those that were silent lately are asked, and not waited for. */
  silent: AvoidedReplicas
}

/** silent: it says neither, or cannot be reached. Who lies gains nothing by silence: it only gives up its own vote. */
type Answer = 'silent' | 'has' | 'lacks'

interface Replica extends Pick<ClosestPeer, 'nodeId' | 'durable'> {
  answer: Answer
}

export interface Settled {
  /**
   * What the publisher can believe: a majority of those that say anything, the initiator counted, with a durable one where
   * there is any; or undefined. As soon as a majority of all has it, at the latest after `confirmMs`.
   */
  acknowledged: Promise<Acknowledgement | undefined>
  /** Those that have not said by then that they have it. */
  others: Promise<NodeId[]>
}

export class Confirmation {
  readonly #init: ConfirmationInit
  /** The initiator first. */
  readonly #replicas: Replica[]
  readonly #abort = new AbortController()
  #isClaimed = false
  readonly #acknowledged = Promise.withResolvers<Acknowledgement | undefined>()
  readonly #over = Promise.withResolvers<void>()

  constructor(init: ConfirmationInit) {
    this.#init = init
    const { set, initiator, options } = init
    const others = set.filter(({ nodeId }) => nodeId !== initiator)
    const isDurable = set.some(({ nodeId, durable }) => nodeId === initiator && durable)
    this.#replicas = [
      { nodeId: initiator, durable: isDurable, answer: 'has' },
      ...others.map(({ nodeId, durable }): Replica => ({ nodeId, durable, answer: 'silent' })),
    ]
    for (const replica of this.#replicas.slice(1)) void this.#ask(replica, options.publishAttemptMs)
  }

  /** It is not stored: nobody is asked any more. */
  end(): void {
    this.#abort.abort()
  }

  /** The initiator says that it is stored: who has it shall say so now. */
  settle(): Settled {
    const { dht, options, silent } = this.#init
    this.#isClaimed = true
    const silentOnes = () => this.#replicas.filter(({ answer }) => answer === 'silent')
    const askAgain = dht.runtime.setTimer(() => {
      for (const replica of silentOnes()) void this.#ask(replica, 0)
    }, options.confirmMs / 2)
    const giveUp = dht.runtime.setTimer(this.#over.resolve, options.confirmMs)
    this.#look()
    const others = this.#over.promise.then(() => {
      askAgain.clear()
      giveUp.clear()
      this.#abort.abort()
      for (const { nodeId } of silentOnes()) silent.add(nodeId)
      const spoken = this.#replicas.filter(({ answer }) => answer !== 'silent')
      this.#acknowledged.resolve(majority(spoken))
      return this.#replicas.filter(({ answer }) => answer !== 'has').map(({ nodeId }) => nodeId)
    })
    return { acknowledged: this.#acknowledged.promise, others }
  }

  async #ask(replica: Replica, waitMs: number): Promise<void> {
    const { dht, topicKey, batch } = this.#init
    try {
      const { stored } = await requestConfirm(
        dht,
        replica.nodeId,
        topicKey,
        batch,
        waitMs,
        this.#abort.signal,
      )
      this.#init.silent.delete(replica.nodeId)
      const hasAll = stored.length === batch.length && stored.every(Boolean)
      if (hasAll) replica.answer = 'has'
      // before the initiator's answer it proves nothing
      else if (this.#isClaimed && replica.answer === 'silent') replica.answer = 'lacks'
      this.#look()
    } catch (error) {
      dht.replicas.noteFailure(replica.nodeId, asStickyError(error, 'UNREACHABLE'))
    }
  }

  #look(): void {
    if (!this.#isClaimed) return
    const ack = majority(this.#replicas)
    if (ack !== undefined) this.#acknowledged.resolve(ack)
    const isOpen = ({ nodeId, answer }: Replica) => answer !== 'has' && !this.#init.silent.has(nodeId)
    if (!this.#replicas.some(isOpen)) this.#over.resolve()
  }
}

function majority(replicas: Replica[]): Acknowledgement | undefined {
  const has = replicas.filter(({ answer }) => answer === 'has')
  const durableReplicas = has.filter(({ durable }) => durable).length
  const isDurable = durableReplicas > 0 || !replicas.some(({ durable }) => durable)
  return isDurable && has.length * 2 > replicas.length ? { replicas: has.length, durableReplicas } : undefined
}
