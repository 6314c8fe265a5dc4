import { css, html, LitElement, nothing, type PropertyValues, type TemplateResult } from 'lit'
import type { ChatNode } from './chat-node.ts'
import { lockIcon } from './icons.ts'
import { describeProblem } from './problems.ts'
import { type RoomRef, readFragment, roomOfInvite } from './rooms.ts'
import { baseStyles, controlStyles, dialogStyles, questionStyles } from './styles.ts'

/**
 * Asks whether to join the room that a link leads to; nothing is joined without an answer. The link leaves the address at
 * once: it may hold a key, which has no place in what a person copies or bookmarks later.
 */
export class RoomInvitation extends LitElement {
  static override properties = {
    node: { attribute: false },
    room: { state: true },
    problem: { state: true },
  }
  static override styles = [
    baseStyles,
    controlStyles,
    dialogStyles,
    questionStyles,
    css`
      h2 svg {
        display: inline-block;
        vertical-align: -0.2rem;
      }
    `,
  ]

  declare node: ChatNode | undefined
  declare room: RoomRef | undefined
  declare problem: string

  /** Kept until the code that reads it is there. */
  #invite: string | undefined

  constructor() {
    super()
    this.problem = ''
  }

  override connectedCallback(): void {
    super.connectedCallback()
    addEventListener('hashchange', this.#takeLink)
    this.#takeLink()
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    removeEventListener('hashchange', this.#takeLink)
  }

  protected override updated(changed: PropertyValues): void {
    if (changed.has('node')) void this.#readInvite()
    const dialog = this.renderRoot.querySelector('dialog')
    if (dialog?.open === false) dialog.showModal()
  }

  protected override render(): TemplateResult | typeof nothing {
    if (this.problem !== '')
      return html`<dialog aria-labelledby="heading" data-testid="invitation" @close=${this.#onClose}>
        <h2 id="heading">The invitation cannot be used</h2>
        <p role="alert">${this.problem}</p>
        <form class="buttons" method="dialog"><button class="button">Close</button></form>
      </dialog>`
    if (this.room === undefined) return nothing
    const { name, invite } = this.room
    return html`<dialog
      aria-labelledby="heading"
      aria-describedby="about"
      data-testid="invitation"
      @close=${this.#onClose}
    >
      <h2 id="heading">
        ${invite === undefined ? '#' : lockIcon}
        Join <bdi>${name}</bdi>?
      </h2>
      <p id="about">
        ${
          invite === undefined
            ? 'The link leads to an open room. The others will see your name.'
            : 'The link leads to an encrypted room and holds its key, which is kept in this browser until you leave the room. The others there will see your name.'
        }
      </p>
      <form class="buttons" method="dialog">
        <button class="button quiet" data-testid="invitation-decline">Not now</button>
        <button class="button" data-testid="invitation-join" @click=${this.#join}>Join</button>
      </form>
    </dialog>`
  }

  readonly #takeLink = (): void => {
    const link = readFragment(location.hash)
    if (link === undefined) return
    history.replaceState(history.state, '', location.pathname + location.search)
    this.#end()
    if ('name' in link) {
      if (link.name === '') this.problem = 'The link names no room: a part of it is missing or wrong.'
      else this.room = link
    } else {
      this.#invite = link.invite
      void this.#readInvite()
    }
  }

  async #readInvite(): Promise<void> {
    const [node, invite] = [this.node, this.#invite]
    if (node === undefined || invite === undefined) return
    this.#invite = undefined
    try {
      this.room = await roomOfInvite(node, invite)
    } catch (error) {
      this.problem = describeProblem(error)
    }
  }

  /** It comes a moment after the closing: another link may have opened the dialog again. */
  #onClose({ target }: Event): void {
    const dialog = this.renderRoot.querySelector('dialog')
    if (dialog === target && dialog?.open === false) this.#end()
  }

  #end(): void {
    this.room = undefined
    this.problem = ''
    this.#invite = undefined
  }

  #join(): void {
    this.renderRoot.querySelector('dialog')?.close() // first: it gives the focus back to what had it
    this.dispatchEvent(new CustomEvent('join-room', { detail: this.room }))
  }
}

customElements.define('room-invitation', RoomInvitation)
