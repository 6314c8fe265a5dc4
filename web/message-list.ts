import { html, LitElement, nothing, type PropertyValues, type TemplateResult } from 'lit'
import { repeat } from 'lit/directives/repeat.js'
import type { RoomModel } from './chat-model.ts'
import type { ChatEntry } from './entries.ts'
import { downIcon } from './icons.ts'
import { drawRow } from './message-row.ts'
import { messageStyles } from './message-styles.ts'
import { buildRows, type Row } from './rows.ts'
import { authorStyles, baseStyles, controlStyles } from './styles.ts'

/**
 * Draws a window of at most WINDOW_ROWS rows around what is visible, so 10,000 messages cost as much as 300, and asks
 * for older pages near the top. The message under the reader's eye keeps its place whatever is added around it.
 */

const WINDOW_ROWS = 300
const STEP_ROWS = 100
/** Closer to an edge than this, the window moves on: about one tall screen ahead of the reader. */
const EDGE_PX = 900
/** A reader this close to the end follows new messages. */
const FOLLOW_PX = 48

export class MessageList extends LitElement {
  static override properties = {
    room: { attribute: false },
    version: { attribute: false },
    following: { state: true },
  }
  static override styles = [baseStyles, controlStyles, authorStyles, messageStyles]

  declare room: RoomModel
  /** Counts the room's changes; drawing again is what it is for. */
  declare version: number
  declare following: boolean

