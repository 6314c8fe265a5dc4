import { asStickyError, StickyError } from './errors.ts'
import type { NodeId } from './identity.ts'

/**
 * The one port to the outside. libp2p implements it in production (libp2p.ts), a simulated network in tests; both pass
 * test/contract. It finds peers and carries frames; it knows nothing of requests, records or topics.
 */

export interface ClosestPeer {
  nodeId: NodeId
  /** A disk-backed node that means to stay (design: durable and fleeting replicas). */
  durable: boolean
}

/** A peer that is connected, whether or not a link to it is open. */
export interface ConnectedPeer {
  nodeId: NodeId
  /** Not through a relay. */
  direct: boolean
}

/** The one long-lived, message-framed duplex channel to a peer that the transport has authenticated. */
export interface Link {
  readonly peer: NodeId
  /** Bytes accepted by `send` that the transport has not taken yet. */
  readonly bufferedBytes: number
  /**
   * Queues one frame (≤ MAX_FRAME_BYTES). Those up to 16 KiB come in the order in which they were sent, and so do larger
   * ones; between a small one and a large one there is no order. False when the link is closed: the frame is not sent.
   */
  send(frame: Uint8Array): boolean
  close(): void
}

export interface LinkEvents {
  onFrame(frame: Uint8Array): void
  onClose(): void
}

export interface PeerNetwork {
  readonly self: NodeId
  /** Whether this node may be chosen as a holder of records. Clients and bridges are not. */
  readonly stores: boolean
  /** Whether this node is disk-backed and means to stay. */
  readonly durable: boolean
  /**
   * Storing nodes closest to `key` (Kademlia distance), nearest first, self included when it stores; contains the
   * closest `minDurable` durable ones where so many exist. May do a network look-up; callers cache.
   */
  closestPeers(key: Uint8Array, options: ClosestOptions): Promise<ClosestPeer[]>
  /** Opens a link, dialling the peer if needed. Rejects with UNREACHABLE or ABORTED. Never called for self. */
  openLink(peer: NodeId, events: LinkEvents, options: { signal: AbortSignal }): Promise<Link>
  /** Called for each inbound link; returns the receiver of its events. One handler at most. */
  onInboundLink(accept: (link: Link) => LinkEvents): void
  /** Called when peers came or went: cached replica sets are to be looked at again. One handler at most. */
  onTopologyChange(listener: () => void): void
  /** For whoever looks at this node, where the network tells. */
  connections?(): ConnectedPeer[]
}

export interface ClosestOptions {
  count: number
  minDurable: number
  signal: AbortSignal
}

/** Largest frame on a link; larger ones close it. 256 KiB: a full page of 64 inline messages fits with room. */
export const MAX_FRAME_BYTES = 256 * 1024

/** Rejections as the port promises them: ABORTED for the caller's signal, or the code that it gave as its reason. */
export function networkError(error: unknown, signal: AbortSignal): StickyError {
  if (!signal.aborted) return asStickyError(error, 'UNREACHABLE')
  if (signal.reason instanceof StickyError) return signal.reason
  return new StickyError('ABORTED', 'The operation was aborted.', { cause: signal.reason })
}
