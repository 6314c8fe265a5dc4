import { css, html, LitElement, nothing, type TemplateResult } from 'lit'
import { colourOf, displayName, initialOf, shortId } from './chat-data.ts'
import type { Subscriber } from './chat-node.ts'
import { closeIcon } from './icons.ts'
import { authorStyles, baseStyles, controlStyles } from './styles.ts'

/** Who is subscribed to the room. */

/** A room may have 1,000 subscribers; more rows than this help nobody. */
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
      .more {
        padding: var(--space-2);
        color: var(--ink-soft);
        font-size: var(--size-small);
      }
    `,
  ]

  declare people: Subscriber[]
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
        <h2>In this room<span class="count">${this.people.length}</span></h2>
        <button
          class="icon-button"
          aria-label="Hide who is in this room"
          title="Hide"
          @click=${() => this.dispatchEvent(new CustomEvent('close-people'))}
        >
          ${closeIcon}
        </button>
      </header>
      <ul aria-label="Subscribed to this room">
        ${shown.map((person) => this.#drawPerson(person))}
        ${hidden > 0 ? html`<li class="more">and ${hidden} more</li>` : nothing}
      </ul>`
  }

  #drawPerson({ nodeId, info }: Subscriber): TemplateResult {
    const name = displayName(info, nodeId)
    return html`<li data-testid="people-item" data-node-id=${nodeId} title=${nodeId}>
      <span class=${`avatar small author-${colourOf(nodeId)}`} aria-hidden="true">${initialOf(name)}</span>
      <span class="who">
        <bdi class="name">${name}</bdi>
        <span class="id">${nodeId === this.self ? 'you' : shortId(nodeId)}</span>
      </span>
    </li>`
  }

  /** Self first, then by name; the same order at every poll. */
  #sorted(): Subscriber[] {
    return [...this.people].sort(
      (a, b) =>
        Number(b.nodeId === this.self) - Number(a.nodeId === this.self) ||
        displayName(a.info, a.nodeId).localeCompare(displayName(b.info, b.nodeId)) ||
        (a.nodeId < b.nodeId ? -1 : 1),
    )
  }
}

customElements.define('room-people', RoomPeople)
