import { createCipheriv, createDecipheriv, createHash, createHmac, hkdfSync, pbkdf2Sync } from 'node:crypto'
import { beforeAll, describe, expect, it } from 'vitest'
import { concatBytes, encode, framed, toHex } from '../../../src/dht/codec.ts'
import { nodeIdOf, publicKeyOf } from '../../../src/dht/identity.ts'
import type { Data } from '../../../src/pubsub/index.ts'
import {
  createTopicCipher,
  MAX_SEALED_DATA_BYTES,
  newTopicSecret,
  paddedLength,
  rootOf,
  type TopicCipher,
} from '../../../src/pubsub/secret.ts'
import { topicKeyOf } from '../../../src/pubsub/topic-key.ts'
import { nested } from '../../support/nested.ts'

const KEY = Uint8Array.from({ length: 32 }, (_, index) => index)
const ada = nodeIdOf(new Uint8Array(32).fill(0xaa))
const bob = nodeIdOf(new Uint8Array(32).fill(0xbb))
const utf8 = (text: string) => new TextEncoder().encode(text)

interface Sealed {
  v: number
  n: Uint8Array
  c: Uint8Array
  [key: string]: Data
}

let room: TopicCipher
beforeAll(async () => {
  room = await createTopicCipher('room', { key: KEY })
})
const seal = async (data: unknown, cipher = room) => (await cipher.seal(data, ada, 'message')) as Sealed

/** The same format by another implementation, Node's own. */
const derived = (domain: string, root = KEY, name = 'room') =>
  new Uint8Array(hkdfSync('sha256', root, new Uint8Array(0), framed(domain, utf8(name)), 32))

async function sealedByNode(plain: Uint8Array, publisher = ada, use = 'message'): Promise<Sealed> {
  const nonce = new Uint8Array(12).fill(7)
  const topicKey = await topicKeyOf(Buffer.from(derived('sticky-pubsub/topic-name/1')).toString('base64url'))
  const cipher = createCipheriv('aes-256-gcm', derived('sticky-pubsub/topic-seal/1'), nonce)
  cipher.setAAD(framed(`sticky-pubsub/sealed-${use}/1`, topicKey, publicKeyOf(publisher)))
  const c = concatBytes(cipher.update(plain), cipher.final(), cipher.getAuthTag())
  return { v: 1, n: nonce, c }
}

function plainOf(data: Uint8Array, length = 64): Uint8Array {
  const plain = new Uint8Array(length)
  new DataView(plain.buffer).setUint32(0, data.byteLength)
  plain.set(data, 4)
  return plain
}

describe('the root of a topic', () => {
  it('is the key itself, or PBKDF2 of the passphrase under a salt of the name', async () => {
    expect(await rootOf('room', { key: KEY })).toEqual(KEY)
    const salt = createHash('sha256')
      .update(framed('sticky-pubsub/topic-passphrase/1', utf8('room')))
      .digest()
    const expected = pbkdf2Sync('correct horse', salt, 600_000, 32, 'sha256')
    const root = await rootOf('room', { passphrase: 'correct horse' })
    expect(toHex(root)).toBe(expected.toString('hex'))
    expect(toHex(root)).toBe('6927d0471c550f78533139d1eedd3e3561063e2bead88780d769c1a25ab76275')
    expect(await rootOf('hall', { passphrase: 'correct horse' })).not.toEqual(root)
  })

  it.each([
    [{ key: new Uint8Array(31) }],
    [{ key: 'a'.repeat(32) as unknown as Uint8Array }],
    [{ passphrase: '' }],
    [{ passphrase: 'x'.repeat(1_025) }],
    [{ passphrase: 5 as unknown as string }],
  ])('refuses %j', async (secret) => {
    await expect(rootOf('room', secret)).rejects.toMatchObject({ code: 'BAD_KEY' })
  })

  it('refuses a name that is none', async () => {
    await expect(createTopicCipher('', { key: KEY })).rejects.toMatchObject({ code: 'INVALID_TOPIC' })
  })

  it('is new each time for a new topic', () => {
    expect(newTopicSecret().key).toHaveLength(32)
    expect(newTopicSecret().key).not.toEqual(newTopicSecret().key)
  })
})

