import { equalBytes, type NodeId, StickyError } from '../dht/index.ts'
import { LIMITS } from './options.ts'
import type { ClaimedPresence, PresenceBody, VerifiedPresence } from './presence-statement.ts'
import type { Roster } from './wire.ts'

/**
 * Who is in one topic, as one replica has heard it. Every change has a number; so what somebody lacks is what is above the
 * last number that he was given, whether he is new, was pushed to, or lost a push. Pure: time is handed in.
 */

interface Entry {
  statement: VerifiedPresence
  /** By the own clock that never goes back: when something newer was heard, or since when it is gone. */
  atMs: number
  changed: number
  /** Gone without a word: there is no statement that says so. */
  isSilent: boolean
}

/** A statement and what its signature covers, in a frame. */
const ENTRY_OVERHEAD_BYTES = 8

export class PresenceTable {
  readonly key: Uint8Array
  readonly epoch: Uint8Array
  /** Heard longest ago first. */
  readonly #here = new Map<NodeId, Entry>()
  /** Longest gone first: kept for a while, so that those who watch are told, and nothing older brings them back. */
  readonly #gone = new Map<NodeId, Entry>()
  #counter = 0
  /** Who was given less than this may hold somebody who is gone and forgotten here. */
  #forgotten = 0

  constructor(key: Uint8Array, epoch: Uint8Array) {
    this.key = key
    this.epoch = epoch
  }

  get latest(): number {
    return this.#counter
  }

  get members(): number {
    return this.#here.size
  }

  /** Those who are gone included. */
  get size(): number {
    return this.#here.size + this.#gone.size
  }

  has(nodeId: NodeId): boolean {
    return this.#here.has(nodeId) || this.#gone.has(nodeId)
  }

  /** Whether it says more than what was heard before. Throws REPLAYED for what is older; TOPIC_FULL for one member too many. */
  isNew(nodeId: NodeId, { body, envelope }: ClaimedPresence): boolean {
    const known = (this.#here.get(nodeId) ?? this.#gone.get(nodeId))?.statement
    if (known !== undefined && body.at <= known.body.at) {
      if (equalBytes(known.envelope, envelope)) return false // its answer was lost
      throw new StickyError('REPLAYED', 'Something newer is known of this member.')
    }
    if (!body.leaves && !this.#here.has(nodeId) && this.#here.size >= LIMITS.maxSubscribers)
      throw new StickyError('TOPIC_FULL', 'Too many members here.')
    return true
  }

  /** True when those who watch are to be told. Only of what `isNew`. Gives whoever is forgotten to make room. */
  take(statement: VerifiedPresence, nowMs: number): { isChange: boolean; forgotten: NodeId[] } {
    const { nodeId, body } = statement
    const here = this.#here.get(nodeId)
    // nobody needs to hear of the leave of somebody who never came, or has gone already
    const changedBefore = (here ?? this.#gone.get(nodeId))?.changed ?? 0
    this.#here.delete(nodeId)
    this.#gone.delete(nodeId)
    const isChange =
      here === undefined ? !body.leaves : body.leaves || !saysTheSame(here.statement.body, body)
    if (isChange) this.#counter += 1
    const changed = isChange ? this.#counter : changedBefore
    const entries = body.leaves ? this.#gone : this.#here
    entries.set(nodeId, { statement, atMs: nowMs, changed, isSilent: false })
    return { isChange, forgotten: this.#forget(nowMs) }
  }

  /** Who was silent for too long is gone; who has been gone for long is forgotten. */
  expire(nowMs: number): { isChange: boolean; forgotten: NodeId[] } {
    let isChange = false
    for (const [nodeId, entry] of this.#here) {
      if (entry.atMs + LIMITS.presenceExpiryMs > nowMs) break
      this.#here.delete(nodeId)
      this.#counter += 1
      this.#gone.set(nodeId, { ...entry, atMs: nowMs, changed: this.#counter, isSilent: true })
      isChange = true
    }
    return { isChange, forgotten: this.#forget(nowMs) }
  }

  /** When `expire` has something to do; undefined: nobody is known. */
  get nextMs(): number | undefined {
    const [here] = this.#here.values()
    const [gone] = this.#gone.values()
    const times: number[] = []
    if (here !== undefined) times.push(here.atMs + LIMITS.presenceExpiryMs)
    if (gone !== undefined) times.push(gone.atMs + LIMITS.presenceTombstoneMs)
    return times.length === 0 ? undefined : Math.min(...times)
  }

  #forget(nowMs: number): NodeId[] {
    const forgotten: NodeId[] = []
    for (const [nodeId, entry] of this.#gone) {
      const isOld = entry.atMs + LIMITS.presenceTombstoneMs <= nowMs
      if (!isOld && this.#gone.size <= LIMITS.maxSubscribers) break
      this.#gone.delete(nodeId)
      this.#forgotten = Math.max(this.#forgotten, entry.changed)
      forgotten.push(nodeId)
    }
    return forgotten
  }

  /** Whether somebody who was given everything up to `since` can be told the rest without the whole list. */
  canFollow(since: number, listed: number): boolean {
    return since <= this.#counter && (since === 0 || Math.max(since, listed) >= this.#forgotten)
  }

  /**
   * What changed after `since`, oldest change first, up to what a frame holds. `listed`: how far everything was known when
   * that list began; who was forgotten before then is not in it.
   */
  changesSince(since: number, listed: number): Roster {
    const from = this.canFollow(since, listed) ? since : 0
    const changes = [...this.#here.values(), ...(from === 0 ? [] : this.#gone.values())]
      .filter(({ changed }) => changed > from)
      .sort((a, b) => a.changed - b.changed)
    const roster: Roster = {
      epoch: this.epoch,
      since: from,
      counter: this.#counter,
      latest: this.#counter,
      entries: [],
      gone: [],
    }
    let bytes = 0
    for (const [i, { statement, isSilent, changed }] of changes.entries()) {
      bytes += (isSilent ? statement.body.client : statement.envelope).byteLength + ENTRY_OVERHEAD_BYTES
      if (i >= LIMITS.maxRosterEntries || bytes > LIMITS.maxPushBytes) break
      if (isSilent) roster.gone.push(statement.body.client)
      else roster.entries.push(statement.envelope)
      roster.counter = i === changes.length - 1 ? this.#counter : changed
    }
    return roster
  }
}

/** A heartbeat of a stay that is known, in a state that is known. */
const saysTheSame = (a: PresenceBody, b: PresenceBody): boolean =>
  a.since === b.since && equalBytes(a.state, b.state)
