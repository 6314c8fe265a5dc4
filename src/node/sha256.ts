import { hash } from 'node:crypto'
import { useSha256Here } from '../dht/index.ts'

/**
 * Hashes in the thread that asks, also pages: a fifth of the processor time of the portable SHA-256 at 4 KiB, and of
 * WebCrypto's at 20 KiB (measured with Node 22 on an AMD EPYC).
 */

/** Above a frame nobody has bytes to hash; that much takes a seventh of a millisecond. */
const MAX_BYTES = 256 * 1024

export function useNodeSha256(): void {
  useSha256Here({ hash: (bytes) => Uint8Array.from(hash('sha256', bytes, 'buffer')), maxBytes: MAX_BYTES })
}
