import * as v from 'valibot'
import { MAX_TEXT_LENGTH } from './chat-data.ts'
import type { RoomRef } from './rooms.ts'

/**
 * What was typed and not sent yet, by room, over a reload: for this tab, and no longer than its session. Checked when it
 * is read, as all that others could have written.
 */

const PLACE = 'sticky-chat/drafts'
/** As many as there can be rooms; those that were typed at longest ago leave. */
const MAX_DRAFTS = 32

const drafts = v.array(v.tuple([v.string(), v.pipe(v.string(), v.maxLength(MAX_TEXT_LENGTH))]))

/** Rooms of one name with different secrets are different rooms. The end of an invite is its checksum, and no key. */
const keyOf = ({ name, invite }: RoomRef): string =>
  invite === undefined ? `open/${name}` : `encrypted/${invite.slice(-16)}`

function readAll(): v.InferOutput<typeof drafts> {
  try {
    const stored: unknown = JSON.parse(sessionStorage.getItem(PLACE) ?? '[]')
    return v.is(drafts, stored) ? stored : []
  } catch {
    return [] // no storage, or not ours
  }
}

export const loadDraft = (room: RoomRef): string => new Map(readAll()).get(keyOf(room)) ?? ''

/** An empty one is removed. */
export function saveDraft(room: RoomRef, text: string): void {
  const key = keyOf(room)
  const others = readAll().filter(([of]) => of !== key)
  const all = text === '' ? others : [...others, [key, text]].slice(-MAX_DRAFTS)
  try {
    if (all.length === 0) sessionStorage.removeItem(PLACE)
    else sessionStorage.setItem(PLACE, JSON.stringify(all))
  } catch {
    // No storage, or a full one: then it lasts as long as the page.
  }
}
