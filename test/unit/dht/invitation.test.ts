import { beforeAll, describe, expect, it } from 'vitest'
import type { Challenge } from '../../../src/dht/challenge-bytes.ts'
import { fromBase64url, toBase64url } from '../../../src/dht/challenge-bytes.ts'
import { encode, framed, toHex } from '../../../src/dht/codec.ts'
import { type Identity, identityFromSeed } from '../../../src/dht/identity.ts'
import {
  invitedBytes,
  issueInvitation,
  MAX_INVITATION_CHARACTERS,
  MAX_INVITATION_USES,
  presentInvitation,
  readInvitation,
  verifyInvitation,
} from '../../../src/dht/invitation.ts'
import { systemRuntime } from '../../../src/dht/runtime.ts'

/** Who may come in by an invitation, and who may not. Clock and chance are given. */

const NOW = 1_700_000_000_000
const DAY = 86_400_000

let bridge: Identity
let guest: Identity
let other: Identity
beforeAll(async () => {
  bridge = await identityFromSeed(new Uint8Array(32).fill(1))
  guest = await identityFromSeed(new Uint8Array(32).fill(2))
  other = await identityFromSeed(new Uint8Array(32).fill(3))
})

const runtime = { ...systemRuntime, now: () => NOW, randomBytes: (n: number) => new Uint8Array(n).fill(9) }
const issue = (change: Partial<Parameters<typeof issueInvitation>[0]> = {}) =>
  issueInvitation({ issuer: bridge, audience: bridge.nodeId, ttlMs: DAY, uses: 1, runtime, ...change })
const challenge = (change: Partial<Challenge> = {}): Challenge => ({
  serverId: bridge.nodeId,
  audience: '127.0.0.1:1',
  nodeId: guest.nodeId,
  nonce: new Uint8Array(32).fill(7),
  timestamp: NOW,
  ...change,
})
const verify = (
  presented: { grant: string; proof: string },
  {
    at = NOW,
    of = challenge(),
    issuers = [bridge.nodeId],
  }: { at?: number; of?: Challenge; issuers?: string[] } = {},
) => verifyInvitation(presented, of, { issuers: new Set(issuers), now: at })

/** A claim as a forger would write it, signed by `signer`, shown with the invitation's key of seed 9. */
async function shown(claim: object, signer = bridge) {
  const bytes = encode(claim)
  const signature = await signer.sign(framed('sticky-pubsub/invitation/1', bytes))
  const key = await identityFromSeed(new Uint8Array(32).fill(9))
  return {
    grant: toBase64url(encode({ claim: bytes, signature })),
    proof: toBase64url(await key.sign(invitedBytes(challenge()))),
  }
}

describe('an invitation', () => {
  it('opens the door it is for, until it expires', async () => {
    const text = await issue()
    expect(text.length).toBeLessThan(MAX_INVITATION_CHARACTERS / 2)
    const presented = await presentInvitation(text, challenge(), NOW)
    expect(await verify(presented)).toMatchObject({ uses: 1, expiresAt: NOW + DAY })
    expect(await verify(presented, { at: NOW + DAY - 1 })).toBeDefined()
    await expect(verify(presented, { at: NOW + DAY })).rejects.toMatchObject({ code: 'INVITATION_EXPIRED' })
  })

  it('is of these bytes', async () => {
    const { grant } = await presentInvitation(await issue(), challenge(), NOW)
    expect(toHex(fromBase64url(grant))).toMatchInlineSnapshot(
      `"a265636c61696d58a9a7617601636b65795820fd1724385aa0c75b64fb78cd602fa1d991fdebf76b13c58ed702eac835e9f6186475736573016669737375657258208a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c6861756469656e636558208a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c6869737375656441741b0000018bcfe56800696578706972657341741b0000018bd50bc400697369676e6174757265584048ff8bc26078da5fe1b45fbd840b56a30a24974870f013bcce5928024e11dcd7295a83ecccaab861f4199326133fda5eb8b43f92974c2c79df057a4839bcb503"`,
    )
  })

  it('is never shown: what a listener gets cannot answer another challenge', async () => {
    const text = await issue()
    const { seed } = (await import('@ipld/dag-cbor')).decode<{ seed: Uint8Array }>(fromBase64url(text))
    const presented = await presentInvitation(text, challenge(), NOW)
    expect(toHex(fromBase64url(presented.grant))).not.toContain(toHex(seed))
    for (const change of [{ nonce: new Uint8Array(32) }, { nodeId: other.nodeId }, { timestamp: NOW + 1 }])
      await expect(verify(presented, { of: challenge(change) })).rejects.toMatchObject({
        code: 'INVITATION_INVALID',
        message: expect.stringContaining('Only a part'),
      })
  })

  it('counts by its issuer: the bridge, one that it names, and nobody else', async () => {
    const presented = await presentInvitation(await issue({ issuer: other }), challenge(), NOW)
    await expect(verify(presented)).rejects.toMatchObject({ code: 'INVITATION_INVALID' })
    expect(await verify(presented, { issuers: [bridge.nodeId, other.nodeId] })).toBeDefined()
  })

  it('is for one bridge: shown to no other, and taken by no other', async () => {
    const text = await issue()
    const elsewhere = challenge({ serverId: other.nodeId })
    await expect(presentInvitation(text, elsewhere, NOW)).rejects.toMatchObject({
      code: 'INVITATION_INVALID',
    })
    const presented = await presentInvitation(text, challenge(), NOW)
    await expect(
      verify(presented, { of: elsewhere, issuers: [bridge.nodeId, other.nodeId] }),
    ).rejects.toMatchObject({ message: expect.stringContaining('another bridge') })
  })

  it('that has expired is not even shown', async () => {
    const text = await issue()
    await expect(presentInvitation(text, challenge(), NOW + DAY)).rejects.toMatchObject({
      code: 'INVITATION_EXPIRED',
    })
  })

  it('by a clock four minutes ahead counts, six minutes ahead not', async () => {
    const presented = await presentInvitation(await issue(), challenge(), NOW)
    expect(await verify(presented, { at: NOW - 4 * 60_000 })).toBeDefined()
    await expect(verify(presented, { at: NOW - 6 * 60_000 })).rejects.toMatchObject({
      code: 'INVITATION_INVALID',
    })
  })

  it('is refused with any one bit changed', async () => {
    const presented = await presentInvitation(await issue(), challenge(), NOW)
    const grant = fromBase64url(presented.grant)
    for (let i = 0; i < grant.byteLength; i++) {
      const changed = grant.map((byte, at) => (at === i ? byte ^ 1 : byte))
      await expect(verify({ ...presented, grant: toBase64url(changed) })).rejects.toMatchObject({
        code: expect.stringMatching(/^INVITATION_/),
      })
    }
    const proof = fromBase64url(presented.proof).map((byte, at) => (at === 5 ? byte ^ 1 : byte))
    await expect(verify({ ...presented, proof: toBase64url(proof) })).rejects.toMatchObject({
      code: 'INVITATION_INVALID',
    })
  })
})

