import {
  type Acknowledgement,
  asStickyError,
  atMost,
  byPreference,
  type ClosestPeer,
  type CommitOutcome,
  type CommitRequest,
  type Dht,
  delay,
  type HeldRecord,
  type NodeId,
  type SignedByHolder,
  StickyError,
  toHex,
} from '../dht/index.ts'
import { AvoidedReplicas } from './avoided.ts'
import { COORDINATOR, type PubSubOptions } from './options.ts'
import type { Recovery } from './recovery.ts'

/**
 * Brings a delta into a topic: applies it to this node's head, sends the result to every replica, and where one has
 * diverged merges and sends the merge, with backoff, until a majority has it or the deadline passes.
 */

/** Makes the delta for the head that the record has at that moment; nothing else changes the record meanwhile. */
export type Propose = (record: HeldRecord) => Promise<Uint8Array>

/** Throws where what was proposed is not to be sent on with what a merge has brought to it. */
export type CheckMerged = (record: HeldRecord) => Promise<void>

export interface CommitResult extends Acknowledgement {
  head: Uint8Array
  /** What replicas have signed of `delta`. */
  signed: SignedByHolder[]
  /** What was sent; undefined where it was a whole head. */
  delta: Uint8Array | undefined
}

export class Committer {
  readonly #dht: Dht
  readonly #recovery: Recovery
  readonly #options: PubSubOptions
  /** Topics that are being settled after a majority had it, with what is to be settled last. */
  readonly #settling = new Map<string, Attempt>()
  /** Preferred ones that did not merge what they were offered. */
  readonly #idle: AvoidedReplicas
  readonly counters = { commits: 0, conflicts: 0, retries: 0, failed: 0 }

  constructor(dht: Dht, recovery: Recovery, options: PubSubOptions) {
    this.#dht = dht
    this.#recovery = recovery
    this.#options = options
    this.#idle = new AvoidedReplicas(dht.runtime, options.avoidMs)
  }

  /**
   * Resolves when a majority has it on disk. Rejects with NO_REPLICAS, STORAGE_… when nothing was stored anywhere, with
   * OUTCOME_UNKNOWN when it may or may not live on. Stragglers and their conflicts are settled in the background.
   */
  async commit(
    topicKey: Uint8Array,
    propose: Propose,
    deadlineMs: number,
    checkMerged?: CheckMerged,
  ): Promise<CommitResult> {
    const record = await this.#dht.store.record(COORDINATOR, topicKey)
    const attempt = await this.#propose(record, propose)
    try {
      return await this.#untilQuorum(record, attempt, propose, deadlineMs, checkMerged)
    } catch (error) {
      // it was sent: whatever has gone wrong since does not say that nobody has it
      if (error instanceof StickyError && error.code === 'OUTCOME_UNKNOWN') throw error
      throw new StickyError('OUTCOME_UNKNOWN', 'It was sent, and what became of it is not known.', {
        cause: error,
      })
    }
  }

