import type { ChatNode, HistoryRequest, Topic } from './chat-node.ts'
import type { RoomRef } from './rooms.ts'
import { onSetting, writeSetting } from './settings.ts'

/**
 * How far a person has read in a room, kept by the node: what comes after it is unread, also after a reload. It moves only
 * while the room is shown.
 */

/** Enough to fill a tall screen with short messages. */
const FIRST_MESSAGES = 60
const KEEP_AFTER_MS = 500
const SETTING = 'read'

/** Calls back when another tab has read on, with the `id` of the place. Gives the function that ends that. */
export const onReadElsewhere = (listener: (id: string) => void): (() => void) =>
  onSetting(SETTING, (now) => listener(now?.slice(now.indexOf(' ') + 1) ?? ''))

export class ReadPlace {
  readonly #pubsub: ChatNode['pubsub']
  readonly #room: RoomRef
  #topic: Topic | undefined
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(pubsub: ChatNode['pubsub'], room: RoomRef) {
    this.#pubsub = pubsub
    this.#room = room
  }

  /** Where to begin: behind what was read, else with the end of what was said before. */
  async begin(): Promise<HistoryRequest> {
    const from = await this.#pubsub.keptPosition(this.#room.name, this.#reader).catch(() => undefined)
    return from === undefined ? ReadPlace.first : { from }
  }

  static readonly first: HistoryRequest = { last: FIRST_MESSAGES }

  attach(topic: Topic): void {
    this.#topic = topic
  }

  /** Everything that has come so far is read. Several calls are one write. */
  note(): void {
    this.#timer ??= setTimeout(() => void this.keep(), KEEP_AFTER_MS)
  }

  /** At once, if anything was noted. */
  async settle(): Promise<void> {
    if (this.#timer !== undefined) await this.keep()
  }

  async keep(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const position = this.#topic?.position
    if (position === undefined || position === '') return
    // A full disk: the next visit counts more as unread than there is.
    await this.#pubsub.keepPosition(this.#room.name, this.#reader, position).catch(() => undefined)
    writeSetting(SETTING, `${Date.now()} ${this.id}`) // each time another text, so that other tabs are told
  }

  /** The same in all tabs. */
  get id(): string {
    return `${this.#reader} ${this.#room.name}`
  }

  /** Rooms of one name with different secrets are different rooms. The end of an invite is its checksum. */
  get #reader(): string {
    const { invite } = this.#room
    return invite === undefined ? 'chat' : `chat/${invite.slice(-16)}`
  }
}
