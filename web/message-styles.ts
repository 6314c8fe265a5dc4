import { css } from 'lit'

export const messageStyles = css`
  :host {
    position: relative;
    display: grid;
    min-height: 0;
    min-width: 0;
  }
  .scroller {
    min-height: 0;
    overflow: hidden auto;
    /* Positions are kept by hand (Safari has no scroll anchoring), and twice would be wrong. */
    overflow-anchor: none;
    overscroll-behavior: contain;
    padding: var(--space-4) 0 var(--space-3);
    scrollbar-width: thin;
    scrollbar-color: var(--line-strong) transparent;
  }
  .scroller:focus-visible {
    outline-offset: -2px;
  }
  .rows {
    display: flow-root;
    max-width: 54rem;
    min-height: 100%;
    margin: 0 auto;
    padding: 0 var(--space-5);
  }
  .row {
    display: grid;
    grid-template-columns: 2.25rem minmax(0, 1fr);
    column-gap: var(--space-3);
    margin: 0 calc(-1 * var(--space-3));
    padding: 2px var(--space-3);
    border-radius: var(--radius);
  }
  .row:hover {
    background: color-mix(in oklab, var(--hover) 55%, transparent);
  }
  .row.leads {
    margin-top: var(--space-3);
    padding-top: var(--space-1);
  }
  .row .avatar {
    margin-top: 3px;
  }
  .when {
    color: var(--ink-faint);
    font-size: var(--size-tiny);
    font-variant-numeric: tabular-nums;
    white-space: nowrap;
  }
  .gutter {
    justify-self: center;
    line-height: 1.4rem;
    font-size: 0.6875rem;
    opacity: 0;
  }
  .row:hover .gutter {
    opacity: 1;
  }
  .head {
    display: flex;
    align-items: baseline;
    gap: var(--space-2);
    min-width: 0;
  }
  .author {
    overflow: hidden;
    color: var(--author);
    font-weight: 650;
    text-overflow: ellipsis;
    white-space: nowrap;
  }
  .head .id {
    color: var(--ink-faint);
    font: 0.6875rem var(--font-code);
  }
  .tag {
    padding: 0 0.4rem;
    border: 1px solid var(--line);
    border-radius: 99px;
    color: var(--ink-soft);
    font-size: 0.6875rem;
    line-height: 1.1rem;
  }
  .line {
    display: flex;
    align-items: flex-end;
    gap: var(--space-2);
  }
  .text {
    flex: 0 1 auto;
    min-width: 0;
    max-height: 70vh;
    overflow: hidden auto;
    overflow-wrap: anywhere;
    white-space: pre-wrap;
    unicode-bidi: isolate;
  }
  .text a {
    color: var(--accent);
    text-underline-offset: 3px;
  }
  .row[data-state='waiting'] .text,
  .row[data-state='sending'] .text,
  .row[data-state='failed'] .text {
    color: var(--ink-soft);
  }
  .sent {
    flex: none;
    color: var(--ink-faint);
    line-height: 0;
    padding-bottom: 3px;
  }
  .sent svg {
    width: 15px;
    height: 15px;
  }
  .sending {
    flex: none;
    color: var(--ink-faint);
    font-size: var(--size-tiny);
    line-height: 1.4rem;
  }
  .failure {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    gap: 0.15rem var(--space-3);
    width: fit-content;
    max-width: 100%;
    margin: var(--space-1) 0 var(--space-2);
    padding: 0.3rem var(--space-3) 0.3rem var(--space-2);
    border-radius: var(--radius-small);
    background: var(--bad-wash);
    color: var(--bad);
    font-size: var(--size-small);
  }
  .failure span {
    display: inline-flex;
    align-items: center;
    gap: 0.35rem;
  }
  .failure svg {
    width: 16px;
    height: 16px;
  }
  .failure .link-button {
    color: inherit;
  }
  .rule {
    display: flex;
    align-items: center;
    gap: var(--space-3);
    margin: var(--space-5) 0 var(--space-2);
    color: var(--ink-soft);
    font-size: var(--size-tiny);
    font-weight: 600;
  }
  .rule::before,
  .rule::after {
    content: '';
    flex: 1;
    border-top: 1px solid var(--line);
  }
  .rule.boundary {
    color: var(--accent);
  }
  .rule.boundary::before,
  .rule.boundary::after {
    border-top: 1px dashed color-mix(in oklab, var(--accent) 55%, transparent);
  }
  .gap {
    display: flex;
    align-items: center;
    gap: var(--space-2);
    width: fit-content;
    max-width: calc(100% - 3rem);
    margin: var(--space-3) 0 var(--space-2) 3rem;
    padding: 0.3rem var(--space-3) 0.3rem var(--space-2);
    border-radius: var(--radius-small);
    background: var(--hover);
    color: var(--ink-soft);
    font-size: var(--size-small);
    overflow-wrap: anywhere;
  }
  .gap svg {
    width: 16px;
    height: 16px;
    color: var(--warn);
  }
  .beginning {
    padding: var(--space-5) 0 var(--space-1);
    color: var(--ink-soft);
    font-size: var(--size-small);
  }
  .beginning h3 {
    color: var(--ink);
    font-size: var(--size-title);
    font-weight: 650;
    overflow-wrap: anywhere;
  }
  .older {
    min-height: 2rem;
    padding-top: var(--space-1);
    color: var(--ink-soft);
    font-size: var(--size-small);
    text-align: center;
  }
  .latest {
    position: absolute;
    bottom: var(--space-3);
    left: 50%;
    display: inline-flex;
    align-items: center;
    gap: var(--space-1);
    min-height: 2.25rem;
    padding: 0 var(--space-4) 0 var(--space-3);
    border: 1px solid var(--line);
    border-radius: 99px;
    background: var(--raised);
    box-shadow: var(--shadow);
    font-size: var(--size-small);
    font-weight: 600;
    transform: translateX(-50%);
  }
  .latest svg {
    width: 16px;
    height: 16px;
  }
  .latest.news {
    border-color: transparent;
    background: var(--accent);
    color: var(--on-accent);
  }
  @media (max-width: 719px) {
    .rows {
      padding: 0 var(--space-4);
    }
    .row .gutter {
      display: none;
    }
    .row:not(.leads)::before {
      content: '';
    }
  }
`
