import { describe, expect, it } from 'vitest'
import { BenchRecord } from '../../bench/record.ts'
import type { SystemName } from '../../bench/system.ts'
import { tableOf } from '../../bench/table.ts'
import { targetsOf } from '../../bench/targets.ts'
import { METRICS } from '../../bench/workload.ts'
import { FLOORS } from '../../bench/workloads/floors.ts'

function recordOf(
  values: readonly (readonly [
    workload: string,
    scenario: string,
    name: string,
    system: SystemName,
    value: number,
  ])[],
): BenchRecord {
  const record = new BenchRecord()
  for (const [workload, scenario, name, system, value] of values)
    record.add({ workload, scenario, name, unit: 'ms' }, { system, run: 1 }, value)
  return record
}

const verdicts = (record: BenchRecord) => targetsOf(record).map(({ value, isMet }) => [value, isMet])

describe('targets', () => {
  it('compare with a rival of the same run', () => {
    const at = (ours: number) =>
      recordOf([
        ['W1', '10 subscribers', METRICS.receivedP50, 'ours', ours],
        ['W1', '10 subscribers', METRICS.receivedP50, 'gossipsub', 10],
      ])
    expect(verdicts(at(10))).toEqual([[1, true]])
    expect(verdicts(at(11))).toEqual([[1.1, false]])
  })

  it('are lower bounds for throughput', () => {
    const at = (ours: number) =>
      recordOf([
        ['W2', '1 subscriber', METRICS.rate, 'ours', ours],
        ['W2', '1 subscriber', METRICS.rate, 'jetstream', 1_000],
      ])
    expect(verdicts(at(500))).toEqual([[0.5, true]])
    expect(verdicts(at(400))).toEqual([[0.4, false]])
  })

  it('compare with the floors, and with the smallest topic', () => {
    const record = recordOf([
      [FLOORS.id, FLOORS.scenario, FLOORS.roundTrip, 'ours', 1],
      [FLOORS.id, FLOORS.scenario, FLOORS.flush, 'ours', 1],
      [FLOORS.id, FLOORS.scenario, FLOORS.verify, 'ours', 5_000],
      [FLOORS.id, FLOORS.scenario, FLOORS.verifySync, 'ours', 10_000],
      [FLOORS.id, FLOORS.scenario, FLOORS.envelope, 'ours', 300],
      ['W1', '1 subscriber', METRICS.storedP50, 'ours', 8],
      ['W1', '1 subscriber', METRICS.wire, 'ours', 300 * 9],
      ['W3', '1,000 messages', METRICS.all, 'ours', 50],
      ['W3', '10,000 messages', METRICS.all, 'ours', 2_000],
      ['W4', '100 messages', METRICS.storedP50, 'ours', 10],
      ['W4', '1,000 messages', METRICS.storedP50, 'ours', 12],
    ])
    // stored to 2 ms, wire to an envelope each, 10,000 messages to 1 s of verifying, growth
    expect(verdicts(record)).toEqual([
      [4, false],
      [1, true],
      [2, false],
      [1.2, false],
    ])
  })

  it('say nothing of what was not measured', () => {
    expect(targetsOf(new BenchRecord())).toEqual([])
    const alone = recordOf([['W5', '1,000 topics', METRICS.wall, 'ours', 700]])
    expect(targetsOf(alone)).toEqual([])
    const withoutFloors = recordOf([['W3', '10,000 messages', METRICS.all, 'ours', 2_000]])
    expect(targetsOf(withoutFloors)).toEqual([])
  })
})

describe('the table', () => {
  it('shows ratios first, only systems that took part, and what went wrong', () => {
    const record = recordOf([
      ['W6', '100 clients', METRICS.wall, 'ours', 300],
      ['W6', '100 clients', METRICS.wall, 'gossipsub', 150],
    ])
    record.problems.push('something was lost')
    const table = tableOf(record)
    expect(table).toMatch(/÷ gossipsub +ours +gossipsub\n.*100 clients: all received +2\.00 +300 +150 +ms/)
    expect(table).not.toMatch(/redis|jetstream/)
    expect(table).toMatch(/missed +2\.00 × \(≤ 1 ×\)/)
    expect(table).toMatch(/problems\n +something was lost/)
  })
})
