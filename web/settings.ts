import { cleanName } from './chat-data.ts'
import { checkedRoom, idOf, type RoomRef } from './rooms.ts'

/** What this browser remembers between visits. Whatever localStorage holds is checked: other pages may have written it. */

const PREFIX = 'sticky-chat/'
export const MAX_ROOMS = 32
export type Theme = 'system' | 'light' | 'dark'

export function readSetting(key: string): string | undefined {
  try {
    return localStorage.getItem(PREFIX + key) ?? undefined
  } catch {
    // Storage may be switched off; the chat then works for this visit only.
    return undefined
  }
}

export function writeSetting(key: string, value: string): void {
  try {
    localStorage.setItem(PREFIX + key, value)
  } catch {
    // As above; a full storage is no reason to stop chatting either.
  }
}

export const loadName = (): string => cleanName(readSetting('name') ?? '')
export const saveName = (name: string): void => writeSetting('name', name)

export function loadRooms(): RoomRef[] {
  try {
    const stored: unknown = JSON.parse(readSetting('rooms') ?? '[]')
    if (!Array.isArray(stored)) return []
    const rooms = stored.map(checkedRoom).filter((room) => room !== undefined)
    return [...new Map(rooms.map((room) => [idOf(room), room])).values()].slice(0, MAX_ROOMS)
  } catch {
    return []
  }
}

/** An encrypted room's key is kept with it, as its invite; it goes when the room is left. */
export const saveRooms = (rooms: RoomRef[]): void => writeSetting('rooms', JSON.stringify(rooms))
export const loadActiveRoom = (): string => readSetting('active-room') ?? ''
export const saveActiveRoom = (id: string): void => writeSetting('active-room', id)

export function loadTheme(): Theme {
  const stored = readSetting('theme')
  return stored === 'light' || stored === 'dark' ? stored : 'system'
}

export function applyTheme(theme: Theme): void {
  writeSetting('theme', theme)
  if (theme === 'system') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = theme
}
