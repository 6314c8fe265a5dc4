/** What stands in a room's list. Types only, and their keys. */

export interface ChatEntry {
  kind: 'message'
  /** Local and stable, also before the message has an id. */
  key: string
  id?: string
  publisher: string
  name: string
  text: string
  at: number
  /** The time that the message itself names. With the text it tells an own message again before that has an id. */
  said?: number
  own: boolean
  imported: boolean
  /** Waiting: on this device, until somebody can be reached. */
  state: 'waiting' | 'sending' | 'sent' | 'failed'
  /** Own messages: how many nodes have it, as far as that was told to this page. */
  replicas?: number
  /** Own messages: to how many other people’s nodes it was delivered, as replicas tell. */
  delivered?: number
  /** Own messages that are not sent yet: under which key the outbox has it. */
  outboxKey?: string
  /** Why it failed, or why it waits, in words. */
  problem?: string
}

export interface GapEntry {
  kind: 'gap'
  key: string
  publisher: string
  name: string
  /** How many are in `ranges`. */
  count: number
  ranges: MissingRange[]
}

/** Sequence numbers, both included. */
export interface MissingRange {
  writer: string
  from: number
  to: number
}

export type Entry = ChatEntry | GapEntry

let nextKey = 0
export const newKey = (): string => `m${nextKey++}`
