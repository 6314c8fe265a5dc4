import { ED25519_TORSION_SUBGROUP, ed25519 } from '@noble/curves/ed25519.js'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { concatBytes, equalBytes, framed, fromHex, sha256, toHex } from '../../../src/dht/codec.ts'
import { StickyError } from '../../../src/dht/errors.ts'
import {
  identityFromSeed,
  isSmallOrderKey,
  nodeIdOf,
  publicKeyOf,
  verifySignature,
} from '../../../src/dht/identity.ts'

/** RFC 8032, section 7.1. */
const RFC_8032 = [
  {
    seed: '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
    publicKey: 'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
    message: '',
    signature:
      'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
  },
  {
    seed: '4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb',
    publicKey: '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
    message: '72',
    signature:
      '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
  },
]

const seed = new Uint8Array(32).fill(1)
const text = (value: string) => new TextEncoder().encode(value)

function codeOf(work: () => unknown): string {
  try {
    work()
    return 'none'
  } catch (error) {
    return error instanceof StickyError ? error.code : `not a StickyError: ${String(error)}`
  }
}

const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n
const littleEndian = (bytes: Uint8Array) => BigInt(`0x${toHex(bytes.toReversed())}`)
const toLittleEndian = (value: bigint) => fromHex(value.toString(16).padStart(64, '0')).toReversed()

/** A signature of 'hello' whose R has a part of small order: right after a multiplication by eight, wrong before it. */
async function upToTheCofactor(seed: Uint8Array) {
  const { pointBytes, scalar } = ed25519.utils.getExtendedPublicKey(seed)
  const nonce = 12345n
  const torsion = ed25519.Point.fromHex(ED25519_TORSION_SUBGROUP[1] as string)
  const R = ed25519.Point.BASE.multiply(nonce).add(torsion).toBytes()
  const signed = concatBytes(R, pointBytes, text('hello')) as Uint8Array<ArrayBuffer>
  const k = littleEndian(new Uint8Array(await crypto.subtle.digest('SHA-512', signed)))
  return { publicKey: pointBytes, signature: concatBytes(R, toLittleEndian((nonce + k * scalar) % ORDER)) }
}

describe('a node id', () => {
  it('is the libp2p peer id of the key, and gives the key back', async () => {
    const { nodeId, publicKey } = await identityFromSeed(fromHex(RFC_8032[0]?.seed as string))
    expect(toHex(publicKey)).toBe(RFC_8032[0]?.publicKey)
    expect(nodeId).toMatch(/^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$/)
    const { peerIdFromPublicKey } = await import('@libp2p/peer-id')
    const { publicKeyFromRaw } = await import('@libp2p/crypto/keys')
    expect(nodeId).toBe(peerIdFromPublicKey(publicKeyFromRaw(publicKey)).toString())
    expect(toHex(publicKeyOf(nodeId))).toBe(toHex(publicKey))
    for (const edge of [new Uint8Array(32), new Uint8Array(32).fill(0xff)])
      expect(toHex(publicKeyOf(nodeIdOf(edge)))).toBe(toHex(edge))
  })

  it('has one text: nothing else that looks like it is taken', async () => {
    const { nodeId } = await identityFromSeed(seed)
    const others = [
      '',
      '1',
      ` ${nodeId}`,
      `${nodeId} `,
      `${nodeId}\n`,
      `1${nodeId}`,
      nodeId.slice(1),
      `${nodeId}1`,
      nodeId.slice(0, -1),
      `z${nodeId}`,
      nodeId.replace('K', 'k'),
      nodeId.replace('D', '0'),
      '__proto__',
      'QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG', // an RSA peer id
      '16Uiu2HAm3dTNmK5C5SHR93mr7qxNrNKPvxmUHVFtXoiwXDCTtnWH', // a secp256k1 one
      '1'.repeat(10_000),
      'z'.repeat(10_000),
    ]
    for (const other of others) {
      const code = codeOf(() => publicKeyOf(other))
      if (code === 'none') expect(nodeIdOf(publicKeyOf(other)), other).toBe(other)
      else expect(code, other).toBe('WRONG_IDENTITY')
    }
    expect(others.filter((other) => codeOf(() => publicKeyOf(other)) === 'none')).toEqual([])
  })
})

