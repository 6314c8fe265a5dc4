import { equalBytes, type NodeId } from '../dht/index.ts'
import type { PresenceMember } from './api.ts'
import { LIMITS } from './options.ts'
import { type ClaimedPresence, presenceStateOf, type VerifiedPresence } from './presence-statement.ts'

/**
 * Who is in one topic, as one subscriber knows it from the replica that serves it, and from those that did before. Pure:
 * time is handed in.
 */

interface Member {
  statement: VerifiedPresence
  shown: PresenceMember
  /** The last list in which it was. */
  listing: number
  /** Since when the replica that serves now does not know it. */
  doubtedMs: number | undefined
}

export class PresenceView {
  readonly #members = new Map<NodeId, Member>()
  /**
   * Who left, the longest ago first. Nothing older brings them back: another replica may not have heard of it. No longer
   * than such a one keeps them; whoever lies could have kept the leave to itself.
   */
  readonly #left = new Map<NodeId, { at: number; heardMs: number }>()
  #listing = 0

  /** Whether it is newer than what is known, and so worth a look at its signature. */
  isNews(nodeId: NodeId, { body, envelope }: ClaimedPresence, nowMs: number): boolean {
    const left = this.#left.get(nodeId)
    if (left !== undefined && left.heardMs + LIMITS.presenceTombstoneMs > nowMs && body.at <= left.at)
      return false
    const known = this.#members.get(nodeId)
    if (known === undefined) return true
    return body.at > known.statement.body.at && !equalBytes(envelope, known.statement.envelope)
  }

  /** The replica that serves now knows it: there is no doubt any more. */
  confirm(nodeId: NodeId): void {
    const member = this.#members.get(nodeId)
    if (member === undefined) return
    member.listing = this.#listing
    member.doubtedMs = undefined
  }

  /** True when the list has changed. Only of what `isNews`. */
  take(statement: VerifiedPresence, nowMs: number): boolean {
    const { nodeId, body } = statement
    if (body.leaves) {
      this.#left.delete(nodeId)
      this.#left.set(nodeId, { at: body.at, heardMs: nowMs })
      if (this.#left.size > LIMITS.maxSubscribers) this.#left.delete(this.#left.keys().next().value as NodeId)
      return this.#members.delete(nodeId)
    }
    const known = this.#members.get(nodeId)
    if (known === undefined && this.#members.size >= LIMITS.maxSubscribers) return false
    const isSame =
      known !== undefined &&
      known.statement.body.since === body.since &&
      equalBytes(known.statement.body.state, body.state)
    const shown = isSame ? known.shown : { nodeId, state: presenceStateOf(statement), since: body.since }
    this.#members.set(nodeId, { statement, shown, listing: this.#listing, doubtedMs: undefined })
    return !isSame
  }

  /** Of whom the replica has heard nothing for too long. */
  drop(nodeId: NodeId): boolean {
    return this.#members.delete(nodeId)
  }

  /** From here on a whole list is read. */
  beginListing(): void {
    this.#listing += 1
  }

  /**
   * Who was not in it may have gone, or the replica has come, or come back, so lately that it has not heard of them yet: a
   * heartbeat will tell.
   */
  endListing(nowMs: number): void {
    for (const member of this.#members.values())
      if (member.listing < this.#listing) member.doubtedMs ??= nowMs
  }

  /** Those who have been in doubt for a heartbeat go. True when the list has changed. */
  expire(nowMs: number): boolean {
    let isChange = false
    for (const [nodeId, { doubtedMs }] of this.#members) {
      if (doubtedMs === undefined || doubtedMs + LIMITS.presenceHeartbeatMs > nowMs) continue
      this.#members.delete(nodeId)
      isChange = true
    }
    return isChange
  }

  /** When `expire` has something to do; undefined: nobody is in doubt. */
  get nextMs(): number | undefined {
    let next: number | undefined
    for (const { doubtedMs } of this.#members.values())
      if (doubtedMs !== undefined && (next === undefined || doubtedMs < next)) next = doubtedMs
    return next === undefined ? undefined : next + LIMITS.presenceHeartbeatMs
  }

  /** No replica has said anything for too long. */
  clear(): boolean {
    const hadMembers = this.#members.size > 0
    this.#members.clear()
    return hadMembers
  }

  /** Who came first stands first. */
  list(): PresenceMember[] {
    return [...this.#members.values()]
      .map(({ shown }) => shown)
      .sort((a, b) => a.since - b.since || (a.nodeId < b.nodeId ? -1 : 1))
  }

  get size(): number {
    return this.#members.size
  }
}
