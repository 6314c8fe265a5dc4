import { html, LitElement, nothing, type PropertyValues, type TemplateResult } from 'lit'
import type { RoomModel } from './chat-model.ts'
import { baseStyles, controlStyles, dialogStyles, questionStyles } from './styles.ts'

/** Asks before a room is left, and says what that takes away: the key of an encrypted room is nowhere else. */
export class LeaveQuestion extends LitElement {
  static override properties = { room: { attribute: false } }
  static override styles = [baseStyles, controlStyles, dialogStyles, questionStyles]

  declare room: RoomModel

  ask(): void {
    this.requestUpdate() // messages may have failed meanwhile
    this.#dialog.showModal()
  }

  protected override updated(changed: PropertyValues): void {
    // another room is shown: it is not the one that was asked about
    if (changed.has('room') && this.#dialog.open) this.#dialog.close()
  }

  protected override render(): TemplateResult {
    const { topic, encrypted, onItsWay } = this.room
    return html`<dialog
      aria-labelledby="heading"
      aria-describedby="about"
      data-testid="leave-question"
    >
      <h2 id="heading">Leave <bdi>${topic}</bdi>?</h2>
      <p id="about">
        ${
          encrypted
            ? 'The key of this room is deleted from this browser. Without the passphrase, or a link to the room, you cannot come back.'
            : 'It disappears from your rooms. You can come back by its name.'
        }
        ${onItsWay.isOnlyHere ? 'Your messages here that could not be sent are deleted.' : nothing}
        ${onItsWay.isWaiting ? 'What waits to be sent is still sent.' : nothing}
      </p>
      <form class="buttons" method="dialog" @submit=${this.#onSubmit}>
        <button class="button quiet" data-testid="leave-stay">Stay</button>
        <button class="button" value="leave" data-testid="leave-confirm">Leave</button>
      </form>
    </dialog>`
  }

  get #dialog(): HTMLDialogElement {
    return this.renderRoot.querySelector('dialog')!
  }

  /** Closed at once: nothing behind an open one can take the focus, and its own event waits for a frame of the page. */
  #onSubmit(event: SubmitEvent): void {
    event.preventDefault()
    this.#dialog.close()
    const button = event.submitter as HTMLButtonElement | null
    if (button?.value === 'leave') this.dispatchEvent(new CustomEvent('leave-room'))
  }
}

customElements.define('leave-question', LeaveQuestion)
