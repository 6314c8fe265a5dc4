import type { Dht } from '../dht/index.ts'
import type { SyncStatus } from './api.ts'

/** How a subscription stands, as its application is told: what it is about to do, or that nobody is connected. */
export class SyncState {
  readonly #dht: Dht
  readonly #onChange: (status: SyncStatus) => void
  #status: SyncStatus = 'joining'
  #hadPeers = false

  constructor(dht: Dht, onChange: (status: SyncStatus) => void) {
    this.#dht = dht
    this.#onChange = onChange
  }

  get status(): SyncStatus {
    return this.#status
  }

  set(wanted: SyncStatus): void {
    const status = this.#isCutOff(wanted) ? 'offline' : wanted
    if (this.#status === status || this.#status === 'closed') return
    this.#status = status
    this.#onChange(status)
  }

  /** Once more, because peers may have gone. */
  look(): void {
    if (this.#status === 'synced') this.set('synced')
  }

  /** A node that holds the topic itself serves itself, and is cut off only from those that it has known. */
  #isCutOff(status: SyncStatus): boolean {
    const isAlone = this.#dht.rpc.connectedPeers.length === 0
    this.#hadPeers ||= !isAlone
    return isAlone && (status === 'degraded' || (status === 'synced' && this.#hadPeers))
  }
}
