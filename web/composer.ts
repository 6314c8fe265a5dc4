import { css, html, LitElement, nothing, type PropertyValues, type TemplateResult } from 'lit'
import { MAX_TEXT_LENGTH } from './chat-data.ts'
import type { RoomModel } from './chat-model.ts'
import { sendIcon } from './icons.ts'
import { baseStyles, controlStyles } from './styles.ts'

/** Enter sends, Shift+Enter starts a line, Escape leaves the field. What is typed stays with its room. */

const WARN_AT_LENGTH = 3_500
const MAX_HEIGHT_PX = 200
const COMPOSING = 229

export class ChatComposer extends LitElement {
  static override properties = { room: { attribute: false }, length: { state: true } }
  static override styles = [
    baseStyles,
    controlStyles,
    css`
      :host {
        display: block;
        padding: 0 var(--space-5) max(var(--space-4), env(safe-area-inset-bottom));
      }
      form {
        display: flex;
        align-items: flex-end;
        gap: var(--space-2);
        max-width: 54rem;
        margin: 0 auto;
        padding: var(--space-1);
        border: 1px solid var(--line-strong);
        border-radius: var(--radius-large);
        background: var(--raised);
        transition: border-color 120ms;
      }
      form:focus-within {
        border-color: var(--accent);
        outline: 1px solid var(--accent);
      }
      textarea {
        flex: 1;
        min-width: 0;
        height: 2.5rem;
        padding: 0.5rem var(--space-3);
        border: 0;
        background: transparent;
        line-height: 1.5rem;
        resize: none;
        overflow-wrap: anywhere;
        scrollbar-width: thin;
      }
      /* The frame around it shows the focus. */
      textarea:focus-visible {
        outline: none;
      }
      textarea::placeholder {
        color: var(--ink-faint);
        opacity: 1;
      }
      .send {
        display: grid;
        place-items: center;
        flex: none;
        width: 2.5rem;
        height: 2.5rem;
        padding: 0;
        border: 0;
        border-radius: 12px;
        background: var(--accent);
        color: var(--on-accent);
        transition: background 120ms;
      }
      .send:hover:not(:disabled) {
        background: var(--accent-strong);
      }
      .send:disabled {
        background: var(--hover);
        color: var(--ink-faint);
      }
      .hint {
        max-width: 54rem;
        min-height: 1.25rem;
        margin: var(--space-1) auto 0;
        padding: 0 var(--space-3);
        color: var(--ink-faint);
        font-size: var(--size-tiny);
      }
      .count {
        float: right;
        font-variant-numeric: tabular-nums;
      }
      @media (max-width: 719px) {
        :host {
          padding: 0 var(--space-3) max(var(--space-3), env(safe-area-inset-bottom));
        }
        .hint:not(.counting) {
          display: none;
        }
      }
    `,
  ]

  declare room: RoomModel
  declare length: number

  constructor() {
    super()
    this.length = 0
  }

  override focus(): void {
    this.#field.focus()
  }

  protected override updated(changed: PropertyValues): void {
    if (!changed.has('room')) return
    this.#field.value = this.room.draft
    this.#typed()
  }

  protected override render(): TemplateResult {
    const counting = this.length >= WARN_AT_LENGTH
    return html`<form @submit=${this.#onSubmit}>
        <textarea
          rows="1"
          dir="auto"
          maxlength=${MAX_TEXT_LENGTH}
          placeholder=${`Message ${this.room.topic}`}
          aria-label=${`Message to ${this.room.topic}`}
          aria-describedby="hint"
          enterkeyhint="send"
          data-testid="composer-input"
          @input=${this.#typed}
          @keydown=${this.#onKey}
        ></textarea>
        <button
          class="send"
          type="submit"
          aria-label="Send"
          title="Send (Enter)"
          data-testid="composer-send"
          ?disabled=${this.length === 0}
        >
          ${sendIcon}
        </button>
      </form>
      <div id="hint" class=${counting ? 'hint counting' : 'hint'}>
        ${counting ? html`<span class="count">${this.length} / ${MAX_TEXT_LENGTH}</span>` : nothing}
        Enter sends, Shift + Enter starts a new line
      </div>`
  }

  get #field(): HTMLTextAreaElement {
    return this.renderRoot.querySelector('textarea')!
  }

  #typed(): void {
    const field = this.#field
    this.room.draft = field.value
    this.length = field.value.trim().length
    field.style.height = 'auto'
    field.style.height = `${Math.min(field.scrollHeight, MAX_HEIGHT_PX)}px`
  }

  #onKey(event: KeyboardEvent): void {
    // While an input method composes a word, Enter chooses it; Safari says only by this code that it does.
    const isComposing = event.isComposing || event.keyCode === COMPOSING
    if (event.key === 'Enter' && !event.shiftKey && !isComposing) {
      event.preventDefault()
      this.#send()
    } else if (event.key === 'Escape') {
      event.stopPropagation()
      this.#field.blur()
    }
  }

  #onSubmit(event: SubmitEvent): void {
    event.preventDefault()
    this.#send()
    this.#field.focus()
  }

  #send(): void {
    // as it will come back: half a character would make it another message
    const text = this.#field.value.toWellFormed().trim()
    if (text === '') return
    this.#field.value = ''
    this.#typed()
    this.dispatchEvent(new CustomEvent('send-text', { detail: text }))
  }
}

customElements.define('chat-composer', ChatComposer)
