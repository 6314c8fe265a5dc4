import { barPlot, escapeHtml, linePlot, type Series } from './plots.ts'
import { type BenchRecord, quantiles, type Row } from './record.ts'
import { format } from './statistics.ts'
import { SYSTEM_NAMES, type SystemName } from './system.ts'
import { type Target, targetsOf } from './targets.ts'
import { METRICS } from './workload.ts'
import { WORKLOADS } from './workloads/index.ts'

/** The record as one page that needs nothing else. */

export interface About {
  date: string
  machine: string
  runs: number
  lines: string
  /** Of each system that took part: what it is called, and what it promised. */
  systems: readonly { name: SystemName; title: string; note: string }[]
  /** Those that did not, and why. */
  missing: readonly string[]
}

const STYLE = `
:root { color-scheme: light dark; --text: #1b1f24; --soft: #57606a; --page: #fff; --line: #d8dee4; --good: #116329; --bad: #a40e26; --c0: #1f5fd0; --c1: #c2410c; --c2: #15803d; --c3: #8a2fc4 }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --soft: #9aa4b0; --page: #0d1117; --line: #30363d; --good: #56d364; --bad: #ff7b72; --c0: #79a8ff; --c1: #fb9a4b; --c2: #56d364; --c3: #c79bff } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page); max-width: 1240px; margin: 0 auto; padding: 24px 16px 64px }
h1 { font-size: 24px; margin: 0 } h2 { font-size: 18px; margin: 40px 0 8px; border-top: 1px solid var(--line); padding-top: 24px }
p, li, figcaption, .note { color: var(--soft) } .wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums } th, td { padding: 4px 12px 4px 0; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left } th { color: var(--soft); font-weight: 600 }
.met { color: var(--good) } .missed { color: var(--bad) } .spread-text { color: var(--soft); font-size: 12px }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 440px), 1fr)); gap: 16px; margin-top: 16px } figure { margin: 0 }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif } figcaption svg { width: 24px; height: 8px } figcaption span { margin-right: 16px; white-space: nowrap }
.title { fill: var(--text); font-weight: 600; font-size: 13px } .tick, .label { fill: var(--soft) } .grid { stroke: var(--line) } .spread { stroke: var(--text); stroke-width: 1.5 }
polyline { fill: none; stroke-width: 2 } line.s0, polyline.s0 { stroke: var(--c0) } line.s1, polyline.s1 { stroke: var(--c1); stroke-dasharray: 7 3 } line.s2, polyline.s2 { stroke: var(--c2); stroke-dasharray: 2 3 } line.s3, polyline.s3 { stroke: var(--c3); stroke-dasharray: 9 3 2 3 }
figcaption line { stroke-width: 3 } circle.s0, rect.s0 { fill: var(--c0) } circle.s1, rect.s1 { fill: var(--c1) } circle.s2, rect.s2 { fill: var(--c2) } circle.s3, rect.s3 { fill: var(--c3) }
`

export function pageOf(record: BenchRecord, about: About): string {
  const rows = record.rows()
  const sections = WORKLOADS.flatMap(({ id, title }) => {
    const own = rows.filter(({ workload }) => workload === id)
    if (own.length === 0) return []
    const plots = plotsOf(id, own, record, about).join('')
    return `<section id="${id}"><h2>${escapeHtml(id)}: ${escapeHtml(title)}</h2>${table(own, about)}<div class="plots">${plots}</div></section>`
  })
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Benchmark</title><style>${STYLE}</style></head>
<body><h1>Benchmark</h1>${introduction(about)}${problems(record)}${targets(targetsOf(record))}${sections.join('')}</body></html>
`
}

function introduction({ date, machine, runs, lines, systems, missing }: About): string {
  const items = [...systems.map(({ title, note }) => `${title}: ${note}`), ...missing]
  return `<p>${escapeHtml(`${date}. ${machine}. ${runs === 1 ? 'One run' : `Medians of ${runs} runs`}; payloads: ${lines}.`)} Ratios are ours to the other’s in the same run. Numbers of one machine say little; ratios of one run say more.</p><ul>${items.map((item) => `<li>${escapeHtml(item)}</li>`).join('')}</ul>`
}

const problems = ({ problems }: BenchRecord): string =>
  problems.length === 0
    ? ''
    : `<h2>Problems</h2><ul>${problems.map((text) => `<li class="missed">${escapeHtml(text)}</li>`).join('')}</ul>`

function targets(all: readonly Target[]): string {
  if (all.length === 0) return ''
  const rows = all.map(
    ({ text, value, limit, unit, atLeast, isMet }) =>
      `<tr><td>${escapeHtml(text)}</td><td>${format(value)} ${escapeHtml(unit)}</td><td>${atLeast ? '≥' : '≤'} ${limit} ${escapeHtml(unit)}</td><td class="${isMet ? 'met">met' : 'missed">missed'}</td></tr>`,
  )
  return `<h2>Targets</h2><div class="wide"><table><thead><tr><th></th><th>measured</th><th>target</th><th></th></tr></thead><tbody>${rows.join('')}</tbody></table></div>`
}

