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
  /** A look-up that takes longer is cut off; who has answered by then counts as found. */
  lookUpTimeoutMs: number
  /**
   * At the same time in one DHT; the others wait, and mostly need none of their own then. One at first, twice as many with
   * each that ends by itself, and one again after one that was cut off: where there is too much to do, more is no help.
   */
  maxLookUps: number
  /** So long what was found answers for the keys beside it, unless peers come or go. */
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

/** A bucket of kad-dht: its look-ups give so many peers where there are as many. */
export const BUCKET_PEERS = 20

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
  /** To be called when one has ended, in the order in which they came. */
  readonly #waiting = new Set<() => void>()

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

  /** Beside what the routing table has; nobody where its turn did not come within a look-up's time. Throws the signal's reason. */
  async find(request: LookUpRequest): Promise<PeerId[]> {
    const endMs = this.#runtime.monotonicNow() + this.#options.lookUpTimeoutMs
    for (;;) {
      request.signal.throwIfAborted()
      // a query with nobody to ask would wait for somebody
      if (routingTable(this.#kad).size === 0) return []
      const region = this.#regionOf(request)
      if (region !== undefined) return region.peers
      if (this.#mayBegin(request)) return this.#lookUp(request)
      const leftMs = endMs - this.#runtime.monotonicNow()
      if (leftMs <= 0) return []
      await this.#nextEnd(leftMs, request.signal)
    }
  }

  /** Peers came or went: what was found may miss somebody. */
  forget(): void {
    this.#regions = []
  }

  /** Until a look-up has ended, or that is not to be waited for any more. */
  #nextEnd(withinMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const goOn = () => {
        timer.clear()
        signal.removeEventListener('abort', goOn)
        this.#waiting.delete(goOn)
        resolve()
      }
      const timer = this.#runtime.setTimer(goOn, withinMs)
      signal.addEventListener('abort', goOn)
      this.#waiting.add(goOn)
    })
  }

  #regionOf({ target, needed }: LookUpRequest): Region | undefined {
    const oldestMs = this.#runtime.monotonicNow() - this.#options.lookUpReuseMs
    return this.#regions.findLast(
      (region) =>
        region.atMs >= oldestMs &&
        answersFor(region, needed) &&
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

  async #lookUp({ key, target, needed, signal }: LookUpRequest): Promise<PeerId[]> {
    const limit = new AbortController()
    const stop = () => limit.abort()
    const timer = this.#runtime.setTimer(stop, this.#options.lookUpTimeoutMs)
    signal.addEventListener('abort', stop, { once: true })
    this.#running.add(target)
    const answered: PeerId[] = []
    const closest: PeerId[] = []
    let region: Region | undefined
    try {
      for await (const event of this.#kad.getClosestPeers(key, { signal: limit.signal }))
        if (event.name === 'PEER_RESPONSE') answered.push(event.from)
        else if (event.name === 'FINAL_PEER') closest.push(event.peer.id)
      if (!limit.signal.aborted) region = await this.#regionAround(target, closest)
    } catch {
      // it was cut off before it could tell who of them are the closest
    } finally {
      timer.clear()
      signal.removeEventListener('abort', stop)
      this.#running.delete(target)
      this.#learn(region, needed)
      for (const goOn of [...this.#waiting]) goOn()
    }
    return region === undefined ? answered : closest
  }

  /**
   * The farthest one found may have neighbours that were not; who shares more bits with the target than it has none. Fewer
   * than a bucket holds are all that there are.
   */
  async #regionAround(target: Uint8Array, peers: PeerId[]): Promise<Region> {
    const positions = await Promise.all(peers.map(this.#positionOf))
    const shared = positions.map((position) => commonBits(position, target))
    const areAll = peers.length < BUCKET_PEERS && routingTable(this.#kad).size < BUCKET_PEERS
    const bits = areAll ? 0 : Math.min(...shared) + 1
    const members = shared.filter((count) => count >= bits).length
    return { target, bits, members, peers, atMs: this.#runtime.monotonicNow() }
  }

  #learn(region: Region | undefined, needed: number): void {
    if (region === undefined) {
      this.#atOnce = 1
      return
    }
    this.#atOnce = Math.min(2 * this.#atOnce, this.#options.maxLookUps)
    // where one answers for nobody else, nobody waits for it
    this.#usualBits = answersFor(region, needed) ? region.bits : Number.POSITIVE_INFINITY
    const oldestMs = region.atMs - this.#options.lookUpReuseMs
    this.#regions = this.#regions.filter(({ atMs }) => atMs >= oldestMs)
    if (this.#regions.length >= MAX_REGIONS) this.#regions.shift()
    this.#regions.push(region)
  }
}

/** Of a network of 4,000 peers there are about as many. */
const MAX_REGIONS = 256

/** Not more than half of a bucket can be asked for: that is what a region has in the mean. */
const answersFor = ({ bits, members }: Region, needed: number): boolean =>
  bits === 0 || members >= Math.min(needed, BUCKET_PEERS / 2)

/** How many bits two places have in common before the first in which they differ. */
function commonBits(a: Uint8Array, b: Uint8Array): number {
  const distance = distanceBetween(a, b)
  const first = distance.findIndex((byte) => byte !== 0)
  return first < 0 ? 8 * distance.length : 8 * first + Math.clz32(distance[first] as number) - 24
}
