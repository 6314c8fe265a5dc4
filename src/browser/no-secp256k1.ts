import { StickyError } from '../dht/index.ts'

/**
 * Stands in for `@noble/curves/secp256k1.js` where @libp2p/crypto imports it. A node of this network has an Ed25519 key, and
 * a peer with another is refused anyway: what is refused needs no curve of its own, 7 kB of the page after compression.
 */

const refuse = (): never => {
  throw new StickyError('WRONG_IDENTITY', 'Nodes of this network have Ed25519 keys.')
}

export const secp256k1 = {
  Point: { fromBytes: refuse },
  getPublicKey: refuse,
  sign: refuse,
  utils: { randomSecretKey: refuse },
  verify: refuse,
}
