import type { Libp2p, Peer, PeerData, PeerId, PeerStore } from '@libp2p/interface'
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
  const { merge, patch, save } = store
  /** How many addresses each may have, the longest unwritten first. */
  const known = new Map<string, { peerId: PeerId; addresses: number }>()
  let underWay = 0

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
  const countOf = ({ multiaddrs, addresses }: PeerData) => (multiaddrs ?? addresses ?? []).length

  const take = async (peerId: PeerId, data: PeerData): Promise<Peer> => {
    const before = known.get(String(peerId))?.addresses ?? 0
    const { multiaddrs, ...rest } = data
    if (multiaddrs === undefined) {
      note(peerId, before)
      return merge.call(store, peerId, data)
    }
    const usable = multiaddrs
      .filter(({ bytes }) => bytes.byteLength <= options.maxAddressBytes)
      .slice(0, options.maxAddresses)
    if (before + usable.length <= options.maxAddresses) {
      note(peerId, before + usable.length)
      return merge.call(store, peerId, { ...rest, multiaddrs: usable })
    }
    note(peerId, options.maxAddresses)
    const { addresses } = await store.get(peerId).catch(() => ({ addresses: [] }))
    const own = addresses.toSorted((a, b) => Number(b.isCertified) - Number(a.isCertified))
    const first = own.slice(0, options.maxAddresses / 2)
    const last = usable.slice(0, options.maxAddresses - first.length)
    const both = [...first, ...last.map((multiaddr) => ({ multiaddr, isCertified: false }))]
    await patch.call(store, peerId, { addresses: both })
    return merge.call(store, peerId, rest)
  }

  store.merge = async (peerId, data) => {
    const isNew = !known.has(String(peerId)) && libp2p.getConnections(peerId).length === 0
    if (!isNew) return take(peerId, data)
    if (underWay >= options.maxUnderWay) throw new StickyError('BUSY', 'Too many peers are named at once.')
    underWay += 1
    try {
      return await take(peerId, data)
    } finally {
      underWay -= 1
    }
  }
  store.patch = (peerId, data, how) => {
    note(peerId, countOf(data))
    return patch.call(store, peerId, data, how)
  }
  store.save = (peerId, data, how) => {
    note(peerId, countOf(data))
    return save.call(store, peerId, data, how)
  }
}
