import { describe, expect, it } from 'vitest'
import {
  acceptedBytes,
  type Challenge,
  challengeBytes,
  fromBase64url,
  identityFromSeed,
  toBase64url,
  toHex,
} from '../../../src/dht/index.ts'

const challenge: Challenge = {
  serverId: 'S',
  audience: 'h:1',
  nodeId: 'N',
  nonce: Uint8Array.of(1, 2, 3, 4),
  timestamp: 42,
}

describe('the signed bytes', () => {
  it('are pinned', () => {
    expect(toHex(challengeBytes(challenge))).toMatchInlineSnapshot(
      `"00000014737469636b792d7075627375622f617574682f31000000015300000003683a31000000014e0000000401020304000000023432"`,
    )
    expect(toHex(acceptedBytes(challenge))).toMatchInlineSnapshot(
      `"0000001d737469636b792d7075627375622f617574682d61636365707465642f31000000015300000003683a31000000014e0000000401020304000000023432"`,
    )
  })

  it('change with every part, and no byte moves from one part to the next', () => {
    const variants: Challenge[] = [
      challenge,
      { ...challenge, serverId: 'T' },
      { ...challenge, serverId: 'Sh', audience: ':1' },
      { ...challenge, audience: 'h:1N', nodeId: '' },
      { ...challenge, audience: 'H:1' },
      { ...challenge, nodeId: 'M' },
      { ...challenge, nonce: Uint8Array.of(1, 2, 3) },
      { ...challenge, nonce: Uint8Array.of(1, 2, 3, 4, 0x34), timestamp: 2 },
      { ...challenge, timestamp: 43 },
    ]
    const texts = variants.flatMap((value) => [toHex(challengeBytes(value)), toHex(acceptedBytes(value))])
    expect(new Set(texts).size).toBe(texts.length)
  })

  it('are signed the same by the same key: Ed25519 has one signature for a message', async () => {
    const identity = await identityFromSeed(new Uint8Array(32).fill(1))
    const bytes = challengeBytes(challenge)
    expect(toHex(await identity.sign(bytes))).toBe(toHex(await identity.sign(bytes)))
  })
})

it('base64url there and back, of every length and without padding', () => {
  for (let length = 0; length < 70; length++) {
    const bytes = Uint8Array.from({ length }, (_, i) => (i * 37 + length) & 0xff)
    const text = toBase64url(bytes)
    expect(text).toMatch(/^[A-Za-z0-9_-]*$/)
    expect(fromBase64url(text)).toEqual(bytes)
  }
})