function table(rows: readonly Row[], { systems }: About): string {
  const shown = systems.filter(({ name }) => rows.some(({ values }) => values.has(name)))
  const rivals = shown.filter(({ name }) => rows.some(({ ratios }) => ratios.has(name)))
  const head = ['', ...rivals.map(({ title }) => `÷ ${title}`), ...shown.map(({ title }) => title), '']
  const body = rows.map((row) => {
    const cells = [
      ...rivals.map(({ name }) => number(row.ratios.get(name))),
      ...shown.map(({ name }) => spread(row, name)),
    ]
    return `<tr><td>${escapeHtml(`${row.scenario}: ${row.name}`)}</td>${cells.map((cell) => `<td>${cell}</td>`).join('')}<td>${escapeHtml(row.unit)}</td></tr>`
  })
  return `<div class="wide"><table><thead><tr>${head.map((name) => `<th>${escapeHtml(name)}</th>`).join('')}</tr></thead><tbody>${body.join('')}</tbody></table></div>`
}

const number = (value: number | undefined): string => (value === undefined ? '' : format(value))

function spread(row: Row, name: SystemName): string {
  const value = row.values.get(name)
  if (value === undefined) return ''
  if (value.least === value.most) return format(value.median)
  return `${format(value.median)} <span class="spread-text">(${format(value.least)} – ${format(value.most)})</span>`
}

const styleOf = (name: SystemName): number => SYSTEM_NAMES.indexOf(name)

function plotsOf(id: string, rows: readonly Row[], record: BenchRecord, about: About): string[] {
  if (id === 'W1') return distributions(record, about)
  if (id === 'W4')
    return [METRICS.storedP50, METRICS.wire, METRICS.file].map((name) => growth(name, rows, about))
  const names: Record<string, string[]> = {
    W2: [METRICS.rate],
    W3: [METRICS.first, METRICS.all, METRICS.latestPage],
    W5: [METRICS.wall],
    W6: [METRICS.wall],
  }
  return rows.filter(({ name }) => names[id]?.includes(name)).map((row) => barsOf(row, about))
}

/** Which share of the messages had arrived by when. */
function distributions(record: BenchRecord, { systems }: About): string[] {
  const groups = Map.groupBy(record.samples(), ({ workload, scenario }) => `${workload}, ${scenario}`)
  return [...groups].map(([title, samples]) =>
    linePlot({
      title: `${title}: ${samples[0]?.name}`,
      xLabel: 'ms',
      yLabel: '% of the messages',
      xLog: true,
      series: systems.flatMap(({ name, title }): Series[] => {
        const values = samples.find(({ system }) => system === name)?.values ?? []
        if (values.length === 0) return []
        return [
          { name: title, style: styleOf(name), points: quantiles(values).map((value, i) => [value, i]) },
        ]
      }),
    }),
  )
}

function growth(metric: string, rows: readonly Row[], { systems }: About): string {
  const own = rows.filter(({ name }) => name === metric)
  return linePlot({
    title: `W4: ${metric}`,
    xLabel: 'messages in the topic',
    yLabel: own[0]?.unit ?? '',
    xLog: true,
    yLog: true,
    series: systems.flatMap(({ name, title }): Series[] => {
      const points = own.flatMap((row): [number, number][] => {
        const value = row.values.get(name)?.median
        return value === undefined ? [] : [[Number(row.scenario.replace(/\D/g, '')), value]]
      })
      return points.length === 0 ? [] : [{ name: title, style: styleOf(name), points }]
    }),
  })
}

const barsOf = (row: Row, { systems }: About): string =>
  barPlot({
    title: `${row.workload}, ${row.scenario}: ${row.name}`,
    unit: row.unit,
    bars: systems.flatMap(({ name, title }) => {
      const value = row.values.get(name)
      if (value === undefined) return []
      const { median, least, most } = value
      return [{ name: title, style: styleOf(name), value: median, least, most }]
    }),
  })
