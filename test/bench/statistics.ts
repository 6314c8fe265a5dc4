/** Nearest-rank percentile: the smallest value that at least `percent` of all values do not exceed. */
export function percentile(values: readonly number[], percent: number): number {
  if (values.length === 0) throw new RangeError('No values to take a percentile of.')
  if (!(percent > 0 && percent <= 100)) throw new RangeError(`${percent} is no percentage above 0.`)
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.ceil((percent / 100) * sorted.length) - 1] as number
}

export interface Result {
  section: string
  name: string
  value: number
  unit: string
}

/** What a run measured, in order. */
export class Results {
  readonly list: Result[] = []

  add(section: string, name: string, value: number, unit: string): void {
    this.list.push({ section, name, value, unit })
  }

  /** Median and tail of durations. */
  durations(section: string, name: string, valuesMs: readonly number[]): void {
    this.add(section, `${name} p50`, percentile(valuesMs, 50), 'ms')
    this.add(section, `${name} p99`, percentile(valuesMs, 99), 'ms')
  }

  valueOf(name: string): number | undefined {
    return this.list.find((result) => result.name === name)?.value
  }

  /** How many times the first is the second, where both were measured in this run. */
  ratio(section: string, name: string, of: string, to: string): void {
    const [above, below] = [this.valueOf(of), this.valueOf(to)]
    if (above !== undefined && below !== undefined && below > 0) this.add(section, name, above / below, 'x')
  }

  table(): string {
    const widest = Math.max(...this.list.map(({ name }) => name.length))
    const lines: string[] = []
    let section = ''
    for (const result of this.list) {
      if (result.section !== section) lines.push('', result.section)
      section = result.section
      lines.push(`  ${result.name.padEnd(widest)}  ${format(result.value).padStart(10)} ${result.unit}`)
    }
    return lines.join('\n')
  }
}

export const format = (value: number): string =>
  value >= 1_000 ? Math.round(value).toLocaleString('en-US') : value.toFixed(value >= 100 ? 0 : 2)
