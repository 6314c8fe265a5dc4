import { hash } from 'node:crypto'
import { base58btc } from 'multiformats/bases/base58'
import type { NodeId } from '../../src/dht/index.ts'

/** Kademlia as one node sees it: buckets of the peers it has heard from, and the look-up that asks ever closer ones. */

/** Entries per bucket, and peers a look-up ends with. */
export const BUCKET_SIZE = 20
/** Questions of one look-up under way at once. */
const ALPHA = 3

export const positionOfKey = (key: Uint8Array): Uint8Array => Uint8Array.from(hash('sha256', key, 'buffer'))

/** As kad-dht places a peer: SHA-256 of the multihash in its id. */
export function positionOf(nodeId: NodeId): Uint8Array {
  let position = positions.get(nodeId)
  if (position === undefined) {
    position = positionOfKey(base58btc.decode(`z${nodeId}`))
    positions.set(nodeId, position)
  }
  return position
}

/** A run asks for those of its few nodes a million times. */
const positions = new Map<NodeId, Uint8Array>()

export function distance(a: Uint8Array, b: Uint8Array): Uint8Array {
  const out = new Uint8Array(a.byteLength)
  for (let i = 0; i < out.byteLength; i++) out[i] = (a[i] as number) ^ (b[i] as number)
  return out
}

/** As `compareBytes` of their distances to the target, which are not written down. */
function compareDistance(a: Uint8Array, b: Uint8Array, target: Uint8Array): number {
  for (let i = 0; i < target.byteLength; i++) {
    const place = target[i] as number
    const difference = ((a[i] as number) ^ place) - ((b[i] as number) ^ place)
    if (difference !== 0) return difference
  }
  return 0
}

function sharedPrefixBits(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < a.byteLength; i++) {
    const byte = (a[i] as number) ^ (b[i] as number)
    if (byte !== 0) return i * 8 + Math.clz32(byte) - 24
  }
  return 256
}

export interface Contact {
  nodeId: NodeId
  position: Uint8Array
}

export const contactOf = (nodeId: NodeId): Contact => ({ nodeId, position: positionOf(nodeId) })

/** Nearest first. */
export const byDistance = (contacts: Iterable<Contact>, target: Uint8Array): Contact[] =>
  [...contacts].sort((a, b) => compareDistance(a.position, b.position, target))

/** Buckets by the length of the prefix shared with the owner. A full bucket keeps those it knows, as Kademlia does. */
export class RoutingTable {
  readonly #own: Uint8Array
  readonly #buckets = new Map<number, Contact[]>()
  readonly #onChange: () => void

  constructor(own: NodeId, onChange: () => void) {
    this.#own = positionOf(own)
    this.#onChange = onChange
  }

  add(contact: Contact): void {
    const index = sharedPrefixBits(this.#own, contact.position)
    const bucket = this.#buckets.get(index) ?? []
    if (index === 256 || bucket.some(({ nodeId }) => nodeId === contact.nodeId)) return
    if (bucket.length >= BUCKET_SIZE) return
    this.#buckets.set(index, [...bucket, contact])
    this.#onChange()
  }

  remove(nodeId: NodeId): void {
    for (const [index, bucket] of this.#buckets) {
      const rest = bucket.filter((contact) => contact.nodeId !== nodeId)
      if (rest.length === bucket.length) continue
      this.#buckets.set(index, rest)
      this.#onChange()
    }
  }

  all(): Contact[] {
    return [...this.#buckets.values()].flat()
  }

  closest(target: Uint8Array, count = BUCKET_SIZE): Contact[] {
    return byDistance(this.all(), target).slice(0, count)
  }

  has(nodeId: NodeId): boolean {
    return this.all().some((contact) => contact.nodeId === nodeId)
  }

  get size(): number {
    return [...this.#buckets.values()].reduce((sum, bucket) => sum + bucket.length, 0)
  }
}

/**
 * Asks the closest known peers for closer ones until the closest that answer have all been asked. `ask` gives undefined
 * for a peer that does not answer. Gives those that did, nearest first.
 */
export async function lookUp(
  target: Uint8Array,
  start: Contact[],
  ask: (nodeId: NodeId) => Promise<NodeId[] | undefined>,
): Promise<Contact[]> {
  const known = new Map(start.map((contact) => [contact.nodeId, contact]))
  const asked = new Set<NodeId>()
  const failed = new Set<NodeId>()
  const answered = new Set<NodeId>()
  const candidates = () =>
    byDistance(known.values(), target)
      .filter(({ nodeId }) => !failed.has(nodeId))
      .slice(0, BUCKET_SIZE)
  const worker = async (): Promise<void> => {
    for (;;) {
      const next = candidates().find(({ nodeId }) => !asked.has(nodeId))
      if (next === undefined) return
      asked.add(next.nodeId)
      const closer = await ask(next.nodeId)
      if (closer === undefined) {
        failed.add(next.nodeId)
        continue
      }
      answered.add(next.nodeId)
      for (const nodeId of closer) if (!known.has(nodeId)) known.set(nodeId, contactOf(nodeId))
    }
  }
  // a worker that found nothing to ask ends; the others may still bring somebody
  for (let before = -1; before < asked.size; ) {
    before = asked.size
    await Promise.all(Array.from({ length: ALPHA }, worker))
  }
  return candidates().filter(({ nodeId }) => answered.has(nodeId))
}
