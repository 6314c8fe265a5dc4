import { type ChatText, chatMessage, readChat } from './chat-data.ts'
import type { Data } from './chat-node.ts'
import { onSetting, readSetting, writeSetting } from './settings.ts'

/**
 * Own messages that no outbox has: those that could not be sent, which the person who wrote them may come back to later,
 * and those that were written before the outbox could take them. Checked when they are read: other pages may have written
 * them.
 */

export interface UnsentMessage {
  chat: ChatText
  /** The outbox knew it by that, or will: sent again, it is not a second message. */
  outboxKey: string
  /** Why it failed. Absent: it has not been tried. */
  problem?: string
}

/** Whose they are: another identity of this browser has its own. */
export interface Author {
  room: string
  nodeId: string
}

const SETTING = 'unsent'
/** Of all rooms together; the oldest leave. */
const MAX_KEPT = 64
const MAX_PROBLEM_LENGTH = 300

type Kept = UnsentMessage & Author

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
  const { room, nodeId, outboxKey, problem, chat = null } = value ?? {}
  if (typeof room !== 'string' || typeof nodeId !== 'string' || typeof outboxKey !== 'string') return []
  const read = readChat(chat)
  if (read === undefined) return []
  const kept = { room, nodeId, outboxKey, chat: read }
  if (problem === undefined) return [kept]
  return typeof problem === 'string' ? [{ ...kept, problem: problem.slice(0, MAX_PROBLEM_LENGTH) }] : []
}

const ofAuthor = (all: Kept[], { room, nodeId }: Author): UnsentMessage[] =>
  all.flatMap(({ room: inRoom, nodeId: by, ...message }) =>
    inRoom === room && by === nodeId ? [message] : [],
  )

export const loadUnsent = (author: Author): UnsentMessage[] => ofAuthor(readAll(), author)

/** Instead of one that was kept under its key. Other tabs keep theirs: what is stored now is changed. */
export function keepUnsent({ room, nodeId }: Author, message: UnsentMessage): void {
  change((all) => [...all.filter(isOther(room, message.outboxKey)), { ...message, room, nodeId }])
}

export function forgetUnsent({ room }: Author, outboxKey: string): void {
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
export function onUnsentElsewhere(
  author: Author,
  listener: (kept: UnsentMessage[], gone: Set<string>) => void,
): () => void {
  return onSetting(SETTING, (_now, before) => {
    const kept = loadUnsent(author)
    const keys = new Set(kept.map(({ outboxKey }) => outboxKey))
    const were = ofAuthor(parse(before), author).map(({ outboxKey }) => outboxKey)
    listener(kept, new Set(were.filter((key) => !keys.has(key))))
  })
}

function change(how: (all: Kept[]) => Kept[]): void {
  const before = readAll()
  const now = how(before)
  if (now.length === 0 && before.length === 0) return
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
