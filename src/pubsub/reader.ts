import {
  type BlockReader,
  type Dht,
  fromHex,
  type HeadAnswer,
  type NodeId,
  nodeIdOf,
  StickyError,
  toHex,
} from '../dht/index.ts'
import { mapAhead } from './ahead.ts'
import type { HistoryRequest, Message, SubscriptionEvents, SyncStatus } from './api.ts'
import { type Entry, entriesAfter, entriesBackward, loadMessages } from './collection.ts'
import { type Coordinator, decodeCoordinator } from './coordinator.ts'
import { createTracker, type Tracker } from './gaps.ts'
import { openMessage, type VerifiedMessage, type VerifiedMessages, verifyMessage } from './message.ts'
import { COORDINATOR, LIMITS, type PubSubOptions } from './options.ts'
import { Position } from './position.ts'
import { readCurrent } from './read-current.ts'
import { toMessage } from './view.ts'

/**
 * Reads a topic for one subscription and delivers: history once, then pushes, and whatever lies between. Knows how far it
 * has read; which replica it reads from is the subscription's business. Its methods are called one at a time.
 */

export interface Push {
  previous: number
  version: number
  messages: Uint8Array
  entries: [version: number, envelope: Uint8Array][]
}

export interface ReaderInit {
  dht: Dht
  options: PubSubOptions
  verified: VerifiedMessages
  topic: string
  topicKey: Uint8Array
  history: HistoryRequest
  lastSeenVersion: number | undefined
  signal: AbortSignal
  emit<E extends keyof SubscriptionEvents>(event: E, value: SubscriptionEvents[E]): void
  onStatus(status: SyncStatus): void
}

interface Arrived {
  view: Message
  id: string
  publisher: string
  writer: string
  sequence: number
}

export class TopicReader {
  readonly #init: ReaderInit
  readonly #tracker: Tracker<Arrived>
  /** What is older was not asked for, should a replica offer it again. */
  readonly #wantedFromMs: number
  readonly #position: Position
  #joined = false
  #historicCount = 0
  /** History of a late join, read before `subscribe` resolved: what is published from then on comes after it. */
  #prepared: { entries: Entry[]; read: BlockReader } | undefined

