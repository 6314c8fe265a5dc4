import { peerIdFromString } from '@libp2p/peer-id'
import { describe, expect, it } from 'vitest'
import { sha256, toHex } from '../../../src/dht/codec.ts'
import { identityFromSeed } from '../../../src/dht/identity.ts'
import { placeOfKey, placeOfNode } from '../../../src/dht/keyspace.ts'

describe('places in the key space', () => {
  it('puts a node where kad-dht puts it, by the multihash in its id', async () => {
    for (const first of [1, 2, 200]) {
      const { nodeId } = await identityFromSeed(new Uint8Array(32).fill(first))
      const place = await sha256(peerIdFromString(nodeId).toMultihash().bytes)
      expect(toHex(await placeOfNode(nodeId))).toBe(toHex(place))
    }
  })

  it('refuses what is no node id', async () => {
    await expect(placeOfNode('nobody')).rejects.toMatchObject({ code: 'WRONG_IDENTITY' })
  })

  it('hashes a key once more, as a look-up in the DHT does', async () => {
    const key = new Uint8Array(32).fill(7)
    expect(toHex(await placeOfKey(key))).toBe(toHex(await sha256(key)))
    expect(await placeOfKey(key)).not.toEqual(key)
  })
})
