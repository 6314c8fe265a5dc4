import { css } from 'lit'

export const appStyles = css`
  :host {
    display: block;
    height: 100dvh;
  }
  .app {
    display: grid;
    grid-template-columns: 17rem minmax(0, 1fr);
    grid-template-rows: auto auto minmax(0, 1fr);
    height: 100%;
  }
  .top {
    grid-column: 1 / -1;
    display: flex;
    align-items: center;
    gap: var(--space-2);
    min-height: 3.5rem;
    padding: 0 var(--space-4);
    border-bottom: 1px solid var(--line);
    background: var(--rail);
  }
  h1 {
    display: flex;
    flex: 1;
    align-items: center;
    gap: 0.65rem;
    min-width: 0;
    font-size: var(--size-body);
    font-weight: 650;
    letter-spacing: -0.01em;
    white-space: nowrap;
  }
  h1 img {
    width: 1.75rem;
    height: 1.75rem;
  }
  .me {
    padding: 0;
    border: 0;
    border-radius: 11px;
    background: none;
  }
  .storage-problem {
    grid-column: 1 / -1;
    padding: var(--space-2) var(--space-4);
    border-bottom: 1px solid var(--line);
    background: var(--bad-wash);
    color: var(--bad);
    font-size: var(--size-small);
  }
  nav,
  main {
    grid-row: 3;
  }
  nav {
    display: grid;
    /* Else a long name makes the list wider than its place. */
    grid-template-columns: minmax(0, 1fr);
    min-height: 0;
    border-inline-end: 1px solid var(--line);
    background: var(--rail);
  }
  main {
    display: grid;
    grid-template-columns: minmax(0, 1fr);
    min-width: 0;
    min-height: 0;
    background: var(--paper);
  }
  .empty {
    display: grid;
    place-content: center;
    justify-items: center;
    gap: var(--space-2);
    padding: var(--space-5);
    color: var(--ink-soft);
    text-align: center;
  }
  .empty h2 {
    color: var(--ink);
    font-size: var(--size-title);
    font-weight: 650;
  }
  .empty p {
    max-width: 24rem;
    margin-bottom: var(--space-3);
    text-wrap: pretty;
  }
  @media (max-width: 719px) {
    .app {
      grid-template-columns: minmax(0, 1fr);
    }
    .app[data-view='room'] nav,
    .app[data-view='rooms'] main {
      display: none;
    }
    nav {
      border: 0;
    }
    .top {
      min-height: 3.25rem;
      padding: 0 var(--space-3);
    }
  }
`
