import { css } from 'lit'

/** What every component shares. Adopted style sheets: allowed under `style-src 'self'`. */

export const baseStyles = css`
  :host {
    box-sizing: border-box;
  }
  *,
  *::before,
  *::after {
    box-sizing: inherit;
  }
  :focus-visible {
    outline: 2px solid var(--accent);
    outline-offset: 2px;
  }
  h1,
  h2,
  h3,
  p,
  ul,
  ol,
  dl,
  dd {
    margin: 0;
    padding: 0;
  }
  ul,
  ol {
    list-style: none;
  }
  svg {
    display: block;
    flex: none;
  }
  bdi {
    unicode-bidi: isolate;
  }
  .visually-hidden {
    position: absolute;
    width: 1px;
    height: 1px;
    overflow: hidden;
    clip-path: inset(50%);
    white-space: nowrap;
  }
  @media (prefers-reduced-motion: reduce) {
    * {
      animation: none !important;
      transition: none !important;
    }
  }
`

export const controlStyles = css`
  button,
  input,
  textarea {
    font: inherit;
    color: inherit;
  }
  button {
    cursor: pointer;
  }
  button:disabled {
    cursor: default;
  }
  .button {
    display: inline-flex;
    align-items: center;
    justify-content: center;
    gap: var(--space-2);
    min-height: 2.5rem;
    padding: 0 var(--space-4);
    border: 1px solid transparent;
    border-radius: var(--radius);
    background: var(--accent);
    color: var(--on-accent);
    font-weight: 600;
    transition: background 120ms;
  }
  .button:hover:not(:disabled) {
    background: var(--accent-strong);
  }
  .button.quiet {
    background: transparent;
    border-color: var(--line);
    color: var(--ink);
    font-weight: 500;
  }
  .button.quiet:hover:not(:disabled) {
    background: var(--hover);
  }
  .button:disabled {
    background: var(--hover);
    color: var(--ink-faint);
  }
  .icon-button {
    display: inline-grid;
    place-items: center;
    width: 2.25rem;
    height: 2.25rem;
    padding: 0;
    border: 0;
    border-radius: var(--radius);
    background: transparent;
    color: var(--ink-soft);
    transition: background 120ms;
  }
  .icon-button:hover,
  .icon-button[aria-expanded='true'] {
    background: var(--hover);
    color: var(--ink);
  }
  .link-button {
    padding: 0;
    border: 0;
    background: none;
    color: var(--accent);
    font-weight: 600;
    text-decoration: underline;
    text-underline-offset: 3px;
  }
  .field {
    width: 100%;
    min-height: 2.5rem;
    padding: 0 var(--space-3);
    border: 1px solid var(--line-strong);
    border-radius: var(--radius);
    background: var(--raised);
  }
  .field::placeholder {
    color: var(--ink-faint);
    opacity: 1;
  }
  .field:focus-visible {
    outline-offset: 0;
    border-color: var(--accent);
  }
  /* Below 16px iOS zooms into a focused field. */
  @media (max-width: 719px) {
    .field,
    textarea {
      font-size: 1rem;
    }
  }
  @media (pointer: coarse) {
    .icon-button {
      width: 2.75rem;
      height: 2.75rem;
    }
  }
`

/** One class per colour: a style attribute would be refused by the page's content security policy. */
export const authorStyles = css`
  .author-0 { --author: var(--author-0); }
  .author-1 { --author: var(--author-1); }
  .author-2 { --author: var(--author-2); }
  .author-3 { --author: var(--author-3); }
  .author-4 { --author: var(--author-4); }
  .author-5 { --author: var(--author-5); }
  .author-6 { --author: var(--author-6); }
  .author-7 { --author: var(--author-7); }
  .author-8 { --author: var(--author-8); }
  .author-9 { --author: var(--author-9); }
  .author-10 { --author: var(--author-10); }
  .author-11 { --author: var(--author-11); }
  .avatar {
    display: grid;
    place-items: center;
    flex: none;
    width: 2.25rem;
    height: 2.25rem;
    overflow: hidden;
    border-radius: 11px;
    background: color-mix(in oklab, var(--author) 16%, var(--paper));
    color: var(--author);
    font-size: var(--size-small);
    font-weight: 650;
    line-height: 1;
    user-select: none;
  }
  .avatar.small {
    width: 1.75rem;
    height: 1.75rem;
    border-radius: 9px;
    font-size: var(--size-tiny);
  }
`

/** What asks or shows something before everything else. */
export const dialogStyles = css`
  dialog {
    padding: var(--space-5);
    border: 1px solid var(--line);
    border-radius: var(--radius-large);
    background: var(--paper);
    color: var(--ink);
    box-shadow: var(--shadow);
    font: 400 var(--size-body) / 1.5 var(--font-text);
  }
  dialog::backdrop {
    background: var(--scrim);
  }
  h2 {
    font-size: var(--size-title);
    font-weight: 650;
  }
`

/** A dialog of one sentence and two answers. */
export const questionStyles = css`
  dialog {
    width: min(26rem, calc(100vw - 2rem));
  }
  h2 {
    overflow-wrap: anywhere;
  }
  p {
    margin-top: var(--space-2);
    color: var(--ink-soft);
    font-size: var(--size-small);
  }
  .buttons {
    display: flex;
    justify-content: flex-end;
    gap: var(--space-2);
    margin-top: var(--space-5);
  }
`