describe('the hidden name', () => {
  it('is pinned, and another for another name or key', async () => {
    expect(room.hiddenName).toBe(Buffer.from(derived('sticky-pubsub/topic-name/1')).toString('base64url'))
    expect(room.hiddenName).toBe('RuMktoB-ZibUm0OHqlqFnpdkBswXYFzpmRnUYW9-X2w')
    const others = await Promise.all([
      createTopicCipher('hall', { key: KEY }),
      createTopicCipher('room', { key: KEY.toReversed() }),
    ])
    expect(new Set([room, ...others].map(({ hiddenName }) => hiddenName)).size).toBe(3)
  })

  it('does not depend on how an accent is composed', async () => {
    const [a, b] = await Promise.all(['é', 'e\u0301'].map((name) => createTopicCipher(name, { key: KEY })))
    expect(a?.hiddenName).toBe(b?.hiddenName)
  })
})

describe('sealed data', () => {
  it('opens to what was sealed, whatever it is', async () => {
    for (const data of [null, '', 'hi', { a: [1, 2.5, true], b: new Uint8Array([1, 2]) }, 'x'.repeat(70_000)])
      expect(await room.open(await seal(data), ada, 'message')).toEqual(data)
  })

  it('has the pinned form', async () => {
    const sealed = await sealedByNode(plainOf(encode({ text: 'hello' })))
    expect(toHex(encode(sealed))).toBe(
      'a3616358503702ade775d49dcc0b5aaa3fe6fe2b270b5eef983a0555b72a4a87f97afdf12c442f0c67223b3fdd28853f61c9c64825e17500b48af8ac45f51d22e4522f10984f1c18eb3f4b737e12b1db2239804722616e4c070707070707070707070707617601',
    )
    expect(await room.open(sealed, ada, 'message')).toEqual({ text: 'hello' })
    const { v, n, c } = await seal({ text: 'hello' })
    expect([v, n.byteLength, c.byteLength]).toEqual([1, 12, sealed.c.byteLength])
    const decipher = createDecipheriv('aes-256-gcm', derived('sticky-pubsub/topic-seal/1'), n)
    const topicKey = await topicKeyOf(room.hiddenName)
    decipher.setAAD(framed('sticky-pubsub/sealed-message/1', topicKey, publicKeyOf(ada)))
    decipher.setAuthTag(c.subarray(-16))
    expect(new Uint8Array(decipher.update(c.subarray(0, -16)))).toEqual(plainOf(encode({ text: 'hello' })))
  })

  it('shows neither the text nor its exact length, and never repeats a nonce', async () => {
    const [short, long] = await Promise.all([seal('yes'), seal('well, on the whole rather not')])
    expect(short.c.byteLength).toBe(long.c.byteLength)
    expect(Buffer.from(long.c).includes('rather')).toBe(false)
    const again = await Promise.all(Array.from({ length: 50 }, () => seal('yes')))
    expect(new Set(again.map(({ n }) => toHex(n))).size).toBe(50)
    expect(new Set(again.map(({ c }) => toHex(c))).size).toBe(50)
  })

  it('is the same each time under one text, so that a repetition is known, and differs with anything else', async () => {
    const bytesOf = async (...sealed: Parameters<TopicCipher['seal']>) =>
      toHex(encode(await room.seal(...sealed)))
    const first = await bytesOf('yes', ada, 'message', 'order 5')
    expect(await bytesOf('yes', ada, 'message', 'order 5')).toBe(first)
    const others = await Promise.all([
      bytesOf('no', ada, 'message', 'order 5'),
      bytesOf('yes', bob, 'message', 'order 5'),
      bytesOf('yes', ada, 'presence', 'order 5'),
      bytesOf('yes', ada, 'message', 'order 6'),
      bytesOf('yes', ada, 'message'),
    ])
    const nonces = [first, ...others].map((bytes) => bytes.match(/616e4c(.{24})/)?.[1])
    expect(new Set(nonces).size).toBe(6)
    const { n } = (await room.seal('yes', ada, 'message', 'order 5')) as Sealed
    const text = framed('message', publicKeyOf(ada), utf8('order 5'), plainOf(encode('yes')))
    const mac = createHmac('sha256', derived('sticky-pubsub/topic-nonce/1')).update(text).digest()
    expect(toHex(n)).toBe(mac.subarray(0, 12).toString('hex'))
  })

  it('pads to few lengths, and by 12 % at most', () => {
    const lengths = Array.from({ length: 10_000 }, (_, index) => index + 1)
    const wrong = lengths.filter((length) => {
      const padded = paddedLength(length)
      const isModest = length <= 64 ? padded === 64 : padded / length < 1.12
      return padded < length || paddedLength(padded) !== padded || !isModest
    })
    expect(wrong).toEqual([])
    expect(new Set(lengths.map(paddedLength)).size).toBe(101)
  })

  it('fits into a message at its largest, and is refused above', async () => {
    const largest = new Uint8Array(MAX_SEALED_DATA_BYTES - 5)
    const sealed = await seal(largest)
    expect(encode(sealed).byteLength).toBeLessThanOrEqual(128 * 1024)
    expect(await room.open(sealed, ada, 'message')).toEqual(largest)
    await expect(seal(new Uint8Array(MAX_SEALED_DATA_BYTES - 4))).rejects.toMatchObject({ code: 'TOO_LARGE' })
  })

  it.each([
    ['undefined', undefined],
    ['a function', () => 1],
    ['a number that is none', Number.NaN],
    ['what is nested too deep', nested(65)],
  ])('refuses %s before it seals', async (_, data) => {
    await expect(seal(data)).rejects.toMatchObject({ code: 'INVALID_DATA' })
  })
})

