import { cleanRoom } from './chat-data.ts'
import type { ChatNode } from './chat-node.ts'

/** Which rooms there are for this browser, and the links by which they are shared. */

/** `invite`: of an encrypted room. It holds the room's key, never the passphrase. */
export interface RoomRef {
  name: string
  invite?: string
}

export const MAX_PASSPHRASE_LENGTH = 256
/** As the library writes them: base64url of a short name, a key and a checksum. */
const INVITE = /^sticky1[A-Za-z0-9_-]{40,1600}$/
const ROOM_LINK = '#room='
const INVITE_LINK = '#invite='

/** Rooms of one name are different ones where their secrets are. */
export const idOf = ({ name, invite }: RoomRef): string => invite ?? name

/** Those that are stored now are in, those that are stored no more are out; the others were never stored, and stay. */
export function followRooms(rooms: RoomRef[], now: RoomRef[], before: RoomRef[]): RoomRef[] {
  const has = (some: RoomRef[], room: RoomRef) => some.some((other) => idOf(other) === idOf(room))
  const stay = rooms.filter((room) => has(now, room) || !has(before, room))
  return [...stay, ...now.filter((room) => !has(rooms, room))]
}

/** A room from a store that others may have written to. */
export function checkedRoom(value: unknown): RoomRef | undefined {
  if (typeof value === 'string') return checkedRoom({ name: value })
  if (typeof value !== 'object' || value === null || !('name' in value)) return undefined
  const { name } = value
  if (typeof name !== 'string' || name === '' || cleanRoom(name) !== name) return undefined
  if (!('invite' in value)) return { name }
  return typeof value.invite === 'string' && INVITE.test(value.invite)
    ? { name, invite: value.invite }
    : undefined
}

/** Takes a good part of a second, on purpose: guessing is to cost something. */
export async function roomBehind(node: ChatNode, name: string, passphrase: string): Promise<RoomRef> {
  return { name, invite: await node.inviteTo(name, { passphrase }) }
}

/** Throws for what is no invitation, or names a room that could be taken for another. */
export async function roomOfInvite(node: ChatNode, invite: string): Promise<RoomRef> {
  const { name } = await node.readInvite(invite)
  const room = checkedRoom({ name, invite })
  if (room === undefined) throw new Error('This room has a name that the chat cannot show.')
  return room
}

export function linkTo({ name, invite }: RoomRef, page: string): string {
  const [address] = page.split('#', 1)
  return address + (invite === undefined ? ROOM_LINK + encodeURIComponent(name) : INVITE_LINK + invite)
}

/** What a link asks for; behind the `#`, which browsers do not send to any server. A room without a name: it is broken. */
export function readFragment(fragment: string): { name: string } | { invite: string } | undefined {
  if (fragment.startsWith(INVITE_LINK)) return { invite: fragment.slice(INVITE_LINK.length) }
  if (!fragment.startsWith(ROOM_LINK)) return undefined
  try {
    return { name: cleanRoom(decodeURIComponent(fragment.slice(ROOM_LINK.length))) }
  } catch {
    return { name: '' } // half a percent sign
  }
}
