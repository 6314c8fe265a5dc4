import { html, nothing, svg, type TemplateResult } from 'lit'
import { shortId } from './chat-data.ts'
import { layRing, type NodeRow, RING, type RingMark } from './inspector-places.ts'

/** The key space as a ring: the topic's key, this node, its peers and the replicas, each where its hash puts it. */

const MIDDLE = { x: RING.width / 2, y: RING.height / 2 }
const LABEL_GAP = 4

export function drawRing(topicPlace: Uint8Array, rows: NodeRow[]): TemplateResult {
  const marks = layRing(topicPlace, rows)
  const topic = marks.find(({ kind }) => kind === 'topic')!
  const self = marks.find(({ kind }) => kind === 'self')
  return html`<svg
    class="ring"
    viewBox=${`0 0 ${RING.width} ${RING.height}`}
    role="img"
    aria-label="This node, its peers and the replicas around the topic in the key space; the table below says the same"
    data-testid="inspector-ring"
  >
    <circle class="circle" cx=${MIDDLE.x} cy=${MIDDLE.y} r=${RING.radius} />
    ${self === undefined ? nothing : marks.map((mark) => drawLink(self, mark))}
    ${marks.map((mark) => (mark.row?.replica === undefined ? nothing : drawCurve('keeps', topic, mark)))}
    ${marks.map(drawLabel)} ${marks.map(drawMark)}
  </svg>`
}

function drawLink(self: RingMark, mark: RingMark): TemplateResult<2> | typeof nothing {
  const link = mark.row?.link
  if (link === undefined || link === 'self' || link === 'none') return nothing
  return drawCurve(link === 'relayed' ? 'link relayed' : 'link', self, mark)
}

/** Bent towards the middle, so that it leaves the ring between neighbours. */
function drawCurve(name: string, from: RingMark, to: RingMark): TemplateResult<2> {
  const bend = { x: (from.x + to.x) / 4 + MIDDLE.x / 2, y: (from.y + to.y) / 4 + MIDDLE.y / 2 }
  return svg`<path class=${name} d=${`M${from.x} ${from.y}Q${bend.x} ${bend.y} ${to.x} ${to.y}`} />`
}

function drawMark({ kind, row, x, y }: RingMark): TemplateResult<2> {
  if (kind === 'topic')
    return svg`<path class="mark topic" data-kind="topic" d=${`M${x} ${y - 8}l8 8-8 8-8-8z`} />`
  const name = `mark ${kind}${row?.replica === undefined ? '' : ' replica'}`
  const size = kind === 'peer' ? 3.5 : 5.5
  return row?.replica === 'durable'
    ? svg`<rect class=${name} data-kind=${kind} x=${x - size} y=${y - size} width=${2 * size} height=${2 * size} rx="2" />`
    : svg`<circle class=${name} data-kind=${kind} cx=${x} cy=${y} r=${size} />`
}

function drawLabel(mark: RingMark): TemplateResult<2> | typeof nothing {
  const { label, kind } = mark
  if (label === undefined) return nothing
  const side = label.anchor === 'start' ? 1 : -1
  return svg`<path class="leader" d=${`M${mark.x} ${mark.y}L${label.x} ${label.y}`} />
    <text
      class=${kind === 'topic' || kind === 'self' ? 'name' : 'id'}
      x=${label.x + side * LABEL_GAP}
      y=${label.y + 4}
      text-anchor=${label.anchor}
    >${words(mark)}</text>`
}

const words = ({ kind, row }: RingMark): string => {
  if (kind === 'topic') return 'topic'
  return kind === 'self' ? 'this node' : `…${shortId(row?.nodeId ?? '')}`
}
