import { onReleased } from './locks.ts'
import type { NetworkNode } from './origin-node.ts'
import { serveNode } from './tab-calls.ts'
import type { TabOptions, TabPort } from './tab-frames.ts'
import { type ServedNode, TabSession } from './tab-server.ts'

/** The tabs that one node serves. A tab that is gone is noticed by the lock that it held. */
export class TabLeader {
  readonly #served: ServedNode
  readonly #options: TabOptions
  readonly #sessions = new Map<string, { session: TabSession; stopWatching(): void }>()
  readonly #stops: (() => void)[]

  constructor(node: NetworkNode, options: TabOptions) {
    this.#served = serveNode(node)
    this.#options = options
    this.#stops = [node.onStatus((status) => this.#tell('status', status))]
  }

  get tabs(): number {
    return this.#sessions.size
  }

  /** `openPort` is called when the tab is taken; `lockName`: the lock it holds while it lives. False where there is no place. */
  join(tab: string, openPort: () => TabPort, lockName?: string): boolean {
    const known = this.#sessions.get(tab)
    known?.session.welcome()
    if (known !== undefined) return true
    if (this.#sessions.size >= this.#options.maxTabs) return false
    const session = new TabSession(openPort(), this.#served, this.#options)
    const stopWatching =
      lockName === undefined ? () => undefined : onReleased(lockName, () => this.leave(tab))
    this.#sessions.set(tab, { session, stopWatching })
    return true
  }

  leave(tab: string): void {
    const known = this.#sessions.get(tab)
    this.#sessions.delete(tab)
    known?.stopWatching()
    void known?.session.close()
  }

  /** `drains`: what the tabs have begun may still end. */
  async close(drains: boolean): Promise<void> {
    for (const stop of this.#stops.splice(0)) stop()
    const all = [...this.#sessions.values()]
    this.#sessions.clear()
    for (const { stopWatching } of all) stopWatching()
    await Promise.all(all.map(({ session }) => (drains ? session.drain() : session.close())))
  }

  #tell(event: string, value: unknown): void {
    for (const { session } of this.#sessions.values()) session.tell(event, value)
  }
}
