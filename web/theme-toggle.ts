import { html, LitElement, type TemplateResult } from 'lit'
import { moonIcon, sunIcon, systemIcon } from './icons.ts'
import { applyTheme, loadTheme, type Theme } from './settings.ts'
import { baseStyles, controlStyles } from './styles.ts'

/** Light, dark, or as the system: each click is the next one. */

const THEMES = {
  system: { next: 'light', label: 'Colours: as the system', icon: systemIcon },
  light: { next: 'dark', label: 'Colours: light', icon: sunIcon },
  dark: { next: 'system', label: 'Colours: dark', icon: moonIcon },
} as const

export class ThemeToggle extends LitElement {
  static override properties = { theme: { state: true } }
  static override styles = [baseStyles, controlStyles]

  declare theme: Theme

  constructor() {
    super()
    this.theme = loadTheme()
  }

  protected override render(): TemplateResult {
    const { next, label, icon } = THEMES[this.theme]
    return html`<button
      class="icon-button"
      aria-label=${label}
      title=${label}
      data-testid="theme-toggle"
      @click=${() => {
        this.theme = next
        applyTheme(next)
      }}
    >
      ${icon}
    </button>`
  }
}

customElements.define('theme-toggle', ThemeToggle)