describe('signatures', () => {
  for (const { seed, publicKey, message, signature } of RFC_8032) {
    it(`are those of RFC 8032 for ${message === '' ? 'an empty' : 'a short'} message`, async () => {
      const identity = await identityFromSeed(fromHex(seed))
      expect(toHex(identity.publicKey)).toBe(publicKey)
      expect(toHex(await identity.sign(fromHex(message)))).toBe(signature)
      expect(await verifySignature(fromHex(publicKey), fromHex(message), fromHex(signature))).toBe(true)
    })
  }

  it('need a seed of 32 bytes', async () => {
    for (const length of [0, 31, 33, 64])
      await expect(identityFromSeed(new Uint8Array(length))).rejects.toMatchObject({ code: 'BAD_KEY' })
  })

  it('hold for their key and bytes only, every bit of them', async () => {
    const identity = await identityFromSeed(seed)
    const bytes = text('hello')
    const signature = await identity.sign(bytes)
    const flipped = (source: Uint8Array, bit: number) => {
      const copy = new Uint8Array(source)
      copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7))
      return copy
    }
    expect(await verifySignature(identity.publicKey, bytes, signature)).toBe(true)
    for (let bit = 0; bit < 512; bit++)
      expect(await verifySignature(identity.publicKey, bytes, flipped(signature, bit)), `bit ${bit}`).toBe(
        false,
      )
    for (let bit = 0; bit < 256; bit++)
      expect(await verifySignature(flipped(identity.publicKey, bit), bytes, signature)).toBe(false)
    expect(await verifySignature(identity.publicKey, text('hellp'), signature)).toBe(false)
    expect(await verifySignature(identity.publicKey, new Uint8Array(), signature)).toBe(false)
  })

  it('of another length, or by a key of another length, do not hold and do not throw', async () => {
    const identity = await identityFromSeed(seed)
    const signature = await identity.sign(text('hello'))
    const longer = concatBytes(signature, Uint8Array.of(0))
    for (const wrong of [new Uint8Array(), signature.subarray(0, 63), longer])
      expect(await verifySignature(identity.publicKey, text('hello'), wrong)).toBe(false)
    for (const wrong of [new Uint8Array(), identity.publicKey.subarray(1), new Uint8Array(33)])
      expect(await verifySignature(wrong, text('hello'), signature)).toBe(false)
  })

  it('with a scalar above the group order are refused: there is one signature to a message', async () => {
    const identity = await identityFromSeed(seed)
    const signature = await identity.sign(text('hello'))
    const malleable = concatBytes(
      signature.subarray(0, 32),
      toLittleEndian(littleEndian(signature.subarray(32)) + ORDER),
    )
    expect(equalBytes(malleable, signature)).toBe(false)
    expect(await verifySignature(identity.publicKey, text('hello'), malleable)).toBe(false)
  })

  it('that hold only up to the cofactor are refused: every platform says the same', async () => {
    const { publicKey, signature } = await upToTheCofactor(seed)
    expect(ed25519.verify(signature, text('hello'), publicKey)).toBe(true) // the trap: a lenient check takes it
    expect(await verifySignature(publicKey, text('hello'), signature)).toBe(false)
  })

  it('say where they belong: those of one domain or division do not hold in another', async () => {
    const identity = await identityFromSeed(seed)
    const body = text('body')
    const signature = await identity.sign(framed('sticky-pubsub/message/1', body))
    const holds = (bytes: Uint8Array) => verifySignature(identity.publicKey, bytes, signature)
    expect(await holds(framed('sticky-pubsub/message/1', body))).toBe(true)
    expect(await holds(framed('sticky-pubsub/subscription/1', body))).toBe(false)
    expect(await holds(framed('sticky-pubsub/message/1', text('bo'), text('dy')))).toBe(false)
    expect(await holds(framed('sticky-pubsub/message/1', body, new Uint8Array()))).toBe(false)
    expect(await holds(body)).toBe(false)
  })
})

