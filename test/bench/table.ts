import type { BenchRecord, Row } from './record.ts'
import { format } from './statistics.ts'
import { SYSTEM_NAMES, type SystemName } from './system.ts'
import { type Target, targetsOf } from './targets.ts'
import { WORKLOADS } from './workloads/index.ts'

/** The record as text for a terminal: ratios first. */
export function tableOf(record: BenchRecord): string {
  const rows = record.rows()
  const systems = SYSTEM_NAMES.filter((name) => rows.some(({ values }) => values.has(name)))
  const lines: string[] = []
  for (const { id, title } of WORKLOADS) {
    const own = rows.filter(({ workload }) => workload === id)
    if (own.length > 0) lines.push('', `${id}: ${title}`, ...section(own, systems))
  }
  const targets = targetsOf(record)
  if (targets.length > 0) lines.push('', 'targets', ...targets.map(targetLine))
  if (record.problems.length > 0) lines.push('', 'problems', ...record.problems.map((text) => `  ${text}`))
  return lines.join('\n').trim()
}

function section(rows: readonly Row[], systems: readonly SystemName[]): string[] {
  const shown = systems.filter((name) => rows.some(({ values }) => values.has(name)))
  const rivals = shown.filter((name) => rows.some(({ ratios }) => ratios.has(name)))
  const head = ['', ...rivals.map((name) => `÷ ${name}`), ...shown, '']
  const cells = rows.map((row) => [
    `${row.scenario}: ${row.name}`,
    ...rivals.map((name) => cell(row.ratios.get(name))),
    ...shown.map((name) => cell(row.values.get(name)?.median)),
    row.unit,
  ])
  const all = [head, ...cells]
  const widths = head.map((_, column) => Math.max(...all.map((line) => (line[column] as string).length)))
  return all.map((line) =>
    `  ${line.map((text, column) => (column === 0 || column === head.length - 1 ? text.padEnd(widths[column] as number) : text.padStart(widths[column] as number))).join('  ')}`.trimEnd(),
  )
}

const cell = (value: number | undefined): string => (value === undefined ? '' : format(value))

export function targetLine({ text, value, limit, unit, atLeast, isMet }: Target): string {
  const sign = atLeast ? '≥' : '≤'
  return `  ${isMet ? 'met   ' : 'missed'}  ${format(value)} ${unit} (${sign} ${limit} ${unit})  ${text}`
}
