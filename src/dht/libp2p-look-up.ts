import type { PeerId } from '@libp2p/interface'
import type { KadDHT } from '@libp2p/kad-dht'
import { distanceBetween } from './closest.ts'
import { routingTable } from './routing-table.ts'
import type { Runtime } from './runtime.ts'

/**
 * Looks for the peers closest to keys in one DHT. A holder of a thousand records has a thousand keys to look for whenever
 * peers come or go, and a look-up asks twenty peers; but its keys lie close together, so a few look-ups answer for all.
 */

export interface LookUpOptions {
  /** With at most so many peers in a routing table it holds them all, and nothing is looked up. */
  smallNetworkPeers: number
  /** A look-up that takes longer is cut off; what it found so far is used. */
  lookUpTimeoutMs: number
  /** At the same time in one DHT; the others wait, and mostly need none of their own then. */
  maxLookUps: number
  /** So long what was found answers for the keys beside it. */
  lookUpReuseMs: number
}

/** All keys that share their first `bits` bits with `target`: the peers that do so too are known, each of them. */
interface Region {
  target: Uint8Array
  bits: number
  /** Of the peers, those that lie in it. */
  members: number
  peers: PeerId[]
  atMs: number
}

export interface LookUpRequest {
  key: Uint8Array
  /** Where it lies in the key space. */
  target: Uint8Array
  /** How many peers have to be the right ones. */
  needed: number
  signal: AbortSignal
}

export class LookUps {
  readonly #kad: KadDHT
  readonly #positionOf: (peerId: PeerId) => Promise<Uint8Array>
  readonly #runtime: Runtime
  readonly #options: LookUpOptions
  #regions: Region[] = []
  #running = 0
  #waiting: (() => void)[] = []

  constructor(
    kad: KadDHT,
    positionOf: (peerId: PeerId) => Promise<Uint8Array>,
    runtime: Runtime,
    options: LookUpOptions,
  ) {
    this.#kad = kad
    this.#positionOf = positionOf
    this.#runtime = runtime
    this.#options = options
  }

  /** Beside what the routing table has. Throws the signal's reason. */
  async find(request: LookUpRequest): Promise<PeerId[]> {
    for (;;) {
      request.signal.throwIfAborted()
      // a query with nobody to ask would wait for somebody
      if (routingTable(this.#kad).size <= this.#options.smallNetworkPeers) return []
      const region = this.#regionOf(request)
      if (region !== undefined) return region.peers
      if (this.#running < this.#options.maxLookUps) return this.#lookUp(request)
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
  }

  #regionOf({ target, needed }: LookUpRequest): Region | undefined {
    const oldestMs = this.#runtime.monotonicNow() - this.#options.lookUpReuseMs
    return this.#regions.findLast(
      (region) =>
        region.atMs >= oldestMs &&
        region.members >= needed &&
        commonBits(region.target, target) >= region.bits,
    )
  }

  async #lookUp({ key, target, signal }: LookUpRequest): Promise<PeerId[]> {
    const limit = new AbortController()
    const stop = () => limit.abort()
    const timer = this.#runtime.setTimer(stop, this.#options.lookUpTimeoutMs)
    signal.addEventListener('abort', stop, { once: true })
    this.#running += 1
    const peers: PeerId[] = []
    try {
      for await (const event of this.#kad.getClosestPeers(key, { signal: limit.signal }))
        if (event.name === 'FINAL_PEER') peers.push(event.peer.id)
      if (!limit.signal.aborted) await this.#keep(target, peers)
    } catch {
      // the routing tables answer for the rest
    } finally {
      timer.clear()
      signal.removeEventListener('abort', stop)
      this.#running -= 1
      const waiting = this.#waiting
      this.#waiting = []
      for (const goOn of waiting) goOn()
    }
    return peers
  }

  /** The farthest one found may have neighbours that were not; who shares more bits with the target than it has none. */
  async #keep(target: Uint8Array, peers: PeerId[]): Promise<void> {
    const positions = await Promise.all(peers.map(this.#positionOf))
    const shared = positions.map((position) => commonBits(position, target))
    const bits = Math.min(...shared) + 1
    const members = shared.filter((count) => count >= bits).length
    const nowMs = this.#runtime.monotonicNow()
    this.#regions = this.#regions.filter(({ atMs }) => atMs >= nowMs - this.#options.lookUpReuseMs)
    if (this.#regions.length >= MAX_REGIONS) this.#regions.shift()
    this.#regions.push({ target, bits, members, peers, atMs: nowMs })
  }
}

/** Of a network of 4,000 peers there are about as many. */
const MAX_REGIONS = 256

/** How many bits two places have in common before the first in which they differ. */
function commonBits(a: Uint8Array, b: Uint8Array): number {
  const distance = distanceBetween(a, b)
  const first = distance.findIndex((byte) => byte !== 0)
  return first < 0 ? 8 * distance.length : 8 * first + Math.clz32(distance[first] as number) - 24
}
