import { createHash } from 'node:crypto'
import { sha256 as portable } from '@noble/hashes/sha2.js'
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { sha256 } from '../../../src/dht/codec.ts'
import { useNodeSha256 } from '../../../src/node/sha256.ts'

const MAX_BYTES = 256 * 1024
const bytesOf = (length: number) => Uint8Array.from({ length }, (_, i) => (i * 31) & 0xff)

describe('SHA-256 in the calling thread', () => {
  beforeAll(() => useNodeSha256())
  afterEach(() => vi.restoreAllMocks())

  it('gives what the portable one gives, and asks nobody else', async () => {
    const elsewhere = vi.spyOn(crypto.subtle, 'digest')
    for (const length of [0, 1, 55, 56, 63, 64, 4_096, 4_097, MAX_BYTES]) {
      const bytes = bytesOf(length)
      const hash = await sha256(bytes)
      expect(hash).toEqual(portable(bytes))
      expect(hash.constructor).toBe(Uint8Array) // a Buffer would be another value in CBOR, and hold its pool
      expect(hash.buffer.byteLength).toBe(32)
    }
    expect(await sha256(bytesOf(10), bytesOf(7))).toEqual(portable(Buffer.concat([bytesOf(10), bytesOf(7)])))
    expect(elsewhere).not.toHaveBeenCalled()
  })

  it('hashes a part of a larger buffer alone', async () => {
    const part = bytesOf(500).subarray(100, 300)
    expect(await sha256(part)).toEqual(portable(part.slice()))
  })

  it('leaves what would hold the thread up to WebCrypto', async () => {
    const elsewhere = vi.spyOn(crypto.subtle, 'digest')
    const bytes = bytesOf(MAX_BYTES + 1)
    const expected = Uint8Array.from(createHash('sha256').update(bytes).digest())
    expect(await sha256(bytes)).toEqual(expected)
    expect(elsewhere).toHaveBeenCalledOnce()
  })
})
