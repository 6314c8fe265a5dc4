import type { ChatEntry, Entry, GapEntry } from './entries.ts'

/** Turns a room's entries into the rows that are drawn: day lines, groups of one author, the join boundary. Pure. */

export type Row =
  | { kind: 'message'; key: string; entry: ChatEntry; leads: boolean }
  | { kind: 'gap'; key: string; entry: Extract<Entry, { kind: 'gap' }> }
  | { kind: 'day'; key: string; at: number }
  | { kind: 'boundary'; key: string; earlier: boolean; resumed: boolean }

/** A pause after which the same author is named again. */
const GROUP_PAUSE_MS = 5 * 60_000

/** In words: what, and why. Between them stands whose. */
export const missing = ({ count }: GapEntry): [what: string, why: string] =>
  count === 1
    ? ['1 message', 'is missing: no node that keeps this room has it']
    : [`${count} messages`, 'are missing: no node that keeps this room has them']

interface RoomEntries {
  past: readonly Entry[]
  present: readonly Entry[]
  /** The history asked for has arrived. */
  joined: boolean
  resumed: boolean
}

export function buildRows({ past, present, joined, resumed }: RoomEntries): Row[] {
  const rows: Row[] = []
  let previous: ChatEntry | undefined
  let lastDay = Number.NEGATIVE_INFINITY
  const add = (entry: Entry) => {
    if (entry.kind === 'gap') {
      rows.push({ kind: 'gap', key: entry.key, entry })
      previous = undefined
      return
    }
    // Messages are in commit order, which is not quite that of their clocks: a day line never goes back in time.
    const day = dayStart(entry.at)
    if (day > lastDay) {
      rows.push({ kind: 'day', key: `day-${day}`, at: entry.at })
      lastDay = day
      previous = undefined
    }
    rows.push({ kind: 'message', key: entry.key, entry, leads: !continues(previous, entry) })
    previous = entry
  }
  past.forEach(add)
  if (joined) {
    rows.push({ kind: 'boundary', key: 'boundary', earlier: past.length > 0, resumed })
    previous = undefined
  }
  present.forEach(add)
  return rows
}

function continues(previous: ChatEntry | undefined, entry: ChatEntry): boolean {
  return (
    previous !== undefined &&
    previous.publisher === entry.publisher &&
    previous.name === entry.name &&
    Math.abs(entry.at - previous.at) < GROUP_PAUSE_MS
  )
}

let dayFrom = 0
let dayUntil = 0

/** Local midnight before `at`. Consecutive messages mostly share a day, so the last answer is kept. */
function dayStart(at: number): number {
  if (at >= dayFrom && at < dayUntil) return dayFrom
  const date = new Date(at)
  dayFrom = new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime()
  dayUntil = new Date(date.getFullYear(), date.getMonth(), date.getDate() + 1).getTime()
  return dayFrom
}
