import { cleanName } from './chat-data.ts'
import { checkedRoom, idOf, type RoomRef } from './rooms.ts'

/** What this browser remembers between visits. Whatever localStorage holds is checked: other pages may have written it. */

const PREFIX = 'sticky-chat/'
export const MAX_ROOMS = 32
export type Theme = 'system' | 'light' | 'dark'

function read(key: string): string | undefined {
  try {
    return localStorage.getItem(PREFIX + key) ?? undefined
  } catch {
    // Storage may be switched off; the chat then works for this visit only.
    return undefined
  }
}

function write(key: string, value: string): void {
  try {
    localStorage.setItem(PREFIX + key, value)
  } catch {
    // As above; a full storage is no reason to stop chatting either.
  }
}

export const loadName = (): string => cleanName(read('name') ?? '')
export const saveName = (name: string): void => write('name', name)

export function loadRooms(): RoomRef[] {
  try {
    const stored: unknown = JSON.parse(read('rooms') ?? '[]')
    if (!Array.isArray(stored)) return []
    const rooms = stored.map(checkedRoom).filter((room) => room !== undefined)
    return [...new Map(rooms.map((room) => [idOf(room), room])).values()].slice(0, MAX_ROOMS)
  } catch {
    return []
  }
}

/** An encrypted room's key is kept with it, as its invite; it goes when the room is left. */
export const saveRooms = (rooms: RoomRef[]): void => write('rooms', JSON.stringify(rooms))
export const loadActiveRoom = (): string => read('active-room') ?? ''
export const saveActiveRoom = (id: string): void => write('active-room', id)

export function loadTheme(): Theme {
  const stored = read('theme')
  return stored === 'light' || stored === 'dark' ? stored : 'system'
}

export function applyTheme(theme: Theme): void {
  write('theme', theme)
  if (theme === 'system') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = theme
}
