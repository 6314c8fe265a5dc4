import type { FullHistory } from './chat-node.ts'
import type { HeadView, Holder } from './inspector-data.ts'

/** Where the heads of a topic and what is behind them lie in the drawing. Pure. */

export const ROW_HEIGHT = 30
export const LANE_WIDTH = 20
const MARGIN = 14
const MAX_SNAPSHOT_ROWS = 5

export interface LineageRow {
  key: string
  kind: 'head' | 'earlier' | 'snapshot' | 'more'
  x: number
  y: number
  /** Of a head. */
  version?: number
  /** Of a head or a snapshot. */
  id?: string
  holders?: Holder[]
  isAgreed?: boolean
  /** In place of an id. */
  text?: string
}

export interface LineageEdge {
  key: string
  from: { x: number; y: number }
  to: { x: number; y: number }
  /** False: it lies behind, but what lies between is not known here. */
  isKnown: boolean
}

export interface Lineage {
  rows: LineageRow[]
  edges: LineageEdge[]
  /** Where the words begin. */
  textX: number
  height: number
}

const contains = (current: string | undefined, history: string[], id: string | undefined): boolean =>
  id === undefined || id === current || history.includes(id)

/** All that `older` has is in `newer`, or was. */
export function descends(newer: HeadView, older: HeadView): boolean {
  return (
    newer.id !== older.id &&
    newer.version > older.version &&
    contains(newer.messages, newer.messageHistory, older.messages) &&
    contains(newer.subscribers, newer.subscriberHistory, older.subscribers)
  )
}

/** The nearest heads that `head` descends from. `heads`: the newest first. */
export function parentsOf(head: HeadView, heads: HeadView[]): HeadView[] {
  const behind = heads.filter((older) => descends(head, older))
  return behind.filter((older) => !behind.some((between) => descends(between, older)))
}

/** Heads that replicas have now, and of which none is behind another: they wait to be merged. */
export function divergedHeads(heads: HeadView[]): HeadView[] {
  const held = heads.filter(({ holders }) => holders.length > 0)
  return held.filter((head) => !held.some((newer) => descends(newer, head)))
}

interface Link {
  from: string
  to: string
  isKnown: boolean
}

/** Each head to its parents. One that nobody has any more, and that no other names, lies behind the next newer one. */
function linksOf(heads: HeadView[]): Link[] {
  const links = heads.flatMap((head) =>
    parentsOf(head, heads).map((parent) => ({ from: head.id, to: parent.id, isKnown: true })),
  )
  for (const [index, head] of heads.entries()) {
    const newer = heads[index - 1]
    if (newer === undefined || head.holders.length > 0 || links.some(({ to }) => to === head.id)) continue
    links.push({ from: newer.id, to: head.id, isKnown: false })
  }
  return links
}

/** A lane for each line of descent, as few as will do: a head takes the lane of the one that it is behind. */
function lanesOf(heads: HeadView[], links: Link[]): Map<string, number> {
  const lanes = new Map<string, number>()
  const expected: (string | undefined)[] = []
  const free = (): number => {
    const index = expected.indexOf(undefined)
    return index < 0 ? expected.length : index
  }
  for (const { id } of heads) {
    const own = expected.indexOf(id)
    const lane = own < 0 ? free() : own
    lanes.set(id, lane)
    expected[lane] = undefined
    for (const [index, waiting] of expected.entries()) if (waiting === id) expected[index] = undefined
    for (const [index, { to }] of links.filter(({ from }) => from === id).entries()) {
      if (!expected.includes(to)) expected[index === 0 ? lane : free()] = to
    }
  }
  return lanes
}

export function layLineage(
  heads: HeadView[],
  agreedId: string | undefined,
  full: FullHistory | undefined,
): Lineage {
  const links = linksOf(heads)
  const lanes = lanesOf(heads, links)
  const rows: LineageRow[] = heads.map((head, index) => ({
    key: head.id,
    kind: 'head',
    x: MARGIN + (lanes.get(head.id) ?? 0) * LANE_WIDTH,
    y: MARGIN + index * ROW_HEIGHT,
    version: head.version,
    id: head.id,
    holders: head.holders,
    isAgreed: head.id === agreedId,
  }))
  const at = new Map(rows.map((row) => [row.key, row]))
  const edges = links.map(({ from, to, isKnown }) => edge(at.get(from)!, at.get(to)!, isKnown))
  if (full !== undefined && rows.length > 0) {
    const agreed = heads.find(({ id }) => id === agreedId)
    layHistory({ rows, edges }, full, agreed?.previous ?? [])
  }
  const widest = Math.max(MARGIN, ...rows.map(({ x }) => x))
  return { rows, edges, textX: widest + LANE_WIDTH, height: rows.length * ROW_HEIGHT }
}

/** What is behind the oldest head: sets that it or its snapshots name, then the snapshots, the newest first. */
function layHistory(drawing: Pick<Lineage, 'rows' | 'edges'>, full: FullHistory, direct: string[]): void {
  const { rows, edges } = drawing
  const add = (row: Pick<LineageRow, 'key' | 'kind' | 'id' | 'text'>, lane = 0): LineageRow => {
    const placed = { ...row, x: MARGIN + lane * LANE_WIDTH, y: MARGIN + rows.length * ROW_HEIGHT }
    rows.push(placed)
    return placed
  }
  const oldest = rows.at(-1)!
  // the first of each is the current one
  const earlier = [
    counted(full.messages.length - 1, 'earlier set of messages', 'earlier sets of messages'),
    counted(full.subscribers.length - 1, 'of subscribers', 'of subscribers'),
  ].filter((text) => text !== '')
  const base =
    earlier.length === 0 ? oldest : add({ key: 'earlier', kind: 'earlier', text: earlier.join(', ') })
  if (base !== oldest) edges.push(edge(oldest, base, true))
  let above = base
  for (const id of full.snapshots.slice(0, MAX_SNAPSHOT_ROWS)) {
    const parent = direct.indexOf(id)
    const row = add({ key: id, kind: 'snapshot', id }, Math.max(0, parent))
    edges.push(parent < 0 ? edge(above, row, false) : edge(base, row, true))
    above = row
  }
  const more = [
    counted(full.snapshots.length - MAX_SNAPSHOT_ROWS, 'older snapshot', 'older snapshots'),
    counted(full.missing, 'snapshot that nobody has', 'snapshots that nobody has'),
  ].filter((text) => text !== '')
  if (more.length > 0)
    edges.push(edge(above, add({ key: 'more', kind: 'more', text: more.join(', ') }), false))
}

const counted = (count: number, one: string, many: string): string =>
  count <= 0 ? '' : `${count} ${count === 1 ? one : many}`

const edge = (from: LineageRow, to: LineageRow, isKnown: boolean): LineageEdge => ({
  key: `${from.key} ${to.key}`,
  from: { x: from.x, y: from.y },
  to: { x: to.x, y: to.y },
  isKnown,
})