describe('a small-order key', () => {
  const withSign = (hex: string) => {
    const bytes = fromHex(hex)
    bytes[31] = (bytes[31] as number) | 0x80
    return bytes
  }
  /** The eight points of small order, and the encodings of them that are not canonical. */
  const keys = [
    ...ED25519_TORSION_SUBGROUP.map((hex) => fromHex(hex)),
    ...['ed', 'ee'].flatMap((low) => {
      const hex = `${low}${'ff'.repeat(30)}7f`
      return [fromHex(hex), withSign(hex)]
    }),
    withSign(`01${'00'.repeat(31)}`),
    withSign(`ec${'ff'.repeat(30)}7f`),
  ]

  it('is known in each of its encodings, and no honest key is taken for one', async () => {
    expect(keys.length).toBe(14)
    for (const key of keys) expect(isSmallOrderKey(key), toHex(key)).toBe(true)
    for (let n = 0; n < 50; n++)
      expect(isSmallOrderKey((await identityFromSeed(await sha256(Uint8Array.of(n)))).publicKey)).toBe(false)
  })

  it('signs nothing, though its one signature fits every message elsewhere', async () => {
    const signature = concatBytes(fromHex(`01${'00'.repeat(31)}`), new Uint8Array(32))
    const identityPoint = fromHex(`01${'00'.repeat(31)}`)
    const lenient = await crypto.subtle.importKey(
      'raw',
      identityPoint as Uint8Array<ArrayBuffer>,
      'Ed25519',
      false,
      ['verify'],
    )
    for (const message of ['one message', 'and another']) {
      const bytes = text(message) as Uint8Array<ArrayBuffer>
      // the trap is there: the platform says yes to both
      expect(
        await crypto.subtle.verify('Ed25519', lenient, signature as Uint8Array<ArrayBuffer>, bytes),
      ).toBe(true)
      for (const key of keys)
        for (const R of keys)
          expect(await verifySignature(key, bytes, concatBytes(R, new Uint8Array(32)))).toBe(false)
    }
  })

  it('is known in a Buffer too, and the caller’s bytes stay as they are', async () => {
    const key = Buffer.from(withSign(`01${'00'.repeat(31)}`))
    expect(isSmallOrderKey(key)).toBe(true)
    expect(key[31]).toBe(0x80)
  })
})

describe('on a platform without Ed25519', () => {
  afterEach(() => {
    vi.restoreAllMocks()
  })

  it('the same signatures are made, and the same ones hold', async () => {
    // keys of its own: those of other tests may have been imported already
    const oldSeed = new Uint8Array(32).fill(2)
    const platform = await identityFromSeed(oldSeed)
    vi.spyOn(crypto.subtle, 'importKey').mockRejectedValue(
      new DOMException('No such thing', 'NotSupportedError'),
    )
    const identity = await identityFromSeed(oldSeed)
    expect(identity.nodeId).toBe(platform.nodeId)
    const signature = await identity.sign(text('hello'))
    expect(toHex(signature)).toBe(toHex(await platform.sign(text('hello'))))
    const holds = (bytes: Uint8Array, by = signature) => verifySignature(identity.publicKey, bytes, by)
    expect(await holds(text('hello'))).toBe(true)
    expect(await holds(text('hellp'))).toBe(false)
    expect(await holds(text('hello'), new Uint8Array(64))).toBe(false)
    expect(await holds(text('hello'), new Uint8Array(64).fill(0xff))).toBe(false)
    const S = littleEndian(signature.subarray(32)) + ORDER
    expect(await holds(text('hello'), concatBytes(signature.subarray(0, 32), toLittleEndian(S)))).toBe(false)
    const trap = await upToTheCofactor(oldSeed)
    expect(equalBytes(trap.publicKey, identity.publicKey)).toBe(true)
    expect(await holds(text('hello'), trap.signature)).toBe(false)
    const point = fromHex(`01${'00'.repeat(31)}`)
    expect(await verifySignature(point, text('hello'), concatBytes(point, new Uint8Array(32)))).toBe(false)
    expect(crypto.subtle.importKey).toHaveBeenCalled()
  })
})
