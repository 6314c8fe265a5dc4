import { css, html, LitElement, nothing, type TemplateResult } from 'lit'
import { colourOf, displayName, initialOf, shortId } from './chat-data.ts'
import { closeIcon } from './icons.ts'
import type { Person } from './room-presence.ts'
import { authorStyles, baseStyles, controlStyles } from './styles.ts'

/** Who is in the room now. */

/** A room may have 1,000 people; more rows than this help nobody. */
const MAX_SHOWN = 200

export class RoomPeople extends LitElement {
  static override properties = { people: { attribute: false }, self: { attribute: false } }
  static override styles = [
    baseStyles,
    controlStyles,
    authorStyles,
    css`
      :host {
        display: flex;
        flex-direction: column;
        min-height: 0;
        background: var(--rail);
      }
      header {
        display: flex;
        align-items: center;
        justify-content: space-between;
        min-height: 3.5rem;
        padding: 0 var(--space-3) 0 var(--space-4);
      }
      h2 {
        font-size: var(--size-small);
        font-weight: 650;
      }
      .count {
        margin-inline-start: var(--space-1);
        color: var(--ink-soft);
        font-weight: 400;
      }
      ul {
        flex: 1;
        min-height: 0;
        padding: 0 var(--space-2) var(--space-4);
        overflow: hidden auto;
        scrollbar-width: thin;
      }
      li {
        display: flex;
        align-items: center;
        gap: var(--space-3);
        padding: 0.35rem var(--space-2);
      }
      .who {
        display: grid;
        min-width: 0;
        line-height: 1.25;
      }
      .name {
        overflow: hidden;
        text-overflow: ellipsis;
        white-space: nowrap;
        font-size: var(--size-small);
        font-weight: 550;
      }
      .id {
        color: var(--ink-faint);
        font: 0.6875rem var(--font-code);
      }
      .away .avatar {
        opacity: 0.55;
      }
      .away .name {
        color: var(--ink-faint);
        font-weight: 400;
      }
      .more {
        padding: var(--space-2);
        color: var(--ink-soft);
        font-size: var(--size-small);
      }
    `,
  ]

  declare people: Person[]
  declare self: string

  constructor() {
    super()
    this.people = []
    this.self = ''
  }

  protected override render(): TemplateResult {
    const shown = this.#sorted().slice(0, MAX_SHOWN)
    const hidden = this.people.length - shown.length
    return html`<header>
        <h2>Here now<span class="count">${this.people.length}</span></h2>
        <button
          class="icon-button"
          aria-label="Hide who is here"
          title="Hide"
          @click=${() => this.dispatchEvent(new CustomEvent('close-people'))}
        >
          ${closeIcon}
        </button>
      </header>
      <ul aria-label="Here now">
        ${shown.map((person) => this.#drawPerson(person))}
        ${hidden > 0 ? html`<li class="more">and ${hidden} more</li>` : nothing}
      </ul>`
  }

  #drawPerson({ nodeId, name: shown, away }: Person): TemplateResult {
    const name = displayName(shown, nodeId)
    return html`<li
      class=${away ? 'away' : ''}
      data-testid="people-item"
      data-node-id=${nodeId}
      data-away=${away ? 'true' : 'false'}
      title=${nodeId}
    >
      <span class=${`avatar small author-${colourOf(nodeId)}`} aria-hidden="true">${initialOf(name)}</span>
      <span class="who">
        <bdi class="name">${name}</bdi>
        <span class="id">${nodeId === this.self ? 'you' : shortId(nodeId)}${away ? ', away' : ''}</span>
      </span>
    </li>`
  }

  /** Self first, then by name; who is here twice keeps its order. */
  #sorted(): Person[] {
    return [...this.people].sort(
      (a, b) =>
        Number(b.nodeId === this.self) - Number(a.nodeId === this.self) ||
        displayName(a.name, a.nodeId).localeCompare(displayName(b.name, b.nodeId)) ||
        (a.nodeId < b.nodeId ? -1 : 1),
    )
  }
}

customElements.define('room-people', RoomPeople)
