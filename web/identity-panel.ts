import { css, html, LitElement, nothing, type TemplateResult } from 'lit'
import { cleanName, MAX_NAME_LENGTH } from './chat-data.ts'
import type { ChatNode, StorageState } from './chat-node.ts'
import { closeIcon, copyIcon } from './icons.ts'
import { describeProblem } from './problems.ts'
import { baseStyles, controlStyles, dialogStyles } from './styles.ts'

/** Name, node id, and the backup of this browser's identity. A dialog: Escape closes it, focus stays inside. */

const MIN_PASSPHRASE_LENGTH = 8
/** Far above any real backup; checked before the file is read. */
const MAX_BACKUP_BYTES = 64 * 1024

export class IdentityPanel extends LitElement {
  static override properties = {
    node: { attribute: false },
    nodeId: { attribute: false },
    name: { attribute: false },
    busy: { state: true },
    note: { state: true },
    problem: { state: true },
    storage: { state: true },
    stranded: { state: true },
  }
  static override styles = [
    baseStyles,
    controlStyles,
    dialogStyles,
    css`
      dialog {
        width: min(30rem, calc(100vw - 2rem));
        max-height: calc(100dvh - 2rem);
        overflow: hidden auto;
      }
      .top {
        display: flex;
        align-items: center;
        justify-content: space-between;
        margin: -0.4rem -0.4rem var(--space-3) 0;
      }
      h3 {
        font-size: var(--size-body);
        font-weight: 650;
      }
      section {
        margin-top: var(--space-5);
        padding-top: var(--space-4);
        border-top: 1px solid var(--line);
      }
      .help {
        margin: 0.1rem 0 var(--space-3);
        color: var(--ink-soft);
        font-size: var(--size-small);
      }
      label {
        display: block;
        margin-bottom: var(--space-1);
        color: var(--ink-soft);
        font-size: var(--size-small);
        font-weight: 550;
      }
      .pair {
        display: flex;
        gap: var(--space-2);
      }
      .pair .button {
        flex: none;
      }
      .node-id {
        display: flex;
        align-items: center;
        gap: var(--space-2);
        margin-top: var(--space-4);
      }
      .node-id div {
        flex: 1;
        min-width: 0;
      }
      .storage {
        margin-top: var(--space-3);
        color: var(--ink-soft);
        font-size: var(--size-small);
      }
      code {
        display: block;
        font: var(--size-tiny) / 1.5 var(--font-code);
        overflow-wrap: anywhere;
      }
      .file {
        padding: 0.45rem var(--space-2);
        font-size: var(--size-small);
        margin-bottom: var(--space-2);
      }
      .file::file-selector-button {
        margin-inline-end: var(--space-3);
        padding: 0.2rem var(--space-3);
        border: 1px solid var(--line);
        border-radius: var(--radius-small);
        background: var(--hover);
        color: inherit;
        font: inherit;
      }
      .note,
      .problem {
        margin-top: var(--space-4);
        padding: var(--space-2) var(--space-3);
        border-radius: var(--radius-small);
        background: var(--accent-wash);
        font-size: var(--size-small);
      }
      .problem {
        background: var(--bad-wash);
        color: var(--bad);
      }
    `,
  ]

  declare node: ChatNode | undefined
  /** The node's own, which changes while it runs. */
  declare nodeId: string | undefined
  declare name: string
  declare busy: boolean
  declare note: string
  declare problem: string
  declare storage: StorageState | undefined
  /** So many messages wait that only the present identity can send, as the person has been told. */
  declare stranded: number

  constructor() {
    super()
    this.name = ''
    this.busy = false
    this.note = ''
    this.problem = ''
    this.stranded = 0
  }

  show(): void {
    this.note = ''
    this.problem = ''
    this.stranded = 0
    this.#input('name').value = this.name
    this.renderRoot.querySelector('dialog')?.showModal()
    void this.#readStorage()
  }

  protected override render(): TemplateResult {
    return html`<dialog aria-labelledby="heading" data-testid="identity-panel">
      <div class="top">
        <h2 id="heading">You</h2>
        <button class="icon-button" aria-label="Close" @click=${this.#close}>${closeIcon}</button>
      </div>
      <form @submit=${this.#onRename}>
        <label for="name">Name shown to others</label>
        <div class="pair">
          <input id="name" class="field" maxlength=${MAX_NAME_LENGTH} autocomplete="nickname" required />
          <button class="button quiet">Change</button>
        </div>
      </form>
      ${this.#drawNodeId()} ${this.#drawStorage()} ${this.#drawExport()} ${this.#drawImport()}
      <div role="status">${this.note === '' ? nothing : html`<p class="note">${this.note}</p>`}</div>
      ${this.problem === '' ? nothing : html`<p class="problem" role="alert">${this.problem}</p>`}
    </dialog>`
  }

