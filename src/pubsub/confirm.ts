import {
  type Acknowledgement,
  asStickyError,
  type ClosestPeer,
  type Dht,
  type NodeId,
  nodeIdOf,
  toHex,
} from '../dht/index.ts'
import type { AvoidedReplicas } from './avoided.ts'
import type { PubSubOptions } from './options.ts'
import { requestConfirm, type Sent } from './publish-request.ts'
import { verifyStored } from './stored-statement.ts'
import type { Signed } from './wire.ts'

/**
 * The publisher's own look at what an initiator says is stored. Where a majority of the replicas has signed that it has it,
 * and the initiator hands that on, nobody is asked. Else as many of the other replicas as a majority takes, and one more,
 * are. The rest is asked in the background (offers.ts).
 */

export interface ConfirmationInit {
  dht: Dht
  options: PubSubOptions
  topicKey: Uint8Array
  /** Replicas of the topic, the initiator among them or not. */
  set: ClosestPeer[]
  initiator: NodeId
  batch: readonly Sent[]
  /** What the initiator hands on. */
  signed: Signed | undefined
  /** Those that were silent lately are asked last. */
  silent: AvoidedReplicas
}

/** silent: it says neither, or cannot be reached. Who lies gains nothing by silence: it only gives up its own vote. */
type Answer = 'silent' | 'has' | 'lacks'

interface Replica extends Pick<ClosestPeer, 'nodeId' | 'durable'> {
  answer: Answer
}

export interface Confirmed {
  /**
   * What the publisher can believe: that a majority has it, the initiator counted, with a durable one where there is any;
   * of those that say anything, where not all do. Undefined: the others contradict.
   */
  ack: Acknowledgement | undefined
  /** Those that have not said that they have it. */
  others: NodeId[]
}

export class Confirmation {
  readonly #init: ConfirmationInit
  /** The initiator first. */
  readonly #replicas: Replica[]
  readonly #abort = new AbortController()
  readonly #over = Promise.withResolvers<void>()

  constructor(init: ConfirmationInit) {
    this.#init = init
    const { set, initiator } = init
    const others = set.filter(({ nodeId }) => nodeId !== initiator)
    const isDurable = set.some(({ nodeId, durable }) => nodeId === initiator && durable)
    this.#replicas = [
      { nodeId: initiator, durable: isDurable, answer: 'has' },
      ...others.map(({ nodeId, durable }): Replica => ({ nodeId, durable, answer: 'silent' })),
    ]
  }

  /** At the latest `confirmMs` after the signatures were checked, where this node does not stand still. Never rejects. */
  async run(): Promise<Confirmed> {
    await this.#hearSigned()
    if (majority(this.#replicas) === undefined) await this.#askOthers()
    const spoken = this.#replicas.filter(({ answer }) => answer !== 'silent')
    const others = this.#replicas.filter(({ answer }) => answer !== 'has')
    return { ack: majority(spoken), others: others.map(({ nodeId }) => nodeId) }
  }

  /** What is not signed rightly is as if it had not been said: who asks hears the replica itself. */
  async #hearSigned(): Promise<void> {
    const { dht, topicKey, batch, signed } = this.#init
    if (signed === undefined) return
    const { ids, by } = signed
    const names = new Set(ids.map(toHex))
    if (!batch.every(({ message }) => names.has(toHex(message.id)))) return
    const signedBy = new Map(by.map(([key, bytes]) => [nodeIdOf(key), { key, bytes }]))
    const now = dht.runtime.now()
    const hear = async (other: Replica) => {
      const said = signedBy.get(other.nodeId)
      if (said === undefined || other.answer === 'has') return
      await verifyStored(said.bytes, { topicKey, ids }, { replica: said.key, now })
      other.answer = 'has'
    }
    await Promise.allSettled(this.#replicas.map(hear))
  }

  #askOthers(): Promise<void> {
    const { dht, options, silent } = this.#init
    const silentOnes = () => this.#replicas.filter(({ answer }) => answer === 'silent')
    const startedMs = dht.runtime.monotonicNow()
    for (const replica of this.#first(silentOnes())) void this.#ask(replica, options.confirmMs)
    const askAll = dht.runtime.setTimer(() => {
      for (const replica of silentOnes()) void this.#ask(replica, 0)
    }, options.confirmMs / 2)
    const giveUp = () => {
      for (const { nodeId } of silentOnes()) silent.add(nodeId)
      this.#over.resolve()
    }
    let timer = dht.runtime.setTimer(() => {
      // this node stood still: what came meanwhile is not read yet, and the initiator would be believed alone
      const isLate = dht.runtime.monotonicNow() > startedMs + 1.25 * options.confirmMs
      if (isLate) timer = dht.runtime.setTimer(giveUp, options.confirmMs / 2)
      else giveUp()
    }, options.confirmMs)
    this.#look()
    return this.#over.promise.then(() => {
      askAll.clear()
      timer.clear()
      this.#abort.abort()
    })
  }

  /** By chance, so that nobody knows who will be asked; those that were silent lately come last. */
  #first(others: Replica[]): Replica[] {
    const { dht, silent } = this.#init
    const ranked = others.map((replica) => ({
      replica,
      rank: dht.runtime.random() + (silent.has(replica.nodeId) ? 1 : 0),
    }))
    ranked.sort((a, b) => a.rank - b.rank)
    const heard = this.#replicas.length - others.length
    const needed = Math.floor(this.#replicas.length / 2) + 1 - heard
    return ranked.slice(0, needed + 1).map(({ replica }) => replica)
  }

  async #ask(replica: Replica, waitMs: number): Promise<void> {
    const { dht, topicKey, batch, silent } = this.#init
    try {
      const { stored } = await requestConfirm(
        dht,
        replica.nodeId,
        topicKey,
        batch,
        waitMs,
        this.#abort.signal,
      )
      silent.delete(replica.nodeId)
      if (stored.length === batch.length && stored.every(Boolean)) replica.answer = 'has'
      else if (replica.answer === 'silent') replica.answer = 'lacks'
      this.#look()
    } catch (error) {
      if (this.#abort.signal.aborted) return
      silent.add(replica.nodeId)
      dht.replicas.noteFailure(replica.nodeId, asStickyError(error, 'UNREACHABLE'))
      this.#look()
    }
  }

  /** As soon as a majority of all has it nobody is waited for; nor is who was silent lately. */
  #look(): void {
    const { silent } = this.#init
    const isOpen = ({ nodeId, answer }: Replica) => answer !== 'has' && !silent.has(nodeId)
    if (majority(this.#replicas) !== undefined || !this.#replicas.some(isOpen)) this.#over.resolve()
  }
}

function majority(replicas: Replica[]): Acknowledgement | undefined {
  const has = replicas.filter(({ answer }) => answer === 'has')
  const durableReplicas = has.filter(({ durable }) => durable).length
  const isDurable = durableReplicas > 0 || !replicas.some(({ durable }) => durable)
  return isDurable && has.length * 2 > replicas.length ? { replicas: has.length, durableReplicas } : undefined
}
