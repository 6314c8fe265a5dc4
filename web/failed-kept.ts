import { type ChatText, chatMessage, readChat } from './chat-data.ts'
import type { Data } from './chat-node.ts'
import { onSetting, readSetting, writeSetting } from './settings.ts'

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

const readAll = (): Kept[] => parse(readSetting(SETTING))

function parse(text: string | null | undefined): Kept[] {
  try {
    const stored: unknown = JSON.parse(text ?? '[]')
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

const failedIn = (all: Kept[], room: string): FailedMessage[] =>
  all.flatMap(({ room: of, ...message }) => (of === room ? [message] : []))

export const loadFailed = (room: string): FailedMessage[] => failedIn(readAll(), room)

/** Instead of one that was kept under its key. Other tabs keep theirs: what is stored now is changed. */
export function keepFailed(room: string, message: FailedMessage): void {
  change((all) => [...all.filter(isOther(room, message.outboxKey)), { ...message, room }])
}

export function forgetFailed(room: string, outboxKey: string): void {
  change((all) => all.filter(isOther(room, outboxKey)))
}

/** All of a room that is left. */
export function forgetRoom(room: string): void {
  change((all) => all.filter((kept) => kept.room !== room))
}

/**
 * Calls back when another tab has changed what is kept of a room: with what is kept now, and the keys of what was let go
 * of. Gives the function that ends that.
 */
export function onFailedElsewhere(
  room: string,
  listener: (kept: FailedMessage[], gone: Set<string>) => void,
): () => void {
  return onSetting(SETTING, (_now, before) => {
    const kept = loadFailed(room)
    const keys = new Set(kept.map(({ outboxKey }) => outboxKey))
    const were = failedIn(parse(before), room).map(({ outboxKey }) => outboxKey)
    listener(kept, new Set(were.filter((key) => !keys.has(key))))
  })
}

function change(how: (all: Kept[]) => Kept[]): void {
  const before = readAll()
  const now = how(before)
  if (now.length === 0 && before.length === 0) return // as with nearly every message
  writeSetting(SETTING, JSON.stringify(now.slice(-MAX_KEPT).map(toJson)))
}

const isOther =
  (room: string, outboxKey: string) =>
  (kept: Kept): boolean =>
    kept.room !== room || kept.outboxKey !== outboxKey

const toJson = ({ chat: { name, text, at = 0 }, ...kept }: Kept) => ({
  ...kept,
  chat: chatMessage(name, text, at),
})
