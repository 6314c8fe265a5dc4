/** Small plots as SVG text. Colours and fonts come from the page around them. */

export interface Series {
  name: string
  /** Which colour and dash: 0 to 3. */
  style: number
  points: readonly (readonly [x: number, y: number])[]
}
export interface LinePlot {
  title: string
  xLabel: string
  yLabel: string
  xLog?: boolean
  yLog?: boolean
  series: readonly Series[]
}
export interface Bar {
  name: string
  style: number
  value: number
  least: number
  most: number
}
export interface BarPlot {
  title: string
  unit: string
  bars: readonly Bar[]
}

const WIDTH = 640
const HEIGHT = 300
const LEFT = 64
const RIGHT = 28
const TOP = 36
const BOTTOM = 48
const TICKS = 5

export const escapeHtml = (text: string): string =>
  text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;')

const short = (value: number): string =>
  value === 0
    ? '0'
    : Math.abs(value) >= 1_000
      ? Math.round(value).toLocaleString('en-US')
      : String(Number(value.toPrecision(2)))
const at = (value: number): string => value.toFixed(1)

export function linePlot(plot: LinePlot): string {
  const points = plot.series.flatMap((series) => series.points)
  if (points.length === 0) return ''
  const x = scale(
    points.map(([value]) => value),
    LEFT,
    WIDTH - RIGHT,
    plot.xLog === true,
  )
  const y = scale(
    [...points.map(([, value]) => value), ...(plot.yLog ? [] : [0])],
    HEIGHT - BOTTOM,
    TOP,
    plot.yLog === true,
  )
  const grid = [
    ...x.ticks.map(
      (tick) =>
        `<line class="grid" x1="${at(x.of(tick))}" x2="${at(x.of(tick))}" y1="${TOP}" y2="${HEIGHT - BOTTOM}"/><text class="tick" text-anchor="middle" x="${at(x.of(tick))}" y="${HEIGHT - BOTTOM + 16}">${short(tick)}</text>`,
    ),
    ...y.ticks.map(
      (tick) =>
        `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at(y.of(tick))}" y2="${at(y.of(tick))}"/><text class="tick" text-anchor="end" x="${LEFT - 6}" y="${at(y.of(tick) + 4)}">${short(tick)}</text>`,
    ),
  ]
  const lines = plot.series.map(({ name, style, points }) => {
    const path = points.map(([px, py]) => `${at(x.of(px))},${at(y.of(py))}`).join(' ')
    const dots =
      points.length > 12
        ? []
        : points.map(
            ([px, py]) =>
              `<circle class="s${style}" r="3.5" cx="${at(x.of(px))}" cy="${at(y.of(py))}"><title>${escapeHtml(name)}: ${short(py)} at ${short(px)}</title></circle>`,
          )
    return `<polyline class="s${style}" points="${path}"><title>${escapeHtml(name)}</title></polyline>${dots.join('')}`
  })
  const labels = `<text class="label" text-anchor="middle" x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 10}">${escapeHtml(plot.xLabel)}</text><text class="label" text-anchor="middle" transform="translate(14 ${(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)">${escapeHtml(plot.yLabel)}</text>`
  return figure(plot.title, HEIGHT, [...grid, ...lines, labels].join(''), legend(plot.series))
}

const BAR_HEIGHT = 30
const NAME_WIDTH = 130
const VALUE_WIDTH = 150

/** From the median; a thin line from the least to the most of the runs. */
export function barPlot({ title, unit, bars }: BarPlot): string {
  if (bars.length === 0) return ''
  const most = Math.max(...bars.map((bar) => bar.most), Number.MIN_VALUE)
  const x = (value: number) => NAME_WIDTH + (value / most) * (WIDTH - NAME_WIDTH - VALUE_WIDTH)
  const rows = bars.map(({ name, style, value, least, most }, i) => {
    const top = TOP + i * BAR_HEIGHT
    const middle = top + BAR_HEIGHT / 2 - 3
    return `<text class="tick" text-anchor="end" x="${NAME_WIDTH - 8}" y="${middle + 4}">${escapeHtml(name)}</text><rect class="s${style}" x="${NAME_WIDTH}" y="${top}" height="${BAR_HEIGHT - 8}" width="${at(Math.max(1, x(value) - NAME_WIDTH))}"/><line class="spread" x1="${at(x(least))}" x2="${at(x(most))}" y1="${middle}" y2="${middle}"/><text class="tick" x="${at(x(most) + 8)}" y="${middle + 4}">${short(value)} ${escapeHtml(unit)}</text>`
  })
  return figure(title, TOP + bars.length * BAR_HEIGHT + 8, rows.join(''), '')
}

function figure(title: string, height: number, content: string, below: string): string {
  return `<figure><svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escapeHtml(title)}"><text class="title" x="${LEFT}" y="20">${escapeHtml(title)}</text>${content}</svg>${below}</figure>`
}

const legend = (series: readonly Series[]): string =>
  `<figcaption>${series.map(({ name, style }) => `<span><svg viewBox="0 0 24 8" width="24" height="8" aria-hidden="true"><line class="s${style}" x1="0" x2="24" y1="4" y2="4"/></svg> ${escapeHtml(name)}</span>`).join(' ')}</figcaption>`

interface Scale {
  of(value: number): number
  ticks: number[]
}

function scale(values: readonly number[], from: number, to: number, isLog: boolean): Scale {
  const low = Math.min(...values)
  const high = Math.max(...values)
  return isLog
    ? logScale(Math.max(low, 1e-6), Math.max(high, 1e-6), from, to)
    : linearScale(low, high, from, to)
}

function linearScale(low: number, high: number, from: number, to: number): Scale {
  const rough = (high - low || Math.abs(high) || 1) / TICKS
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) as number)
  const first = Math.floor(low / step) * step
  const last = Math.max(first + step, Math.ceil(high / step) * step)
  const ticks: number[] = []
  for (let i = 0; first + i * step <= last + step / 2; i++) ticks.push(first + i * step)
  return { ticks, of: (value) => from + ((value - first) / (last - first)) * (to - from) }
}

function logScale(low: number, high: number, from: number, to: number): Scale {
  const first = Math.floor(Math.log10(low))
  const last = Math.max(first + 1, Math.ceil(Math.log10(high)))
  const factors = last - first <= 2 ? [1, 2, 5] : [1]
  const ticks: number[] = []
  for (let power = first; power <= last; power++)
    for (const factor of factors) if (power < last || factor === 1) ticks.push(factor * 10 ** power)
  return {
    ticks,
    of: (value) => from + ((Math.log10(Math.max(value, 10 ** first)) - first) / (last - first)) * (to - from),
  }
}
