import { css } from 'lit'

export const roomStyles = css`
  :host {
    display: block;
    min-width: 0;
    min-height: 0;
  }
  .layout {
    position: relative;
    display: grid;
    grid-template-columns: minmax(0, 1fr);
    grid-template-rows: minmax(0, 1fr);
    height: 100%;
  }
  .layout.with-people {
    grid-template-columns: minmax(0, 1fr) 15rem;
  }
  .layout.with-inspector {
    grid-template-columns: minmax(0, 1fr) 25rem;
  }
  .talk {
    display: grid;
    grid-template-columns: minmax(0, 1fr);
    grid-template-rows: auto auto minmax(0, 1fr) auto;
    min-height: 0;
  }
  message-list {
    grid-row: 3;
  }
  chat-composer {
    grid-row: 4;
  }
  header {
    display: flex;
    align-items: center;
    gap: var(--space-1);
    min-height: 3.5rem;
    padding: var(--space-1) var(--space-3) var(--space-1) var(--space-5);
    border-bottom: 1px solid var(--line);
  }
  .title {
    flex: 1;
    min-width: 0;
  }
  h2 {
    overflow: hidden;
    font-size: var(--size-title);
    font-weight: 650;
    line-height: 1.3;
    text-overflow: ellipsis;
    white-space: nowrap;
  }
  .sign {
    margin-inline-end: 0.2rem;
    color: var(--ink-faint);
    font-weight: 400;
  }
  .sign svg {
    display: inline-block;
    width: 0.95rem;
    height: 0.95rem;
    vertical-align: -0.1rem;
  }
  .state {
    display: flex;
    align-items: center;
    gap: 0.4rem;
    color: var(--ink-soft);
    font-size: var(--size-tiny);
    line-height: 1.3;
  }
  .dot {
    width: 0.4rem;
    height: 0.4rem;
    border-radius: 50%;
    background: var(--tone);
  }
  .good { --tone: var(--good); }
  .busy { --tone: var(--ink-faint); }
  .warn { --tone: var(--warn); }
  .state.bad { --tone: var(--bad); }
  .back {
    display: none;
  }
  .people {
    display: inline-flex;
    align-items: center;
    justify-content: center;
    gap: 0.35rem;
    width: auto;
    padding: 0 var(--space-2);
    font-size: var(--size-small);
    font-variant-numeric: tabular-nums;
  }
  .banner {
    display: flex;
    flex-wrap: wrap;
    gap: var(--space-1) var(--space-3);
    padding: var(--space-2) var(--space-5);
    border-bottom: 1px solid var(--line);
    background: var(--rail);
    color: var(--ink-soft);
    font-size: var(--size-small);
  }
  .banner qr-code {
    flex: none;
    width: 11rem;
  }
  .banner qr-code + span {
    flex: 1;
    min-width: 12rem;
  }
  .banner code {
    overflow-wrap: anywhere;
    user-select: all;
  }
  .banner.bad {
    background: var(--bad-wash);
    color: var(--bad);
  }
  .banner .link-button {
    color: inherit;
  }
  room-people,
  room-inspector {
    border-inline-start: 1px solid var(--line);
  }
  .scrim {
    display: none;
  }
  @media (max-width: 1079px) {
    .layout.with-people,
    .layout.with-inspector {
      grid-template-columns: minmax(0, 1fr);
    }
    room-people,
    room-inspector {
      position: absolute;
      z-index: 4;
      inset: 0 0 0 auto;
      width: min(19rem, 86vw);
      box-shadow: var(--shadow);
    }
    room-inspector {
      width: min(26rem, 100%);
    }
    .scrim {
      position: absolute;
      z-index: 3;
      inset: 0;
      display: block;
      background: var(--scrim);
    }
  }
  @media (max-width: 719px) {
    header {
      padding: var(--space-1) var(--space-2);
    }
    .back {
      display: inline-grid;
    }
    .banner {
      padding: var(--space-2) var(--space-4);
    }
  }
`
