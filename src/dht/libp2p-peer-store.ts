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
  /** How many addresses each has at most, the longest unwritten first. */
  const known = new Map<string, { peerId: PeerId; addresses: number }>()
  let underWay = 0
  /**
   * Each answer of the DHT names twenty peers, mostly the same ones, and each stream tells its protocol: libp2p would decode,
   * encode and write the whole entry for each.
   */
  const atHand = new Map<string, { peer: Peer; atMs: number }>()
  const written = (peer: Peer): Peer => {
    const id = String(peer.id)
    atHand.delete(id)
    atHand.set(id, { peer, atMs: Date.now() })
    if (atHand.size > MAX_AT_HAND) atHand.delete(atHand.keys().next().value as string)
    return peer
  }
  const inHand = (peerId: PeerId): Peer | undefined => {
    const one = atHand.get(String(peerId))
    return one !== undefined && one.atMs > Date.now() - AT_HAND_MS ? one.peer : undefined
  }

  const note = (peerId: PeerId, addresses: number) => {
    if (peerId.equals(libp2p.peerId)) return
    known.delete(String(peerId))
    known.set(String(peerId), { peerId, addresses })
    let looks = options.maxPeers
    for (const [id, one] of known) {
      if (known.size <= options.maxPeers || looks-- === 0) return
      known.delete(id)
      // whoever is connected is needed; there are fewer of them than places
      if (libp2p.getConnections(one.peerId).length > 0) known.set(id, one)
      else store.delete(one.peerId).catch(() => undefined) // a stopped node's
    }
  }
  /**
   * Also of what a peer says of itself: others are told all of it. A relay without an address of its own is an introducer
   * (libp2p-introduce), of whom libp2p notes each: it would be dialled in vain long after it is gone, by others too.
   */
  const fewOf = <T>(list: T[], addressOf: (one: T) => Multiaddr): T[] =>
    list
      .filter((one) => addressOf(one).bytes.byteLength <= options.maxAddressBytes)
      .filter((one) => !String(addressOf(one)).startsWith('/p2p/'))
      .slice(0, options.maxAddresses)
  const bounded = ({ multiaddrs, addresses, ...rest }: PeerData): PeerData => ({
    ...rest,
    ...(multiaddrs ? { multiaddrs: fewOf(multiaddrs, (one) => one) } : {}),
    ...(addresses ? { addresses: fewOf(addresses, (one) => one.multiaddr) } : {}),
  })
  const countIn = ({ multiaddrs, addresses }: PeerData) => (multiaddrs ?? addresses)?.length
  const countOf = (peerId: PeerId) => known.get(String(peerId))?.addresses ?? 0

  const take = async (peerId: PeerId, data: PeerData, how?: AbortOptions): Promise<Peer> => {
    const few = bounded(data)
    const { multiaddrs = [], ...rest } = few
    const count = countOf(peerId) + multiaddrs.length
    note(peerId, count)
    if (count <= options.maxAddresses) return merge.call(store, peerId, few, how)
    // mostly they were named before
    const { addresses } = await store.get(peerId).catch(() => ({ addresses: [] }))
    const have = new Set(addresses.map(({ multiaddr }) => String(multiaddr)))
    const fresh = multiaddrs.filter((one) => !have.has(String(one)))
    const total = addresses.length + fresh.length
    note(peerId, Math.min(total, options.maxAddresses))
    if (total <= options.maxAddresses) return merge.call(store, peerId, few, how)
    const own = addresses.toSorted((a, b) => Number(b.isCertified) - Number(a.isCertified))
    const first = own.slice(0, options.maxAddresses / 2)
    const last = fresh.slice(0, options.maxAddresses - first.length)
    const both = [...first, ...last.map((multiaddr) => ({ multiaddr, isCertified: false }))]
    await patch.call(store, peerId, { addresses: both }, how)
    return merge.call(store, peerId, rest, how)
  }

  store.merge = async (peerId, data, how) => {
    const peer = inHand(peerId)
    if (peer !== undefined && hasAll(peer, data)) {
      note(peerId, countOf(peerId))
      return peer
    }
    const isNew = !known.has(String(peerId)) && libp2p.getConnections(peerId).length === 0
    if (!isNew) return written(await take(peerId, data, how))
    if (underWay >= options.maxUnderWay) throw new StickyError('BUSY', 'Too many peers are named at once.')
    underWay += 1
    try {
      return written(await take(peerId, data, how))
    } finally {
      underWay -= 1
    }
  }
  const replacing =
    (write: typeof patch): typeof patch =>
    async (peerId, data, how) => {
      const few = bounded(data)
      note(peerId, countIn(few) ?? countOf(peerId))
      return written(await write.call(store, peerId, few, how))
    }
  store.patch = replacing(patch)
  store.save = replacing(save)
  store.delete = async (peerId, how) => {
    await remove.call(store, peerId, how)
    atHand.delete(String(peerId))
  }
  store.getInfo = async (peerId, how) => {
    const { id, addresses } = inHand(peerId) ?? (await store.get(peerId, how))
    return { id, multiaddrs: addresses.map(({ multiaddr }) => multiaddr) }
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
