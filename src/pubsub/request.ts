import type { HistoryRequest } from './api.ts'
import { LIMITS } from './options.ts'
import type { SavedPosition } from './saved-position.ts'

/** What of the topic a reader wants. */
export interface Request {
  /** Everything from each writer's beginning. */
  strict: boolean
  /** It begins at the end, and with so many of the last messages. */
  last: number | undefined
  /** It begins with what was published then. */
  sinceMs: number | undefined
  /** What is older was not asked for, should it come later. */
  wantedFromMs: number
  /** The same while the history is read. */
  historicFromMs: number
}

interface Asked {
  history: HistoryRequest
  lastSeenVersion: number | undefined
  from: SavedPosition | undefined
}

export function requestOf({ history, lastSeenVersion, from }: Asked, nowMs: number): Request {
  const whole = { last: undefined, sinceMs: undefined, wantedFromMs: 0, historicFromMs: 0 }
  if (from !== undefined) {
    const { strict, wantedFromMs } = from
    if (from.last > 0) return { ...whole, strict, last: from.last, wantedFromMs }
    return { ...whole, strict, wantedFromMs, historicFromMs: wantedFromMs }
  }
  if (lastSeenVersion !== undefined) return { ...whole, strict: false }
  if (history === 'all') return { ...whole, strict: true }
  // what is said from now on may carry a time from before, by two clocks that are both off
  const wantedFromMs = nowMs - 2 * LIMITS.maxSkewMs
  const late = { ...whole, strict: false }
  if (history === 'none') return { ...late, last: 0, wantedFromMs }
  if ('last' in history) return { ...late, last: history.last, wantedFromMs }
  if (!('since' in history)) return { ...whole, strict: true }
  const sinceMs = Math.floor(history.since)
  return { ...late, sinceMs, wantedFromMs: Math.min(sinceMs, wantedFromMs), historicFromMs: sinceMs }
}
