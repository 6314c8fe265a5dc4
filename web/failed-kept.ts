import { type ChatText, chatMessage, readChat } from './chat-data.ts'
import type { Data } from './chat-node.ts'
import { readSetting, writeSetting } from './settings.ts'

/**
 * Own messages that could not be sent. The node's outbox lets go of one once it has said so; the person who wrote it may
 * come back later to send it again, so this browser keeps it until then. Checked when it is read: other pages may have
 * written it.
 */

export interface FailedMessage {
  chat: ChatText
  /** The outbox knew it by that, and will again: sent again, it is not a second message. */
  outboxKey: string
  problem: string
}

const SETTING = 'failed'
/** Of all rooms together; the oldest leave. */
const MAX_KEPT = 64
const MAX_PROBLEM_LENGTH = 300

interface Kept extends FailedMessage {
  room: string
}

function readAll(): Kept[] {
  try {
    const stored: unknown = JSON.parse(readSetting(SETTING) ?? '[]')
    return Array.isArray(stored) ? stored.flatMap(checked).slice(-MAX_KEPT) : []
  } catch {
    return []
  }
}

/** A value of JSON. */
function checked(value: Partial<Record<keyof Kept, Data>> | null): Kept[] {
  const { room, outboxKey, problem, chat = null } = value ?? {}
  if (typeof room !== 'string' || typeof outboxKey !== 'string' || typeof problem !== 'string') return []
  const read = readChat(chat)
  if (read === undefined) return []
  return [{ room, outboxKey, problem: problem.slice(0, MAX_PROBLEM_LENGTH), chat: read }]
}

export const loadFailed = (room: string): FailedMessage[] =>
  readAll().flatMap(({ room: of, ...message }) => (of === room ? [message] : []))

/** Instead of those that were kept of this room. */
export function saveFailed(room: string, messages: FailedMessage[]): void {
  const others = readAll().filter((kept) => kept.room !== room)
  const all = [...others, ...messages.map((message) => ({ ...message, room }))].slice(-MAX_KEPT)
  writeSetting(SETTING, JSON.stringify(all.map(toJson)))
}

const toJson = ({ chat: { name, text, at = 0 }, ...kept }: Kept) => ({
  ...kept,
  chat: chatMessage(name, text, at),
})
