import * as v from 'valibot'
import {
  bytesOf,
  bytesOfPassphrase,
  bytesUpTo,
  decodeAny,
  encodeAny,
  framed,
  MAX_DEPTH,
  type NodeId,
  PASSPHRASE_ITERATIONS,
  publicKeyOf,
  StickyError,
  sha256,
  toBase64url,
} from '../dht/index.ts'
import type { Data } from './api.ts'
import { LIMITS } from './options.ts'
import { topicKeyOf } from './topic-key.ts'

/**
 * End-to-end encrypted topics. One 32-byte root for each topic, given or made from a passphrase and the topic's name;
 * from it the name under which the topic is kept, which nobody without the root can link with the real one, and the key
 * that seals. What is sealed is bound to the topic, to its publisher and to its use, so none of it can be passed off as
 * another's. docs/protocol.md, section 15, has the bytes.
 */

/** A key is for one topic: whoever is invited to it can open every topic that uses it. */
export type TopicSecret = { passphrase: string } | { key: Uint8Array }

/** A stranger's value after opening: the two uses never open each other's. */
export type SealedUse = 'message' | 'presence'

export interface TopicCipher {
  /** What the topic is called in the network, and so on this node's disk. */
  readonly hiddenName: string
  /** `once`: the same data under the same text is sealed to the same bytes, so that a repetition can be told. */
  seal(data: unknown, publisher: NodeId, use: SealedUse, once?: string): Promise<Data>
  /** Throws UNDECRYPTABLE. */
  open(sealed: Data, publisher: NodeId, use: SealedUse): Promise<Data>
}

const KEY_BYTES = 32
const NONCE_BYTES = 12
const TAG_BYTES = 16
/** Below, all messages are alike in length. */
const MIN_PADDED_BYTES = 64
const LENGTH_BYTES = 4
const MAX_PASSPHRASE_CHARACTERS = 1_024
/** The largest padded length that fits into a message with what is around it. */
const MAX_PADDED_BYTES = 126 * 1024
/** Of the encoded data that fits into a message of an encrypted topic. */
export const MAX_SEALED_DATA_BYTES = MAX_PADDED_BYTES - LENGTH_BYTES

const sealedSchema = v.strictObject({
  v: v.literal(1),
  n: bytesOf(NONCE_BYTES),
  c: v.pipe(
    bytesUpTo(MAX_PADDED_BYTES + TAG_BYTES),
    v.check((bytes) => bytes.byteLength >= MIN_PADDED_BYTES + TAG_BYTES, 'too short'),
  ),
})

/** A random key for one new topic. */
export const newTopicSecret = (): { key: Uint8Array } => ({
  key: crypto.getRandomValues(new Uint8Array(KEY_BYTES)),
})

/** The root of a topic. With a passphrase this takes a good part of a second, on purpose. Throws BAD_KEY, INVALID_TOPIC or UNSUPPORTED_PLATFORM. */
export async function rootOf(name: string, secret: TopicSecret): Promise<Uint8Array<ArrayBuffer>> {
  if (globalThis.crypto?.subtle === undefined)
    throw new StickyError('UNSUPPORTED_PLATFORM', 'Encryption needs https, or localhost.')
  await topicKeyOf(name) // INVALID_TOPIC
  if ('key' in secret) {
    if (!(secret.key instanceof Uint8Array) || secret.key.byteLength !== KEY_BYTES)
      throw new StickyError('BAD_KEY', `The key of a topic is ${KEY_BYTES} bytes.`)
    return new Uint8Array(secret.key)
  }
  const { passphrase } = secret
  if (
    typeof passphrase !== 'string' ||
    !(passphrase.length >= 1 && passphrase.length <= MAX_PASSPHRASE_CHARACTERS)
  )
    throw new StickyError('BAD_KEY', `A passphrase has 1 to ${MAX_PASSPHRASE_CHARACTERS} characters.`)
  const salt = await sha256(framed('sticky-pubsub/topic-passphrase/1', utf8Of(name)))
  return bytesOfPassphrase(passphrase, salt, PASSPHRASE_ITERATIONS)
}