describe('what is no invitation is refused in a sentence', () => {
  const claim = async (change: object = {}) => ({
    v: 1,
    issuer: bridge.publicKey,
    audience: bridge.publicKey,
    key: (await identityFromSeed(new Uint8Array(32).fill(9))).publicKey,
    issuedAt: NOW,
    expiresAt: NOW + DAY,
    uses: 1,
    ...change,
  })

  it('(a well-formed one by hand is taken)', async () => {
    expect(await verify(await shown(await claim()))).toMatchObject({ uses: 1 })
  })

  it.each([
    ['another version', { v: 2 }, /version 2/],
    ['a version that is no number', { v: '1' }, /cannot be read/],
    ['an unknown field', { admin: true }, /cannot be read/],
    ['uses below zero', { uses: -1 }, /cannot be read/],
    ['uses above the most', { uses: MAX_INVITATION_USES + 1 }, /cannot be read/],
    ['uses in part', { uses: 1.5 }, /cannot be read/],
    ['no end', { expiresAt: 9e15 }, /cannot be read/],
    ['a short key', { key: new Uint8Array(31) }, /cannot be read/],
    ['padding beyond the size', { padding: new Uint8Array(1_000) }, /cannot be read/],
  ])('%s', async (_name, change, sentence) => {
    await expect(verify(await shown(await claim(change)))).rejects.toMatchObject({
      code: 'INVITATION_INVALID',
      message: expect.stringMatching(sentence),
    })
  })

  it('a claim that somebody else signed in the issuer’s name', async () => {
    await expect(verify(await shown(await claim(), other))).rejects.toMatchObject({
      message: expect.stringContaining('not signed by its issuer'),
    })
  })

  it('a small-order key, whose one signature fits everything', async () => {
    const weak = Uint8Array.from({ length: 32 }, (_, i) => (i === 0 ? 1 : 0))
    const fits = Uint8Array.from({ length: 64 }, (_, i) => (i === 0 ? 1 : 0))
    const { grant } = await shown(await claim({ key: weak }))
    await expect(verify({ grant, proof: toBase64url(fits) })).rejects.toMatchObject({
      code: 'INVITATION_INVALID',
    })
  })

  it.each([
    ['nothing', ''],
    ['a word', 'invitation'],
    ['a part of one', undefined],
    ['no base64', '!'.repeat(100)],
    ['too much', 'A'.repeat(MAX_INVITATION_CHARACTERS + 1)],
    ['a tower of arrays', toBase64url(new Uint8Array(700).fill(0x81))],
  ])('%s, as a text', async (_name, text) => {
    const given = text ?? (await issue()).slice(0, -8)
    expect(() => readInvitation(given)).toThrow('cannot be read')
    await expect(presentInvitation(given, challenge(), NOW)).rejects.toMatchObject({
      code: 'INVITATION_INVALID',
    })
    await expect(verify({ grant: given, proof: 'A'.repeat(86) })).rejects.toMatchObject({
      code: 'INVITATION_INVALID',
    })
  })

  it('a whole invitation where only its grant belongs', async () => {
    await expect(verify({ grant: await issue(), proof: 'A'.repeat(86) })).rejects.toMatchObject({
      code: 'INVITATION_INVALID',
    })
  })
})
