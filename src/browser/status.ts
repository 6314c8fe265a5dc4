import { AdmissionRefusedError, type ErrorCode, type PeerView, StickyError } from '../dht/index.ts'

/** How the node is connected, as the page shows it. */

export interface Problem {
  code: ErrorCode
  message: string
  /** With ADMISSION_REFUSED: what the bridge has against this node. */
  reason?: ErrorCode
}

export interface NodeStatus {
  /** Online: the bridge is connected. Degraded: peers, but the bridge is gone. Offline: nobody. Connecting: not tried yet. */
  state: 'connecting' | 'online' | 'degraded' | 'offline'
  peers: PeerView[]
  bridge: boolean
  /** Why the last attempt to reach the bridge failed; it is tried again. */
  problem?: Problem
  /** Why the last write to this browser's storage failed. */
  storageProblem?: Problem
  /** The last time that everything was reconnected on purpose: why, and when (ms since the Unix epoch). */
  lastResync?: { reason: string; atMs: number }
}

export const UNKNOWN_STATUS: NodeStatus = { state: 'connecting', peers: [], bridge: false }

export class StatusView {
  readonly #listeners = new Set<(status: NodeStatus) => void>()
  #connected: () => PeerView[] = () => []
  #bridgeId: string | undefined
  #hasTried = false
  #problem: Problem | undefined
  #storageProblem: Problem | undefined
  #lastResync: NodeStatus['lastResync']

  /** `connected` tells who is, the bridge included; gives what is to be called when that has changed. */
  watch(connected: () => PeerView[]): () => void {
    this.#connected = connected
    return this.#tell
  }

  /** An attempt to join has ended. */
  attempted({ bridgeId, error }: { bridgeId: string | undefined; error: unknown }): void {
    this.#bridgeId = bridgeId
    this.#hasTried = true
    this.#problem = error instanceof StickyError ? problemOf(error) : undefined
    this.#tell()
  }

  setStorageProblem(error: StickyError | undefined): void {
    if (this.#storageProblem?.code === error?.code) return
    this.#storageProblem = error && problemOf(error)
    this.#tell()
  }

  resyncing(reason: string): void {
    this.#lastResync = { reason, atMs: Date.now() }
    this.#tell()
  }

  status(): NodeStatus {
    const connected = this.#connected()
    const bridge = connected.some(({ nodeId }) => nodeId === this.#bridgeId)
    const peers = connected.filter(({ nodeId }) => nodeId !== this.#bridgeId)
    return {
      state: this.#stateOf(bridge, peers.length),
      peers,
      bridge,
      ...(this.#problem === undefined || bridge ? {} : { problem: this.#problem }),
      ...(this.#storageProblem === undefined ? {} : { storageProblem: this.#storageProblem }),
      ...(this.#lastResync === undefined ? {} : { lastResync: this.#lastResync }),
    }
  }

  onStatus(listener: (status: NodeStatus) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #stateOf(bridge: boolean, peers: number): NodeStatus['state'] {
    if (!this.#hasTried) return 'connecting'
    if (bridge) return 'online'
    return peers > 0 ? 'degraded' : 'offline'
  }

  readonly #tell = (): void => {
    const now = this.status()
    for (const listener of this.#listeners) listener(now)
  }
}

const problemOf = (error: StickyError): Problem => ({
  code: error.code,
  message: error.message,
  ...(error instanceof AdmissionRefusedError ? { reason: error.reason } : {}),
})
