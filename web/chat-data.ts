import * as v from 'valibot'
import type { Data, Message } from './chat-node.ts'

/** What a chat message is on the wire, and how authors are named and coloured. Pure. */

export const MAX_NAME_LENGTH = 64
export const MAX_TEXT_LENGTH = 4_000
export const MAX_ROOM_LENGTH = 64
/** The library takes 256 bytes of presence, and 204 where they are encrypted. */
const MAX_PRESENCE_NAME_BYTES = 128
/** `at` may only lie in the past of the signed time; this much of clock difference is forgiven. */
const CLOCK_TOLERANCE_MS = 60_000
/** A message this much older than its publication was carried here from elsewhere: one node speaks for many people. */
const IMPORTED_AFTER_MS = 3_600_000
export const AUTHOR_COLOURS = 12

const chatData = v.object({
  kind: v.literal('chat'),
  name: v.pipe(v.string(), v.maxLength(MAX_NAME_LENGTH)),
  text: v.pipe(v.string(), v.minLength(1), v.maxLength(MAX_TEXT_LENGTH)),
  at: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(0))),
  typed: v.optional(v.boolean()),
})

const presenceData = v.object({
  name: v.pipe(v.string(), v.maxLength(MAX_NAME_LENGTH)),
  away: v.optional(v.boolean(), false),
})

export interface ChatText {
  name: string
  text: string
  at?: number
  /** Typed where it was published from: then it is old because it waited there, not because it was carried here. */
  typed?: boolean
}

/**
 * The chat message inside `data`, or undefined for any other shape: a topic may carry other applications' messages. A
 * plain text, as `sticky pub` sends it without a name, is one from somebody known by node id only.
 */
export function readChat(data: Data): ChatText | undefined {
  if (typeof data === 'string')
    return data === '' ? undefined : { name: '', text: cut(data, MAX_TEXT_LENGTH) }
  const parsed = v.safeParse(chatData, data)
  if (!parsed.success) return undefined
  const { name, text, at, typed = false } = parsed.output
  return at === undefined ? { name, text } : { name, text, at, typed }
}

export const chatMessage = (name: string, text: string, at: number): Data => ({
  kind: 'chat',
  name,
  text,
  at,
  typed: true,
})

/** When it was said: `at` where it is plausible, else the time that the publisher signed. */
export const saidAt = (message: Message, chat: ChatText): number =>
  chat.at !== undefined && chat.at <= message.publishedAt + CLOCK_TOLERANCE_MS ? chat.at : message.publishedAt

export const isImported = (message: Message, chat: ChatText, at: number): boolean =>
  chat.typed !== true && message.publishedAt - at > IMPORTED_AFTER_MS

/** A node id without the part that all of them share. */
export const shortId = (nodeId: string): string => nodeId.slice(-6)

/**
 * Characters that draw nothing or turn the reading direction have no place in a name: with them it could look like another
 * one, or like none. The mark that colours an emoji has, behind an emoji.
 */
const INVISIBLE =
  /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\u2800]|(?!\ufe0f)\p{Default_Ignorable_Code_Point}|(?<!\p{Extended_Pictographic})\ufe0f/gu

export function displayName(name: string, nodeId: string): string {
  const visible = name.replace(INVISIBLE, '').replace(/\s+/g, ' ').trim()
  return visible === '' ? shortId(nodeId) : visible
}

/** The wire counts UTF-16 units; none of two that are one character is left alone, which no link can carry. */
function cut(text: string, maxLength: number): string {
  const isHalf = /[\ud800-\udbff]$/.test(text.slice(0, maxLength))
  return text.slice(0, isHalf ? maxLength - 1 : maxLength)
}

export const cleanName = (input: string): string =>
  cut(input.toWellFormed().replace(INVISIBLE, '').replace(/\s+/g, ' ').trim(), MAX_NAME_LENGTH).trim()

/** Applied again it changes nothing: what is stored is known again by that. */
export const cleanRoom = (input: string): string =>
  cut(
    input
      .toWellFormed()
      .replace(INVISIBLE, '')
      .normalize('NFC')
      .replace(/^[\s#]+/, ''),
    MAX_ROOM_LENGTH,
  ).trim()

/** What others see of who is here. The name is cut to what fits in an encrypted room too, never in half a character. */
export function presenceState(name: string, away: boolean): { name: string; away: boolean } {
  const encoder = new TextEncoder()
  let shown = ''
  let bytes = 0
  for (const character of name) {
    bytes += encoder.encode(character).length
    if (bytes > MAX_PRESENCE_NAME_BYTES) break
    shown += character
  }
  return { name: shown, away }
}

/** Anything else than the chat's own is somebody known by node id only. */
export function readPresence(state: Data): { name: string; away: boolean } {
  const parsed = v.safeParse(presenceData, state)
  return parsed.success ? parsed.output : { name: '', away: false }
}

/** FNV-1a: the same author has the same colour in every tab, without anyone agreeing on it. */
export function colourOf(author: string): number {
  let hash = 0x811c9dc5
  for (let index = 0; index < author.length; index += 1) {
    hash = Math.imul(hash ^ author.charCodeAt(index), 0x01000193)
  }
  // FNV's low bits are weak on inputs that differ in their last characters only.
  return ((hash ^ (hash >>> 15)) >>> 0) % AUTHOR_COLOURS
}

export const initialOf = (name: string): string => {
  const first = new Intl.Segmenter(undefined, { granularity: 'grapheme' })
    .segment(name)
    [Symbol.iterator]()
    .next()
  return first.done ? '?' : first.value.segment.toLocaleUpperCase()
}
