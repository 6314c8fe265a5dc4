import { type ChatText, displayName, readChat } from './chat-data.ts'
import type { ChannelState, ChatNode, Gap, HistoryRequest, Message, SyncStatus, Topic } from './chat-node.ts'
import { loadDraft, saveDraft } from './drafts.ts'
import type { ChatEntry, Entry } from './entries.ts'
import { codeOf, describeProblem } from './problems.ts'
import { ReadPlace } from './read-place.ts'
import { type OlderState, RoomHistory } from './room-history.ts'
import { RoomLog } from './room-log.ts'
import { RoomOutbox } from './room-outbox.ts'
import { type Person, RoomPresence } from './room-presence.ts'
import { idOf, type RoomRef } from './rooms.ts'

/** One room: what was said, what is being sent, who is here. No drawing; components listen to `change`. */

/** Changes within this time are drawn together. */
const CHANGE_BATCH_MS = 16
const REJOIN_FIRST_MS = 1_500
const REJOIN_MAX_MS = 30_000
/** Until those who have just come are known as who they are, and the subscription has brought what is its to bring. */
const LOOK_AGAIN_AFTER_MS = 10_000

export class RoomModel extends EventTarget {
  readonly ref: RoomRef
  joined = false
  /** Read on from where an earlier visit left off: what has come since is `present`. */
  resumed = false
  sync: SyncStatus = 'joining'
  channel: ChannelState = 'ACTIVE'
  /** Why joining does not succeed at the moment. */
  joinProblem: string | undefined
  unread = 0

  readonly #node: ChatNode
  readonly #log: RoomLog
  readonly #outbox: RoomOutbox
  readonly #presence: RoomPresence
  readonly #place: ReadPlace
  readonly #history: RoomHistory
  #name: string
  #draft: string
  #lastProblem: string | undefined
  /** From when it is degraded until it is synced. */
  #isBehind = false
  #active = false
  #ended: 'unsubscribe' | 'close' | undefined
  #topic: Topic | undefined
  #rejoinTimer: ReturnType<typeof setTimeout> | undefined
  #changeTimer: ReturnType<typeof setTimeout> | undefined
  #lookTimer: ReturnType<typeof setTimeout> | undefined
  /** Who was connected when it was found that there are no older messages. */
  #asked = new Set<string>()
  readonly #stopFollowing: () => void

