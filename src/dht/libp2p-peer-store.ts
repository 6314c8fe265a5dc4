import type { AbortOptions, Libp2p, Peer, PeerData, PeerId, PeerStore } from '@libp2p/interface'
import type { Multiaddr } from '@multiformats/multiaddr'
import { StickyError } from './errors.ts'

/**
 * Bounds what libp2p's peer store remembers of others. It takes in everybody whom an answer of the DHT names and everybody
 * who has ever been connected, with all addresses, and forgets nobody who is not asked for again.
 */

export interface PeerStoreOptions {
  /** Those written last, and who is connected; the others are forgotten. */
  maxPeers: number
  /**
   * Of one peer, fewer than libp2p dials. Beyond, half of them stay, those that the peer itself has signed before others,
   * and the last that were named come beside them.
   */
  maxAddresses: number
  maxAddressBytes: number
  /** Peers nobody knew before that are being taken in; more are passed over. */
  maxUnderWay: number
}

export const DEFAULT_PEER_STORE_OPTIONS: PeerStoreOptions = {
  maxPeers: 4_096,
  maxAddresses: 24,
  maxAddressBytes: 256,
  maxUnderWay: 256,
}

/** For as long as the node runs. */
export function boundPeerStore(libp2p: Libp2p, options: PeerStoreOptions = DEFAULT_PEER_STORE_OPTIONS): void {
  const store: PeerStore = libp2p.peerStore
  const { merge, patch, save, delete: remove } = store
  const known = new KnownPeers(libp2p, options.maxPeers)
  const atHand = new AtHand()
  let underWay = 0

  const take = async (peerId: PeerId, data: PeerData, how?: AbortOptions): Promise<Peer> => {
    const few = bounded(data, options)
    const { multiaddrs = [], ...rest } = few
    const count = known.addressesOf(peerId) + multiaddrs.length
    known.note(peerId, count)
    if (count <= options.maxAddresses) return merge.call(store, peerId, few, how)
    // mostly they were named before
    const { addresses } = await store.get(peerId).catch(() => ({ addresses: [] }))
    const have = new Set(addresses.map(({ multiaddr }) => String(multiaddr)))
    const fresh = multiaddrs.filter((one) => !have.has(String(one)))
    const total = addresses.length + fresh.length
    known.note(peerId, Math.min(total, options.maxAddresses))
    if (total <= options.maxAddresses) return merge.call(store, peerId, few, how)
    const own = addresses.toSorted((a, b) => Number(b.isCertified) - Number(a.isCertified))
    const first = own.slice(0, options.maxAddresses / 2)
    const last = fresh.slice(0, options.maxAddresses - first.length)
    const both = [...first, ...last.map((multiaddr) => ({ multiaddr, isCertified: false }))]
    await patch.call(store, peerId, { addresses: both }, how)
    return merge.call(store, peerId, rest, how)
  }

  store.merge = async (peerId, data, how) => {
    const peer = atHand.get(peerId)
    if (peer !== undefined && hasAll(peer, data)) {
      known.note(peerId)
      return peer
    }
    const isNew = !known.has(peerId) && libp2p.getConnections(peerId).length === 0
    if (!isNew) return atHand.keep(await take(peerId, data, how))
    if (underWay >= options.maxUnderWay) throw new StickyError('BUSY', 'Too many peers are named at once.')
    underWay += 1
    try {
      return atHand.keep(await take(peerId, data, how))
    } finally {
      underWay -= 1
    }
  }
  const replacing =
    (write: typeof patch): typeof patch =>
    async (peerId, data, how) => {
      const few = bounded(data, options)
      known.note(peerId, (few.multiaddrs ?? few.addresses)?.length)
      return atHand.keep(await write.call(store, peerId, few, how))
    }
  store.patch = replacing(patch)
  store.save = replacing(save)
  store.delete = async (peerId, how) => {
    await remove.call(store, peerId, how)
    atHand.delete(peerId)
  }
  store.getInfo = async (peerId, how) => {
    const { id, addresses } = atHand.get(peerId) ?? (await store.get(peerId, how))
    return { id, multiaddrs: addresses.map(({ multiaddr }) => multiaddr) }
  }
}

