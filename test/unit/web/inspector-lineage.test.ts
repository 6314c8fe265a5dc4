import { describe, expect, it } from 'vitest'
import type { HeadView } from '../../../web/inspector-data.ts'
import { divergedHeads, type Lineage, layLineage, parentsOf } from '../../../web/inspector-lineage.ts'

const HOLDER = { nodeId: 'one', durable: true }

/** A head whose current set of messages is `set`, and that went on from `behind`. */
function head(version: number, set: string, behind: string[], isHeld = true): HeadView {
  return {
    id: `head-${set}`,
    version,
    messages: set,
    messageHistory: behind,
    subscriberHistory: [],
    previous: [],
    lastModified: 0,
    bytes: 500,
    holders: isHeld ? [HOLDER] : [],
  }
}

const first = head(1, 'a', [], false)
const left = head(2, 'b', ['a'])
const right = head(3, 'c', ['a'])
const merged = head(4, 'd', ['c', 'b', 'a'])
const NO_HISTORY = { messages: ['d'], subscribers: [], snapshots: [], missing: 0 }

const edgesOf = ({ rows, edges }: Lineage): string[] => {
  const nameAt = ({ x, y }: { x: number; y: number }) => rows.find((row) => row.x === x && row.y === y)?.key
  return edges.map(({ from, to, isKnown }) => `${nameAt(from)} ${isKnown ? '-' : '?'} ${nameAt(to)}`)
}

describe('lineage of heads', () => {
  it('joins a head to the nearest ones that it contains, and not to those behind them', () => {
    const heads = [merged, right, left, first]
    expect(parentsOf(merged, heads)).toEqual([right, left])
    expect(parentsOf(left, heads)).toEqual([first])
    expect(parentsOf(right, heads)).toEqual([first])
    const lineage = layLineage(heads, merged.id, NO_HISTORY)
    expect(edgesOf(lineage)).toEqual([
      'head-d - head-c',
      'head-d - head-b',
      'head-c - head-a',
      'head-b - head-a',
    ])
    expect(new Set(lineage.rows.map(({ x }) => x)).size).toBe(2)
    expect(lineage.rows.map(({ y }) => y)).toEqual(lineage.rows.map(({ y }) => y).toSorted((a, b) => a - b))
    expect(lineage.rows.filter(({ isAgreed }) => isAgreed).map(({ id }) => id)).toEqual([merged.id])
  })

  it('tells heads that wait to be merged from one that is only behind', () => {
    expect(divergedHeads([right, left, first])).toEqual([right, left])
    expect(divergedHeads([merged, left])).toEqual([merged])
    // nobody has it any more
    expect(divergedHeads([right, { ...left, holders: [] }])).toEqual([right])
  })

  it('keeps diverged heads in lanes of their own, without a line between them', () => {
    const lineage = layLineage([right, left], right.id, undefined)
    expect(lineage.edges).toEqual([])
    expect(lineage.rows[0]!.y).not.toBe(lineage.rows[1]!.y)
  })

  it('guesses only where a head seen before lies behind an unknown number of others', () => {
    const later = head(90, 'z', ['y', 'x'])
    expect(edgesOf(layLineage([later, first], later.id, undefined))).toEqual(['head-z ? head-a'])
    expect(edgesOf(layLineage([later, { ...first, holders: [HOLDER] }], later.id, undefined))).toEqual([])
  })

  it('draws what lies behind: earlier sets, the snapshots that the head names, and those behind them', () => {
    const current = { ...head(9, 'i', ['h', 'g']), previous: ['s1', 's2'] }
    const full = {
      messages: ['i', 'h', 'g', 'f'],
      subscribers: ['p'],
      snapshots: ['s1', 's2', 's3'],
      missing: 1,
    }
    const lineage = layLineage([current], current.id, full)
    expect(edgesOf(lineage)).toEqual([
      'head-i - earlier',
      'earlier - s1',
      'earlier - s2',
      's2 ? s3',
      's3 ? more',
    ])
    expect(lineage.rows.find(({ key }) => key === 'earlier')?.text).toBe('3 earlier sets of messages')
    expect(lineage.rows.find(({ key }) => key === 'more')?.text).toBe('1 snapshot that nobody has')
  })

  it('stays within its bounds whatever the history holds', () => {
    const snapshots = Array.from({ length: 500 }, (_, index) => `s${index}`)
    const lineage = layLineage([merged], merged.id, { ...NO_HISTORY, snapshots })
    expect(lineage.rows.length).toBe(1 + 5 + 1)
    expect(lineage.rows.at(-1)?.text).toBe('495 older snapshots')
    expect(Math.max(...lineage.rows.map(({ y }) => y))).toBeLessThan(lineage.height)
    expect(layLineage([], undefined, undefined).rows).toEqual([])
  })
})