  constructor(node: ChatNode, ref: RoomRef, name: string) {
    super()
    this.#node = node
    this.ref = ref
    this.#name = name
    this.#draft = loadDraft(ref)
    const onChange = () => this.#changed()
    this.#log = new RoomLog(node.nodeId)
    this.#outbox = new RoomOutbox({
      room: idOf(ref),
      nodeId: node.nodeId,
      log: this.#log,
      onChange,
      onFailed: () => void this.refreshChannel(),
    })
    this.#presence = new RoomPresence(node.nodeId, name, onChange)
    this.#place = new ReadPlace(node.pubsub, ref)
    this.#history = new RoomHistory(this.#log, this.#outbox, onChange)
    this.#stopFollowing = node.onStatus(({ peers }) => {
      if (this.#history.state !== 'none' || peers.every(({ nodeId }) => this.#asked.has(nodeId))) return
      this.#lookTimer ??= setTimeout(() => void this.#lookAgain(), LOOK_AGAIN_AFTER_MS)
    })
  }

  get id(): string {
    return idOf(this.ref)
  }

  get topic(): string {
    return this.ref.name
  }

  /** What the network calls it. Throws while an encrypted room is not open yet. */
  get networkName(): string {
    if (this.#topic !== undefined) return this.#topic.networkName
    if (this.encrypted) throw new Error('The room is not open yet.')
    return this.ref.name
  }

  get encrypted(): boolean {
    return this.ref.invite !== undefined
  }

  get past(): readonly Entry[] {
    return this.#log.past
  }

  get present(): readonly Entry[] {
    return this.#log.present
  }

  get older(): OlderState {
    return this.#log.isFull ? 'full' : this.#history.state
  }

  /** Own messages that leaving deletes, and such that are sent all the same. */
  get onItsWay(): { isOnlyHere: boolean; isWaiting: boolean } {
    return { isOnlyHere: this.#outbox.hasOnlyHere, isWaiting: this.#outbox.hasWaiting }
  }

  /** Who is here now. */
  get people(): Person[] {
    return this.#presence.people
  }

  /** Why it is not up to date, as far as that was told; also while it is tried again. */
  get problem(): string | undefined {
    return this.#isBehind ? this.#lastProblem : undefined
  }

  /** Typed, and not sent yet. */
  get draft(): string {
    return this.#draft
  }

  set draft(text: string) {
    if (text === this.#draft) return
    this.#draft = text
    saveDraft(this.ref, text)
  }

  open(): void {
    void this.#join(REJOIN_FIRST_MS)
  }

  /** What arrives in the room that somebody sees is read. */
  setActive(active: boolean): void {
    if (active === this.#active) return
    this.#active = active
    if (!active) {
      void this.#place.settle()
      return
    }
    if (this.joined) this.#place.note()
    if (this.unread === 0) return
    this.unread = 0
    this.#changed()
  }

  send(text: string): void {
    this.#outbox.send(this.#name, text)
  }

  retry(entry: ChatEntry): void {
    this.#outbox.retry(entry)
  }

  discard(entry: ChatEntry): void {
    this.#outbox.discard(entry)
  }

  /** Puts one page of older messages in front, or finds that there is none. */
  async loadOlder(): Promise<void> {
    if (!this.joined || this.#topic === undefined) return
    this.#noteAsked()
    await this.#history.load(this.#topic)
  }

  async #lookAgain(): Promise<void> {
    this.#lookTimer = undefined
    if (this.#topic === undefined) return
    this.#noteAsked()
    await this.#history.lookAgain(this.#topic)
  }

  #noteAsked(): void {
    this.#asked = new Set(this.#node.status().peers.map(({ nodeId }) => nodeId))
  }

  async refreshChannel(): Promise<void> {
    if (this.#topic === undefined) return
    try {
      const channel = await this.#node.pubsub.channelState(this.#topic.networkName)
      if (channel === this.channel) return
      this.channel = channel
      this.#changed()
    } catch {
      // A closing node answers nothing; the last state stands.
    }
  }

  async recover(): Promise<void> {
    try {
      if (this.#topic !== undefined) await this.#node.pubsub.recover(this.#topic.networkName)
    } finally {
      await this.refreshChannel()
    }
  }

  rename(name: string): void {
    this.#name = name
    this.#presence.rename(name)
  }

  renamedElsewhere(name: string): void {
    this.#name = name
    this.#presence.follow(name)
  }

  /** Another tab shows that room. */
  readElsewhere(place: string): void {
    if (place !== this.#place.id || this.unread === 0) return
    this.unread = 0
    this.#changed()
  }

  async leave(): Promise<void> {
    await this.#end('unsubscribe')
  }

  /** This page lets go of it; who is in it stays. */
  async close(): Promise<void> {
    await Promise.all([this.#place.settle(), this.#end('close')])
  }

  /** What was typed into another model of this room, and that one's node has not taken. */
  takeOver(other: RoomModel): void {
    this.draft = other.draft
    other.#outbox.handOver(({ text }) => this.send(text))
  }

  async #end(how: 'unsubscribe' | 'close'): Promise<void> {
    clearTimeout(this.#rejoinTimer)
    clearTimeout(this.#lookTimer)
    this.#stopFollowing()
    this.#ended = how
    this.#presence.close()
    if (how === 'unsubscribe') {
      this.draft = ''
      this.#outbox.leave()
    } else this.#outbox.close()
    const topic = this.#topic
    this.#topic = undefined
    try {
      await topic?.[how]()
    } catch {
      // Closed locally in any case; the statement at the replicas expires by itself.
    }
  }

  async #join(retryAfterMs: number): Promise<void> {
    this.sync = 'joining'
    this.#changed()
    try {
      this.#attach(await this.#openTopic(await this.#place.begin()))
    } catch (error) {
      this.joinProblem = describeProblem(error)
      this.sync = 'degraded'
      this.#rejoinAfter(retryAfterMs)
    }
    void this.refreshChannel()
    this.#changed()
  }

  #rejoinAfter(afterMs: number): void {
    if (this.#ended !== undefined) return
    clearTimeout(this.#rejoinTimer)
    const nextMs = Math.min(afterMs * 2, REJOIN_MAX_MS)
    this.#rejoinTimer = setTimeout(() => void this.#join(nextMs), afterMs)
  }

  async #openTopic(history: HistoryRequest): Promise<Topic> {
    const { name, invite } = this.ref
    const options = {
      presence: this.#presence.state,
      ...(invite === undefined ? {} : { secret: (await this.#node.readInvite(invite)).secret }),
    }
    const wasHere = history !== ReadPlace.first
    try {
      const topic = await this.#node.openTopic(name, { ...options, history })
      this.resumed ||= wasHere && !this.joined
      return topic
    } catch (error) {
      if (!wasHere || codeOf(error) !== 'INVALID_DATA') throw error
      // what was kept is of another version
      return this.#node.openTopic(name, { ...options, history: ReadPlace.first })
    }
  }

  #attach(topic: Topic): void {
    if (this.#ended !== undefined) {
      void topic[this.#ended]().catch(() => undefined)
      return
    }
    this.#topic = topic
    this.joinProblem = undefined
    this.#setSync(topic.status)
    topic.on('message', (message) => this.#receive(message))
    topic.on('gap', (gap) => this.#noteGap(gap))
    topic.on('history-end', ({ version }) => this.#onHistoryEnd(version))
    topic.on('sync', (sync) => this.#onSync(sync))
    topic.on('error', (error) => {
      this.#lastProblem = describeProblem(error)
      this.#changed()
    })
    this.#place.attach(topic)
    this.#presence.attach(topic)
    void this.#outbox.attach(topic)
  }

  #onHistoryEnd(version: number): void {
    // The first time, all that is there counts as read: a room is not joined with 60 unread messages.
    if (!this.joined && !this.resumed) void this.#place.keep()
    if (this.#active) this.#place.note()
    if (!this.joined) this.#history.joinedAt(version)
    this.joined = true
    this.#changed()
  }

  #onSync(sync: SyncStatus): void {
    this.#setSync(sync)
    if (sync === 'closed') {
      this.#topic = undefined
      this.#rejoinAfter(REJOIN_FIRST_MS)
    }
    void this.refreshChannel()
    this.#changed()
  }

  #setSync(sync: SyncStatus): void {
    this.sync = sync
    if (sync === 'degraded') this.#isBehind = true
    if (sync !== 'synced') return
    this.#isBehind = false
    this.#lastProblem = undefined
  }

  #receive(message: Message): void {
    if (this.#ended !== undefined || this.#log.has(message.id)) return
    this.#log.fillGap(message)
    const chat = readChat(message.data)
    if (chat !== undefined) this.#show(message, chat)
    if (this.joined && this.#active) this.#place.note()
  }

  #show(message: Message, chat: ChatText): void {
    const where = this.#where
    const shown = this.#outbox.arrived(message, chat)
    if (shown !== undefined) this.#log.place(shown, where)
    else {
      const entry = this.#log.entryOf(message, chat)
      this.#log.add(entry, where)
      if (where === 'present' && !entry.own && !this.#active) this.unread += 1
    }
    this.#changed()
  }

  #noteGap(gap: Gap): void {
    // Older messages of a writer that had expired before the join are no loss.
    if (gap.reason === 'expired') return
    const { publisher } = gap
    const known = this.people.find(({ nodeId }) => nodeId === publisher)?.name ?? ''
    this.#log.noteGap(gap, this.#where, this.#log.nameOf(publisher) ?? displayName(known, publisher))
    this.#changed()
  }

  /** Until it has joined, a room that is new to this browser only hears of what was said before. */
  get #where(): 'past' | 'present' {
    return this.joined || this.resumed ? 'present' : 'past'
  }

  #changed(): void {
    if (this.#changeTimer !== undefined) return
    this.#changeTimer = setTimeout(() => {
      this.#changeTimer = undefined
      this.dispatchEvent(new Event('change'))
    }, CHANGE_BATCH_MS)
  }
}
