import { compareBytes } from './codec.ts'
import type { ClosestPeer } from './network.ts'

/** Which peers are the closest to a key. Pure: positions come from the caller, both 32 bytes. */

export interface Ranked extends ClosestPeer {
  distance: Uint8Array
}

/** Kademlia's metric: XOR, read as a big-endian number. */
export const distanceBetween = (position: Uint8Array, target: Uint8Array): Uint8Array =>
  position.map((byte, index) => byte ^ (target[index] as number))

/** The closest `minDurable` durable ones, the closest of any kind for the rest, nearest first. */
export function choose(ranked: Ranked[], count: number, minDurable: number): ClosestPeer[] {
  const sorted = ranked.toSorted((a, b) => compareBytes(a.distance, b.distance))
  const durable = sorted.filter((peer) => peer.durable).slice(0, Math.min(minDurable, count))
  const others = sorted.filter((peer) => !durable.includes(peer)).slice(0, count - durable.length)
  const chosen = new Set([...durable, ...others])
  return sorted.filter((peer) => chosen.has(peer)).map(({ nodeId, durable }) => ({ nodeId, durable }))
}

/** In which order holders are turned to for a change: everybody prefers the same one, so that changes meet there. */
export const byPreference = (holders: readonly ClosestPeer[]): ClosestPeer[] => [
  ...holders.filter((peer) => peer.durable),
  ...holders.filter((peer) => !peer.durable),
]
