import { cleanName } from './chat-data.ts'
import { checkedRoom, followRooms, idOf, type RoomRef } from './rooms.ts'

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

/** Calls back when another tab has written it. Gives the function that ends that. */
export function onSetting(
  key: string,
  listener: (now: string | null, before: string | null) => void,
): () => void {
  const stop = new AbortController()
  const onStorage = (event: StorageEvent) => {
    if (event.key === PREFIX + key) listener(event.newValue, event.oldValue)
  }
  addEventListener('storage', onStorage, { signal: stop.signal })
  return () => stop.abort()
}

export const loadName = (): string => cleanName(readSetting('name') ?? '')
export const saveName = (name: string): void => writeSetting('name', name)

export function roomsIn(text: string | null | undefined): RoomRef[] {
  try {
    const stored: unknown = JSON.parse(text ?? '[]')
    if (!Array.isArray(stored)) return []
    const rooms = stored.map(checkedRoom).filter((room) => room !== undefined)
    return [...new Map(rooms.map((room) => [idOf(room), room])).values()].slice(0, MAX_ROOMS)
  } catch {
    return []
  }
}

export const loadRooms = (): RoomRef[] => roomsIn(readSetting('rooms'))

/**
 * Changes what is stored now, not what this tab knew: another one may have written it since. Gives what `known` is after
 * that. An encrypted room's key is kept with it, as its invite; it goes when the room is left.
 */
export function changeRooms(known: RoomRef[], change: (rooms: RoomRef[]) => RoomRef[]): RoomRef[] {
  const stored = readSetting('rooms')
  const before = stored === undefined ? known : roomsIn(stored) // cleared, or never stored
  const now = change(before)
  writeSetting('rooms', JSON.stringify(now))
  return followRooms(known, now, before)
}

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
