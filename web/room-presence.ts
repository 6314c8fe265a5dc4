import { presenceState, readPresence } from './chat-data.ts'
import type { PresenceMember, Topic } from './chat-node.ts'

/** Who is here now, and that this page is: away while it is hidden. */

export interface Person {
  nodeId: string
  name: string
  away: boolean
}

/** What this page has said itself may be on its way back; and a replica that lies gets no more than this of it. */
const CORRECT_AFTER_MS = 1_000

const isAway = (): boolean => document.visibilityState === 'hidden'

export class RoomPresence {
  people: Person[] = []
  readonly #self: string
  readonly #onChange: () => void
  #name: string
  #topic: Topic | undefined
  #timer: ReturnType<typeof setTimeout> | undefined

  /** `self`: the node's id, which is that of all tabs. */
  constructor(self: string, name: string, onChange: () => void) {
    this.#self = self
    this.#name = name
    this.#onChange = onChange
    document.addEventListener('visibilitychange', this.#tell)
  }

  get state(): ReturnType<typeof presenceState> {
    return presenceState(this.#name, isAway())
  }

  attach(topic: Topic): void {
    this.#topic = topic
    topic.on('presence', (members) => this.#show(members))
    this.#show(topic.present)
    this.#tell() // the page may have been hidden while the topic was opened
  }

  rename(name: string): void {
    this.follow(name)
    this.#tell()
  }

  /** The tab where that was chosen has told the others. */
  follow(name: string): void {
    this.#name = name
  }

  close(): void {
    document.removeEventListener('visibilitychange', this.#tell)
    this.#topic = undefined
    clearTimeout(this.#timer)
  }

  readonly #tell = (): void => {
    // Not reached: the node says it again by itself.
    this.#topic?.setPresence(this.state).catch(() => undefined)
  }

  /** Others see what was said last, and that may have been by a tab behind this one. */
  #isWrong(): boolean {
    return !isAway() && this.people.some(({ nodeId, away }) => nodeId === this.#self && away)
  }

  readonly #correct = (): void => {
    this.#timer = undefined
    if (this.#isWrong()) this.#tell()
  }

  #show(members: PresenceMember[]): void {
    this.people = members.map(({ nodeId, state }) => ({ nodeId, ...readPresence(state) }))
    if (this.#isWrong()) this.#timer ??= setTimeout(this.#correct, CORRECT_AFTER_MS)
    this.#onChange()
  }
}
