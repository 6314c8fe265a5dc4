import { css, html, LitElement, type TemplateResult } from 'lit'
import { cleanName, MAX_NAME_LENGTH } from './chat-data.ts'
import { baseStyles, controlStyles } from './styles.ts'

/** First visit: a name. */

export class ChatWelcome extends LitElement {
  static override styles = [
    baseStyles,
    controlStyles,
    css`
      :host {
        display: grid;
        place-items: center;
        height: 100%;
        padding: var(--space-4);
        overflow: auto;
        background: var(--rail);
      }
      form {
        width: min(25rem, 100%);
        padding: var(--space-6) var(--space-5) var(--space-5);
        border: 1px solid var(--line);
        border-radius: var(--radius-large);
        background: var(--paper);
      }
      h1 {
        margin-top: var(--space-4);
        font-size: var(--size-hero);
        font-weight: 650;
        letter-spacing: -0.015em;
        line-height: 1.25;
        text-wrap: balance;
      }
      p {
        margin: var(--space-2) 0 var(--space-5);
        color: var(--ink-soft);
        text-wrap: pretty;
      }
      label {
        display: block;
        margin-bottom: var(--space-1);
        font-size: var(--size-small);
        font-weight: 600;
      }
      .button {
        width: 100%;
        margin-top: var(--space-3);
      }
      .mark {
        width: 2.5rem;
        height: 2.5rem;
      }
    `,
  ]

  protected override firstUpdated(): void {
    this.renderRoot.querySelector('input')?.focus()
  }

  protected override render(): TemplateResult {
    return html`<form @submit=${this.#onSubmit}>
      <img class="mark" src=${new URL('./icon.svg', import.meta.url).href} alt="" />
      <h1>Rooms kept by the people in them</h1>
      <p>
        Messages live with everyone who takes part, on no company’s server. Whoever joins later reads what was said before.
      </p>
      <label for="name">Your name</label>
      <input
        id="name"
        class="field"
        type="text"
        maxlength=${MAX_NAME_LENGTH}
        autocomplete="nickname"
        enterkeyhint="go"
        required
        data-testid="name-input"
      />
      <button class="button" type="submit" data-testid="name-submit">Start</button>
    </form>`
  }

  #onSubmit(event: SubmitEvent): void {
    event.preventDefault()
    const field = this.renderRoot.querySelector('input')!
    const name = cleanName(field.value)
    if (name === '') {
      field.value = ''
      field.focus()
      return
    }
    this.dispatchEvent(new CustomEvent('choose-name', { detail: name }))
  }
}

customElements.define('chat-welcome', ChatWelcome)
