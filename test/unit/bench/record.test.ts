import { describe, expect, it } from 'vitest'
import { BenchRecord, median, quantiles } from '../../bench/record.ts'

const latency = { workload: 'W1', scenario: '1 subscriber', name: 'p50', unit: 'ms' }

describe('the median', () => {
  it('is the one in the middle, or the mean of the two there', () => {
    expect(median([9, 1, 5])).toBe(5)
    expect(median([9, 1, 5, 7])).toBe(6)
    expect(median([4])).toBe(4)
    expect(() => median([])).toThrow(RangeError)
  })
})

describe('quantiles', () => {
  it('keep the smallest, the middle and the greatest of any number of values', () => {
    const of = quantiles(Array.from({ length: 1_000 }, (_, i) => 1_000 - i))
    expect(of).toHaveLength(101)
    expect([of[0], of[50], of[100]]).toEqual([1, 500, 1_000])
    expect(quantiles([3])).toEqual(Array.from({ length: 101 }, () => 3))
  })
})

describe('the record', () => {
  it('takes ratios within each run, and the median of those', () => {
    const record = new BenchRecord()
    // the machine was ten times slower in run 2: the ratio of the medians would be 10
    for (const [run, ours, theirs] of [
      [1, 2, 1],
      [2, 20, 10],
      [3, 20, 1],
    ] as const) {
      record.add(latency, { system: 'ours', run }, ours)
      record.add(latency, { system: 'redis', run }, theirs)
    }
    const [row] = record.rows()
    expect(row?.ratios.get('redis')).toBe(2)
    expect(row?.values.get('ours')).toEqual({ median: 20, least: 2, most: 20 })
    expect(record.median('W1', '1 subscriber', 'p50')).toBe(20)
    expect(record.median('W1', '1 subscriber', 'p50', 'redis')).toBe(1)
  })

  it('tells no ratio of what ours did not measure in any run of theirs, nor over nothing', () => {
    const record = new BenchRecord()
    record.add(latency, { system: 'ours', run: 1 }, 2)
    record.add(latency, { system: 'redis', run: 2 }, 1)
    record.add(latency, { system: 'gossipsub', run: 1 }, 0)
    const [row] = record.rows()
    expect([...(row?.ratios ?? [])]).toEqual([])
    expect([...(row?.values.keys() ?? [])]).toEqual(['ours', 'gossipsub', 'redis'])
    expect(record.median('W1', '1 subscriber', 'p99')).toBeUndefined()
  })

  it('keeps the scenarios together, whoever measured them last', () => {
    const record = new BenchRecord()
    const at = { system: 'ours', run: 1 } as const
    const add = (workload: string, scenario: string, name: string) =>
      record.add({ workload, scenario, name, unit: 'ms' }, at, 1)
    add('W1', '1', 'p50')
    add('W1', '10', 'p50')
    add('W2', '1', 'rate')
    add('W1', '1', 'p99')
    expect(record.rows().map(({ workload, scenario, name }) => `${workload} ${scenario} ${name}`)).toEqual([
      'W1 1 p50',
      'W1 1 p99',
      'W1 10 p50',
      'W2 1 rate',
    ])
  })
})
