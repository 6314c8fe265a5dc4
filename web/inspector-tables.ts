import { html, nothing, type TemplateResult } from 'lit'
import { shortId } from './chat-data.ts'
import type { HeadView, Inspection } from './inspector-data.ts'
import { shortCid } from './inspector-graph.ts'
import { parentsOf } from './inspector-lineage.ts'
import type { NodeRow } from './inspector-places.ts'

/** What the drawings show, in words. */

const MAX_ROWS = 100

export function drawNodes(rows: NodeRow[]): TemplateResult {
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Nodes, table">
    <table data-testid="inspector-nodes">
      <caption class="visually-hidden">
        Nodes, the closest to the topic first
      </caption>
      <thead>
        <tr>
          <th scope="col">Node</th>
          <th scope="col">Keeps it</th>
          <th scope="col">Version</th>
          <th scope="col">Connection</th>
          <th scope="col"><abbr title="Leading bits that its place has in common with the topic’s">Bits</abbr></th>
        </tr>
      </thead>
      <tbody>
        ${rows.slice(0, MAX_ROWS).map(drawNode)}
      </tbody>
    </table>
  </div>`
}

const LINKS = {
  self: '',
  webrtc: 'direct, WebRTC',
  direct: 'direct',
  relayed: 'relayed',
  none: 'not connected',
}
const KEEPS = { durable: 'durable', fleeting: 'fleeting' }

const drawNode = (row: NodeRow): TemplateResult => html`<tr
  data-testid="inspector-node"
  data-node-id=${row.nodeId}
  data-replica=${row.replica ?? 'no'}
  data-link=${row.link}
>
  <th scope="row" title=${row.nodeId}>
    <code>…${shortId(row.nodeId)}</code>${row.isSelf ? ' this node' : nothing}
  </th>
  <td>${row.replica === undefined ? 'no' : KEEPS[row.replica]}</td>
  <td class="number">${row.error ?? row.version ?? '–'}</td>
  <td class="link-kind">${row.isSelf ? '–' : LINKS[row.link]}</td>
  <td class="number">${row.commonBits}</td>
</tr>`

export function drawVersions({ heads, agreed, full }: Inspection): TemplateResult {
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Versions, table">
    <table data-testid="inspector-versions">
      <caption class="visually-hidden">
        Versions, the newest first
      </caption>
      <thead>
        <tr>
          <th scope="col">Version</th>
          <th scope="col">Head</th>
          <th scope="col">Replicas</th>
          <th scope="col">After</th>
        </tr>
      </thead>
      <tbody>
        ${heads.map((head) => drawVersion(head, heads, agreed?.id))}
        ${full?.snapshots.map(
          (id) => html`<tr>
            <td>snapshot</td>
            <td colspan="3"><code title=${id}>…${shortCid(id)}</code></td>
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`
}

function drawVersion(head: HeadView, heads: HeadView[], agreedId: string | undefined): TemplateResult {
  const parents = parentsOf(head, heads).map(({ version }) => version)
  return html`<tr data-testid="inspector-version" data-version=${head.version} data-holders=${head.holders.length}>
    <th scope="row">${head.version}${head.id === agreedId ? ', current' : nothing}</th>
    <td><code title=${head.id}>…${shortCid(head.id)}</code></td>
    <td>
      ${
        head.holders.length === 0
          ? 'seen before'
          : head.holders.map(({ nodeId }) => html`<code title=${nodeId}>…${shortId(nodeId)}</code> `)
      }
    </td>
    <td>${parents.length === 0 ? '–' : parents.join(', ')}</td>
  </tr>`
}
