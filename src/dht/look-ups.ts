import { distanceBetween } from './closest.ts'
import type { Runtime } from './runtime.ts'

/**
 * Looks for the peers closest to keys in one DHT. A holder of a thousand records has a thousand keys to look for whenever
 * peers come or go, and a look-up asks twenty peers; but its keys lie close together, so a few look-ups answer for all.
 * How a DHT is asked comes from the network.
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

export const DEFAULT_LOOK_UP_OPTIONS: LookUpOptions = {
  lookUpTimeoutMs: 5_000,
  maxLookUps: 8,
  lookUpReuseMs: 10_000,
}

/** One DHT, as a node may ask it. */
export interface Finder<Peer> {
  /** Where there is nobody to ask nothing is looked up. */
  canAsk(): boolean
  /** Asks until the signal aborts. Does not reject. */
  find(request: FindRequest): Promise<Found<Peer>>
  /** Where a peer lies in the key space. */
  placeOf(peer: Peer): Promise<Uint8Array>
}

export interface FindRequest {
  key: Uint8Array
  /** Where it lies in the key space. */
  target: Uint8Array
  signal: AbortSignal
}

export interface Found<Peer> {
  /** The closest first, where it is known who they are. */
  peers: Peer[]
  /** A whole bucket of the closest, or all that the DHT has; or some, of whom that is not known, e.g. after it was cut off. */
  extent: 'closest' | 'all' | 'some'
}

/** All keys that share their first `bits` bits with `target`: the peers that do so too are known, each of them. */
interface Region<Peer> {
  target: Uint8Array
  bits: number
  /** Of the peers, those that lie in it. */
  members: number
  peers: Peer[]
  atMs: number
  /** As of when it was begun. */
  changes: number
}

export interface LookUpRequest extends FindRequest {
  /** How many peers have to be the right ones. */
  needed: number
}

/** A bucket of kad-dht: its look-ups give so many peers where there are as many. */
export const BUCKET_PEERS = 20

export class LookUps<Peer> {
  readonly #finder: Finder<Peer>
  readonly #runtime: Runtime
  readonly #options: LookUpOptions
  #regions: Region<Peer>[] = []
  /** Of the last region: others are about as large. At first one look-up has to tell. */
  #usualBits = 0
  #atOnce = 1
  /** What is being looked up. */
  readonly #running = new Set<Uint8Array>()
  /** To be called when one has ended, in the order in which they came. */
  readonly #waiting = new Set<() => void>()
  /** How often peers have come or gone. */
  #changes = 0

  constructor(finder: Finder<Peer>, runtime: Runtime, options: LookUpOptions) {
    this.#finder = finder
    this.#runtime = runtime
    this.#options = options
  }

  /** Where its turn did not come within a look-up's time, whom others have found, from anywhere. Throws the signal's reason. */
  async find(request: LookUpRequest): Promise<Peer[]> {
    const endMs = this.#runtime.monotonicNow() + this.#options.lookUpTimeoutMs
    const changes = this.#changes
    for (;;) {
      request.signal.throwIfAborted()
      if (!this.#finder.canAsk()) return []
      const region = this.#regionOf(request, changes)
      if (region !== undefined) return region.peers
      if (this.#mayBegin(request)) return this.#lookUp(request)
      const leftMs = endMs - this.#runtime.monotonicNow()
      if (leftMs <= 0) return this.#regions.flatMap(({ peers }) => peers)
      await this.#nextEnd(leftMs, request.signal)
    }
  }

  /** Peers came or went: what was found may miss somebody. */
  forget(): void {
    this.#changes += 1
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

  /** What was begun before peers came or went may miss somebody: it answers only for who asked before that too. */
  #regionOf({ target, needed }: LookUpRequest, changes: number): Region<Peer> | undefined {
    const oldestMs = this.#runtime.monotonicNow() - this.#options.lookUpReuseMs
    return this.#regions.findLast(
      (region) =>
        region.changes >= changes &&
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

  async #lookUp({ needed, ...request }: LookUpRequest): Promise<Peer[]> {
    const { target, signal } = request
    const limit = new AbortController()
    const stop = () => limit.abort()
    const timer = this.#runtime.setTimer(stop, this.#options.lookUpTimeoutMs)
    signal.addEventListener('abort', stop, { once: true })
    this.#running.add(target)
    const changes = this.#changes
    let region: Region<Peer> | undefined
    try {
      const found = await this.#finder.find({ ...request, signal: limit.signal })
      region = await this.#regionAround(target, found, changes)
      return found.peers
    } finally {
      timer.clear()
      signal.removeEventListener('abort', stop)
      this.#running.delete(target)
      this.#learn(region, needed, limit.signal.aborted)
      for (const goOn of [...this.#waiting]) goOn()
    }
  }

  /**
   * The farthest one of a bucket may have neighbours that were not found; who shares more bits with the target than it has
   * none.
   */
  async #regionAround(
    target: Uint8Array,
    { peers, extent }: Found<Peer>,
    changes: number,
  ): Promise<Region<Peer> | undefined> {
    if (extent === 'some') return undefined
    const places = await Promise.all(peers.slice(0, BUCKET_PEERS).map((peer) => this.#finder.placeOf(peer)))
    const shared = places.map((place) => commonBits(place, target))
    const bits = extent === 'all' ? 0 : Math.min(...shared) + 1
    const members = shared.filter((count) => count >= bits).length
    return { target, bits, members, peers, atMs: this.#runtime.monotonicNow(), changes }
  }

  #learn(region: Region<Peer> | undefined, needed: number, wasCut: boolean): void {
    this.#atOnce = wasCut ? 1 : Math.min(2 * this.#atOnce, this.#options.maxLookUps)
    if (wasCut) return
    // where one answers for nobody else, nobody waits for it
    const isOfUse = region !== undefined && answersFor(region, needed)
    this.#usualBits = isOfUse ? region.bits : Number.POSITIVE_INFINITY
    if (region === undefined) return
    const oldestMs = region.atMs - this.#options.lookUpReuseMs
    this.#regions = this.#regions.filter(({ atMs }) => atMs >= oldestMs)
    if (this.#regions.length >= MAX_REGIONS) this.#regions.shift()
    this.#regions.push(region)
  }
}

/**
 * In the DHT of all who store and in that of the durable ones; `counts`: how many are asked for in each, of which the
 * second half only take the places of others.
 */
export const findInEach = <Peer>(
  lookUps: readonly LookUps<Peer>[],
  request: FindRequest,
  counts: readonly number[],
): Promise<Peer[][]> =>
  Promise.all(lookUps.map((one, i) => one.find({ ...request, needed: Math.ceil((counts[i] ?? 0) / 2) })))

/** Of a network of 4,000 peers there are about as many. */
const MAX_REGIONS = 256

/** Not more than half of a bucket can be asked for: that is what a region has in the mean. */
const answersFor = ({ bits, members }: Region<unknown>, needed: number): boolean =>
  bits === 0 || members >= Math.min(needed, BUCKET_PEERS / 2)

/** How many bits two places have in common before the first in which they differ. */
function commonBits(a: Uint8Array, b: Uint8Array): number {
  const distance = distanceBetween(a, b)
  const first = distance.findIndex((byte) => byte !== 0)
  return first < 0 ? 8 * distance.length : 8 * first + Math.clz32(distance[first] as number) - 24
}
