import type { BlockReader, Dht, NodeId } from '../dht/index.ts'
import { mapAhead } from './ahead.ts'
import type { HistoryRequest, Message, SubscriptionEvents, SyncStatus } from './api.ts'
import { Arrivals, type Arrived } from './arrivals.ts'
import { type Entry, entriesAfter, loadMessages } from './collection.ts'
import { latestOf, versionBefore } from './collection-places.ts'
import { type Coordinator, decodeCoordinator } from './coordinator.ts'
import type { SubscriptionCounters } from './diagnostics.ts'
import { agreeForJoin, headByMajority } from './head-by-majority.ts'
import { openMessage, type VerifiedMessage, type VerifiedMessages, verifyMessage } from './message.ts'
import { COORDINATOR, LIMITS, type PubSubOptions } from './options.ts'
import { type Claim, Position } from './position.ts'
import { readCurrent } from './read-current.ts'
import { type Request, requestOf } from './request.ts'
import { beginsBehind, type Retention } from './retention.ts'
import {
  BEFORE_ALL,
  fewestMoves,
  type Place,
  placeOf,
  type SavedPosition,
  without,
} from './saved-position.ts'
import { type Expecting, ShownHeads } from './shown-heads.ts'
import { toMessage } from './view.ts'
import type { Push } from './wire.ts'

/**
 * Reads a topic for one subscription and delivers: history once, then pushes, and whatever lies between. Knows how far it
 * has read; which replica it reads from is the subscription's business, and what becomes of a message that has been read
 * that of `Arrivals`. Its methods are called one at a time.
 */

/** What another replica had that the source did not give: nothing, something, or what the source had said to have given. */
export type Beside = 'nothing' | 'new' | 'left out'

export interface ReaderInit {
  dht: Dht
  options: PubSubOptions
  verified: VerifiedMessages
  topic: string
  topicKey: Uint8Array
  history: HistoryRequest
  lastSeenVersion: number | undefined
  /** What an earlier run of the same reader had been given. */
  from: SavedPosition | undefined
  retention: Retention
  counters: SubscriptionCounters
  signal: AbortSignal
  emit<E extends keyof SubscriptionEvents>(event: E, value: SubscriptionEvents[E]): void
  onStatus(status: SyncStatus): void
}

/** History of a late join, read before `subscribe` resolved: what is published from then on comes after it. */
interface Prepared {
  entries: Entry[]
  /** Of each entry. */
  places: Place[]
  /** They lie behind this version, and so does what of them waits in an iteration. */
  begin: number
}

export class TopicReader {
  readonly #init: ReaderInit
  readonly #arrivals: Arrivals
  readonly #request: Request
  readonly #position: Position
  readonly #shown: ShownHeads
  #joined = false
  /** How far it has read at the replica that it is attached to, by that one's numbers: elsewhere they mean other messages. */
  #followed: { source: NodeId; version: number } | undefined
  #prepared: Prepared | undefined
  #readAtMs: number
  /** By the clock that never goes back; undefined while all that was seen was read. */
  #claimsSinceMs: number | undefined
  #remaining: number | undefined

  constructor(init: ReaderInit) {
    this.#init = init
    const nowMs = init.dht.runtime.now()
    const { dht, from, options } = init
    this.#shown = new ShownHeads(dht, init.topicKey, options.checkIntervalMs)
    this.#request = requestOf(init, nowMs)
    this.#position = new Position(from?.begin ?? init.lastSeenVersion ?? 0, from?.seen)
    this.#readAtMs = from?.readAtMs ?? nowMs
    this.#arrivals = new Arrivals({ ...init, strict: this.#request.strict }, nowMs)
  }

  /** Everything that was added up to this version has been seen. */
  get position(): number {
    return this.#position.version
  }

  get joined(): boolean {
    return this.#joined
  }

  /** It begins at the end of the topic, which has to be known before anything else is said there. */
  get beginsAtEnd(): boolean {
    return this.#request.last !== undefined
  }

  /** How many messages are still to be read, where something is being read and that is known. */
  get remaining(): number | undefined {
    return this.#remaining
  }

