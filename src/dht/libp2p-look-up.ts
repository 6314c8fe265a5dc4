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
  /**
   * At the same time in one DHT; the others wait, and mostly need none of their own then. One at first, twice as many with
   * each that ends by itself, and one again after one that was cut off: where there is too much to do, more is no help.
   */
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
  /** Of the last region: others are about as large. At first one look-up has to tell. */
  #usualBits = 0
  #atOnce = 1
  /** What is being looked up. */
  readonly #running = new Set<Uint8Array>()
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
      if (this.#mayBegin(request)) return this.#lookUp(request)
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

  /** Not beside one that will probably answer for it. */
  #mayBegin({ target }: LookUpRequest): boolean {
    const running = [...this.#running]
    return (
      running.length < this.#atOnce && running.every((other) => commonBits(other, target) < this.#usualBits)
    )
  }

  async #lookUp(request: LookUpRequest): Promise<PeerId[]> {
    const { key, target, needed, signal } = request
    const limit = new AbortController()
    const stop = () => limit.abort()
    const timer = this.#runtime.setTimer(stop, this.#options.lookUpTimeoutMs)
    signal.addEventListener('abort', stop, { once: true })
    this.#running.add(target)
    const peers: PeerId[] = []
    let answersFor: Region | undefined
    try {
      for await (const event of this.#kad.getClosestPeers(key, { signal: limit.signal }))
        if (event.name === 'FINAL_PEER') peers.push(event.peer.id)
      if (!limit.signal.aborted) answersFor = this.#keep(await this.#regionAround(target, peers))
    } catch {
      // the routing tables answer for the rest
    } finally {
      timer.clear()
      signal.removeEventListener('abort', stop)
      // where one answers for nobody else, nobody waits for it
      if (answersFor !== undefined)
        this.#usualBits = answersFor.members >= needed ? answersFor.bits : Number.POSITIVE_INFINITY
      this.#atOnce = answersFor === undefined ? 1 : Math.min(2 * this.#atOnce, this.#options.maxLookUps)
      this.#running.delete(target)
      const waiting = this.#waiting.reverse() // for what is asked last somebody waits; the others have what they had
      this.#waiting = []
      for (const goOn of waiting) goOn()
    }
    return peers
  }

  /** The farthest one found may have neighbours that were not; who shares more bits with the target than it has none. */
  async #regionAround(target: Uint8Array, peers: PeerId[]): Promise<Region> {
    const positions = await Promise.all(peers.map(this.#positionOf))
    const shared = positions.map((position) => commonBits(position, target))
    const bits = Math.min(...shared) + 1
    const members = shared.filter((count) => count >= bits).length
    return { target, bits, members, peers, atMs: this.#runtime.monotonicNow() }
  }

  #keep(region: Region): Region {
    const oldestMs = region.atMs - this.#options.lookUpReuseMs
    this.#regions = this.#regions.filter(({ atMs }) => atMs >= oldestMs)
    if (this.#regions.length >= MAX_REGIONS) this.#regions.shift()
    this.#regions.push(region)
    return region
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
