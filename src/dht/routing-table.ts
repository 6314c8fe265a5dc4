import type { PeerId } from '@libp2p/interface'
import type { KadDHT } from '@libp2p/kad-dht'

/** What kad-dht's routing table offers beyond its published type. */
export interface RoutingTable extends EventTarget {
  readonly size: number
  closestPeers(position: Uint8Array, options: { count: number }): PeerId[]
}

export const routingTable = (kad: KadDHT): RoutingTable =>
  (kad as unknown as { routingTable: RoutingTable }).routingTable
