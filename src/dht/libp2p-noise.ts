import { noise } from '@libp2p/noise'

/**
 * Noise that knows without an exception that no further packet has begun. libp2p's asks for the length of one after each
 * that it has read, and is told by a RangeError, with its stack: a tenth of what a small message costs.
 */

type Create = ReturnType<typeof noise>

/** What the encrypted stream keeps to itself. */
interface Secured {
  decoder: { maxDataLength: number; lengthDecoder(data: { byteLength: number }): number }
}

function sparing<T extends { connection: unknown }>(secured: T): T {
  const { decoder } = secured.connection as Secured
  const { lengthDecoder } = decoder
  // of the greatest length, which is allowed and not there yet
  decoder.lengthDecoder = (data) =>
    data.byteLength < LENGTH_BYTES ? decoder.maxDataLength : lengthDecoder(data)
  return secured
}

/** For `connectionEncrypters`, where `noise()` would stand. The other side may run either. */
export const sparingNoise =
  (create = noise()): Create =>
  (components) => {
    const encrypter = create(components)
    const { secureInbound, secureOutbound } = encrypter
    encrypter.secureInbound = async (...args) => sparing(await secureInbound.apply(encrypter, args))
    encrypter.secureOutbound = async (...args) => sparing(await secureOutbound.apply(encrypter, args))
    return encrypter
  }

const LENGTH_BYTES = 2