  async #untilQuorum(
    firstRecord: HeldRecord,
    firstAttempt: Attempt,
    propose: Propose,
    deadlineMs: number,
    checkMerged: CheckMerged | undefined,
  ): Promise<CommitResult> {
    const topicKey = firstRecord.key
    let record = firstRecord
    let attempt = firstAttempt
    for (let retry = 0; ; retry++) {
      const result = await attempt.quorum
      if (result !== undefined) {
        this.counters.commits += 1
        this.#recovery.mergeSucceeded(topicKey)
        void this.#settle(record, attempt)
        return result
      }
      const outcome = await attempt.outcome
      const conflicted = await this.#mergeConflicts(record, attempt, deadlineMs, retry)
      if (conflicted) await this.#recover(topicKey, deadlineMs)
      const waitMs =
        Math.min(this.#options.retryMs * 2 ** retry, this.#options.maxRetryMs) *
        (0.5 + this.#dht.runtime.random())
      if (this.#dht.runtime.monotonicNow() + waitMs >= deadlineMs) {
        this.counters.failed += 1
        throw new StickyError('OUTCOME_UNKNOWN', describe(outcome))
      }
      await delay(this.#dht.runtime, waitMs)
      this.counters.retries += 1
      record = await this.#dht.store.record(COORDINATOR, topicKey)
      // a head that this node's disk refused does not hold the delta: sending it would acknowledge what is nowhere
      attempt = (await attempt.isHere)
        ? await this.#replicate(record, checkMerged)
        : await this.#proposeAgain(record, propose)
    }
  }

  /** It goes on after it is not waited for any more: it may be a liar that it waits for. */
  async #recover(topicKey: Uint8Array, deadlineMs: number): Promise<void> {
    const { runtime, options } = this.#dht
    const waitMs = Math.min(deadlineMs - runtime.monotonicNow(), options.requestTimeoutMs)
    await atMost(runtime, Math.max(0, waitMs), this.#recovery.mergeFailed(topicKey))
  }

  /** Applies the delta here and sends it in the same moment: the disk and the network work side by side. */
  async #propose(record: HeldRecord, propose: Propose): Promise<Attempt> {
    const set = await this.#dht.replicas.set(record.key)
    if (set.length === 0) throw new StickyError('NO_REPLICAS', 'No node that stores topics can be reached.')
    return record.exclusive(async () => {
      let attempt: Attempt | undefined
      const delta = await propose(record)
      const written = Promise.withResolvers<void>()
      written.promise.catch(() => undefined)
      try {
        await this.#dht.store.applyLocal(record, delta, (change, base) => {
          attempt = this.#send(record, set, { head: change.head, step: { base, delta } }, written.promise)
        })
        written.resolve()
      } catch (error) {
        written.reject(error)
        if (attempt === undefined) throw error
      }
      return attempt ?? this.#send(record, set, { head: record.head as Uint8Array }, Promise.resolve())
    })
  }

  async #proposeAgain(record: HeldRecord, propose: Propose): Promise<Attempt> {
    try {
      return await this.#propose(record, propose)
    } catch (error) {
      const reason = 'This node cannot store it, and only a minority of the others may have it.'
      throw new StickyError('OUTCOME_UNKNOWN', reason, { cause: error })
    }
  }

  /** Sends the current head: replicas that are behind fetch what they lack. */
  async #replicate(record: HeldRecord, check?: CheckMerged): Promise<Attempt> {
    const set = await this.#dht.replicas.set(record.key)
    const send = () => {
      return this.#send(record, set, { head: record.head as Uint8Array }, Promise.resolve())
    }
    if (check === undefined) return send()
    return record.exclusive(async () => {
      await check(record)
      return send()
    })
  }

  #send(record: HeldRecord, set: ClosestPeer[], sent: Sent, local: Promise<void>): Attempt {
    const quorum = Promise.withResolvers<CommitResult | undefined>()
    const isLater = (head: Uint8Array, than: Uint8Array) => record.hasHad(head, than)
    const request = { kind: record.kind.name, key: record.key, isLater, ...sent }
    const outcome = this.#dht.replicas.commit(set, request, local, (ack) =>
      quorum.resolve({ ...ack, head: sent.head, delta: sent.step?.delta }),
    )
    outcome.then(
      () => quorum.resolve(undefined),
      (error) => quorum.reject(error),
    )
    const isHere = local.then(
      () => true,
      () => false,
    )
    return { set, quorum: quorum.promise, outcome, isHere }
  }

  /**
   * Brings together what has diverged. True when there was a real conflict: heads that verified. Two that merge and send
   * their merges to all would go on taking each other's majority away: so whom everybody prefers merges, and the other one
   * takes over what comes of it. It merges itself what that does not contain, and every second time all, as the preferred
   * one may not be honest; one that fails to merge, or takes too long, is not preferred for a while.
   */
  async #mergeConflicts(
    record: HeldRecord,
    { set, outcome: pending }: Attempt,
    deadlineMs: number,
    retry = 0,
  ): Promise<boolean> {
    const { conflicts, failures, quorum, replicas } = await pending
    if (conflicts.length === 0) return false
    this.counters.conflicts += conflicts.length
    const withinMs = () =>
      Math.min(deadlineMs - this.#dht.runtime.monotonicNow(), this.#dht.options.maxSyncMs)
    const isOut = (peer: NodeId) => this.#idle.has(peer) || failures.some((failure) => failure.peer === peer)
    const preferred = byPreference(set).find(({ nodeId }) => !isOut(nodeId))?.nodeId
    if (preferred !== undefined && preferred !== this.#dht.self && retry % 2 === 0)
      await this.#haveMerged(preferred, record, withinMs())
    // by what they hold: this node's head may have moved on by its own commits only
    const diverged = conflicts.filter(({ head }) => !contains(record, head))
    const needed = quorum ? conflicts.length : Math.floor(set.length / 2) + 1 - replicas
    const enough = Math.max(1, needed - (conflicts.length - diverged.length))
    return (await this.#pull(record, diverged, enough, withinMs())) < conflicts.length
  }

  /**
   * Merges heads side by side, and gives how many were false. Does not wait for all where so many are enough: one that
   * shows its blocks one at a time would use up the time of those that have to be merged.
   */
  async #pull(
    { kind, key }: HeldRecord,
    heads: CommitOutcome['conflicts'],
    enough: number,
    withinMs: number,
  ): Promise<number> {
    const { promise: hasEnough, resolve } = Promise.withResolvers<void>()
    let merged = 0
    let falseOnes = 0
    const pulls = heads.map(async ({ peer, head }) => {
      try {
        await this.#dht.pull(kind.name, key, head, peer, withinMs)
        merged += 1
        if (merged === enough) this.#dht.runtime.setTimer(resolve, this.#dht.options.stragglerMs)
      } catch (error) {
        if (asStickyError(error, 'UNREACHABLE').action !== 'penalise') return
        this.#dht.replicas.markDown(peer)
        falseOnes += 1
      }
    })
    await Promise.race([Promise.all(pulls), hasEnough])
    return falseOnes
  }

  /** That it does not take this node's head is no reason to leave it out of the set. */
  async #haveMerged(peer: NodeId, record: HeldRecord, withinMs: number): Promise<void> {
    const { runtime, options } = this.#dht
    const mergeMs = Math.min(withinMs, 2 * options.requestTimeoutMs)
    const merging = this.#dht.reconcile(record, peer, mergeMs)
    if (!(await atMost(runtime, mergeMs, merging).catch(() => false))) this.#idle.add(peer)
  }

  /**
   * After a quorum: merge what diverged elsewhere and send the merge once; anti-entropy sees to the rest. Once at a time:
   * who has diverged says so to each commit, and the last one tells. Nobody may take longer over it than over a commit, or
   * those that diverge next would wait for a liar.
   */
  async #settle(record: HeldRecord, attempt: Attempt): Promise<void> {
    const name = toHex(record.key)
    try {
      if ((await attempt.outcome).conflicts.length === 0) return
      const isUnderWay = this.#settling.has(name)
      this.#settling.set(name, attempt)
      if (isUnderWay) return
      for (let settled: Attempt | undefined; settled !== this.#settling.get(name); ) {
        settled = this.#settling.get(name) as Attempt
        const endMs = this.#dht.runtime.monotonicNow() + this.#options.commitDeadlineMs
        await this.#mergeConflicts(record, settled, endMs)
        await (await this.#replicate(record)).outcome
      }
      this.#settling.delete(name)
    } catch {
      this.#settling.delete(name)
      this.counters.failed += 1 // the quorum stands; the next anti-entropy round tries again
    }
  }
}

type Sent = Pick<CommitRequest, 'head' | 'step'>

interface Attempt {
  set: ClosestPeer[]
  /** Resolves at a majority, or undefined when all have answered without one. */
  quorum: Promise<CommitResult | undefined>
  outcome: Promise<CommitOutcome>
  /** Whether this node's own disk took it. */
  isHere: Promise<boolean>
}

/** As far as its head says. */
const contains = ({ head: own, kind }: HeldRecord, head: Uint8Array): boolean =>
  own !== undefined && ['same', 'ahead'].includes(kind.compare(own, head))

const describe = ({ replicas, conflicts, failures }: CommitOutcome): string => {
  const codes = failures.map((failure) => failure.code).join(', ')
  return `Only ${replicas} replicas have it (${conflicts.length} conflicts${codes ? `, ${codes}` : ''}): it may or may not appear.`
}
