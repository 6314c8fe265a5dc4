import { describe, expect, it } from 'vitest'
import { type About, pageOf } from '../../bench/html.ts'
import { barPlot, linePlot } from '../../bench/plots.ts'
import { BenchRecord } from '../../bench/record.ts'
import { SYSTEM_NAMES } from '../../bench/system.ts'
import { METRICS } from '../../bench/workload.ts'

const HOSTILE = `<script>alert("1")</script>&'x'`
const ESCAPED = '&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#39;x&#39;'

const about: About = {
  date: '2026-11-21',
  machine: 'a machine',
  runs: 3,
  lines: 'some lines',
  systems: SYSTEM_NAMES.map((name) => ({ name, title: `title of ${name}`, note: `note of ${name}` })),
  missing: ['a server is not installed'],
}

function measured(): BenchRecord {
  const record = new BenchRecord()
  for (const [i, system] of SYSTEM_NAMES.entries()) {
    const at = { system, run: 1 }
    const latency = { workload: 'W1', scenario: '1 subscriber' }
    record.add({ ...latency, name: METRICS.receivedP50, unit: 'ms' }, at, 1 + i)
    record.addSamples({ ...latency, name: 'publish → received', system }, [1 + i, 2 + i, 5 + i])
    record.add(
      { workload: 'W2', scenario: '1 subscriber', name: METRICS.rate, unit: '/s' },
      at,
      100 * (1 + i),
    )
    for (const size of ['100', '1,000'])
      record.add(
        { workload: 'W4', scenario: `${size} messages`, name: METRICS.wire, unit: 'bytes' },
        at,
        900 + i,
      )
  }
  return record
}

const figures = (page: string) => page.match(/<figure>.*?<\/figure>/gs) ?? []

describe('the page', () => {
  it('has every system in each of its plots', () => {
    const all = figures(pageOf(measured(), about))
    expect(all.map((figure) => /aria-label="([^"]*)"/.exec(figure)?.[1])).toEqual([
      'W1, 1 subscriber: publish → received',
      'W2, 1 subscriber: messages received',
      'W4: wire, all nodes',
    ])
    for (const figure of all)
      for (const { title } of about.systems) expect(figure.split(title).length).toBeGreaterThan(1)
    const [distribution] = all
    for (const style of [0, 1, 2, 3]) expect(distribution).toContain(`<polyline class="s${style}"`)
  })

  it('leaves a system out that measured nothing', () => {
    const record = new BenchRecord()
    record.add(
      { workload: 'W6', scenario: 's', name: METRICS.wall, unit: 'ms' },
      { system: 'redis', run: 1 },
      5,
    )
    const [figure] = figures(pageOf(record, about))
    expect(figure).toContain('title of redis')
    expect(figure).not.toContain('title of ours')
  })

  it('says who did not take part, and what went wrong', () => {
    const record = measured()
    record.problems.push('two messages were lost')
    const page = pageOf(record, about)
    expect(page).toContain('a server is not installed')
    expect(page).toContain('two messages were lost')
    expect(pageOf(measured(), about)).not.toContain('Problems')
  })

  it('takes every name for text', () => {
    const record = new BenchRecord()
    const metric = { workload: 'W6', scenario: HOSTILE, name: METRICS.wall, unit: HOSTILE }
    record.add(metric, { system: 'ours', run: 1 }, 5)
    record.addSamples({ workload: 'W1', scenario: HOSTILE, name: HOSTILE, system: 'ours' }, [1, 2])
    record.add({ ...metric, workload: 'W1' }, { system: 'ours', run: 1 }, 5)
    record.problems.push(HOSTILE)
    const page = pageOf(record, {
      ...about,
      machine: HOSTILE,
      lines: HOSTILE,
      systems: [{ name: 'ours', title: HOSTILE, note: HOSTILE }],
      missing: [HOSTILE],
    })
    expect(page).not.toMatch(/<script|alert\("/)
    expect(page.split(ESCAPED).length).toBeGreaterThan(10)
  })

  it('needs nothing from elsewhere, and has colours for light and dark', () => {
    const page = pageOf(measured(), about)
    expect(page).not.toMatch(/https?:|<link|<script|<img|@import|url\(/)
    expect(page).toContain('prefers-color-scheme: dark')
  })
})

describe('plots', () => {
  it('stay within their frame, whatever the values', () => {
    for (const points of [
      [
        [1, 0.001],
        [1e6, 1e9],
      ],
      [[5, 5]],
      [
        [1, 0],
        [2, 0],
      ],
    ] as [number, number][][])
      for (const isLog of [true, false]) {
        const svg = linePlot({
          title: 't',
          xLabel: 'x',
          yLabel: 'y',
          xLog: isLog,
          yLog: isLog,
          series: [{ name: 's', style: 0, points }],
        })
        const [, drawn = ''] = /points="([^"]*)"/.exec(svg) ?? []
        for (const pair of drawn.split(' ')) {
          const [x, y] = pair.split(',').map(Number) as [number, number]
          expect(x >= 64 && x <= 612 && y >= 36 && y <= 252, pair).toBe(true)
        }
      }
  })

  it('are none without values', () => {
    expect(linePlot({ title: 't', xLabel: 'x', yLabel: 'y', series: [] })).toBe('')
    expect(barPlot({ title: 't', unit: 'ms', bars: [] })).toBe('')
  })

  it('draw bars in proportion', () => {
    const bar = (value: number) => ({ name: `${value}`, style: 0, value, least: value, most: value })
    const svg = barPlot({ title: 't', unit: 'ms', bars: [bar(100), bar(50)] })
    const widths = [...svg.matchAll(/<rect[^>]* width="([\d.]+)"/g)].map(([, width]) => Number(width))
    expect((widths[0] as number) / (widths[1] as number)).toBeCloseTo(2, 1)
  })
})
