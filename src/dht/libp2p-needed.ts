import type { Libp2p } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import type { NodeId } from './identity.ts'
import type { ClosestPeer } from './network.ts'
import type { Runtime } from './runtime.ts'

/**
 * Tags the holders of what this node reads and writes in libp2p's peer store, so that whoever has to let go of connections
 * (libp2p's pruner, a tab's bound) lets go of others first.
 */

const TAG = 'sticky-holder'
/** More than all that routing tables tag a peer with; the peer store takes at most 100. */
export const NEEDED_VALUE = 60
const MAX_VALUE = 100
/** Twice as long as a replica set is believed, and some: what is in use is looked up again before. */
const TTL_MS = 150_000
const RENEW_MS = 30_000
const MAX_REMEMBERED = 1_024

export class NeededPeers {
  readonly #libp2p: Libp2p
  readonly #runtime: Runtime
  readonly #taggedAtMs = new Map<NodeId, number>()

  constructor(libp2p: Libp2p, runtime: Runtime) {
    this.#libp2p = libp2p
    this.#runtime = runtime
  }

  /** The holders of a key, nearest first: the nearest is worth the most. */
  note(holders: ClosestPeer[]): void {
    const now = this.#runtime.monotonicNow()
    holders.forEach(({ nodeId }, index) => {
      if (now - (this.#taggedAtMs.get(nodeId) ?? Number.NEGATIVE_INFINITY) < RENEW_MS) return
      if (nodeId === this.#libp2p.peerId.toString()) return
      this.#taggedAtMs.delete(nodeId)
      this.#taggedAtMs.set(nodeId, now)
      if (this.#taggedAtMs.size > MAX_REMEMBERED)
        this.#taggedAtMs.delete(this.#taggedAtMs.keys().next().value as NodeId)
      const tags = { [TAG]: { value: Math.max(NEEDED_VALUE, MAX_VALUE - index), ttl: TTL_MS } }
      this.#libp2p.peerStore.merge(peerIdFromString(nodeId), { tags }).catch(() => undefined) // a stopped node's
    })
  }
}
