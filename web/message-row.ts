import { html, nothing, type TemplateResult } from 'lit'
import { colourOf, initialOf, shortId } from './chat-data.ts'
import type { ChatEntry, GapEntry } from './entries.ts'
import { alertIcon, checkIcon } from './icons.ts'
import { missing, type Row } from './rows.ts'
import { type Piece, splitLinks } from './text.ts'

/** Draws one row. Everything that came from someone else goes through a text binding and is isolated by <bdi>. */

export interface RowActions {
  retry(entry: ChatEntry): void
  discard(entry: ChatEntry): void
}

const timeOf = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' })
const momentOf = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' })
const dayOf = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' })
const dayAndYearOf = new Intl.DateTimeFormat(undefined, { dateStyle: 'long' })

/** Messages carried here from elsewhere share one publisher: there the name tells the people apart. */
export const authorColour = (entry: ChatEntry): number =>
  colourOf(entry.imported ? `${entry.publisher}/${entry.name}` : entry.publisher)

export function drawRow(row: Row, actions: RowActions): TemplateResult {
  switch (row.kind) {
    case 'day':
      return html`<div class="rule" role="separator"><span>${dayName(row.at)}</span></div>`
    case 'boundary':
      return html`<div class="rule boundary" role="separator" data-testid="history-boundary">
        <span>${boundaryText(row)}</span>
      </div>`
    case 'gap':
      return drawGap(row.entry)
    case 'message':
      return drawMessage(row.entry, row.leads, actions)
  }
}

function boundaryText({ earlier, resumed }: Extract<Row, { kind: 'boundary' }>): string {
  if (resumed) return 'You had read up to here'
  return earlier ? 'You joined here — earlier messages above' : 'You joined here — no earlier messages'
}

function dayName(at: number): string {
  const day = new Date(at).toDateString()
  const today = new Date()
  if (day === today.toDateString()) return 'Today'
  const yesterday = new Date(today.getFullYear(), today.getMonth(), today.getDate() - 1)
  if (day === yesterday.toDateString()) return 'Yesterday'
  return new Date(at).getFullYear() === today.getFullYear() ? dayOf.format(at) : dayAndYearOf.format(at)
}

function drawGap(entry: GapEntry): TemplateResult {
  const [what, why] = missing(entry)
  return html`<div class="gap" role="note" data-testid="gap">
    ${alertIcon}<span>${what} from <bdi>${entry.name}</bdi> ${why}</span>
  </div>`
}

function drawMessage(entry: ChatEntry, leads: boolean, actions: RowActions): TemplateResult {
  const time = html`<time
    class=${leads ? 'when' : 'when gutter'}
    datetime=${new Date(entry.at).toISOString()}
    title=${momentOf.format(entry.at)}
    >${timeOf.format(entry.at)}</time
  >`
  return html`<div
    class=${`row author-${authorColour(entry)}${leads ? ' leads' : ''}${entry.own ? ' own' : ''}`}
    data-testid="message"
    data-key=${entry.key}
    data-state=${entry.state}
    data-id=${entry.id ?? nothing}
  >
    ${leads ? html`<span class="avatar" aria-hidden="true">${initialOf(entry.name)}</span>` : time}
    <div>
      ${leads ? drawHead(entry, time) : html`<span class="visually-hidden"><bdi>${entry.name}</bdi></span>`}
      <div class="line">
        <div class="text" dir="auto">${piecesOf(entry).map(drawPiece)}</div>
        ${drawState(entry)}
      </div>
      ${entry.state === 'failed' ? drawFailure(entry, actions) : nothing}
    </div>
  </div>`
}

function drawHead(entry: ChatEntry, time: TemplateResult): TemplateResult {
  return html`<div class="head">
    <bdi class="author" title=${entry.publisher}>${entry.name}</bdi>
    ${
      entry.imported
        ? html`<span class="tag" title=${`Carried here by ${entry.publisher}`}>imported</span>`
        : html`<span class="id" title=${entry.publisher}>${entry.own ? 'you' : shortId(entry.publisher)}</span>`
    }
    ${time}
  </div>`
}

/** A text does not change, and a row is drawn again at each change of the room. */
const pieces = new WeakMap<ChatEntry, Piece[]>()

function piecesOf(entry: ChatEntry): Piece[] {
  const known = pieces.get(entry)
  if (known !== undefined) return known
  const found = splitLinks(entry.text)
  pieces.set(entry, found)
  return found
}

function drawPiece(piece: Piece): TemplateResult | string {
  return 'href' in piece
    ? html`<a href=${piece.href} target="_blank" rel="noopener noreferrer">${piece.text}</a>`
    : piece.text
}

function drawState(entry: ChatEntry): TemplateResult | typeof nothing {
  if (!entry.own) return nothing
  switch (entry.state) {
    case 'waiting':
      return html`<span class="sending" title=${entry.problem ?? 'Kept on this device until somebody can be reached'}
        >Waiting to be sent</span
      >`
    case 'sending':
      return html`<span class="sending">Sending…</span>`
    case 'failed':
      return nothing
    case 'sent': {
      const stored = storedBy(entry)
      return html`<span class="sent" role="img" aria-label=${`Sent. ${stored}`} title=${stored}>${checkIcon}</span>`
    }
  }
}

/** The number is told when it is sent; who comes back later only knows that it is stored. */
function storedBy({ replicas, delivered }: ChatEntry): string {
  const nodes = replicas === undefined ? 'the room’s nodes' : replicas === 1 ? '1 node' : `${replicas} nodes`
  return `Stored by ${nodes}${delivered === undefined ? '' : `, delivered to ${delivered}`}`
}

function drawFailure(entry: ChatEntry, actions: RowActions): TemplateResult {
  return html`<div class="failure">
    <span>${alertIcon}Not sent. ${entry.problem}</span>
    <button class="link-button" data-testid="message-retry" @click=${() => actions.retry(entry)}>Send again</button>
    <button class="link-button" data-testid="message-discard" @click=${() => actions.discard(entry)}>Discard</button>
  </div>`
}
