import { asStickyError, StickyError } from '../dht/index.ts'
import type { PubSub } from '../pubsub/index.ts'
import { tellClosing } from '../pubsub/parts.ts'
import type { NetworkNode, OriginNodeOptions } from './origin-node.ts'
import { type NodeStatus, UNKNOWN_STATUS } from './status.ts'
import { persistOnce, type StorageState, storageState } from './storage-state.ts'
import type { NodeMirror } from './tab-calls.ts'
import { TabClient } from './tab-client.ts'
import { DEFAULT_TAB_OPTIONS, type TabOptions } from './tab-frames.ts'
import { createNodeCalls, createTabPubSub } from './tab-pubsub.ts'
import { type Role, Tabs } from './tabs.ts'
import { watchForWake } from './wake.ts'

export interface TabNodeOptions {
  /** The bridge's page address, e.g. location.origin. */
  bridgeUrl: string
  /** The text of an invitation, for a bridge that admits no strangers. */
  invitation?: string
  onStatus?: (status: NodeStatus) => void
  /** Ends the start. */
  signal?: AbortSignal
  /** Whether to `resync` by itself when the page was away (shown again, online, thawed, clock jump). Default true. */
  wake?: boolean
  /** Whether to ask the browser, once there is something to keep, not to evict it. Default true. */
  persist?: boolean
  tabs?: Partial<TabOptions>
}

/** For what applications do when their subscriptions end. */
const CLOSE_PATIENCE_MS = 1_000

/** The node of this page's origin: one, however many tabs are open. Each tab has this face of it. */
export interface BrowserNode extends AsyncDisposable {
  readonly nodeId: string
  readonly pubsub: PubSub
  /** Whether this tab runs the node, or uses the one of another tab. Changes when that one is closed. */
  readonly role: Role
  status(): NodeStatus
  onStatus(listener: (status: NodeStatus) => void): () => void
  storage(): Promise<StorageState>
  /** Reconnects, reads what was missed and sends what waits, now. `reason` is for whoever reads along. */
  resync(reason: string): Promise<void>
  /** A backup text under a passphrase; the key itself is sent nowhere. */
  exportIdentity(passphrase: string): Promise<string>
  /** Replaces the identity of all tabs of this origin; the node starts anew with it. */
  importIdentity(text: string, passphrase: string): Promise<void>
  /** This tab's part. Another tab goes on with the node, if there is one. */
  close(): Promise<void>
}

/** Opens the node of the origin in the tab that leads. */
export type StartNode = (options: OriginNodeOptions) => Promise<NetworkNode>

/**
 * Resolves when the node is open, in this tab or another one, whether or not the network can be reached. Rejects with
 * what no retry cures: UNSUPPORTED_PLATFORM, STORAGE_FAILED, IDENTITY_UNREADABLE, UNKNOWN_VERSION, ABORTED; or with BUSY, where
 * the page is open in too many tabs.
 */
export async function createTabNode(options: TabNodeOptions, startNode: StartNode): Promise<BrowserNode> {
  if (globalThis.crypto?.subtle === undefined) {
    throw new StickyError(
      'UNSUPPORTED_PLATFORM',
      'This page needs https (or localhost): browsers give no cryptography to insecure pages.',
    )
  }
  const node = new TabNode(options, startNode)
  await node.start(options.signal)
  return node
}

class TabNode implements BrowserNode {
  readonly pubsub: PubSub
  readonly #options: TabNodeOptions
  readonly #client: TabClient
  readonly #tabs: Tabs
  readonly #calls: ReturnType<typeof createNodeCalls>
  readonly #listeners = new Set<(status: NodeStatus) => void>()
  #nodeId = ''
  #status = UNKNOWN_STATUS
  #hasStarted = false
  #stopWatching: (() => void) | undefined
  #closing: Promise<void> | undefined

  constructor(options: TabNodeOptions, startNode: StartNode) {
    this.#options = options
    if (options.onStatus) this.#listeners.add(options.onStatus)
    const tabOptions = { ...DEFAULT_TAB_OPTIONS, ...options.tabs }
    this.#client = new TabClient({
      options: tabOptions,
      onNode: (_events, mirror) => this.#told(mirror as NodeMirror),
      onBye: () => this.#tabs.left(),
    })
    const { bridgeUrl, invitation } = options
    const onWorthKeeping = options.persist === false ? () => undefined : persistOnce()
    this.#tabs = new Tabs({
      options: tabOptions,
      client: this.#client,
      startNode: () =>
        startNode({ bridgeUrl, onWorthKeeping, ...(invitation === undefined ? {} : { invitation }) }),
      onStartFailure: (error) => this.#failed(error),
    })
    this.#calls = createNodeCalls(this.#client, () => this.#nodeId)
    this.pubsub = createTabPubSub({
      client: this.#client,
      options: tabOptions,
      nodeId: () => this.#nodeId,
      close: () => this.close(),
    })
  }

  async start(signal: AbortSignal | undefined): Promise<void> {
    const aborted = () =>
      void this.#close(new StickyError('ABORTED', 'The start was aborted.', { cause: signal?.reason }))
    if (signal?.aborted) aborted()
    signal?.addEventListener('abort', aborted, { once: true })
    try {
      await this.#tabs.start()
    } catch (error) {
      const failure = asStickyError(error, 'STORAGE_FAILED')
      await this.#close(failure)
      throw failure
    } finally {
      signal?.removeEventListener('abort', aborted)
    }
    this.#hasStarted = true
    if (this.#options.wake !== false) this.#stopWatching = watchForWake((reason) => this.resync(reason))
  }

  get nodeId(): string {
    return this.#nodeId
  }

  get role(): Role {
    return this.#tabs.role
  }

  status(): NodeStatus {
    return this.#status
  }

  onStatus(listener: (status: NodeStatus) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  storage(): Promise<StorageState> {
    return storageState()
  }

  resync(reason: string): Promise<void> {
    return this.#calls.resyncNode(reason)
  }

  exportIdentity(passphrase: string): Promise<string> {
    return this.#calls.exportIdentity(passphrase)
  }

  importIdentity(text: string, passphrase: string): Promise<void> {
    return this.#calls.importIdentity(text, passphrase)
  }

  close(): Promise<void> {
    return this.#close(new StickyError('CLOSED', 'This node is closed.'))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #close(why: StickyError): Promise<void> {
    this.#closing ??= (async () => {
      this.#stopWatching?.()
      if (this.#hasStarted) {
        void tellClosing(this.pubsub) // what it sends is waited for with the others
        await this.#client.endObjects(CLOSE_PATIENCE_MS)
      }
      await this.#tabs.close(why)
      this.#client.close(why)
      this.#listeners.clear()
    })()
    return this.#closing
  }

  #told({ nodeId, status }: NodeMirror): void {
    this.#nodeId = nodeId
    this.#setStatus(status)
    this.#tabs.connected()
  }

  /** The node could not be started here after the tab that had it was closed. */
  #failed(error: StickyError): void {
    const { code, message } = error
    this.#client.failWaiting(error)
    this.#setStatus({ state: 'offline', peers: [], bridge: false, problem: { code, message } })
  }

  #setStatus(status: NodeStatus): void {
    this.#status = status
    for (const listener of this.#listeners) listener(status)
  }
}
