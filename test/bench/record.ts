import { percentile } from './statistics.ts'
import { SYSTEM_NAMES, type SystemName } from './system.ts'

/** What all runs measured. */

export interface Metric {
  workload: string
  /** What varies within a workload: how many subscribers, messages, … */
  scenario: string
  name: string
  unit: string
}
export interface Measurement extends Metric {
  system: SystemName
  run: number
  value: number
}
export interface Spread {
  median: number
  least: number
  most: number
}
export interface Row extends Metric {
  values: Map<SystemName, Spread>
  /** Ours to a rival's: the median of the ratios within each run. */
  ratios: Map<SystemName, number>
}
export interface Samples {
  workload: string
  scenario: string
  name: string
  system: SystemName
  values: number[]
}

export class BenchRecord {
  readonly measurements: Measurement[] = []
  readonly #samples = new Map<string, Samples>()
  /** What went wrong, in words: a workload that failed, a message that was lost. */
  readonly problems: string[] = []

  add(metric: Metric, at: { system: SystemName; run: number }, value: number): void {
    const { workload, scenario, name, unit } = metric
    this.measurements.push({ workload, scenario, name, unit, system: at.system, run: at.run, value })
  }

  addSamples(of: Omit<Samples, 'values'>, values: readonly number[]): void {
    const key = keyOf(of.workload, of.scenario, of.name, of.system)
    const known = this.#samples.get(key)
    this.#samples.set(key, { ...of, values: [...(known?.values ?? []), ...values] })
  }

  samples(): Samples[] {
    return [...this.#samples.values()]
  }

  /** By workload, scenario and name, each in the order in which it was first measured by anybody. */
  rows(): Row[] {
    const rank = (of: (metric: Metric) => string) => {
      const seen = [...new Set(this.measurements.map(of))]
      return (a: Metric, b: Metric) => seen.indexOf(of(a)) - seen.indexOf(of(b))
    }
    const byWorkload = rank(({ workload }) => workload)
    const byScenario = rank(({ workload, scenario }) => keyOf(workload, scenario))
    const byName = rank(({ name }) => name)
    const groups = Map.groupBy(this.measurements, ({ workload, scenario, name }) =>
      keyOf(workload, scenario, name),
    )
    return [...groups.values()]
      .map((measurements) => rowOf(measurements))
      .sort((a, b) => byWorkload(a, b) || byScenario(a, b) || byName(a, b))
  }

  /** The median of all runs. */
  median(workload: string, scenario: string, name: string, system: SystemName = 'ours'): number | undefined {
    const values = this.measurements
      .filter(
        (m) => m.workload === workload && m.scenario === scenario && m.name === name && m.system === system,
      )
      .map(({ value }) => value)
    return values.length === 0 ? undefined : median(values)
  }
}

const keyOf = (...parts: string[]): string => JSON.stringify(parts)

/** The mean of the two in the middle where their number is even. */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError('No values to take a median of.')
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length / 2
  return ((sorted[Math.ceil(middle) - 1] as number) + (sorted[Math.floor(middle)] as number)) / 2
}

function rowOf(measurements: readonly Measurement[]): Row {
  const { workload, scenario, name, unit } = measurements[0] as Measurement
  const row: Row = { workload, scenario, name, unit, values: new Map(), ratios: new Map() }
  const of = (system: SystemName) => measurements.filter((measurement) => measurement.system === system)
  const ours = of('ours')
  for (const system of SYSTEM_NAMES) {
    const theirs = of(system)
    if (theirs.length === 0) continue
    const values = theirs.map(({ value }) => value)
    row.values.set(system, { median: median(values), least: Math.min(...values), most: Math.max(...values) })
    if (system === 'ours') continue
    const ratios = theirs.flatMap(({ run, value }) => {
      const mine = ours.find((measurement) => measurement.run === run)
      return mine !== undefined && value > 0 ? [mine.value / value] : []
    })
    if (ratios.length > 0) row.ratios.set(system, median(ratios))
  }
  return row
}

/** So many values that a distribution keeps its shape: the smallest, 99 percentiles, the greatest. */
export const quantiles = (values: readonly number[]): number[] => [
  Math.min(...values),
  ...Array.from({ length: 100 }, (_, i) => percentile(values, i + 1)),
]