  #drawNodeId(): TemplateResult {
    return html`<div class="node-id">
      <div>
        <label>Node id</label>
        <code data-testid="node-id">${this.nodeId ?? 'not connected yet'}</code>
      </div>
      <button class="icon-button" aria-label="Copy the node id" title="Copy" @click=${this.#copy}>${copyIcon}</button>
    </div>`
  }

  #drawStorage(): TemplateResult | typeof nothing {
    if (this.storage === undefined) return nothing
    const { persisted, usedBytes, quotaBytes } = this.storage
    return html`<p class="storage" data-testid="storage" data-persisted=${persisted ? 'true' : 'false'}>
      ${megabytes(usedBytes)}${quotaBytes > 0 ? ` of ${megabytes(quotaBytes)}` : ''} used on this device.
      ${
        persisted
          ? 'The browser keeps it.'
          : 'The browser may delete it when space is short, your identity included: keep a backup.'
      }
    </p>`
  }

  async #readStorage(): Promise<void> {
    try {
      this.storage = await this.node?.storage()
    } catch {
      this.storage = undefined // the line is left out
    }
  }

  #drawExport(): TemplateResult {
    return html`<section>
      <h3>Back up</h3>
      <p class="help">
        Your identity is a key that exists in this browser only. The file is encrypted with the passphrase;
        without it nobody can open the file, you included.
      </p>
      <form @submit=${this.#onExport}>
        <label for="export-passphrase">Passphrase, at least ${MIN_PASSPHRASE_LENGTH} characters</label>
        <div class="pair">
          <input
            id="export-passphrase"
            class="field"
            type="password"
            autocomplete="new-password"
            minlength=${MIN_PASSPHRASE_LENGTH}
            required
            data-testid="export-passphrase"
          />
          <button class="button quiet" data-testid="export-submit" ?disabled=${this.#idle()}>Download</button>
        </div>
      </form>
    </section>`
  }

  #drawImport(): TemplateResult {
    return html`<section>
      <h3>Restore</h3>
      <p class="help">Replaces the identity of this browser by the one in a backup, then starts again with it.</p>
      <form @submit=${this.#onImport}>
        <label for="file">Backup file</label>
        <input id="file" class="field file" type="file" required data-testid="import-file" />
        <label for="import-passphrase">Its passphrase</label>
        <div class="pair">
          <input
            id="import-passphrase"
            class="field"
            type="password"
            autocomplete="current-password"
            required
            data-testid="import-passphrase"
          />
          <button class="button quiet" data-testid="import-submit" ?disabled=${this.#idle()}>
            ${this.stranded === 0 ? 'Restore' : 'Restore all the same'}
          </button>
        </div>
      </form>
    </section>`
  }

  #idle(): boolean {
    return this.busy || this.node === undefined
  }

  #input(id: string): HTMLInputElement {
    return this.renderRoot.querySelector<HTMLInputElement>(`#${id}`)!
  }

  readonly #close = (): void => {
    this.renderRoot.querySelector('dialog')?.close()
  }

  #onRename(event: SubmitEvent): void {
    event.preventDefault()
    const name = cleanName(this.#input('name').value)
    if (name === '') return
    this.note = 'Name changed. Messages already sent keep the old one.'
    this.dispatchEvent(new CustomEvent('rename', { detail: name }))
  }

  async #copy(): Promise<void> {
    if (this.nodeId === undefined) return
    try {
      await navigator.clipboard.writeText(this.nodeId)
      this.note = 'Node id copied.'
    } catch {
      this.problem = 'The browser did not allow copying; select the id and copy it by hand.'
    }
  }

  #onExport(event: SubmitEvent): void {
    event.preventDefault()
    const field = this.#input('export-passphrase')
    void this.#work(async (node) => {
      const backup = await node.exportIdentity(field.value)
      field.value = ''
      download(backup, `sticky-identity-${node.nodeId.slice(-6)}.txt`)
      this.note = 'Backup downloaded. Keep the passphrase somewhere else.'
    })
  }

  #onImport(event: SubmitEvent): void {
    event.preventDefault()
    const field = this.#input('import-passphrase')
    const file = this.#input('file').files?.[0]
    if (file === undefined) return
    void this.#work(async (node) => {
      if (file.size > MAX_BACKUP_BYTES) throw new Error('This file is too large to be an identity backup.')
      const { length } = await node.pubsub.outbox()
      if (length > this.stranded) {
        this.stranded = length
        this.problem = strandedBy(length)
        return
      }
      await node.importIdentity(await file.text(), field.value)
      field.value = ''
      this.stranded = 0
      this.note = 'Identity restored. The chat starts again with it, in all tabs of this browser.'
    })
  }

  async #work(work: (node: ChatNode) => Promise<void>): Promise<void> {
    if (this.node === undefined || this.busy) return
    this.busy = true
    this.note = ''
    this.problem = ''
    try {
      await work(this.node)
    } catch (error) {
      this.problem = describeProblem(error)
    } finally {
      this.busy = false
    }
  }
}

const strandedBy = (length: number): string =>
  `${length === 1 ? 'One message waits' : `${length} messages wait`} to be sent, which only the present identity can do. ` +
  'Wait until that is done, or back this identity up first: what waits is sent once it is restored.'

const megabytes = (bytes: number): string =>
  `${new Intl.NumberFormat(undefined, { maximumFractionDigits: bytes < 10_000_000 ? 1 : 0 }).format(bytes / 1_000_000)} MB`

function download(text: string, fileName: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: 'text/plain' }))
  const link = document.createElement('a')
  link.href = url
  link.download = fileName
  link.click()
  URL.revokeObjectURL(url)
}

customElements.define('identity-panel', IdentityPanel)
