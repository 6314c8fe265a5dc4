import { afterAll } from 'vitest'
import { PORTABLE_SHA256, useSha256Here } from '../../src/dht/codec.ts'
import { useEd25519Here } from '../../src/dht/identity.ts'

/** A node on Node has the whole process sign and hash in its own way: the next file begins with the portable one. */
afterAll(() => {
  useEd25519Here(undefined)
  useSha256Here(PORTABLE_SHA256)
})
