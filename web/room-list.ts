import { css, html, LitElement, nothing, type TemplateResult } from 'lit'
import { cleanRoom, MAX_ROOM_LENGTH } from './chat-data.ts'
import { lockIcon, plusIcon } from './icons.ts'
import { MAX_PASSPHRASE_LENGTH } from './rooms.ts'
import { baseStyles, controlStyles } from './styles.ts'

/** The rooms of this browser and the field to join one. Arrow keys, Home and End move through the list. */

export interface RoomSummary {
  id: string
  name: string
  encrypted: boolean
  unread: number
}

/** What the form asks for. */
export interface JoinRequest {
  name: string
  passphrase?: string
}

export class RoomList extends LitElement {
  static override properties = {
    rooms: { attribute: false },
    active: { attribute: false },
    problem: { attribute: false },
    busy: { attribute: false },
  }
  static override styles = [
    baseStyles,
    controlStyles,
    css`
      :host {
        display: flex;
        flex-direction: column;
        min-height: 0;
      }
      form {
        padding: var(--space-4) var(--space-4) var(--space-3);
      }
      .pair {
        display: flex;
        gap: var(--space-2);
      }
      details {
        margin-top: var(--space-2);
        font-size: var(--size-small);
      }
      summary {
        width: fit-content;
        color: var(--ink-soft);
        cursor: pointer;
      }
      /* What is folded does not inherit it from the form. */
      details .field {
        box-sizing: border-box;
        width: 100%;
        margin-top: var(--space-2);
      }
      .help {
        margin-top: var(--space-1);
        color: var(--ink-soft);
        font-size: var(--size-tiny);
      }
      .join {
        flex: none;
        width: 2.5rem;
        padding: 0;
      }
      .problem {
        padding: 0 var(--space-4) var(--space-2);
        color: var(--bad);
        font-size: var(--size-small);
      }
      h2 {
        padding: var(--space-2) calc(var(--space-4) + var(--space-3)) var(--space-1);
        color: var(--ink-soft);
        font-size: var(--size-tiny);
        font-weight: 600;
      }
      ul {
        flex: 1;
        min-height: 0;
        padding: 2px var(--space-4) var(--space-4);
        overflow: hidden auto;
        scrollbar-width: thin;
      }
      .room {
        display: flex;
        align-items: center;
        gap: var(--space-2);
        width: 100%;
        min-height: 2.5rem;
        margin-bottom: 2px;
        padding: 0 var(--space-3);
        border: 0;
        border-radius: var(--radius);
        background: transparent;
        text-align: start;
      }
      .room:hover {
        background: var(--hover);
      }
      .room[aria-current='true'] {
        background: var(--selected);
        font-weight: 600;
      }
      .sign {
        color: var(--ink-faint);
        font-weight: 400;
      }
      .sign svg {
        display: inline-block;
        width: 0.9rem;
        height: 0.9rem;
        vertical-align: -0.1rem;
      }
      .name {
        flex: 1;
        overflow: hidden;
        text-overflow: ellipsis;
        white-space: nowrap;
      }
      .unread {
        font-weight: 650;
      }
      .badge {
        min-width: 1.4rem;
        padding: 0 0.4rem;
        border-radius: 99px;
        background: var(--accent);
        color: var(--on-accent);
        font-size: var(--size-tiny);
        font-weight: 650;
        line-height: 1.4rem;
        text-align: center;
      }
      .none {
        padding: var(--space-1) var(--space-3);
        color: var(--ink-soft);
        font-size: var(--size-small);
      }
      @media (max-width: 719px) {
        .room {
          min-height: 3rem;
        }
      }
    `,
  ]

  declare rooms: RoomSummary[]
  declare active: string
  declare problem: string
  /** A key is being made of a passphrase. */
  declare busy: boolean

  constructor() {
    super()
    this.rooms = []
    this.active = ''
    this.problem = ''
    this.busy = false
  }

  focusField(): void {
    this.#roomField.focus()
  }