  /** All that has been delivered, for another run to go on from. */
  saved(): SavedPosition {
    const { wantedFromMs, strict, last = 0 } = this.#request
    const waiting = [...this.#arrivals.undelivered, ...(this.#prepared?.places ?? [])]
    const position = {
      ...this.#position.kept(fewestMoves([...waiting, ...this.#arrivals.held()])),
      wantedFromMs,
      strict,
      joined: this.#joined,
      last: this.#prepared === undefined ? last : 0,
      readAtMs: this.#readAtMs,
      writers: this.#arrivals.writers(),
    }
    return this.#begun(without(position, waiting))
  }

  /** Had these, which were delivered, not come. */
  without(position: SavedPosition, messages: Message[]): SavedPosition {
    return this.#begun(without(position, this.#arrivals.placesOf(messages)))
  }

  /** What lies before the last messages that were asked for was not. */
  #begun(position: SavedPosition): SavedPosition {
    if (this.#prepared === undefined || position.seen.length > 0) return position
    return { ...position, begin: this.#prepared.begin }
  }

  /** A subscription without the whole history begins here: everything that is stored after this is delivered. */
  async prepare(source: NodeId): Promise<void> {
    const { last } = this.#request
    if (last === undefined || this.#prepared !== undefined) return
    this.#prepared = await readCurrent(() => this.#begin(source, last))
  }

  async #begin(source: NodeId, last: number): Promise<Prepared> {
    const read = this.#blocksOf(source)
    // while the majority is asked: mostly it shows what the source shows, and then that is here already
    if (last > 0)
      void this.#headAt(source, false)
        .then((head) => latestOf(head, last, read))
        .catch(() => undefined)
    const head = await this.#headAt(source, true)
    const entries = await latestOf(head, last, read)
    if (head !== null) {
      const { messages, version } = decodeCoordinator(head)
      this.#moveTo(version, messages)
    }
    const places = await Promise.all(
      entries.map(async ({ envelope }) => placeOf(await openMessage(envelope), BEFORE_ALL)),
    )
    return { entries, places, begin: (entries[0]?.addedInVersion ?? 1) - 1 }
  }

  /** Delivers the history that was asked for, then reports the boundary. What was pushed meanwhile is read here. */
  async join(source: NodeId): Promise<void> {
    await this.prepare(source)
    if (this.#prepared === undefined) await this.catchUp(source, true)
    else await this.#takePrepared(this.#prepared, this.#blocksOf(source))
    if (this.#init.from !== undefined && this.#arrivals.areHeld) {
      // somebody who forges heads can have stamped it below where this reader went on: all is looked through, once
      const { version } = this.#position
      this.#position.beginAnew()
      await this.catchUp(source, true, version)
    }
    this.#arrivals.release(Number.POSITIVE_INFINITY) // what a majority does not have is not waited for
    this.#joined = true
    this.#arrivals.goLive()
    this.#arrivals.release()
    const { historicCount: count, hasMissed } = this.#arrivals
    const recovered = this.#init.from === undefined || !hasMissed
    this.#init.emit('history-end', { version: this.position, count, recovered })
    if (this.#prepared !== undefined) await this.catchUp(source, false)
    this.#init.onStatus('synced')
  }

  async #takePrepared({ entries, places }: Prepared, read: BlockReader): Promise<void> {
    this.#remaining = entries.length
    for await (const arrived of this.#arriving([...entries], read, BEFORE_ALL)) {
      entries.shift()
      places.shift()
      this.#arrivals.take(arrived)
      this.#remaining = entries.length
    }
    this.#remaining = undefined
  }

  /**
   * Delivers everything added after the position, and gives whether that was anything. `quorum`: first ask a majority, and
   * have the source repaired where it lacks what others have.
   * `stoodAt`: how far it had come, where that is more than the position says.
   */
  async catchUp(source: NodeId, quorum: boolean, stoodAt = this.position): Promise<boolean> {
    const { onStatus } = this.#init
    let isNew = false
    if (this.#joined) onStatus('catching-up')
    try {
      isNew = await readCurrent(() => this.#takeMissing(source, quorum, stoodAt))
    } finally {
      this.#remaining = undefined
      this.#arrivals.noteTrimmed(false)
    }
    if (this.#joined) onStatus('synced')
    return isNew
  }

  async #takeMissing(source: NodeId, quorum: boolean, stoodAt: number): Promise<boolean> {
    const head = await this.#headAt(source, quorum)
    this.#followed = head === null ? { source, version: 0 } : undefined // until it is read
    if (head === null) return false
    let isNew = false
    this.#remaining = undefined
    const coordinator = decodeCoordinator(head)
    const { messages, version } = coordinator
    if (this.isForged(version)) this.#position.beginAnew()
    if (messages !== null) {
      const read = this.#blocksOf(source)
      const collection = await loadMessages(messages, read)
      const { sinceMs } = this.#request
      const after =
        sinceMs !== undefined && !this.#joined
          ? await versionBefore(collection, sinceMs, read)
          : await this.#position.knownIn(coordinator, read)
      const entries = entriesAfter(
        collection,
        after,
        read,
        (change) => this.#expect(change),
        (spine) => this.#arrivals.noteTrimmed(beginsBehind(spine, stoodAt, this.#init.retention)),
      )
      for await (const arrived of this.#arriving(entries, read)) {
        this.#expect(-1)
        isNew ||= arrived !== undefined
        this.#arrivals.take(arrived)
      }
    }
    this.#moveTo(version, messages)
    this.#followed = { source, version }
    this.#arrivals.tellExpired()
    return isNew
  }

  #expect(change: number): void {
    this.#remaining = (this.#remaining ?? 0) + change
  }

  /** What was read up to here has been taken, unless the subscription was closed meanwhile. */
  #moveTo(version: number, messages: Uint8Array | null, isClaim = false): void {
    const { dht, signal } = this.#init
    signal.throwIfAborted()
    this.#position.moveTo(version, messages, isClaim)
    this.#readAtMs = dht.runtime.now()
    if (isClaim) this.#claimsSinceMs ??= dht.runtime.monotonicNow()
    else this.#claimsSinceMs = undefined
  }

  /** Attached anew: nothing was read there yet. */
  attached(): void {
    this.#followed = undefined
  }

  /** Up to which of its numbers it has read at this replica since it was attached there. Undefined: it has not. */
  versionAt(source: NodeId): number | undefined {
    return this.#followed?.source === source ? this.#followed.version : undefined
  }

  /** What a replica pushed. When it does not follow on what was seen, everything in between is read instead. */
  async takePush({ previous, version, messages: collection, entries }: Push, source: NodeId): Promise<void> {
    if (!this.#joined) return // the join reads it
    const followed = this.versionAt(source)
    if (followed === undefined || previous > followed || this.isForged(version)) {
      await this.catchUp(source, false)
      return
    }
    if (version <= followed) return
    const { topicKey, verified } = this.#init
    const messages = await Promise.all(
      entries.map(([, envelope]) => verifyMessage(envelope, { topicKey, verified })),
    )
    const read = this.#blocksOf(source)
    const arriving = mapAhead(messages.entries(), READ_AHEAD_MESSAGES, ([i, message]) =>
      this.#arrive(message, entries[i]?.[0] as number, read, true),
    )
    for await (const arrived of arriving) this.#arrivals.take(arrived)
    this.#moveTo(version, collection, true)
    this.#followed = { source, version }
    this.#arrivals.tellExpired()
  }

  /** Gives up on messages that no replica has had for a while, and says so. */
  async releaseHeld(): Promise<void> {
    this.#arrivals.release()
  }

  /** The position is so far beyond `version` that it can only come from a forged number: it counts for nothing. */
  isForged(version: number): boolean {
    return this.position > version + LIMITS.forgedLead
  }

  /** Undefined where a peer has nothing of the topic. */
  async coordinatorAt(peer: NodeId, expecting: Expecting): Promise<Coordinator | undefined> {
    const coordinator = await this.#shown.at(peer, expecting, this.position)
    const messages = coordinator?.messages ?? null
    if (messages !== null && this.#position.hasSeen(messages)) this.#readAtMs = this.#init.dht.runtime.now()
    return coordinator
  }

  /**
   * Delivers what another replica has beyond what the source gave. What is in a collection is signed by its publishers,
   * whoever shows it. Gives what that was, by the time that `signal` ends it; the position stays, for it is the source's.
   * Now and then it also reads what was pushed, for a source can leave something out of that.
   * Throws what the peer's own answers are worth, and TIMEOUT where it showed nothing in that time.
   */
  async takeBeside(peer: NodeId, coordinator: Coordinator, signal: AbortSignal): Promise<Beside> {
    const { messages } = coordinator
    const claim = this.#claimToConfirm(coordinator)
    if (messages === null || (claim === undefined && this.#position.hasSeen(messages))) return 'nothing'
    const read = this.#blocksOf(peer, signal)
    let beside: Beside = 'nothing'
    try {
      const after = await this.#position.knownIn(coordinator, read, claim === undefined)
      const entries = entriesAfter(await loadMessages(messages, read), after, read)
      for await (const arrived of this.#arriving(entries, read)) {
        if (arrived !== undefined && beside !== 'left out')
          beside = claim !== undefined && arrived.view.addedInVersion <= claim.version ? 'left out' : 'new'
        this.#arrivals.take(arrived)
        signal.throwIfAborted()
      }
      if (claim !== undefined) this.#position.confirm(claim, coordinator.version)
    } catch (error) {
      if (beside === 'nothing' || !signal.aborted) throw error
    }
    return beside
  }

  /** Of what a head knows; where something is missing already at once, else after a while. */
  #claimToConfirm(coordinator: Coordinator): Claim | undefined {
    if (this.#claimsSinceMs === undefined) return undefined
    const { dht, options } = this.#init
    const nowMs = dht.runtime.monotonicNow()
    if (nowMs - this.#claimsSinceMs < options.confirmPushesMs && !this.#arrivals.areHeld) return undefined
    const claim = this.#position.claimIn(coordinator)
    if (claim !== undefined) this.#claimsSinceMs = nowMs // also where it fails: on a slow line it is much to read
    return claim
  }

  #headAt(source: NodeId, quorum: boolean): Promise<Uint8Array | null> {
    const { dht, topicKey, signal } = this.#init
    if (!quorum) return dht.headAt(COORDINATOR, topicKey, source)
    const agree = this.#joined ? undefined : agreeForJoin(this.position)
    return headByMajority(dht, topicKey, source, signal, agree)
  }

  #blocksOf(source: NodeId, signal = this.#init.signal): BlockReader {
    return this.#init.dht.reader(COORDINATOR, this.#init.topicKey, source, signal)
  }

  #arriving(entries: Iterable<Entry> | AsyncIterable<Entry>, read: BlockReader, moves?: number) {
    return mapAhead(entries, READ_AHEAD_MESSAGES, async ({ envelope, addedInVersion }) =>
      this.#arrive(await openMessage(envelope, this.#init.topicKey), addedInVersion, read, false, moves),
    )
  }

  /**
   * Everything that can fail comes before the message counts as seen: a second attempt then delivers it. Undefined where
   * there is nothing to deliver.
   */
  async #arrive(
    message: VerifiedMessage,
    addedInVersion: number,
    read: BlockReader,
    isPushed = false,
    moves = this.#position.moves,
  ): Promise<Arrived | undefined> {
    const lapsed = message.body.lapsed === true
    const place = { id: message.cid, ...placeOf(message, moves) }
    const isOld = message.body.publishedAt < this.#oldestWantedMs()
    if (!this.#arrivals.isWanted(place, isOld)) return undefined // its data is not fetched
    const context = { topic: this.#init.topic, addedInVersion, historic: !this.#joined }
    return { ...place, lapsed, isPushed, view: await toMessage(message, context, read) }
  }

  /** What is older was not asked for, should a replica offer it; a history of the last ones is asked for by number. */
  #oldestWantedMs(): number {
    const { wantedFromMs, historicFromMs } = this.#request
    return this.#joined ? wantedFromMs : historicFromMs
  }
}

/** Messages whose data is fetched at once: 2 MiB at most. */
const READ_AHEAD_MESSAGES = 16
