import { html, LitElement, nothing, type PropertyValues, svg, type TemplateResult } from 'lit'
import type { RoomModel } from './chat-model.ts'
import type { ChatNode, NodeStatus } from './chat-node.ts'
import { closeIcon } from './icons.ts'
import { type Inspection, TopicInspection } from './inspector-data.ts'
import { drawLineage } from './inspector-graph.ts'
import { divergedHeads } from './inspector-lineage.ts'
import { nodeRows } from './inspector-places.ts'
import { drawRing } from './inspector-ring.ts'
import { inspectorStyles } from './inspector-styles.ts'
import { drawNodes, drawVersions } from './inspector-tables.ts'
import { Watcher } from './inspector-watch.ts'
import { baseStyles, controlStyles } from './styles.ts'

/** A look inside the open room: its versions, who keeps it, how this node is connected. Asks while it is in the page. */

const CHANNELS = { ACTIVE: 'active', RECOVERING: 'recovering', FAILED: 'failed' }

export class RoomInspector extends LitElement {
  static override properties = {
    room: { attribute: false },
    node: { attribute: false },
    status: { attribute: false },
    seen: { state: true },
  }
  static override styles = [baseStyles, controlStyles, inspectorStyles]

  declare room: RoomModel
  declare node: ChatNode
  declare status: NodeStatus
  declare seen: Inspection | undefined

  #watcher: Watcher<Inspection> | undefined

  override connectedCallback(): void {
    super.connectedCallback()
    document.addEventListener('visibilitychange', this.#onVisible)
    if (this.hasUpdated) this.#start() // put back into the page
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    document.removeEventListener('visibilitychange', this.#onVisible)
    this.#watcher?.stop()
  }

  protected override willUpdate(changed: PropertyValues<this>): void {
    if (changed.has('room') || changed.has('node')) this.#start()
  }

  protected override firstUpdated(): void {
    this.renderRoot.querySelector<HTMLElement>('.close')?.focus()
  }

  protected override render(): TemplateResult {
    return html`<header>
        <h2 id="heading">Inside <bdi>#${this.room.topic}</bdi></h2>
        <button
          class="icon-button close"
          aria-label="Close the inspector"
          title="Close"
          data-testid="inspector-close"
          @click=${() => this.dispatchEvent(new CustomEvent('close-inspector'))}
        >
          ${closeIcon}
        </button>
      </header>
      <div class="content" tabindex="0" role="region" aria-labelledby="heading">
        ${this.seen === undefined ? html`<p class="problem" role="status">Asking the replicas…</p>` : this.#drawSeen(this.seen)}
      </div>`
  }

  #drawSeen(seen: Inspection): TemplateResult {
    const rows = nodeRows(seen, this.node.nodeId, this.status.peers)
    return html`${seen.problem === undefined ? nothing : html`<p class="problem" role="status">${seen.problem}</p>`}
      <section>${drawList('inspector-facts', this.#facts(seen))}</section>
      <section>
        <h3>Versions</h3>
        ${drawDiverged(seen)} ${drawLineage(seen)}
        <p class="hint">A mark for each replica that has the version: square, durable; round, fleeting, such as a tab.</p>
        ${drawVersions(seen)}
      </section>
      <section>
        <h3>In the key space</h3>
        ${drawRing(seen.topicPlace, rows)} ${drawLegend()}
        <p class="hint">
          Around the ring by SHA-256. The DHT measures closeness by XOR: the more leading bits in common with the
          topic, the closer; the table begins with the closest.
        </p>
        ${drawNodes(rows)}
      </section>
      ${
        seen.counters.length === 0
          ? nothing
          : html`<section>
              <h3>Counted by this node since it started</h3>
              ${drawList(
                'inspector-counters',
                seen.counters.map(({ name, value }) => [name, value.toLocaleString()]),
              )}
            </section>`
      }`
  }

  #facts({ channel, agreed, replicas, full }: Inspection): [string, string][] {
    const { peers, bridge } = this.status
    const direct = peers.filter((peer) => peer.direct).length
    const durable = replicas.filter((replica) => replica.durable).length
    return [
      ['Channel', CHANNELS[channel]],
      ['Sync', this.room.sync],
      ['Version', agreed === undefined ? 'none yet' : String(agreed.version)],
      ['Changed', agreed === undefined ? '–' : timeOf(agreed.lastModified)],
      ['Replicas', `${replicas.length}, ${durable} durable`],
      ['Here now', String(this.room.people.length)],
      ['Peers', `${direct} direct, ${peers.length - direct} relayed`],
      ['Bridge', bridge ? 'connected' : 'not connected'],
      ['Gaps told', String(gapsOf(this.room))],
      ['Snapshots', full === undefined ? '–' : snapshotsOf(full)],
    ]
  }

  #start(): void {
    this.#watcher?.stop()
    this.seen = undefined
    const { node, room } = this
    let inspection: TopicInspection | undefined
    this.#watcher = new Watcher({
      ask: async () => {
        // What an encrypted room is called is known once it is open; its own name is nobody's business.
        inspection ??= new TopicInspection(node, room.networkName)
        return inspection.ask()
      },
      show: (seen) => {
        this.seen = seen
      },
      isVisible: () => document.visibilityState === 'visible',
    })
    this.#watcher.wake()
  }

  readonly #onVisible = (): void => this.#watcher?.wake()
}

const drawList = (
  testId: string,
  facts: [string, string][],
): TemplateResult => html`<dl data-testid=${testId}>
  ${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}
</dl>`

function drawDiverged({ heads }: Inspection): TemplateResult | typeof nothing {
  const count = divergedHeads(heads).length
  if (count < 2) return nothing
  return html`<p class="diverged" role="status">
    Replicas have ${count} versions of which none contains another. They merge when they next compare.
  </p>`
}

const drawLegend = (): TemplateResult => {
  const entry = (mark: TemplateResult<2>, text: string) =>
    html`<span><svg viewBox="0 0 12 12" aria-hidden="true">${mark}</svg>${text}</span>`
  return html`<p class="legend">
    ${entry(svg`<path class="mark topic" d="M6 0l6 6-6 6-6-6z" />`, 'topic')}
    ${entry(svg`<rect class="mark replica" x="1.5" y="1.5" width="9" height="9" rx="2" />`, 'replica, durable')}
    ${entry(svg`<circle class="mark replica" cx="6" cy="6" r="4.5" />`, 'replica, fleeting')}
    ${entry(svg`<circle class="mark" cx="6" cy="6" r="3.5" />`, 'peer')}
    ${entry(svg`<path class="link" d="M0 6h12" />`, 'direct')}
    ${entry(svg`<path class="link relayed" d="M0 6h12" />`, 'relayed')}
  </p>`
}

const timeOf = (ms: number): string => new Date(ms).toLocaleTimeString()

const snapshotsOf = ({ snapshots, missing }: { snapshots: string[]; missing: number }): string =>
  missing === 0 ? String(snapshots.length) : `${snapshots.length}, ${missing} missing`

/** How many messages the room said that it misses. */
const gapsOf = ({ past, present }: RoomModel): number =>
  [past, present].flat().reduce((sum, entry) => sum + (entry.kind === 'gap' ? entry.count : 0), 0)

customElements.define('room-inspector', RoomInspector)
