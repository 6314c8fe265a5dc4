import { isLoopbackName, type NodeId, type PeerProfile, placeOfNode, type Runtime } from '../dht/index.ts'
import { uriOfBytes } from './light-address.ts'

/** What a light node knows of others: where they lie, where they can be dialled, and what they said they are. Bounded. */

export interface BookOptions {
  /** Peers remembered, the latest ones. */
  maxPeers: number
  /** Addresses of one peer that are of use; more are tried by nobody. */
  maxAddresses: number
  /** A peer's own word on its role is believed for so long: roles change. Who is connected is asked again before. */
  profileMs: number
  /** Only wss: all that a page over https may open. */
  secureOnly: boolean
}

export const DEFAULT_BOOK_OPTIONS: BookOptions = {
  maxPeers: 1_024,
  maxAddresses: 4,
  profileMs: 300_000,
  secureOnly: false,
}

interface Entry {
  uris: string[]
  /** The peer itself has answered there. */
  proven?: string
  place?: Uint8Array
  profile?: PeerProfile & { atMs: number }
}

export class LightBook {
  readonly #options: BookOptions
  readonly #runtime: Runtime
  readonly #entries = new Map<NodeId, Entry>()
  #allowsLoopback = false

  constructor(options: BookOptions, runtime: Runtime) {
    this.#options = options
    this.#runtime = runtime
  }

  /** Others name addresses, and this machine's own ports are nobody's business unless the bridge is on it too. */
  setBridge(uri: string): void {
    this.#allowsLoopback = isLoopbackName(new URL(uri).hostname)
  }

  /** Multiaddrs as somebody names them; an empty list takes nothing away. */
  noteAddresses(peer: NodeId, addresses: Uint8Array[]): void {
    const uris = addresses.map((bytes) => this.#usable(bytes)).filter((uri) => uri !== undefined)
    const entry = this.#entry(peer)
    if (uris.length > 0) this.#setUris(entry, uris)
  }

  /** Whatever others say of it from now on, this one stays. */
  noteProven(peer: NodeId, uri: string): void {
    const entry = this.#entry(peer)
    entry.proven = uri
    this.#setUris(entry, entry.uris)
  }

  #setUris(entry: Entry, uris: string[]): void {
    const all = entry.proven === undefined ? uris : [entry.proven, ...uris]
    entry.uris = [...new Set(all)].slice(0, this.#options.maxAddresses)
  }

  urisOf(peer: NodeId): string[] {
    return this.#entries.get(peer)?.uris ?? []
  }

  noteProfile(peer: NodeId, profile: PeerProfile): void {
    this.#entry(peer).profile = { ...profile, atMs: this.#runtime.monotonicNow() }
  }

  forgetProfile(peer: NodeId): void {
    delete this.#entry(peer).profile
  }

  profileOf(peer: NodeId): PeerProfile | undefined {
    const profile = this.#entries.get(peer)?.profile
    const isOld =
      profile !== undefined && this.#runtime.monotonicNow() - profile.atMs > this.#options.profileMs
    return isOld ? undefined : profile
  }

  /** Who has said of itself that it stores. */
  holders(): NodeId[] {
    return [...this.#entries.keys()].filter((peer) => this.profileOf(peer)?.stores)
  }

  /** Its word is missing, or will be too old before long. */
  isDue(peer: NodeId): boolean {
    const profile = this.#entries.get(peer)?.profile
    return profile === undefined || this.#runtime.monotonicNow() - profile.atMs > this.#options.profileMs / 2
  }

  async placeOf(peer: NodeId): Promise<Uint8Array> {
    const place = this.#entries.get(peer)?.place ?? (await placeOfNode(peer))
    this.#entry(peer).place = place
    return place
  }

  /** Moved to the end: who was longest of no interest is forgotten first. */
  #entry(peer: NodeId): Entry {
    const entry = this.#entries.get(peer) ?? { uris: [] }
    this.#entries.delete(peer)
    this.#entries.set(peer, entry)
    if (this.#entries.size > this.#options.maxPeers)
      this.#entries.delete(this.#entries.keys().next().value as NodeId)
    return entry
  }

  #usable(bytes: Uint8Array): string | undefined {
    const uri = uriOfBytes(bytes)
    if (uri === undefined) return undefined
    const { protocol, hostname } = new URL(uri)
    if (this.#options.secureOnly && protocol !== 'wss:') return undefined
    return isOwnMachine(hostname) && !this.#allowsLoopback ? undefined : uri
  }
}

/** All that systems take for this machine; a name of somebody's domain may still lead to it. As `URL` writes them. */
const isOwnMachine = (hostname: string): boolean =>
  isLoopbackName(hostname) ||
  /^(0\.0\.0\.0|\[::\]|\[::ffff:(7f..:.*|0:0)\]|(.*\.)?localhost\.?)$/.test(hostname)