  #rows: Row[] = []
  #start = 0
  #end = 0
  #hadFocus = false
  #anchor: { key: string; top: number } | undefined
  /** How many live messages there were when the reader left the end. */
  #readUntil = 0
  readonly #resize = new ResizeObserver(() => this.#stayAtEnd())
  readonly #actions = {
    retry: (entry: ChatEntry) => this.room.retry(entry),
    discard: (entry: ChatEntry) => this.room.discard(entry),
  }

  constructor() {
    super()
    this.version = 0
    this.following = true
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    this.#resize.disconnect()
  }

  toLatest(): void {
    this.following = true
    this.requestUpdate()
  }

  protected override firstUpdated(): void {
    this.#resize.observe(this.#scroller)
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (changed.has('room')) {
      this.following = true
      this.#rows = []
    }
    if (changed.has('room') || changed.has('version')) this.#replaceRows()
    if (this.following) {
      this.#end = this.#rows.length
      this.#start = Math.max(0, this.#end - WINDOW_ROWS)
    }
    this.#hadFocus = this.shadowRoot?.activeElement != null
    this.#anchor = this.following ? undefined : this.#findAnchor()
  }

  protected override updated(): void {
    if (this.following) this.#stayAtEnd()
    else this.#restoreAnchor()
    this.#checkEdges()
    // A button that did its work, or a link that has left the window: the keyboard stays with the messages.
    if (this.#hadFocus && this.shadowRoot?.activeElement == null)
      this.#scroller.focus({ preventScroll: true })
  }

  protected override render(): TemplateResult {
    const rows = this.#rows.slice(this.#start, this.#end)
    return html`<div
        class="scroller"
        role="log"
        aria-live="off"
        aria-label=${`Messages in ${this.room.topic}`}
        aria-busy=${this.room.older === 'loading' ? 'true' : 'false'}
        tabindex="0"
        data-testid="message-scroller"
        @scroll=${this.#onScroll}
      >
        <div class="rows">
          ${this.#start === 0 ? this.#drawTop() : nothing}
          ${repeat(
            rows,
            (row) => row.key,
            (row) => drawRow(row, this.#actions),
          )}
        </div>
      </div>
      ${this.following ? nothing : this.#drawToLatest()}`
  }

  #drawTop(): TemplateResult | typeof nothing {
    switch (this.room.older) {
      case 'none':
        return html`<div class="beginning">
          <h3>The beginning of <bdi>${this.room.topic}</bdi></h3>
          <p>Messages are kept by the nodes in the network until they expire.</p>
        </div>`
      case 'failed':
        return html`<div class="older">
          Older messages could not be read.
          <button class="link-button" @click=${() => void this.room.loadOlder()}>Try again</button>
        </div>`
      case 'full':
        return html`<div class="older">This tab holds as many messages as it can.</div>`
      case 'loading':
      case 'more':
        return html`<div class="older">Loading older messages…</div>`
      case 'unknown':
        return this.room.joined ? nothing : html`<div class="older">Reading the room’s history…</div>`
    }
  }

  #drawToLatest(): TemplateResult {
    const news = this.#messageCount - this.#readUntil
    return html`<button
      class=${news > 0 ? 'latest news' : 'latest'}
      data-testid="to-latest"
      @click=${this.toLatest}
    >
      ${downIcon}${news > 0 ? `${news} new` : 'Latest'}
    </button>`
  }

  get #messageCount(): number {
    return this.room.present.reduce((count, { kind }) => count + (kind === 'message' ? 1 : 0), 0)
  }

  get #scroller(): HTMLElement {
    return this.renderRoot.querySelector<HTMLElement>('.scroller')!
  }

  /** New rows, and the window over the same messages as before wherever they are now. */
  #replaceRows(): void {
    const first = this.#rows.slice(this.#start, this.#end).find(({ kind }) => kind === 'message')
    const offset = first === undefined ? 0 : this.#rows.indexOf(first)
    this.#rows = buildRows(this.room)
    if (this.following || first === undefined) return
    const moved = this.#rows.findIndex(({ key }) => key === first.key) - offset
    this.#start = Math.max(0, this.#start + moved)
    // A window that showed everything goes on doing so until it is full.
    this.#end = Math.min(this.#rows.length, Math.max(this.#end + moved, this.#start + WINDOW_ROWS))
  }

  readonly #onScroll = (): void => {
    const scroller = this.#scroller
    const below = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight
    const following = below < FOLLOW_PX && this.#end === this.#rows.length
    if (this.following && !following) this.#readUntil = this.#messageCount
    this.following = following
    this.#checkEdges()
  }

  #checkEdges(): void {
    const scroller = this.#scroller
    if (scroller.clientHeight === 0) return
    if (scroller.scrollTop < EDGE_PX) {
      if (this.#start > 0 && !this.following) this.#moveWindow(-STEP_ROWS)
      else if (this.#start === 0 && (this.room.older === 'unknown' || this.room.older === 'more'))
        void this.room.loadOlder()
      return
    }
    const below = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight
    if (below < EDGE_PX && this.#end < this.#rows.length) this.#moveWindow(STEP_ROWS)
  }

  #moveWindow(rows: number): void {
    const last = Math.max(0, this.#rows.length - WINDOW_ROWS)
    const start = Math.min(last, Math.max(0, this.#start + rows))
    if (start === this.#start && this.#end >= Math.min(this.#rows.length, start + WINDOW_ROWS)) return
    this.#start = start
    this.#end = Math.min(this.#rows.length, start + WINDOW_ROWS)
    this.requestUpdate()
  }

  /** The first message that is at least partly visible. */
  #findAnchor(): { key: string; top: number } | undefined {
    if (!this.hasUpdated) return undefined
    const edge = this.#scroller.getBoundingClientRect().top
    for (const element of this.renderRoot.querySelectorAll<HTMLElement>('[data-key]')) {
      const { top, bottom } = element.getBoundingClientRect()
      if (bottom > edge) return { key: element.dataset.key ?? '', top }
    }
    return undefined
  }

  #restoreAnchor(): void {
    if (this.#anchor === undefined) return
    const element = this.renderRoot.querySelector(`[data-key="${this.#anchor.key}"]`)
    if (element === null) return
    const moved = element.getBoundingClientRect().top - this.#anchor.top
    if (moved !== 0) this.#scroller.scrollTop += moved
  }

  #stayAtEnd(): void {
    if (this.following) this.#scroller.scrollTop = this.#scroller.scrollHeight
  }
}

customElements.define('message-list', MessageList)
