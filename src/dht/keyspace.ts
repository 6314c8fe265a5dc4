import { base58btc } from 'multiformats/bases/base58'
import { sha256 } from './codec.ts'
import { type NodeId, publicKeyOf } from './identity.ts'

/** Where things lie in the key space of the DHT, 32 bytes each. How close two of them are is the XOR of their places. */

export const placeOfKey = (key: Uint8Array): Promise<Uint8Array> => sha256(key)

/** As kad-dht places a peer: SHA-256 of the multihash that its id is. Throws WRONG_IDENTITY for what is no node's id. */
export async function placeOfNode(nodeId: NodeId): Promise<Uint8Array> {
  publicKeyOf(nodeId)
  return sha256(base58btc.decode(`z${nodeId}`))
}
