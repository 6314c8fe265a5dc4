import { hash } from 'node:crypto'
import { base58btc } from 'multiformats/bases/base58'
import type { NodeId } from '../../src/dht/index.ts'

/** Kademlia as one node sees it: buckets of the peers it has heard from, and the look-up that asks ever closer ones. */

/** Entries per bucket, and peers a look-up ends with. */
export const BUCKET_SIZE = 20
/** Questions of one look-up under way at once. */
const ALPHA = 3

export const positionOfKey = (key: Uint8Array): Uint8Array => Uint8Array.from(hash('sha256', key, 'buffer'))

export function distance(a: Uint8Array, b: Uint8Array): Uint8Array {
  const out = new Uint8Array(a.byteLength)
  for (let i = 0; i < out.byteLength; i++) out[i] = (a[i] as number) ^ (b[i] as number)
  return out
}

const first32Bits = (position: Uint8Array) =>
  new DataView(position.buffer, position.byteOffset, position.byteLength).getUint32(0)

/** As `compareBytes` of their distances to the target, which are not written down: the first four bytes nearly always tell. */
function compareDistance(a: Contact, b: Contact, target: Uint8Array, targetStart: number): number {
  const start = ((a.start ^ targetStart) >>> 0) - ((b.start ^ targetStart) >>> 0)
  if (start !== 0) return start
  for (let i = 4; i < target.byteLength; i++) {
    const place = target[i] as number
    const difference = ((a.position[i] as number) ^ place) - ((b.position[i] as number) ^ place)
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
  /** Its first four bytes as a number. */
  start: number
}

/** As kad-dht places a peer: SHA-256 of the multihash in its id. */
export function contactOf(nodeId: NodeId): Contact {
  let contact = contacts.get(nodeId)
  if (contact === undefined) {
    const position = positionOfKey(base58btc.decode(`z${nodeId}`))
    contact = { nodeId, position, start: first32Bits(position) }
    contacts.set(nodeId, contact)
  }
  return contact
}

/** A run asks for those of its few nodes a million times. */
const contacts = new Map<NodeId, Contact>()

export const positionOf = (nodeId: NodeId): Uint8Array => contactOf(nodeId).position

/** Nearest first. */
export function byDistance(contacts: Iterable<Contact>, target: Uint8Array): Contact[] {
  const targetStart = first32Bits(target)
  return [...contacts].sort((a, b) => compareDistance(a, b, target, targetStart))
}

/** Buckets by the length of the prefix shared with the owner. A full bucket keeps those it knows, as Kademlia does. */
export class RoutingTable {
  readonly #own: Uint8Array
  readonly #buckets = new Map<number, Contact[]>()
  readonly #nodeIds = new Set<NodeId>()
  readonly #onChange: () => void
  /** What `all` gives, until something changes. */
  #all: Contact[] | undefined

  constructor(own: NodeId, onChange: () => void) {
    this.#own = positionOf(own)
    this.#onChange = onChange
  }

  add(contact: Contact): void {
    if (this.#nodeIds.has(contact.nodeId)) return
    const index = sharedPrefixBits(this.#own, contact.position)
    const bucket = this.#buckets.get(index) ?? []
    if (index === 256 || bucket.length >= BUCKET_SIZE) return
    this.#nodeIds.add(contact.nodeId)
    this.#buckets.set(index, [...bucket, contact])
    this.#changed()
  }

  remove(nodeId: NodeId): void {
    if (!this.#nodeIds.delete(nodeId)) return
    const index = sharedPrefixBits(this.#own, positionOf(nodeId))
    const bucket = this.#buckets.get(index) as Contact[]
    this.#buckets.set(
      index,
      bucket.filter((contact) => contact.nodeId !== nodeId),
    )
    this.#changed()
  }

  all(): readonly Contact[] {
    this.#all ??= [...this.#buckets.values()].flat()
    return this.#all
  }

  closest(target: Uint8Array, count = BUCKET_SIZE): Contact[] {
    return byDistance(this.all(), target).slice(0, count)
  }

  has(nodeId: NodeId): boolean {
    return this.#nodeIds.has(nodeId)
  }

  get size(): number {
    return this.#nodeIds.size
  }

  #changed(): void {
    this.#all = undefined
    this.#onChange()
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
  const known = new Set(start.map(({ nodeId }) => nodeId))
  const asked = new Set<NodeId>()
  const answered = new Set<NodeId>()
  let ranked = byDistance(start, target)
  const worker = async (): Promise<void> => {
    for (;;) {
      const next = ranked.slice(0, BUCKET_SIZE).find(({ nodeId }) => !asked.has(nodeId))
      if (next === undefined) return
      asked.add(next.nodeId)
      const closer = await ask(next.nodeId)
      if (closer === undefined) {
        ranked = ranked.filter((contact) => contact !== next)
        continue
      }
      answered.add(next.nodeId)
      const strangers = closer.filter((nodeId) => !known.has(nodeId))
      for (const nodeId of strangers) known.add(nodeId)
      ranked = byDistance([...ranked, ...new Set(strangers.map(contactOf))], target)
    }
  }
  // a worker that found nothing to ask ends; the others may still bring somebody
  for (let before = -1; before < asked.size; ) {
    before = asked.size
    await Promise.all(Array.from({ length: ALPHA }, worker))
  }
  return ranked.slice(0, BUCKET_SIZE).filter(({ nodeId }) => answered.has(nodeId))
}
