import { html, LitElement, nothing, type PropertyValues, type TemplateResult } from 'lit'
import { repeat } from 'lit/directives/repeat.js'
import './composer.ts'
import './leave-question.ts'
import './message-list.ts'
import './people.ts'
import './qr-code.ts'
import { Announcer } from './announcer.ts'
import type { RoomModel } from './chat-model.ts'
import type { ChatNode, NodeStatus } from './chat-node.ts'
import { newKey } from './entries.ts'
import { backIcon, inspectIcon, leaveIcon, linkIcon, lockIcon, peopleIcon } from './icons.ts'
import type { LeaveQuestion } from './leave-question.ts'
import type { MessageList } from './message-list.ts'
import { describeCode, describeProblem } from './problems.ts'
import { roomStyles } from './room-styles.ts'
import { linkTo } from './rooms.ts'
import { baseStyles, controlStyles } from './styles.ts'

/** One room on screen: its state, its messages, the composer, and who is here. */

/** A local question, asked often enough that a failed room shows at once. */
const CHANNEL_POLL_MS = 2_000
/** What arrives within this time is announced together. */
const ANNOUNCE_AFTER_MS = 500
/** Those before were read long ago. */
const MAX_ANNOUNCED = 20
const WIDE = '(min-width: 1080px)'

const SYNC_LABELS = {
  joining: 'Joining…',
  'catching-up': 'Catching up…',
  synced: 'Up to date',
  degraded: 'Not up to date, retrying',
  offline: 'Offline',
  closed: 'Closed',
}

interface Announced {
  key: string
  line: string
}

interface Shared {
  link: string
  copied: boolean
}

export class ChatRoom extends LitElement {
  static override properties = {
    room: { attribute: false },
    node: { attribute: false },
    status: { attribute: false },
    version: { state: true },
    showPeople: { state: true },
    isInspecting: { state: true },
    inspectorMissing: { state: true },
    announced: { state: true },
    recovering: { state: true },
    problem: { state: true },
    shared: { state: true },
  }
  static override styles = [baseStyles, controlStyles, roomStyles]

  declare room: RoomModel
  declare node: ChatNode
  declare status: NodeStatus
  declare version: number
  declare showPeople: boolean
  /** The inspector takes the place of the people. */
  declare isInspecting: boolean
  declare inspectorMissing: boolean
  /** The last of what screen readers are told. */
  declare announced: Announced[]
  declare recovering: boolean
  declare problem: string
  /** What became of the link that was asked for. */
  declare shared: Shared | undefined

  #channelTimer: ReturnType<typeof setInterval> | undefined
  #announcer = new Announcer()
  #announceTimer: ReturnType<typeof setTimeout> | undefined

  constructor() {
    super()
    this.version = 0
    this.showPeople = matchMedia(WIDE).matches
    this.isInspecting = false
    this.inspectorMissing = false
    this.announced = []
    this.recovering = false
    this.problem = ''
  }

