import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Data, PresenceMember, Topic } from '../../../web/chat-node.ts'
import { RoomPresence } from '../../../web/room-presence.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

/** Two tabs of one node in one room: others see what was said last, and both are told. */
class Room {
  readonly #document = Object.assign(new EventTarget(), { visibilityState: 'visible' })
  readonly #tell: ((members: PresenceMember[]) => void)[] = []
  said = 0
  present: PresenceMember[] = []

  constructor() {
    vi.stubGlobal('document', this.#document)
  }

  open(state: 'visible' | 'hidden'): RoomPresence {
    this.#document.visibilityState = state
    const presence = new RoomPresence('me', 'Noor', () => undefined)
    presence.attach({
      present: this.present,
      on: (_event: string, listener: (members: PresenceMember[]) => void) => this.#tell.push(listener),
      setPresence: async (said: Data) => {
        this.said += 1
        this.present = [{ nodeId: 'me', state: said, since: 0 }]
      },
    } as unknown as Topic)
    return presence
  }

  /** As each tab sees it from where it is. */
  told(...states: ('visible' | 'hidden')[]): void {
    const { present } = this
    this.#tell.forEach((tell, tab) => {
      this.#document.visibilityState = states[tab] ?? 'hidden'
      tell(present)
      vi.advanceTimersByTime(1_000)
    })
  }
}

describe('who has two tabs', () => {
  it('is here while one of them is seen, whichever has said something last', () => {
    const room = new Room()
    room.open('visible')
    room.open('hidden')
    expect(room.present).toMatchObject([{ state: { away: true } }])
    room.told('visible', 'hidden')
    expect(room.present).toMatchObject([{ state: { away: false } }])
    const { said } = room
    room.told('visible', 'hidden')
    expect(room.said).toBe(said) // and that is the end of it
  })

  it('is away when none is', () => {
    const room = new Room()
    room.open('hidden')
    room.open('hidden')
    room.told('hidden', 'hidden')
    expect(room.present).toMatchObject([{ state: { away: true } }])
  })
})
