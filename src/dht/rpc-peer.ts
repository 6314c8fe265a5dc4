import type { Link } from './network.ts'
import type { Hello, Load } from './wire.ts'

/** What is known of a peer while it is linked, dialled, or has something in work here. */

export interface PeerLink {
  link: Link
  hello: Hello | undefined
}

export interface Peer {
  /** Newest last; requests go out on the newest. */
  links: PeerLink[]
  opening: Promise<PeerLink> | undefined
  /** Requests of it in work here. */
  inWork: Record<Load, number>
  hello: Hello | undefined
  /** Requests in a row that nobody answered. */
  unanswered: number
}

export const newPeer = (): Peer => ({
  links: [],
  opening: undefined,
  inWork: { bulk: 0, control: 0, waiting: 0 },
  hello: undefined,
  unanswered: 0,
})

export const inWorkOf = ({ inWork: { bulk, control, waiting } }: Peer): number => bulk + control + waiting
