import { html, nothing, svg, type TemplateResult } from 'lit'
import type { Inspection } from './inspector-data.ts'
import { type Lineage, type LineageEdge, type LineageRow, layLineage } from './inspector-lineage.ts'

/** The heads of a topic and what is behind them, drawn like the history of a repository: the newest on top. */

const WIDTH = 360
const HEAD_RADIUS = 5
const HOLDER_STEP = 12
const HOLDER_SIZE = 7
/** A topic has at most eight replicas. */
const MAX_HOLDERS = 8
const TEXT_BASELINE = 4

/** The part of a content id that differs. */
export const shortCid = (id: string): string => id.slice(-6)

export function drawLineage({ heads, agreed, full }: Inspection): TemplateResult {
  const lineage = layLineage(heads, agreed?.id, full)
  return html`<svg
    class="lineage"
    viewBox=${`0 0 ${WIDTH} ${lineage.height}`}
    role="img"
    aria-label="Versions of the topic and what is behind them; the table below says the same"
    data-testid="inspector-lineage"
  >
    ${lineage.edges.map(drawEdge)} ${lineage.rows.map((row) => drawRow(row, lineage))}
  </svg>`
}

function drawEdge({ from, to, isKnown }: LineageEdge): TemplateResult<2> {
  const middle = (from.y + to.y) / 2
  const path =
    from.x === to.x
      ? `M${from.x} ${from.y}V${to.y}`
      : `M${from.x} ${from.y}C${from.x} ${middle} ${to.x} ${middle} ${to.x} ${to.y}`
  return svg`<path class=${isKnown ? 'edge' : 'edge guessed'} d=${path} />`
}

function drawRow(row: LineageRow, { textX }: Lineage): TemplateResult<2> {
  return svg`<g data-kind=${row.kind}>${drawMark(row)}${drawWords(row, textX)}${drawHolders(row)}</g>`
}

function drawMark({ kind, x, y, holders, isAgreed }: LineageRow): TemplateResult<2> {
  if (kind === 'head') {
    const state = isAgreed ? 'agreed' : (holders?.length ?? 0) > 0 ? 'held' : 'past'
    return svg`<circle class=${`head ${state}`} cx=${x} cy=${y} r=${HEAD_RADIUS} />`
  }
  if (kind === 'snapshot')
    return svg`<rect class="snapshot" x=${x - 5} y=${y - 5} width="10" height="10" rx="2" />`
  return svg`<circle class="earlier" cx=${x} cy=${y} r="2.5" />`
}

function drawWords({ kind, y, version, id, text }: LineageRow, x: number): TemplateResult<2> {
  const baseline = y + TEXT_BASELINE
  if (kind === 'head')
    return svg`<text x=${x} y=${baseline}>version ${version}<tspan class="id" dx="8">…${shortCid(id ?? '')}</tspan></text>`
  if (kind === 'snapshot')
    return svg`<text class="soft" x=${x} y=${baseline}>snapshot<tspan class="id" dx="8">…${shortCid(id ?? '')}</tspan></text>`
  return svg`<text class="soft" x=${x} y=${baseline}>${text}</text>`
}

/** A square for a durable replica, a circle for a tab; on the right, so that they line up over the versions. */
function drawHolders({ kind, y, holders }: LineageRow): TemplateResult<2> | typeof nothing {
  if (kind !== 'head' || holders === undefined) return nothing
  if (holders.length === 0)
    return svg`<text class="soft" x=${WIDTH} y=${y + 4} text-anchor="end">seen before</text>`
  const shown = holders.slice(0, MAX_HOLDERS)
  const left = WIDTH - shown.length * HOLDER_STEP
  return svg`${shown.map(({ durable }, index) => {
    const x = left + index * HOLDER_STEP + HOLDER_STEP / 2
    return durable
      ? svg`<rect class="holder" x=${x - HOLDER_SIZE / 2} y=${y - HOLDER_SIZE / 2} width=${HOLDER_SIZE} height=${HOLDER_SIZE} rx="1.5" />`
      : svg`<circle class="holder" cx=${x} cy=${y} r=${HOLDER_SIZE / 2} />`
  })}`
}