  constructor(init: ReaderInit) {
    this.#init = init
    this.#position = new Position(init.lastSeenVersion ?? 0)
    const wantsAll = init.history === 'all' || init.lastSeenVersion !== undefined
    this.#wantedFromMs = wantsAll ? 0 : init.dht.runtime.now() - LIMITS.maxSkewMs
    this.#tracker = createTracker({
      strict: init.history === 'all' && init.lastSeenVersion === undefined,
      patienceMs: init.options.gapPatienceMs,
    })
  }

  /** Everything that was added up to this version has been seen. */
  get position(): number {
    return this.#position.version
  }

  get joined(): boolean {
    return this.#joined
  }

  /** A subscription without the whole history begins here: everything that is stored after this is delivered. */
  async prepare(source: NodeId): Promise<void> {
    const { history, lastSeenVersion } = this.#init
    if (history === 'all' || lastSeenVersion !== undefined || this.#prepared !== undefined) return
    this.#prepared = await readCurrent(() => this.#begin(source, history))
  }

  async #begin(source: NodeId, history: 'none' | { last: number }) {
    const head = await this.#headAt(source, true)
    const read = this.#blocksOf(source)
    let entries: Entry[] = []
    if (head !== null) {
      const { messages, version } = decodeCoordinator(head)
      if (messages !== null && history !== 'none')
        entries = await entriesBackward(await loadMessages(messages, read), undefined, history.last, read)
      this.#position.moveTo(version, messages)
    }
    return { entries, read }
  }

  /** Delivers the history that was asked for, then reports the boundary. What was pushed meanwhile is read here. */
  async join(source: NodeId): Promise<void> {
    await this.prepare(source)
    if (this.#prepared === undefined) await this.catchUp(source, true)
    else await this.#takePrepared(this.#prepared)
    this.#release(Number.POSITIVE_INFINITY) // what a majority does not have is not waited for
    this.#joined = true
    this.#tracker.goLive()
    this.#release(this.#init.dht.runtime.monotonicNow())
    this.#init.emit('history-end', { version: this.position, count: this.#historicCount })
    if (this.#prepared !== undefined) await this.catchUp(source, false)
    this.#init.onStatus('synced')
  }

  async #takePrepared({ entries, read }: { entries: Entry[]; read: BlockReader }): Promise<void> {
    for await (const arrived of this.#arriving([...entries], read)) {
      this.#take(arrived)
      entries.shift()
    }
  }

  /** Delivers everything added after the position. `quorum`: first ask a majority, and repair the source from it. */
  async catchUp(source: NodeId, quorum: boolean): Promise<void> {
    const { onStatus } = this.#init
    if (this.#joined) onStatus('catching-up')
    await readCurrent(() => this.#takeMissing(source, quorum))
    if (this.#joined) onStatus('synced')
  }

  async #takeMissing(source: NodeId, quorum: boolean): Promise<void> {
    const { signal } = this.#init
    const head = await this.#headAt(source, quorum)
    if (head === null) return
    const coordinator = decodeCoordinator(head)
    const { messages, version } = coordinator
    if (this.isForged(version)) this.#position.beginAnew()
    if (messages !== null) {
      const read = this.#blocksOf(source)
      const after = await this.#position.knownIn(coordinator, read)
      const entries = entriesAfter(await loadMessages(messages, read), after, read)
      for await (const arrived of this.#arriving(entries, read)) {
        this.#take(arrived)
        signal.throwIfAborted()
      }
    }
    this.#position.moveTo(version, messages)
  }

  /** What a replica pushed. When it does not follow on what was seen, everything in between is read instead. */
  async takePush({ previous, version, messages: collection, entries }: Push, source: NodeId): Promise<void> {
    if (!this.#joined) return // the join reads it
    if (previous > this.position || this.isForged(version)) return this.catchUp(source, false)
    if (version <= this.position) return
    const { topicKey, verified } = this.#init
    const messages = await Promise.all(
      entries.map(([, envelope]) => verifyMessage(envelope, { topicKey, verified })),
    )
    const read = this.#blocksOf(source)
    const arriving = mapAhead(messages.entries(), READ_AHEAD_MESSAGES, ([i, message]) =>
      this.#arrive(message, entries[i]?.[0] as number, read),
    )
    for await (const arrived of arriving) this.#take(arrived)
    this.#position.moveTo(version, collection)
  }

  /** Gives up on messages that no replica has had for a while, and says so. */
  async releaseHeld(): Promise<void> {
    this.#release(this.#init.dht.runtime.monotonicNow())
  }

  #release(nowMs: number): void {
    const { deliver, gaps } = this.#tracker.release(nowMs)
    for (const gap of gaps) this.#init.emit('gap', { ...gap, publisher: nodeIdOf(fromHex(gap.publisher)) })
    for (const arrived of deliver) this.#deliver(arrived)
  }

  /** The position is so far beyond `version` that it can only come from a forged number: it counts for nothing. */
  isForged(version: number): boolean {
    return this.position > version + LIMITS.forgedLead
  }

  /** Undefined where a peer has nothing of the topic. */
  async coordinatorAt(peer: NodeId): Promise<Coordinator | undefined> {
    const head = await this.#headAt(peer, false)
    return head === null ? undefined : decodeCoordinator(head)
  }

  /**
   * Delivers what another replica has beyond what the source gave. What is in a collection is signed by its publishers,
   * whoever shows it. Gives whether that was anything, by the time that `signal` ends it; the position stays, for it is the
   * source's. Throws what the peer's own answers are worth, and TIMEOUT where it showed nothing in that time.
   */
  async takeBeside(peer: NodeId, coordinator: Coordinator, signal: AbortSignal): Promise<boolean> {
    const { messages } = coordinator
    if (messages === null || this.#position.hasSeen(messages)) return false
    const read = this.#blocksOf(peer, signal)
    let isNew = false
    try {
      const after = await this.#position.knownIn(coordinator, read)
      const entries = entriesAfter(await loadMessages(messages, read), after, read)
      for await (const arrived of this.#arriving(entries, read)) {
        isNew ||= arrived !== undefined
        this.#take(arrived)
        signal.throwIfAborted()
      }
    } catch (error) {
      if (!isNew || !signal.aborted) throw error
    }
    return isNew
  }

  async #headAt(source: NodeId, quorum: boolean): Promise<Uint8Array | null> {
    const { dht, topicKey, signal } = this.#init
    if (!quorum) return dht.headAt(COORDINATOR, topicKey, source)
    const answers = await dht.readHeads(COORDINATOR, topicKey, signal)
    const answer = answers.find(({ peer }) => peer === source)
    // it may have nothing, or an old state, for ever: nobody repairs it
    if (answer === undefined)
      throw new StickyError('CONFLICT', `${source} is no replica of the topic any more.`)
    if (answer.error !== undefined) throw answer.error
    const versionOf = ({ head }: HeadAnswer) => (head === undefined ? 0 : decodeCoordinator(head).version)
    if (isLeftBehind(versionOf(answer), answers.map(versionOf)))
      throw new StickyError('CONFLICT', `${source} does not take what the other replicas have.`)
    return answer.head ?? null
  }

  #blocksOf(source: NodeId, signal = this.#init.signal): BlockReader {
    return this.#init.dht.reader(COORDINATOR, this.#init.topicKey, source, signal)
  }

  #arriving(entries: Iterable<Entry> | AsyncIterable<Entry>, read: BlockReader) {
    return mapAhead(entries, READ_AHEAD_MESSAGES, async ({ envelope, addedInVersion }) =>
      this.#arrive(await openMessage(envelope, this.#init.topicKey), addedInVersion, read),
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
  ): Promise<Arrived | undefined> {
    const { publisher, writer, sequence, publishedAt } = message.body
    if (publishedAt < this.#wantedFromMs && this.#joined) return undefined
    const name = { id: message.cid, publisher: toHex(publisher), writer: toHex(writer), sequence }
    if (this.#tracker.wasDelivered(name)) return undefined // its data is not fetched again
    const context = { topic: this.#init.topic, addedInVersion, historic: !this.#joined }
    return { ...name, view: await toMessage(message, context, read) }
  }

  #take(arrived: Arrived | undefined): void {
    if (arrived === undefined) return
    const { deliver } = this.#tracker.offer(arrived, this.#init.dht.runtime.monotonicNow())
    for (const next of deliver) this.#deliver(next)
  }

  #deliver({ view }: Arrived): void {
    if (view.expiresAt <= this.#init.dht.runtime.now()) return
    if (view.historic) this.#historicCount += 1
    this.#init.emit('message', view)
  }
}

/**
 * After a repair an honest replica is level with most of the others, but for what is committed in that moment. A single
 * high version proves nothing: anybody may claim one.
 */
function isLeftBehind(own: number, all: number[]): boolean {
  const ahead = all.filter((version) => version > own + MAX_LAG_VERSIONS).length
  return ahead * 2 > all.length
}

const MAX_LAG_VERSIONS = 8

/** Messages whose data is fetched at once: 2 MiB at most. */
const READ_AHEAD_MESSAGES = 16
