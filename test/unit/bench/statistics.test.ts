import { describe, expect, it } from 'vitest'
import { percentile, Results } from '../../bench/statistics.ts'

describe('percentile', () => {
  it('is the smallest value that so many do not exceed', () => {
    const values = Array.from({ length: 100 }, (_, i) => 100 - i)
    expect(percentile(values, 50)).toBe(50)
    expect(percentile(values, 99)).toBe(99)
    expect(percentile(values, 100)).toBe(100)
    expect(percentile([7], 1)).toBe(7)
    expect(percentile([3, 1, 2], 50)).toBe(2)
  })

  it('is refused without values, and for what is no percentage', () => {
    expect(() => percentile([], 50)).toThrow(RangeError)
    for (const percent of [0, -1, 101, Number.NaN]) expect(() => percentile([1], percent)).toThrow(RangeError)
  })
})

describe('results', () => {
  it('tell ratios of what was measured, and none of what was not', () => {
    const results = new Results()
    results.add('a', 'ours', 6, 'ms')
    results.add('a', 'theirs', 3, 'ms')
    results.ratio('b', 'known', 'ours', 'theirs')
    results.ratio('b', 'unknown', 'ours', 'nobody')
    expect(results.valueOf('known')).toBe(2)
    expect(results.valueOf('unknown')).toBeUndefined()
    expect(results.table()).toMatch(/a\n +ours +6\.00 ms\n +theirs +3\.00 ms\n\nb\n +known +2\.00 x$/)
  })
})
