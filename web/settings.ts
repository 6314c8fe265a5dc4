import { cleanName, cleanRoom } from './chat-data.ts'

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

export function loadRooms(): string[] {
  try {
    const stored: unknown = JSON.parse(read('rooms') ?? '[]')
    if (!Array.isArray(stored)) return []
    const names = stored.filter((room) => typeof room === 'string').map(cleanRoom)
    return [...new Set(names.filter((room) => room !== ''))].slice(0, MAX_ROOMS)
  } catch {
    return []
  }
}

export const saveRooms = (rooms: string[]): void => write('rooms', JSON.stringify(rooms))
export const loadActiveRoom = (): string => cleanRoom(read('active-room') ?? '')
export const saveActiveRoom = (room: string): void => write('active-room', room)

export function loadTheme(): Theme {
  const stored = read('theme')
  return stored === 'light' || stored === 'dark' ? stored : 'system'
}

export function applyTheme(theme: Theme): void {
  write('theme', theme)
  if (theme === 'system') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = theme
}
