import type { PeerId } from '@libp2p/interface'
import type { KadDHT } from '@libp2p/kad-dht'
import { BUCKET_PEERS, type Finder, type FindRequest, type Found } from './look-ups.ts'
import { routingTable } from './routing-table.ts'

/** Look-ups by the queries of kad-dht. */
export class KadFinder implements Finder<PeerId> {
  readonly #kad: KadDHT
  readonly placeOf: (peerId: PeerId) => Promise<Uint8Array>

  constructor(kad: KadDHT, placeOf: (peerId: PeerId) => Promise<Uint8Array>) {
    this.#kad = kad
    this.placeOf = placeOf
  }

  /** A query with nobody to ask would wait for somebody. */
  canAsk(): boolean {
    return routingTable(this.#kad).size > 0
  }

  async find({ key, signal }: FindRequest): Promise<Found<PeerId>> {
    const answered: PeerId[] = []
    const closest: PeerId[] = []
    try {
      for await (const event of this.#kad.getClosestPeers(key, { signal }))
        if (event.name === 'PEER_RESPONSE') answered.push(event.from)
        else if (event.name === 'FINAL_PEER') closest.push(event.peer.id)
      if (!signal.aborted) return { peers: closest, extent: this.#areAll(closest) ? 'all' : 'closest' }
    } catch {
      // it was cut off before it could tell who of them are the closest
    }
    return { peers: answered, extent: 'some' }
  }

  /** Fewer than a bucket holds are all that there are. */
  #areAll(closest: PeerId[]): boolean {
    return closest.length < BUCKET_PEERS && routingTable(this.#kad).size < BUCKET_PEERS
  }
}
