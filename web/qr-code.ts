import { css, html, LitElement, svg, type TemplateResult } from 'lit'
import { encode } from 'uqr'
import { baseStyles } from './styles.ts'

/** White modules around the code, which readers need (ISO/IEC 18004). */
const QUIET_ZONE = 4

/** A text for the camera of another device. Dark on light in every theme: not every reader takes the reverse. */
export class QrCode extends LitElement {
  static override properties = { text: {}, label: {} }
  static override styles = [
    baseStyles,
    css`
      :host {
        display: block;
      }
      svg {
        display: block;
        width: 100%;
        border-radius: var(--radius-small);
      }
    `,
  ]

  declare text: string
  /** What it is, for those who do not see it. */
  declare label: string

  protected override render(): TemplateResult {
    const { data, size } = encode(this.text, { ecc: 'M', border: QUIET_ZONE })
    const dark = data
      .flatMap((row, y) => row.map((isDark, x) => (isDark ? `M${x} ${y}h1v1h-1z` : '')))
      .join('')
    return html`<svg
      role="img"
      aria-label=${this.label}
      viewBox="0 0 ${size} ${size}"
      shape-rendering="crispEdges"
    >
      ${svg`<rect width=${size} height=${size} fill="#fff"></rect><path d=${dark} fill="#000"></path>`}
    </svg>`
  }
}

customElements.define('qr-code', QrCode)
