import { encodeAny, MAX_DEPTH, StickyError } from '../dht/index.ts'
import type { Data } from './api.ts'
import { LIMITS } from './options.ts'

/** The bytes of an application's value. Throws INVALID_DATA or TOO_LARGE. */
export function encodeData(data: Data): Uint8Array {
  let bytes: Uint8Array
  try {
    bytes = encodeAny(data)
  } catch (error) {
    throw new StickyError(
      'INVALID_DATA',
      `Data must be JSON values or bytes, at most ${MAX_DEPTH} levels deep: no undefined, functions, bigints, NaN or cycles.`,
      { cause: error },
    )
  }
  if (bytes.byteLength > LIMITS.maxPayloadBytes) {
    throw new StickyError(
      'TOO_LARGE',
      `The data takes ${bytes.byteLength} bytes; at most ${LIMITS.maxPayloadBytes} are allowed.`,
    )
  }
  return bytes
}