describe('what does not open', () => {
  const refused = async (
    sealed: Data,
    cipher = room,
    publisher = ada,
    use: 'message' | 'presence' = 'message',
  ) =>
    expect(cipher.open(sealed, publisher, use)).rejects.toMatchObject({
      name: 'StickyError',
      code: 'UNDECRYPTABLE',
    })

  it('is of another key, topic, publisher or use', async () => {
    const sealed = await seal('hello')
    await refused(sealed, await createTopicCipher('room', { key: KEY.toReversed() }))
    await refused(sealed, await createTopicCipher('hall', { key: KEY }))
    await refused(sealed, room, bob)
    await refused(sealed, room, ada, 'presence')
    expect(await room.open(sealed, ada, 'message')).toBe('hello')
  })

  it('was changed in any byte', async () => {
    const sealed = await seal('hello')
    for (const field of ['n', 'c'] as const)
      for (let i = 0; i < sealed[field].byteLength; i++)
        await refused({ ...sealed, [field]: sealed[field].map((byte, at) => (at === i ? byte ^ 1 : byte)) })
  })

  it.each<[string, (sealed: Sealed) => Data]>([
    ['a text', () => 'hello'],
    ['null', () => null],
    ['a list', () => []],
    ['no fields', () => ({})],
    ['a later version', (sealed) => ({ ...sealed, v: 2 })],
    ['an unknown field', (sealed) => ({ ...sealed, k: 1 })],
    ['a short nonce', (sealed) => ({ ...sealed, n: sealed.n.subarray(1) })],
    ['a nonce that is a text', (sealed) => ({ ...sealed, n: 'abcdefghijkl' })],
    ['only a tag', (sealed) => ({ ...sealed, c: sealed.c.subarray(-16) })],
    ['more than a message holds', (sealed) => ({ ...sealed, c: new Uint8Array(126 * 1024 + 17) })],
  ])('is %s', async (_, change) => {
    await refused(change(await seal('hello')))
  })

  it.each<[string, () => Uint8Array]>([
    ['a length beyond the end', () => plainOf(encode('hello')).map((byte, at) => (at === 0 ? 0xff : byte))],
    ['a length of nothing', () => new Uint8Array(64)],
    ['padding that says something', () => plainOf(encode('hello')).map((byte, at) => (at === 63 ? 1 : byte))],
    ['more padding than its length takes', () => plainOf(encode('hello'), 72)],
    ['data that is not canonical', () => plainOf(new Uint8Array([0x18, 1]))],
    ['data that is none', () => plainOf(new Uint8Array([0xff]))],
  ])('is, from somebody with the key, %s', async (_, make) => {
    await refused(await sealedByNode(make()))
  })
})
