import { css, html, LitElement, nothing, type TemplateResult } from 'lit'
import { shortId } from './chat-data.ts'
import type { NodeStatus, PeerLink } from './chat-node.ts'
import { baseStyles, controlStyles } from './styles.ts'

/** How this browser is connected: one line, and on demand peer by peer. */

const LABELS = { connecting: 'Connecting', online: 'Online', degraded: 'Weak connection', offline: 'Offline' }
const MAX_SHOWN_PEERS = 50

export class ConnectionChip extends LitElement {
  static override properties = { status: { attribute: false }, open: { state: true } }
  static override styles = [
    baseStyles,
    controlStyles,
    css`
      :host {
        position: relative;
        display: block;
      }
      .chip {
        display: flex;
        align-items: center;
        gap: var(--space-2);
        min-height: 2.25rem;
        padding: 0 var(--space-3);
        border: 1px solid var(--line);
        border-radius: 99px;
        background: var(--paper);
        font-size: var(--size-small);
        white-space: nowrap;
      }
      .chip:hover {
        background: var(--hover);
      }
      .dot {
        width: 0.5rem;
        height: 0.5rem;
        border-radius: 50%;
        background: var(--tone);
      }
      .online { --tone: var(--good); }
      .degraded { --tone: var(--warn); }
      .offline { --tone: var(--bad); }
      .connecting { --tone: var(--ink-faint); }
      .connecting .dot {
        animation: breathe 1.4s ease-in-out infinite alternate;
      }
      @keyframes breathe {
        to { opacity: 0.25; }
      }
      .peers {
        color: var(--ink-soft);
        font-variant-numeric: tabular-nums;
      }
      .details {
        position: absolute;
        z-index: 5;
        top: calc(100% + var(--space-2));
        right: 0;
        width: 17rem;
        max-width: calc(100vw - 2rem);
        padding: var(--space-3) var(--space-4);
        border: 1px solid var(--line);
        border-radius: var(--radius);
        background: var(--raised);
        box-shadow: var(--shadow);
        font-size: var(--size-small);
      }
      .details p {
        padding-bottom: var(--space-2);
        color: var(--ink-soft);
      }
      .details ul {
        max-height: 14rem;
        overflow: hidden auto;
      }
      .details li {
        display: flex;
        align-items: baseline;
        justify-content: space-between;
        padding: 0.15rem 0;
      }
      code {
        font: var(--size-tiny) var(--font-code);
      }
      .route {
        color: var(--ink-soft);
      }
      @media (max-width: 479px) {
        /* not for screen readers: it is the status that they hear */
        .online .label {
          position: absolute;
          width: 1px;
          height: 1px;
          overflow: hidden;
          clip-path: inset(50%);
        }
      }
    `,
  ]

  declare status: NodeStatus
  declare open: boolean

  constructor() {
    super()
    this.status = { state: 'connecting', peers: [], bridge: false }
    this.open = false
  }

  override connectedCallback(): void {
    super.connectedCallback()
    document.addEventListener('pointerdown', this.#onOutside)
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    document.removeEventListener('pointerdown', this.#onOutside)
  }

  protected override render(): TemplateResult {
    const { state, peers } = this.status
    const count = peers.length === 1 ? '1 peer' : `${peers.length} peers`
    const direct = peers.filter((peer) => peer.direct).length
    return html`<button
        class=${`chip ${state}`}
        aria-expanded=${this.open ? 'true' : 'false'}
        aria-controls="details"
        title=${`${LABELS[state]}: ${count}, ${direct} direct, ${peers.length - direct} relayed`}
        data-testid="connection-state"
        data-state=${state}
        data-peers=${peers.length}
        data-direct=${direct}
        @click=${() => {
          this.open = !this.open
        }}
        @keydown=${this.#onKey}
      >
        <span class="dot"></span>
        <span class="label" role="status">${LABELS[state]}</span>
        <span class="peers">${peers.length > 0 ? count : nothing}</span>
      </button>
      ${this.open ? this.#drawDetails(direct) : nothing}`
  }

  #drawDetails(direct: number): TemplateResult {
    const { peers, bridge } = this.status
    return html`<div id="details" class="details" role="group" aria-label="Connections">
      <p>
        ${direct} direct, ${peers.length - direct} relayed.
        ${bridge ? 'The bridge is connected.' : 'The bridge is not connected; peers go on without it.'}
      </p>
      <ul>
        ${peers.slice(0, MAX_SHOWN_PEERS).map(
          (peer) => html`<li>
            <code title=${peer.nodeId}>…${shortId(peer.nodeId)}</code><span class="route">${route(peer)}</span>
          </li>`,
        )}
      </ul>
    </div>`
  }

  #onKey(event: KeyboardEvent): void {
    if (event.key !== 'Escape' || !this.open) return
    event.stopPropagation()
    this.open = false
  }

  readonly #onOutside = (event: PointerEvent): void => {
    if (this.open && !event.composedPath().includes(this)) this.open = false
  }
}

const route = ({ direct, webrtc }: PeerLink): string =>
  direct ? (webrtc ? 'direct, WebRTC' : 'direct') : 'relayed'

customElements.define('connection-chip', ConnectionChip)
