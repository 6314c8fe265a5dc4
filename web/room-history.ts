import { type ChatText, readChat } from './chat-data.ts'
import type { Message, Topic } from './chat-node.ts'
import type { RoomLog } from './room-log.ts'
import type { RoomOutbox } from './room-outbox.ts'

/** Older messages, as the reader scrolls up to them. One walk through the history, newest first, that goes on each time. */

/** `unknown` until the first older messages were asked for; `full`: this tab holds as much as it may. */
export type OlderState = 'unknown' | 'more' | 'loading' | 'failed' | 'none' | 'full'

const OLDER_MESSAGES = 100
/** There may be many of other shapes, or that are shown already; so many are read for one scroll before pausing. */
const MAX_READ_PER_SCROLL = 1_000
/** What was published longer before the join than two clocks may differ was no news then, whatever a merge has made of it. */
const LATE_MS = 10 * 60_000

export class RoomHistory {
  state: OlderState = 'unknown'
  readonly #log: RoomLog
  readonly #outbox: Pick<RoomOutbox, 'arrived'>
  readonly #onChange: () => void
  #topic: Topic | undefined
  #isLooking = false
  #walk: AsyncIterator<Message> | undefined
  #joinVersion = Number.POSITIVE_INFINITY
  #joinedAtMs = Number.POSITIVE_INFINITY

  constructor(log: RoomLog, outbox: Pick<RoomOutbox, 'arrived'>, onChange: () => void) {
    this.#log = log
    this.#outbox = outbox
    this.#onChange = onChange
  }

  /** What is newer is the subscription's to bring. */
  joinedAt(version: number): void {
    this.#joinVersion = version
    this.#joinedAtMs = Date.now()
  }

  /** Others can be reached now, who may have what there was none of. Nothing is shown of the search. */
  async lookAgain(topic: Topic): Promise<void> {
    if (this.state !== 'none' || this.#isLooking) return
    this.#isLooking = true
    const all: Message[] = []
    try {
      for await (const message of topic.history({ reverse: true }))
        if (all.push(message) === MAX_READ_PER_SCROLL) break
    } catch {
      // what was read until then is shown
    } finally {
      this.#isLooking = false
    }
    const older = all.filter((message) => this.#log.has(message.id) || this.#isOlder(message))
    if (this.#log.insertOlder(older, this.#arrived, 'end') > 0) this.#onChange()
  }

  async load(topic: Topic): Promise<void> {
    if (this.state === 'loading' || this.state === 'none' || this.state === 'full') return
    this.state = 'loading'
    this.#onChange()
    try {
      this.state = await this.#read(topic)
    } catch {
      this.#walk = undefined // one that failed is over; what is shown already is passed over by the next
      this.state = 'failed'
    }
    this.#onChange()
  }

  async #read(topic: Topic): Promise<OlderState> {
    if (!this.#log.hasRoom) return 'full'
    if (this.#topic !== topic) this.#walk = undefined
    this.#topic = topic
    this.#walk ??= topic.history({ reverse: true })[Symbol.asyncIterator]()
    const found: Message[] = []
    try {
      for (let read = 0; read < MAX_READ_PER_SCROLL && found.length < OLDER_MESSAGES; read += 1) {
        const next = await this.#walk.next()
        if (next.done) return 'none'
        if (this.#isOlder(next.value)) found.push(next.value)
      }
      return 'more'
    } finally {
      this.#log.insertOlder(found, this.#arrived)
    }
  }

  readonly #arrived = (message: Message, chat: ChatText) => this.#outbox.arrived(message, chat)

  #isOlder({ id, addedInVersion, publishedAt, data }: Message): boolean {
    const wasThere = addedInVersion <= this.#joinVersion || publishedAt < this.#joinedAtMs - LATE_MS
    return wasThere && !this.#log.has(id) && readChat(data) !== undefined
  }
}
