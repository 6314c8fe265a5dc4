import { html, svg, type TemplateResult } from 'lit'

/** Line icons on a 20 px grid; always decoration, the control carries the label. */

const icon = (paths: TemplateResult<2>): TemplateResult => html`<svg
  viewBox="0 0 20 20"
  width="20"
  height="20"
  fill="none"
  stroke="currentColor"
  stroke-width="1.6"
  stroke-linecap="round"
  stroke-linejoin="round"
  aria-hidden="true"
  focusable="false"
>
  ${paths}
</svg>`

export const backIcon = icon(svg`<path d="M12 4.5 6.5 10l5.5 5.5" />`)
export const closeIcon = icon(svg`<path d="m5.5 5.5 9 9m0-9-9 9" />`)
export const sendIcon = icon(svg`<path d="M10 16V4.5m-4.5 4.5L10 4.5 14.5 9" />`)
export const peopleIcon = icon(
  svg`<circle cx="7.5" cy="7" r="2.8" /><path d="M2.5 16c.4-2.8 2.4-4.3 5-4.3s4.6 1.5 5 4.3M13 4.6a2.6 2.6 0 0 1 0 4.9m1.3 2.6c1.8.5 2.9 1.8 3.2 3.9" />`,
)
export const leaveIcon = icon(
  svg`<path d="M8 3.5H5a1.5 1.5 0 0 0-1.5 1.5v10A1.5 1.5 0 0 0 5 16.5h3M12.5 13.5 16 10l-3.5-3.5M16 10H8" />`,
)
export const plusIcon = icon(svg`<path d="M10 4.5v11M4.5 10h11" />`)
export const inspectIcon = icon(
  svg`<circle cx="6" cy="4.8" r="1.8" /><circle cx="6" cy="15.2" r="1.8" /><circle cx="14.2" cy="7.6" r="1.8" /><path d="M6 6.6v6.8m8.2-4c0 2.6-1.8 3.4-8.2 4" />`,
)
export const downIcon = icon(svg`<path d="M10 4.5v11m4.5-4.5L10 15.5 5.5 11" />`)
export const checkIcon = icon(svg`<path d="m5 10.5 3.2 3.2L15 6.8" />`)
export const alertIcon = icon(svg`<circle cx="10" cy="10" r="6.8" /><path d="M10 6.8v3.7M10 13.1v.1" />`)
export const copyIcon = icon(
  svg`<rect x="7" y="7" width="9" height="9" rx="2" /><path d="M13 4.5A1.5 1.5 0 0 0 11.5 3H5a2 2 0 0 0-2 2v6.5A1.5 1.5 0 0 0 4.5 13" />`,
)
export const sunIcon = icon(
  svg`<circle cx="10" cy="10" r="3.2" /><path d="M10 2.8v1.4m0 11.6v1.4M2.8 10h1.4m11.6 0h1.4M4.9 4.9l1 1m8.2 8.2 1 1m0-10.2-1 1m-8.2 8.2-1 1" />`,
)
export const moonIcon = icon(svg`<path d="M16.3 11.9A6.8 6.8 0 0 1 8.1 3.7a6.8 6.8 0 1 0 8.2 8.2Z" />`)
export const systemIcon = icon(
  svg`<circle cx="10" cy="10" r="6.6" /><path d="M10 3.4v13.2a6.6 6.6 0 0 0 0-13.2Z" fill="currentColor" />`,
)
export const lockIcon = icon(
  svg`<rect x="4.5" y="9" width="11" height="7.5" rx="2" /><path d="M7 9V6.5a3 3 0 0 1 6 0V9" />`,
)
export const linkIcon = icon(
  svg`<path d="M8.5 11.5a3 3 0 0 0 4.3 0l2.6-2.6a3 3 0 0 0-4.3-4.3l-1 1M11.5 8.5a3 3 0 0 0-4.3 0l-2.6 2.6a3 3 0 0 0 4.3 4.3l1-1" />`,
)
