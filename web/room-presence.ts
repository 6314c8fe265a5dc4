import { presenceState, readPresence } from './chat-data.ts'
import type { PresenceMember, Topic } from './chat-node.ts'

/** Who is here now, and that this page is: away while it is hidden. */

export interface Person {
  nodeId: string
  name: string
  away: boolean
}

const isAway = (): boolean => document.visibilityState === 'hidden'

export class RoomPresence {
  people: Person[] = []
  readonly #onChange: () => void
  #name: string
  #topic: Topic | undefined

  constructor(name: string, onChange: () => void) {
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
    this.#name = name
    this.#tell()
  }

  close(): void {
    document.removeEventListener('visibilitychange', this.#tell)
    this.#topic = undefined
  }

  readonly #tell = (): void => {
    // Not reached: the node says it again by itself.
    this.#topic?.setPresence(this.state).catch(() => undefined)
  }

  #show(members: PresenceMember[]): void {
    this.people = members.map(({ nodeId, state }) => ({ nodeId, ...readPresence(state) }))
    this.#onChange()
  }
}