/** How many addresses each peer has at most, the longest unwritten first. Whom it lets go of is forgotten by the store. */
class KnownPeers {
  readonly #libp2p: Libp2p
  readonly #maxPeers: number
  readonly #peers = new Map<string, { peerId: PeerId; addresses: number }>()

  constructor(libp2p: Libp2p, maxPeers: number) {
    this.#libp2p = libp2p
    this.#maxPeers = maxPeers
  }

  has(peerId: PeerId): boolean {
    return this.#peers.has(String(peerId))
  }

  addressesOf(peerId: PeerId): number {
    return this.#peers.get(String(peerId))?.addresses ?? 0
  }

  note(peerId: PeerId, addresses = this.addressesOf(peerId)): void {
    const peers = this.#peers
    const { peerId: self, peerStore } = this.#libp2p
    if (peerId.equals(self)) return
    peers.delete(String(peerId))
    peers.set(String(peerId), { peerId, addresses })
    let looks = this.#maxPeers
    for (const [id, one] of peers) {
      if (peers.size <= this.#maxPeers || looks-- === 0) return
      peers.delete(id)
      // whoever is connected is needed; there are fewer of them than places
      if (this.#libp2p.getConnections(one.peerId).length > 0) peers.set(id, one)
      else peerStore.delete(one.peerId).catch(() => undefined) // a stopped node's
    }
  }
}

/**
 * Entries as they were last written. Each answer of the DHT names twenty peers, mostly the same ones, and each stream tells
 * its protocol: libp2p would decode, encode and write the whole entry for each.
 */
class AtHand {
  readonly #peers = new Map<string, { peer: Peer; atMs: number }>()

  get(peerId: PeerId): Peer | undefined {
    const one = this.#peers.get(String(peerId))
    return one !== undefined && one.atMs > Date.now() - AT_HAND_MS ? one.peer : undefined
  }

  keep(peer: Peer): Peer {
    this.delete(peer.id)
    this.#peers.set(String(peer.id), { peer, atMs: Date.now() })
    if (this.#peers.size > MAX_AT_HAND) this.#peers.delete(this.#peers.keys().next().value as string)
    return peer
  }

  delete(peerId: PeerId): void {
    this.#peers.delete(String(peerId))
  }
}

/**
 * Also of what a peer says of itself: others are told all of it. A relay without an address of its own is an introducer
 * (libp2p-introduce), of whom libp2p notes each: it would be dialled in vain long after it is gone, by others too.
 */
function bounded({ multiaddrs, addresses, ...rest }: PeerData, options: PeerStoreOptions): PeerData {
  const fewOf = <T>(list: T[], addressOf: (one: T) => Multiaddr): T[] =>
    list
      .filter((one) => addressOf(one).bytes.byteLength <= options.maxAddressBytes)
      .filter((one) => !String(addressOf(one)).startsWith('/p2p/'))
      .slice(0, options.maxAddresses)
  return {
    ...rest,
    ...(multiaddrs ? { multiaddrs: fewOf(multiaddrs, (one) => one) } : {}),
    ...(addresses ? { addresses: fewOf(addresses, (one) => one.multiaddr) } : {}),
  }
}

/** Whether it is nothing but addresses and protocols that the entry has. */
const hasAll = (
  { addresses, protocols: known }: Peer,
  { multiaddrs = [], protocols = [], ...rest }: PeerData,
): boolean =>
  Object.keys(rest).length === 0 &&
  [...protocols].every((protocol) => known.includes(protocol)) &&
  multiaddrs.every((one) => addresses.some(({ multiaddr }) => multiaddr.equals(one)))

/** Peers whose last entry is at hand. */
const MAX_AT_HAND = 256
/** After it was written. libp2p takes an address that was not told for an hour for old. */
export const AT_HAND_MS = 600_000
