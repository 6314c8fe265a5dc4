import { describe, expect, it } from 'vitest'
import { type Arguments, readArguments } from '../../bench/arguments.ts'

const accepted = (...argv: string[]) => readArguments(argv) as Arguments
const refused = (...argv: string[]) => readArguments(argv) as { text: string; code: number }

describe('the command line of the benchmark', () => {
  it('runs everything three times by default, and little of it once with --quick', () => {
    const all = accepted()
    expect([...all.workloads]).toEqual(['floors', 'W1', 'W2', 'W3', 'W4', 'W5', 'W6', 'W7'])
    expect([...all.systems]).toEqual(['ours', 'gossipsub', 'jetstream', 'redis'])
    expect(all.runs).toBe(3)
    expect(all.sizes.topicSizes).toEqual([100, 1_000, 10_000])
    const quick = accepted('--quick')
    expect(quick.runs).toBe(1)
    expect(Math.max(...quick.sizes.topicSizes)).toBeLessThan(1_000)
    expect(accepted('--quick', '--runs', '2').runs).toBe(2)
    expect(accepted('--full').sizes.topicSizes).toContain(100_000)
  })

  it('takes names in any case', () => {
    expect([...accepted('--only', 'w1,W3').workloads]).toEqual(['W1', 'W3'])
    expect([...accepted('--systems', 'ours,Redis').systems]).toEqual(['ours', 'redis'])
  })

  it('says what it does not know, with the help, and ends with 2', () => {
    for (const [argv, text] of [
      [['--only', 'W8'], 'There is no workload W8.'],
      [['--systems', 'kafka'], 'There is no system kafka.'],
      [['--runs', '0'], '--runs takes a number from 1, not 0.'],
      [['--runs', 'many'], '--runs takes a number from 1, not many.'],
      [['--quick', '--full'], '--quick and --full exclude each other.'],
      [['--nonsense'], '--nonsense'],
    ] as const) {
      const { text: said, code } = refused(...argv)
      expect(said).toContain(text)
      expect(said).toContain('npm run bench -- [options]')
      expect(code).toBe(2)
    }
    expect(refused('--help')).toMatchObject({ code: 0, text: expect.stringContaining('W7') })
  })
})