  override connectedCallback(): void {
    super.connectedCallback()
    this.#channelTimer = setInterval(() => void this.room.refreshChannel(), CHANNEL_POLL_MS)
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    clearInterval(this.#channelTimer)
    clearTimeout(this.#announceTimer)
    this.#announceTimer = undefined
    this.room.removeEventListener('change', this.#onChange)
  }

  focusComposer(): void {
    this.renderRoot.querySelector<HTMLElement>('chat-composer')?.focus()
  }

  protected override willUpdate(changed: PropertyValues<this>): void {
    if (!changed.has('room')) return
    changed.get('room')?.removeEventListener('change', this.#onChange)
    this.room.addEventListener('change', this.#onChange)
    this.#announcer = new Announcer()
    this.#announcer.begin(this.room.present)
    this.announced = []
    this.problem = ''
    this.shared = undefined
  }

  protected override render(): TemplateResult {
    const { room } = this
    const layout = this.isInspecting ? 'with-inspector' : this.showPeople ? 'with-people' : ''
    return html`<section class=${`layout ${layout}`} @keydown=${this.#onKey}>
      <div class="talk">
        ${this.#drawHeader()} ${this.#drawBanner()}
        <message-list .room=${room} .version=${this.version}></message-list>
        <chat-composer .room=${room} @send-text=${this.#onSend}></chat-composer>
      </div>
      ${this.isInspecting ? this.#drawInspector() : nothing}
      ${
        this.showPeople && !this.isInspecting
          ? html`<div class="scrim" @click=${this.#closePeople}></div>
              <room-people
                role="complementary"
                aria-label="Here now"
                .people=${room.people}
                .self=${this.node.nodeId}
                @close-people=${this.#closePeople}
              ></room-people>`
          : nothing
      }
      <div class="visually-hidden" aria-live="polite" data-testid="announced">
          ${repeat(
            this.announced,
            ({ key }) => key,
            ({ line }) => html`<p>${line}</p>`,
          )}
        </div>
      </section>
      <leave-question
        .room=${room}
        @leave-room=${() => this.dispatchEvent(new CustomEvent('leave-room'))}
      ></leave-question>`
  }

  #drawHeader(): TemplateResult {
    const { room } = this
    const label = room.channel === 'ACTIVE' ? SYNC_LABELS[room.sync] : CHANNEL_LABELS[room.channel]
    return html`<header>
      <button
        class="icon-button back"
        aria-label="Back to the rooms"
        data-testid="back"
        @click=${() => this.dispatchEvent(new CustomEvent('back'))}
      >
        ${backIcon}
      </button>
      <div class="title">
        <h2>
          ${
            room.encrypted
              ? html`<span class="sign" role="img" aria-label="Encrypted room" title="Encrypted room" data-testid="room-lock">${lockIcon}</span>`
              : html`<span class="sign" aria-hidden="true">#</span>`
          }<bdi>${room.topic}</bdi>
        </h2>
        <p
          class=${`state ${tone(room)}`}
          role="status"
          data-testid="topic-state"
          data-state=${room.channel}
          data-sync=${room.sync}
        >
          <span class="dot"></span>${label}
        </p>
      </div>
      <button
        class="icon-button people"
        aria-label=${`Who is here now: ${room.people.length}`}
        aria-expanded=${this.showPeople && !this.isInspecting ? 'true' : 'false'}
        title="Who is here now"
        data-testid="people-toggle"
        @click=${() => {
          this.showPeople = this.isInspecting || !this.showPeople
          this.isInspecting = false
        }}
      >
        ${peopleIcon}<span>${room.people.length}</span>
      </button>
      <button
        class="icon-button inspect"
        aria-label="Look inside this room"
        aria-expanded=${this.isInspecting ? 'true' : 'false'}
        title="Look inside this room"
        data-testid="inspector-toggle"
        @click=${this.#toggleInspector}
      >
        ${inspectIcon}
      </button>
      <button
        class="icon-button"
        aria-label="Copy a link to this room"
        title="Copy a link to this room"
        data-testid="room-share"
        @click=${this.#share}
      >
        ${linkIcon}
      </button>
      <button
        class="icon-button"
        aria-label="Leave this room"
        title="Leave this room"
        data-testid="room-leave"
        @click=${() => this.renderRoot.querySelector<LeaveQuestion>('leave-question')?.ask()}
      >
        ${leaveIcon}
      </button>
    </header>`
  }

  #drawInspector(): TemplateResult {
    return html`<div class="scrim" @click=${this.#closeInspector}></div>
      <room-inspector
        role="complementary"
        aria-label="Inside this room"
        data-testid="inspector"
        .room=${this.room}
        .node=${this.node}
        .status=${this.status}
        @close-inspector=${this.#closeInspector}
      ></room-inspector>`
  }

  #drawBanner(): TemplateResult | typeof nothing {
    const { room } = this
    if (room.channel === 'FAILED')
      return html`<div class="banner bad" role="alert">
        <span>${this.problem === '' ? 'The records of this room could not be read. Nothing can be sent here until that succeeds.' : this.problem}</span>
        <button class="link-button" ?disabled=${this.recovering} @click=${this.#recover}>
          ${this.recovering ? 'Trying…' : 'Try now'}
        </button>
      </div>`
    if (this.shared !== undefined) return this.#drawShared(this.shared)
    const { state, problem } = this.status
    if (state === 'offline')
      return html`<div class="banner" role="status">
        You are offline. ${problem === undefined ? nothing : describeCode(problem)} What you write waits on this device, and
        what the others write is kept by their nodes, until you are back.
      </div>`
    if (this.inspectorMissing)
      return html`<div class="banner" role="status">The inspector could not be loaded. Try again once the bridge is back.</div>`
    if (room.joinProblem !== undefined)
      return html`<div class="banner" role="status">
        Joining does not succeed yet: ${room.joinProblem} Trying again.
      </div>`
    if (room.problem !== undefined)
      return html`<div class="banner" role="status" data-testid="room-problem">
        This room is not up to date: ${room.problem} Trying again.
      </div>`
    return nothing
  }

  #drawShared({ link, copied }: Shared): TemplateResult {
    const who = this.room.encrypted
      ? 'Whoever has it can read and write here: send it only to people you trust.'
      : 'The room is open: anybody who knows its name is in.'
    return html`<div class="banner" role="status" data-testid="room-shared">
      <qr-code .text=${link} .label=${'The link as a QR code'}></qr-code>
      <span>
        ${copied ? 'Link copied.' : html`Copying is not allowed here; select the link: <code>${link}</code>`} A camera
        reads it from the code. ${who}
      </span>
      <button class="link-button" @click=${this.#closeShared}>Close</button>
    </div>`
  }

  async #share(): Promise<void> {
    const { room } = this
    const link = linkTo(room.ref, location.href)
    const copied = await navigator.clipboard.writeText(link).then(
      () => true,
      () => false,
    )
    if (room === this.room) this.shared = { link, copied }
  }

  #closeShared(): void {
    this.shared = undefined
    this.renderRoot.querySelector<HTMLElement>('[data-testid="room-share"]')?.focus()
  }

  readonly #onChange = (): void => {
    this.version += 1
    this.#announceTimer ??= setTimeout(this.#announce, ANNOUNCE_AFTER_MS)
  }

  /**
   * Screen readers hear what arrives, not the pages of history that scrolling brings. Each line is an element of its own:
   * it is what is added that they read, also where the text is that of the line before.
   */
  readonly #announce = (): void => {
    this.#announceTimer = undefined
    const lines = this.#announcer.next(this.room.present).map((line) => ({ key: newKey(), line }))
    if (lines.length > 0) this.announced = [...this.announced, ...lines].slice(-MAX_ANNOUNCED)
  }

  #onSend(event: CustomEvent<string>): void {
    this.room.send(event.detail)
    this.renderRoot.querySelector<MessageList>('message-list')?.toLatest()
  }

  #closePeople(): void {
    this.showPeople = false
    this.renderRoot.querySelector<HTMLElement>('.people')?.focus()
  }

  /** A chunk of its own: few look inside. */
  async #toggleInspector(): Promise<void> {
    if (this.isInspecting) return this.#closeInspector()
    this.inspectorMissing = false
    try {
      await import('./inspector.ts')
      this.isInspecting = true
    } catch {
      this.inspectorMissing = true
    }
  }

  #closeInspector(): void {
    this.isInspecting = false
    this.renderRoot.querySelector<HTMLElement>('.inspect')?.focus()
  }

  #onKey(event: KeyboardEvent): void {
    if (event.key === 'Escape' && this.isInspecting) return this.#closeInspector()
    if (event.key === 'Escape' && this.showPeople && !matchMedia(WIDE).matches) this.#closePeople()
  }

  async #recover(): Promise<void> {
    this.recovering = true
    try {
      await this.room.recover()
      this.problem = ''
    } catch (error) {
      this.problem = describeProblem(error)
    } finally {
      this.recovering = false
    }
  }
}

const CHANNEL_LABELS = { RECOVERING: 'Recovering this room…', FAILED: 'This room cannot be read' }

function tone(room: RoomModel): 'good' | 'busy' | 'warn' | 'bad' {
  if (room.channel === 'FAILED') return 'bad'
  if (
    room.channel === 'RECOVERING' ||
    room.sync === 'degraded' ||
    room.sync === 'offline' ||
    room.sync === 'closed'
  )
    return 'warn'
  return room.sync === 'synced' ? 'good' : 'busy'
}

customElements.define('chat-room', ChatRoom)
