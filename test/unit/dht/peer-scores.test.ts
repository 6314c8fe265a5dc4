import { beforeEach, describe, expect, it } from 'vitest'
import { GOOD_SCORE, MAX_SCORED, PeerScores } from '../../../src/dht/peer-scores.ts'
import { ManualRuntime } from '../../support/manual-runtime.ts'

let runtime: ManualRuntime
let scores: PeerScores
beforeEach(() => {
  runtime = new ManualRuntime()
  scores = new PeerScores(runtime)
})

const isGood = (peer: string) => scores.of(peer) >= GOOD_SCORE
const times = (count: number, act: () => void) => {
  for (let i = 0; i < count; i++) act()
}

describe('the score of a peer', () => {
  it('is whole at first and while it answers, and nothing is kept of it', () => {
    expect(scores.of('a')).toBe(1)
    times(10, () => scores.answered('a'))
    expect(scores.of('a')).toBe(1)
    expect(scores.size).toBe(0)
  })

  it('stays good after one silence, and not after two in a row', () => {
    scores.silent('a')
    expect(isGood('a')).toBe(true)
    scores.silent('a')
    expect(isGood('a')).toBe(false)
    expect(isGood('b')).toBe(true)
  })

  it('recovers by several answers, never by one, and later the longer it was silent', () => {
    times(2, () => scores.silent('a'))
    times(2, () => scores.answered('a'))
    expect(isGood('a')).toBe(false)
    scores.answered('a')
    expect(isGood('a')).toBe(true)
    times(20, () => scores.silent('b'))
    expect(scores.of('b')).toBeGreaterThanOrEqual(0)
    times(5, () => scores.answered('b'))
    expect(isGood('b')).toBe(false)
    times(5, () => scores.answered('b'))
    expect(isGood('b')).toBe(true)
    times(100, () => scores.answered('b'))
    expect(scores.size).toBe(1) // of a, and of b nothing any more
  })

  it('comes back with time, half of what is lacking each minute', () => {
    times(20, () => scores.silent('a'))
    const lacking = 1 - scores.of('a')
    runtime.advance(60_000)
    expect(1 - scores.of('a')).toBeCloseTo(lacking / 2, 10)
    runtime.advance(60_000)
    expect(isGood('a')).toBe(true)
    scores.silent('a')
    expect(scores.of('a')).toBeCloseTo(1 - (lacking / 4 + (1 - lacking / 4) * 0.4), 10)
  })

  it('is kept of so many peers at most, the oldest forgotten first', () => {
    for (let i = 0; i <= MAX_SCORED; i++) scores.silent(`${i}`)
    expect(scores.size).toBe(MAX_SCORED)
    expect(scores.of('0')).toBe(1)
    expect(scores.of('1')).toBeLessThan(1)
  })

  it('puts those last that answer badly, and changes nothing else of an order', () => {
    for (const peer of ['b', 'd']) times(2, () => scores.silent(peer))
    scores.silent('a')
    const ranked = ['a', 'b', 'c', 'd', 'e'].map((nodeId) => ({ nodeId }))
    const order = scores.last(ranked, ({ nodeId }) => nodeId).map(({ nodeId }) => nodeId)
    expect(order).toEqual(['a', 'c', 'e', 'b', 'd'])
  })
})
