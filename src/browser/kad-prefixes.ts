import { sha256 } from '@noble/hashes/sha2.js'

/**
 * Stands in for the list that @libp2p/kad-dht refreshes its routing table with: 16,384 numbers, 47 kB of the page after
 * compression, whose places are the first 14 bits of a hash (with a quarter of the 16 bits that it is asked for, and nothing
 * for the rest). The number for a place is found here when it is asked for. A bundler puts this file in the list's place.
 *
 * A number's peer id is the SHA-256 multihash whose digest begins with it and is zero beyond; what counts is where the hash
 * of that id lies. Of so many numbers the one that shares most bits with the place is taken: about twelve of the sixteen,
 * enough for the buckets that a network of some thousand nodes has. It takes about ten milliseconds.
 */
const TRIES = 4_096

const SHA256_CODE = 0x12
const DIGEST_BYTES = 32

/** The number whose place, the first 16 bits of its hash, is `place` or close to it. */
export function numberNear(place: number, random: () => number = Math.random): number {
  const multihash = new Uint8Array(2 + DIGEST_BYTES)
  multihash.set([SHA256_CODE, DIGEST_BYTES])
  const view = new DataView(multihash.buffer)
  const first = Math.floor(random() * 2 ** 32)
  let best = { number: first, distance: Number.POSITIVE_INFINITY }
  for (let i = 0; i < TRIES && best.distance > 0; i++) {
    const number = (first + i) >>> 0
    view.setUint32(2, number)
    const [high = 0, low = 0] = sha256(multihash)
    const distance = ((high << 8) | low) ^ place
    if (distance < best.distance) best = { number, distance }
  }
  return best.number
}

/** Looks like the list: an index is a place. */
const prefixes: Record<number, number> = new Proxy(
  {},
  { get: (_, index) => (typeof index === 'string' ? numberNear(Number(index)) : undefined) },
)

export default prefixes
