import { createPrivateKey, createPublicKey, sign } from 'node:crypto'
import { type Identity, nodeIdOf } from '../../src/dht/index.ts'

// RFC 8410 PKCS#8 prefix for Ed25519.
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex')

/**
 * What `identityFromSeed` gives, without loading anything: a module loaded on demand takes turns of the real event loop,
 * and then virtual time would not wait for it.
 */
export function simulatedIdentity(seed: Uint8Array): Identity {
  const key = createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, seed]), format: 'der', type: 'pkcs8' })
  const publicKey = Uint8Array.from(
    createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-32),
  )
  return {
    nodeId: nodeIdOf(publicKey),
    publicKey,
    sign: (bytes) => Promise.resolve(Uint8Array.from(sign(null, bytes, key))),
  }
}
