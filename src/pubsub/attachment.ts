import { asStickyError, type Dht, type ErrorCode, type NodeId, type StickyError } from '../dht/index.ts'
import type { AvoidedReplicas } from './avoided.ts'
import type { FirstOthers } from './first-others.ts'
import { assignedReplicas } from './statements.ts'
import type { VerifiedStatement } from './subscription-statement.ts'
import { topicMethods } from './wire.ts'

/** Which replica serves one subscriber: the first in rank that can be reached. When one is looked for is not decided here. */

export interface AttachmentInit {
  dht: Dht
  topicKey: Uint8Array
  signal: AbortSignal
  /** Those that were of no use lately are tried last. */
  avoided: AvoidedReplicas
  others: FirstOthers
  statement(): Promise<VerifiedStatement>
  /** `left`: the one that served it before, which is another and was not told yet. */
  onAttached(left: NodeId | undefined): void
  /** None could be reached, or, with what the last of these said, those that could refused it. */
  onNone(refusal: StickyError | undefined): void
}

/** Nobody said so: it tells of a connection, and nothing of the topic. */
const UNANSWERED: ReadonlySet<ErrorCode> = new Set([
  'UNREACHABLE',
  'LINK_CLOSED',
  'TIMEOUT',
  'CLOSED',
  'ABORTED',
])

export class Attachment {
  readonly #init: AttachmentInit
  #source: NodeId | undefined
  /** The one that was the source before, until it was told. */
  #left: NodeId | undefined
  #attaching: Promise<void> | undefined

  constructor(init: AttachmentInit) {
    this.#init = init
  }

  /** The replica that serves this subscriber; none while another one is looked for. */
  get source(): NodeId | undefined {
    return this.#source
  }

  /** The attempt that is being made. */
  get underWay(): Promise<void> | undefined {
    return this.#attaching
  }

  /** One attempt over the ranked replicas, unless others are to be waited for. Sets the source, or calls `onNone`. */
  attach(): Promise<void> {
    this.#attaching ??= this.#attachRanked().finally(() => {
      this.#attaching = undefined
    })
    return this.#attaching
  }

  async #attachRanked(): Promise<void> {
    const { dht, topicKey, signal, avoided, others, onAttached, onNone } = this.#init
    this.#left = this.#source ?? this.#left
    this.#source = undefined
    const set = await dht.replicas.set(topicKey).catch(() => [])
    if (await others.areAwaited(set)) return
    const ranked = avoided.last(await assignedReplicas(dht.self, topicKey, set), (peer) => peer)
    let refusal: StickyError | undefined
    for (const peer of ranked) {
      if (signal.aborted) return
      try {
        await this.attachTo(peer)
        this.#source = peer
        const left = this.#left === peer ? undefined : this.#left
        this.#left = undefined
        onAttached(left)
        return
      } catch (error) {
        const failure = asStickyError(error, 'UNREACHABLE')
        dht.replicas.noteFailure(peer, failure)
        if (!UNANSWERED.has(failure.code)) refusal = failure
      }
    }
    onNone(refusal)
  }

  /** At the replica that serves it: so it goes on. Gives that one's version. */
  async renew(): Promise<number | undefined> {
    if (this.#source !== undefined) return this.attachTo(this.#source)
  }

  /** Also for one to which it is attached already: so it goes on. */
  async attachTo(peer: NodeId): Promise<number> {
    const { dht, topicKey, statement } = this.#init
    const { envelope } = await statement()
    const request = { topic: topicKey, statement: envelope }
    return (await dht.rpc.request(peer, topicMethods.attach, request)).version
  }
}