export async function createTopicCipher(name: string, secret: TopicSecret): Promise<TopicCipher> {
  const root = await crypto.subtle.importKey('raw', await rootOf(name, secret), 'HKDF', false, ['deriveBits'])
  const derive = async (domain: string) => {
    const info = framed(domain, utf8Of(name)) as Uint8Array<ArrayBuffer>
    const algorithm = { name: 'HKDF', hash: 'SHA-256', salt: new Uint8Array(0), info }
    return new Uint8Array(await crypto.subtle.deriveBits(algorithm, root, 256))
  }
  const hiddenName = toBase64url(await derive('sticky-pubsub/topic-name/1'))
  const sealingKey = await derive('sticky-pubsub/topic-seal/1')
  const key = await crypto.subtle.importKey('raw', sealingKey, 'AES-GCM', false, ['encrypt', 'decrypt'])
  const nonceKey = await crypto.subtle.importKey(
    'raw',
    await derive('sticky-pubsub/topic-nonce/1'),
    { name: 'HMAC', hash: 'SHA-256' },
    false,
    ['sign'],
  )
  const topicKey = await topicKeyOf(hiddenName)
  /** By chance, or from everything that is sealed: other contents never share one, as far as 96 bits go. */
  const nonceOf = async (plain: Uint8Array, publisher: NodeId, use: SealedUse, once: string | undefined) => {
    if (once === undefined) return crypto.getRandomValues(new Uint8Array(NONCE_BYTES))
    const text = framed(use, publicKeyOf(publisher), new TextEncoder().encode(once), plain)
    const mac = await crypto.subtle.sign('HMAC', nonceKey, text as Uint8Array<ArrayBuffer>)
    return new Uint8Array(mac, 0, NONCE_BYTES).slice()
  }
  const algorithmOf = (nonce: Uint8Array, publisher: NodeId, use: SealedUse) => ({
    name: 'AES-GCM',
    iv: nonce as Uint8Array<ArrayBuffer>,
    additionalData: framed(
      `sticky-pubsub/sealed-${use}/1`,
      topicKey,
      publicKeyOf(publisher),
    ) as Uint8Array<ArrayBuffer>,
  })
  return {
    hiddenName,
    async seal(data, publisher, use, once) {
      const plain = padded(encoded(data))
      const nonce = await nonceOf(plain, publisher, use, once)
      const sealed = await crypto.subtle.encrypt(algorithmOf(nonce, publisher, use), key, plain)
      return { v: 1, n: nonce, c: new Uint8Array(sealed) }
    },
    async open(sealed, publisher, use) {
      const result = v.safeParse(sealedSchema, sealed)
      if (!result.success) throw new StickyError('UNDECRYPTABLE', 'This is not encrypted for the topic.')
      const { n: nonce, c } = result.output
      try {
        const algorithm = algorithmOf(nonce, publisher, use)
        const plain = await crypto.subtle.decrypt(algorithm, key, c as Uint8Array<ArrayBuffer>)
        return decodeAny(unpadded(new Uint8Array(plain)), LIMITS.maxPayloadBytes) as Data
      } catch (error) {
        throw new StickyError('UNDECRYPTABLE', 'This does not open with the secret of the topic.', {
          cause: error,
        })
      }
    },
  }
}

const utf8Of = (name: string): Uint8Array => new TextEncoder().encode(name.normalize('NFC'))

function encoded(data: unknown): Uint8Array {
  try {
    return encodeAny(data)
  } catch (error) {
    throw new StickyError(
      'INVALID_DATA',
      `Data is JSON values and bytes, at most ${MAX_DEPTH} levels deep.`,
      { cause: error },
    )
  }
}

/**
 * Padmé (Nikitin and others, 2019): lengths with few significant bits, so that a length says little about what was
 * written, at the cost of 12 % at most.
 */
export function paddedLength(length: number): number {
  if (length <= MIN_PADDED_BYTES) return MIN_PADDED_BYTES
  const exponent = Math.floor(Math.log2(length))
  const step = 2 ** (exponent - Math.floor(Math.log2(exponent)) - 1)
  return Math.ceil(length / step) * step
}

function padded(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  if (bytes.byteLength > MAX_SEALED_DATA_BYTES)
    throw new StickyError('TOO_LARGE', `Encrypted data is at most ${MAX_SEALED_DATA_BYTES} bytes.`)
  const out = new Uint8Array(paddedLength(LENGTH_BYTES + bytes.byteLength))
  new DataView(out.buffer).setUint32(0, bytes.byteLength)
  out.set(bytes, LENGTH_BYTES)
  return out
}

function unpadded(plain: Uint8Array): Uint8Array {
  const length = new DataView(plain.buffer, plain.byteOffset).getUint32(0)
  const end = LENGTH_BYTES + length
  if (paddedLength(end) !== plain.byteLength || plain.subarray(end).some((byte) => byte !== 0))
    throw new StickyError('MALFORMED', 'Wrong padding.')
  return plain.subarray(LENGTH_BYTES, end)
}
