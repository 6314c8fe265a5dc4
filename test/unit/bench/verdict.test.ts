import { describe, expect, it } from 'vitest'
import { verdictOn } from '../../bench/crowd.ts'
import type { Arrivals } from '../../bench/host.ts'
import { BenchRecord } from '../../bench/record.ts'
import type { System } from '../../bench/system.ts'
import { type Bench, jobsOf, verify } from '../../bench/workload.ts'

const arrivals = (topic: string, numbers: number[], wrong = 0): Arrivals => ({
  topic,
  wrong,
  numbers: Float64Array.from(numbers),
  atMs: Float64Array.from(numbers),
})

describe('the comparison of what came with what was published', () => {
  const published = [...jobsOf('a', 1, 3), ...jobsOf('b', 4, 1)]

  it('finds nothing where each subscription got the messages of its topic once, in any order', () => {
    const verdict = verdictOn(
      [arrivals('a', [3, 1, 2]), arrivals('a', [1, 2, 3]), arrivals('b', [4])],
      published,
    )
    expect(verdict).toEqual({ expected: 7, lost: 0, duplicated: 0, wrong: 0 })
  })

  it('counts what is missing, came twice, or belongs elsewhere', () => {
    expect(verdictOn([arrivals('a', [1, 3])], published)).toMatchObject({ expected: 3, lost: 1 })
    expect(verdictOn([arrivals('a', [1, 2, 3, 3, 1])], published)).toMatchObject({ lost: 0, duplicated: 2 })
    expect(verdictOn([arrivals('b', [4, 1])], published)).toMatchObject({ lost: 0, wrong: 1 })
    expect(verdictOn([arrivals('b', [4], 2)], published)).toMatchObject({ lost: 0, wrong: 2 })
    expect(verdictOn([arrivals('a', [])], published)).toMatchObject({ expected: 3, lost: 3 })
  })
})

describe('what is made of it', () => {
  const bench = (losesNothing: boolean) => {
    const record = new BenchRecord()
    const system = { name: 'gossipsub', title: 'a system', losesNothing } as System
    return { record, system, run: 1 } as Bench
  }
  const jobs = jobsOf('a', 1, 4)

  it('is a problem where nothing may be lost, and a share where it may', () => {
    const strict = bench(true)
    verify(strict, 'W1', '1 subscriber', [arrivals('a', [1, 2, 3])], jobs)
    expect(strict.record.problems).toEqual([
      'W1, 1 subscriber, a system, run 1: of 4 messages 1 were lost, 0 came twice, 0 were others.',
    ])
    const lossy = bench(false)
    verify(lossy, 'W1', '1 subscriber', [arrivals('a', [1, 2, 3])], jobs)
    expect(lossy.record.problems).toEqual([])
    expect(lossy.record.rows()[0]?.values.get('gossipsub')?.median).toBe(25)
  })

  it('is a problem for anybody where a message came twice', () => {
    for (const losesNothing of [true, false]) {
      const { record, ...rest } = bench(losesNothing)
      verify({ record, ...rest }, 'W1', '1 subscriber', [arrivals('a', [1, 2, 3, 4, 4])], jobs)
      expect(record.problems).toHaveLength(1)
    }
    const fine = bench(true)
    verify(fine, 'W1', '1 subscriber', [arrivals('a', [1, 2, 3, 4])], jobs)
    expect(fine.record.problems).toEqual([])
  })
})