  /** The room that is shown; without any, the field to join one. */
  async focusRooms(): Promise<void> {
    await this.updateComplete
    const shown = this.#buttons().find(({ tabIndex }) => tabIndex === 0)
    ;(shown ?? this.#roomField).focus()
  }

  protected override render(): TemplateResult {
    const tabStop = this.rooms.some(({ id }) => id === this.active) ? this.active : this.rooms[0]?.id
    return html`${this.#drawForm()}
      ${this.problem === '' ? nothing : html`<p class="problem" role="alert">${this.problem}</p>`}
      <h2 id="title">Your rooms</h2>
      <ul aria-labelledby="title" @keydown=${this.#onListKey}>
        ${this.rooms.map((room) => this.#drawRoom(room, room.id === tabStop))}
        ${this.rooms.length === 0 ? html`<li class="none">None yet: type a name above to join one.</li>` : nothing}
      </ul>`
  }

  #drawForm(): TemplateResult {
    return html`<form @submit=${this.#onJoin}>
      <div class="pair">
        <input
          class="field"
          type="text"
          name="room"
          placeholder="Join a room…"
          aria-label="Name of the room to join"
          maxlength=${MAX_ROOM_LENGTH}
          autocomplete="off"
          autocapitalize="off"
          spellcheck="false"
          enterkeyhint="go"
          data-testid="room-input"
          @keydown=${this.#onFieldKey}
        />
        <button
          class="button quiet join"
          type="submit"
          aria-label="Join"
          title="Join"
          data-testid="room-submit"
          ?disabled=${this.busy}
        >
          ${plusIcon}
        </button>
      </div>
      <details>
        <summary data-testid="room-passphrase-open">With a passphrase</summary>
        <input
          class="field"
          type="password"
          name="passphrase"
          placeholder="Passphrase"
          aria-label="Passphrase of the room"
          aria-describedby="passphrase-help"
          maxlength=${MAX_PASSPHRASE_LENGTH}
          autocomplete="off"
          enterkeyhint="go"
          data-testid="room-passphrase"
        />
        <p class="help" id="passphrase-help">
          Encrypts the room. Everybody types the same name and the same passphrase. Another passphrase is not refused: it
          opens another room, an empty one.
        </p>
      </details>
    </form>`
  }

  #drawRoom({ id, name, encrypted, unread }: RoomSummary, tabStop: boolean): TemplateResult {
    return html`<li>
      <button
        class="room"
        data-testid="room-item"
        data-room=${name}
        tabindex=${tabStop ? 0 : -1}
        aria-current=${id === this.active ? 'true' : 'false'}
        @click=${() => this.#choose(id)}
      >
        ${
          encrypted
            ? html`<span class="sign" role="img" aria-label="Encrypted">${lockIcon}</span>`
            : html`<span class="sign" aria-hidden="true">#</span>`
        }
        <bdi class=${unread > 0 ? 'name unread' : 'name'}>${name}</bdi>
        ${
          unread > 0
            ? html`<span class="badge">${unread > 99 ? '99+' : unread}<span class="visually-hidden"> unread</span></span>`
            : nothing
        }
      </button>
    </li>`
  }

  #choose(id: string): void {
    this.dispatchEvent(new CustomEvent('choose-room', { detail: id }))
  }

  get #roomField(): HTMLInputElement {
    return this.renderRoot.querySelector<HTMLInputElement>('[name=room]')!
  }

  #onJoin(event: SubmitEvent): void {
    event.preventDefault()
    if (this.busy) return
    const name = cleanRoom(this.#roomField.value)
    if (name === '') {
      this.#roomField.focus()
      return
    }
    const details = this.renderRoot.querySelector('details')!
    const secret = this.renderRoot.querySelector<HTMLInputElement>('[name=passphrase]')!
    // What is folded away is not meant.
    const passphrase = details.open ? secret.value : ''
    const detail: JoinRequest = passphrase === '' ? { name } : { name, passphrase }
    this.#roomField.value = ''
    secret.value = ''
    details.open = false
    this.dispatchEvent(new CustomEvent('join-room', { detail }))
  }

  #onFieldKey(event: KeyboardEvent): void {
    const field = event.currentTarget as HTMLInputElement
    if (event.key === 'Escape') field.value = ''
    if (event.key === 'ArrowDown') this.#moveFocus(0, event)
  }

  #onListKey(event: KeyboardEvent): void {
    const buttons = this.#buttons()
    const focused = buttons.indexOf(this.shadowRoot?.activeElement as HTMLButtonElement)
    const last = buttons.length - 1
    const targets = new Map([
      ['ArrowDown', Math.min(last, focused + 1)],
      ['ArrowUp', Math.max(0, focused - 1)],
      ['Home', 0],
      ['End', last],
    ])
    const target = targets.get(event.key)
    if (target !== undefined) this.#moveFocus(target, event)
  }

  #buttons(): HTMLButtonElement[] {
    return [...this.renderRoot.querySelectorAll<HTMLButtonElement>('.room')]
  }

  #moveFocus(index: number, event: KeyboardEvent): void {
    event.preventDefault()
    this.#buttons()[index]?.focus()
  }
}

customElements.define('room-list', RoomList)
