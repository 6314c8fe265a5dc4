import { css } from 'lit'

export const inspectorStyles = css`
  :host {
    display: flex;
    flex-direction: column;
    min-height: 0;
    background: var(--rail);
    font-size: var(--size-small);
  }
  header {
    display: flex;
    align-items: center;
    justify-content: space-between;
    flex: none;
    min-height: 3.5rem;
    padding: 0 var(--space-3) 0 var(--space-4);
    border-bottom: 1px solid var(--line);
  }
  h2 {
    overflow: hidden;
    font-size: var(--size-body);
    font-weight: 650;
    text-overflow: ellipsis;
    white-space: nowrap;
  }
  .content {
    flex: 1;
    min-height: 0;
    padding: 0 var(--space-4) var(--space-5);
    overflow: hidden auto;
    scrollbar-width: thin;
  }
  section {
    padding-top: var(--space-4);
  }
  h3 {
    margin-bottom: var(--space-2);
    font-size: var(--size-small);
    font-weight: 650;
  }
  .hint,
  .problem {
    color: var(--ink-soft);
    font-size: var(--size-tiny);
  }
  .hint {
    margin: var(--space-2) 0;
  }
  .problem {
    margin-top: var(--space-3);
    color: var(--warn);
  }
  .diverged {
    margin-bottom: var(--space-2);
    color: var(--warn);
  }
  dl {
    display: grid;
    grid-template-columns: repeat(2, minmax(0, 1fr));
    gap: 0 var(--space-4);
  }
  dl div {
    display: flex;
    align-items: baseline;
    justify-content: space-between;
    gap: var(--space-2);
    padding: 0.2rem 0;
    border-bottom: 1px solid var(--line);
  }
  dt {
    color: var(--ink-soft);
  }
  dd {
    font-variant-numeric: tabular-nums;
    text-align: end;
  }
  .lineage,
  .ring {
    width: 100%;
    max-width: 26rem;
    height: auto;
    margin: 0 auto;
    overflow: visible;
  }
  text {
    fill: var(--ink);
    font: 11px var(--font-text);
  }
  text.soft {
    fill: var(--ink-soft);
  }
  text.name {
    font-weight: 650;
  }
  text.id,
  tspan.id {
    fill: var(--ink-soft);
    font: 10px var(--font-code);
  }
  .edge {
    fill: none;
    stroke: var(--line-strong);
    stroke-width: 1.5;
  }
  .edge.guessed {
    stroke-dasharray: 2 4;
  }
  .head {
    fill: var(--rail);
    stroke: var(--line-strong);
    stroke-width: 2;
  }
  .head.held {
    stroke: var(--warn);
  }
  .head.agreed {
    fill: var(--accent);
    stroke: var(--accent);
  }
  .snapshot {
    fill: var(--rail);
    stroke: var(--line-strong);
    stroke-width: 1.5;
  }
  .earlier {
    fill: var(--line-strong);
  }
  .holder {
    fill: var(--accent);
  }
  .circle {
    fill: none;
    stroke: var(--line);
    stroke-width: 1.5;
  }
  .link,
  .keeps {
    fill: none;
    stroke: var(--line-strong);
    stroke-width: 1;
    opacity: 0.55;
  }
  .relayed {
    stroke-dasharray: 3 4;
  }
  .keeps {
    stroke: var(--accent);
    stroke-width: 1.5;
  }
  .leader {
    stroke: var(--line);
    stroke-width: 1;
  }
  .mark {
    fill: var(--rail);
    stroke: var(--line-strong);
    stroke-width: 1.5;
  }
  .mark.self {
    stroke: var(--ink);
    stroke-width: 2.5;
  }
  .mark.replica {
    fill: var(--accent);
    stroke: var(--accent);
  }
  .mark.self.replica {
    stroke: var(--ink);
  }
  .mark.topic {
    fill: var(--ink);
    stroke: var(--rail);
  }
  .scroll {
    overflow: auto hidden;
  }
  table {
    width: 100%;
    border-collapse: collapse;
    font-size: var(--size-tiny);
  }
  th,
  td {
    padding: 0.25rem var(--space-2) 0.25rem 0;
    border-bottom: 1px solid var(--line);
    text-align: start;
    vertical-align: baseline;
    font-weight: 400;
  }
  thead th {
    color: var(--ink-soft);
  }
  .number {
    font-variant-numeric: tabular-nums;
  }
  abbr {
    text-decoration: none;
  }
  code {
    font: 0.6875rem var(--font-code);
    white-space: nowrap;
  }
  .link-kind {
    white-space: nowrap;
  }
  .legend {
    display: flex;
    flex-wrap: wrap;
    gap: var(--space-1) var(--space-3);
    padding: var(--space-2) 0;
    color: var(--ink-soft);
    font-size: var(--size-tiny);
  }
  .legend span {
    display: inline-flex;
    align-items: center;
    gap: 0.35rem;
  }
  .legend svg {
    width: 12px;
    height: 12px;
  }
`
