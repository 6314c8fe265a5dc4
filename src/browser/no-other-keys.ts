import { StickyError } from '../dht/index.ts'

/**
 * Stands in for the RSA and ECDSA keys of @libp2p/crypto, of which no node of this network has any: who shows one is
 * refused without looking at it, as with no-secp256k1.ts.
 */

const refuse = (): never => {
  throw new StickyError('WRONG_IDENTITY', 'Nodes of this network have Ed25519 keys.')
}

export {
  refuse as generateECDSAKeyPair,
  refuse as generateRSAKeyPair,
  refuse as jwkToRSAPrivateKey,
  refuse as pkcs1MessageToRSAPrivateKey,
  refuse as pkcs1ToRSAPrivateKey,
  refuse as pkiMessageToECDSAPrivateKey,
  refuse as pkiMessageToECDSAPublicKey,
  refuse as pkixMessageToRSAPublicKey,
  refuse as pkixToRSAPublicKey,
  refuse as unmarshalECDSAPrivateKey,
  refuse as unmarshalECDSAPublicKey,
}
