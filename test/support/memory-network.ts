import {
  type ClosestOptions,
  compareBytes,
  type Link,
  type LinkEvents,
  type NodeId,
  type PeerNetwork,
  publicKeyOf,
  StickyError,
  sha256,
} from '../../src/dht/index.ts'

/** PeerNetwork inside one process: every peer knows every other; links deliver in order, in later microtasks. */
export class MemoryHub {
  readonly peers = new Map<NodeId, MemoryPeer>()

  join(self: NodeId, role: { stores: boolean; durable: boolean }): MemoryPeer {
    const peer = new MemoryPeer(this, self, role)
    this.peers.set(self, peer)
    for (const other of this.peers.values()) other.topologyChanged()
    return peer
  }

  /** Cuts every link of a peer, as a crash does. */
  crash(self: NodeId): void {
    const peer = this.peers.get(self)
    this.peers.delete(self)
    peer?.closeAll()
    for (const other of this.peers.values()) other.topologyChanged()
  }
}

export class MemoryPeer implements PeerNetwork {
  readonly self: NodeId
  readonly stores: boolean
  readonly durable: boolean
  readonly #hub: MemoryHub
  readonly #links = new Set<MemoryLink>()
  #accept: ((link: Link) => LinkEvents) | undefined
  #onTopologyChange: (() => void) | undefined
  /** Frames to these peers vanish without an error: a black hole. */
  readonly blackholes = new Set<NodeId>()

  constructor(hub: MemoryHub, self: NodeId, role: { stores: boolean; durable: boolean }) {
    this.#hub = hub
    this.self = self
    this.stores = role.stores
    this.durable = role.durable
  }

  async closestPeers(key: Uint8Array, { count, minDurable }: ClosestOptions) {
    const target = await sha256(key)
    const ranked = await Promise.all(
      [...this.#hub.peers.values()]
        .filter((peer) => peer.stores)
        .map(async (peer) => {
          const place = await sha256(publicKeyOf(peer.self))
          return {
            nodeId: peer.self,
            durable: peer.durable,
            distance: place.map((byte, i) => byte ^ (target[i] as number)),
          }
        }),
    )
    ranked.sort((a, b) => compareBytes(a.distance, b.distance))
    const durable = ranked.filter((peer) => peer.durable).slice(0, minDurable)
    const chosen = new Set([...durable, ...ranked].slice(0, Math.max(count, durable.length)))
    return ranked.filter((peer) => chosen.has(peer)).map(({ nodeId, durable }) => ({ nodeId, durable }))
  }

  async openLink(peer: NodeId, events: LinkEvents): Promise<Link> {
    const other = this.#hub.peers.get(peer)
    if (other === undefined || other.#accept === undefined)
      throw new StickyError('UNREACHABLE', `${peer} is not there.`)
    const mine = new MemoryLink(peer, this.#links, () => this.blackholes.has(peer))
    const theirs = new MemoryLink(this.self, other.#links, () => other.blackholes.has(this.self))
    mine.connect(theirs, events)
    theirs.connect(mine, other.#accept(theirs))
    return mine
  }

  onInboundLink(accept: (link: Link) => LinkEvents): void {
    this.#accept = accept
  }

  onTopologyChange(listener: () => void): void {
    this.#onTopologyChange = listener
  }

  topologyChanged(): void {
    this.#onTopologyChange?.()
  }

  closeAll(): void {
    for (const link of [...this.#links]) link.close()
  }
}

class MemoryLink implements Link {
  readonly peer: NodeId
  readonly bufferedBytes = 0
  readonly #links: Set<MemoryLink>
  readonly #isBlackhole: () => boolean
  #other: MemoryLink | undefined
  #events: LinkEvents | undefined
  #waiting: Uint8Array[] = []
  #closed = false

  constructor(peer: NodeId, links: Set<MemoryLink>, isBlackhole: () => boolean) {
    this.peer = peer
    this.#links = links
    this.#isBlackhole = isBlackhole
    links.add(this)
  }

  connect(other: MemoryLink, events: LinkEvents): void {
    this.#other = other
    this.#events = events
    for (const frame of this.#waiting.splice(0)) this.#deliver(frame)
  }

  send(frame: Uint8Array): boolean {
    if (this.#closed) return false
    const copy = frame.slice()
    if (!this.#isBlackhole()) setImmediate(() => this.#other?.receive(copy))
    else return true
    return true
  }

  receive(frame: Uint8Array): void {
    if (this.#events === undefined) this.#waiting.push(frame)
    else this.#deliver(frame)
  }

  #deliver(frame: Uint8Array): void {
    if (!this.#closed) this.#events?.onFrame(frame)
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#links.delete(this)
    setImmediate(() => {
      this.#events?.onClose()
      this.#other?.close()
    })
  }
}
