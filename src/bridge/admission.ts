/**
 * Who has passed the challenge. Bounded: who is connected is never forgotten before the time. Of the others the address that
 * has most loses the one that was unused for longest: so no address takes the place of those of another with new identities.
 */
export class Admission {
  readonly #maxPeers: number
  readonly #lifeMs: number
  readonly #now: () => number
  readonly #peers = new Map<string, { until: number; address: string }>()
  readonly #connected = new Set<string>()
  /** By address, who is admitted and not connected: the longest unused first. */
  readonly #idle = new Map<string, Set<string>>()

  constructor(maxPeers: number, lifeMs: number, monotonicNow: () => number = () => performance.now()) {
    this.#maxPeers = maxPeers
    this.#lifeMs = lifeMs
    this.#now = monotonicNow
  }

  /** `lifeMs` shortens the time, and never makes it longer. False: it is full of peers that are connected. */
  admit(peerId: string, address: string, lifeMs = this.#lifeMs): boolean {
    const isFull = !this.#peers.has(peerId) && this.#peers.size >= this.#maxPeers
    if (isFull && !this.#makeRoom(address)) return false
    this.#forget(peerId)
    this.#peers.set(peerId, { until: this.#now() + Math.min(lifeMs, this.#lifeMs), address })
    this.#rank(peerId, address)
    return true
  }

  isAdmitted(peerId: string): boolean {
    const peer = this.#peers.get(peerId)
    if (peer === undefined) return false
    if (peer.until <= this.#now()) this.#forget(peerId)
    else this.#rank(peerId, peer.address)
    return this.#peers.has(peerId)
  }

  setConnected(peerId: string, isConnected: boolean): void {
    if (isConnected) this.#connected.add(peerId)
    else this.#connected.delete(peerId)
    const peer = this.#peers.get(peerId)
    if (peer !== undefined) this.#rank(peerId, peer.address)
  }

  forgetLapsed(): void {
    for (const [peerId, { until }] of this.#peers) if (until <= this.#now()) this.#forget(peerId)
  }

  get size(): number {
    return this.#peers.size
  }

  #makeRoom(address: string): boolean {
    let most = this.#idle.get(address)
    for (const idle of this.#idle.values()) if (idle.size > (most?.size ?? 0)) most = idle
    const [longestUnused] = most ?? []
    if (longestUnused === undefined) return false
    this.#forget(longestUnused)
    return true
  }

  #forget(peerId: string): void {
    const peer = this.#peers.get(peerId)
    this.#peers.delete(peerId)
    if (peer !== undefined) this.#rank(peerId, peer.address)
  }

  /** Who may be forgotten comes to the end of the order, since it was used just now; nobody else is in it. */
  #rank(peerId: string, address: string): void {
    const idle = this.#idle.get(address) ?? new Set()
    idle.delete(peerId)
    if (this.#peers.has(peerId) && !this.#connected.has(peerId)) idle.add(peerId)
    if (idle.size > 0) this.#idle.set(address, idle)
    else this.#idle.delete(address)
  }
}
