import { framed } from './codec.ts'

/** What is signed at a bridge's challenge, and how bytes are written in its JSON frames. */

export interface Challenge {
  serverId: string
  /** host:port that the client dialled. */
  audience: string
  nodeId: string
  nonce: Uint8Array
  timestamp: number
}

const utf8 = (value: string) => new TextEncoder().encode(value)
/** All that makes one challenge differ from any other. */
export const challengeParts = ({ serverId, audience, nodeId: client, nonce, timestamp }: Challenge) => [
  utf8(serverId),
  utf8(audience),
  utf8(client),
  nonce,
  utf8(String(timestamp)),
]
/** What the client signs. */
export const challengeBytes = (challenge: Challenge): Uint8Array =>
  framed('sticky-pubsub/auth/1', ...challengeParts(challenge))
/** What the bridge signs back: it is the one that the client asked for. */
export const acceptedBytes = (challenge: Challenge): Uint8Array =>
  framed('sticky-pubsub/auth-accepted/1', ...challengeParts(challenge))

/** Byte by byte: as arguments of one call, an engine takes fewer than a long text has. */
export const toBase64url = (bytes: Uint8Array): string =>
  btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '')
export const fromBase64url = (value: string): Uint8Array =>
  Uint8Array.from(atob(value.replaceAll('-', '+').replaceAll('_', '/')), (character) =>
    character.charCodeAt(0),
  )
