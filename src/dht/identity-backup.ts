import * as v from 'valibot'
import { fromBase64url, toBase64url } from './challenge-bytes.ts'
import { integer } from './codec.ts'
import { StickyError } from './errors.ts'
import { bytesOfPassphrase, PASSPHRASE_ITERATIONS } from './passphrase-key.ts'

/**
 * An identity under a passphrase, as text: the one format of the file of a Node node and of the backup of a tab. The key
 * is derived with PBKDF2-SHA256 and seals the 32-byte seed with AES-256-GCM.
 */

/** What a hostile backup may make a reader compute. */
const MAX_ITERATIONS = 1_000_000
const MAX_TEXT_CHARACTERS = 64 * 1024

const SALT_BYTES = 16
const IV_BYTES = 12
const SEED_BYTES = 32
const TAG_BYTES = 16

/** Text of exactly `length` bytes; the pattern leaves base64url nothing to refuse. */
const bytes = (length: number) =>
  v.pipe(
    v.string(),
    v.length(Math.ceil((length * 4) / 3)),
    v.regex(/^[A-Za-z0-9_-]+$/),
    v.transform((text) => fromBase64url(text) as Uint8Array<ArrayBuffer>),
  )
const backupSchema = v.strictObject({
  format: v.literal('sticky-pubsub-identity'),
  version: v.literal(1),
  iterations: integer(1, MAX_ITERATIONS),
  salt: bytes(SALT_BYTES),
  iv: bytes(IV_BYTES),
  sealed: bytes(SEED_BYTES + TAG_BYTES),
})

export async function sealSeed(seed: Uint8Array, passphrase: string): Promise<string> {
  if (seed.byteLength !== SEED_BYTES) throw new StickyError('BAD_KEY', 'An Ed25519 seed is 32 bytes.')
  const salt = crypto.getRandomValues(new Uint8Array(SALT_BYTES))
  const iv = crypto.getRandomValues(new Uint8Array(IV_BYTES))
  const key = await keyOf(passphrase, salt, PASSPHRASE_ITERATIONS)
  const sealed = new Uint8Array(
    await crypto.subtle.encrypt({ name: 'AES-GCM', iv }, key, seed as Uint8Array<ArrayBuffer>),
  )
  return JSON.stringify({
    format: 'sticky-pubsub-identity',
    version: 1,
    iterations: PASSPHRASE_ITERATIONS,
    salt: toBase64url(salt),
    iv: toBase64url(iv),
    sealed: toBase64url(sealed),
  })
}

/** Throws IDENTITY_UNREADABLE when the text is no backup, WRONG_PASSPHRASE when it does not open. */
export async function openSeed(text: string, passphrase: string): Promise<Uint8Array> {
  const { salt, iv, sealed, iterations } = parse(text)
  const key = await keyOf(passphrase, salt, iterations)
  try {
    return new Uint8Array(await crypto.subtle.decrypt({ name: 'AES-GCM', iv }, key, sealed))
  } catch (error) {
    throw new StickyError('WRONG_PASSPHRASE', 'The passphrase does not open this identity.', { cause: error })
  }
}

function parse(text: string) {
  if (text.length > MAX_TEXT_CHARACTERS)
    throw new StickyError('IDENTITY_UNREADABLE', 'Too large to be an identity.')
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new StickyError('IDENTITY_UNREADABLE', 'Not an identity file or backup of sticky-pubsub.', {
      cause: error,
    })
  }
  const result = v.safeParse(backupSchema, value)
  if (!result.success)
    throw new StickyError(
      'IDENTITY_UNREADABLE',
      'Not an identity file or backup of sticky-pubsub, or of a later version.',
    )
  return result.output
}

async function keyOf(
  passphrase: string,
  salt: Uint8Array<ArrayBuffer>,
  iterations: number,
): Promise<CryptoKey> {
  const bytes = await bytesOfPassphrase(passphrase, salt, iterations)
  return crypto.subtle.importKey('raw', bytes, 'AES-GCM', false, ['encrypt', 'decrypt'])
}
