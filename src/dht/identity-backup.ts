import * as v from 'valibot'
import { fromBase64url, toBase64url } from './challenge.ts'
import { integer } from './codec.ts'
import { StickyError } from './errors.ts'

/**
 * An identity under a passphrase, as text: the one format of the file of a Node node and of the backup of a tab. The key
 * is derived with PBKDF2-SHA256 and seals the 32-byte seed with AES-256-GCM.
 */

/** OWASP's figure for PBKDF2-SHA256 (2023). */
const ITERATIONS = 600_000
/** What a hostile backup may make a reader compute. */
const MAX_ITERATIONS = 1_000_000
const MAX_TEXT_CHARACTERS = 64 * 1024

const bytes = (max: number) => v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]+$/), v.maxLength(max))
const backupSchema = v.strictObject({
  format: v.literal('sticky-pubsub-identity'),
  version: v.literal(1),
  iterations: integer(1, MAX_ITERATIONS),
  salt: bytes(64),
  iv: bytes(32),
  sealed: bytes(128),
})

export async function sealSeed(seed: Uint8Array, passphrase: string): Promise<string> {
  const salt = crypto.getRandomValues(new Uint8Array(16))
  const iv = crypto.getRandomValues(new Uint8Array(12))
  const key = await keyOf(passphrase, salt, ITERATIONS)
  const sealed = new Uint8Array(
    await crypto.subtle.encrypt({ name: 'AES-GCM', iv }, key, seed as Uint8Array<ArrayBuffer>),
  )
  return JSON.stringify({
    format: 'sticky-pubsub-identity',
    version: 1,
    iterations: ITERATIONS,
    salt: toBase64url(salt),
    iv: toBase64url(iv),
    sealed: toBase64url(sealed),
  })
}

/** Throws IDENTITY_UNREADABLE when the text is no backup, WRONG_PASSPHRASE when it does not open. */
export async function openSeed(text: string, passphrase: string): Promise<Uint8Array> {
  const backup = parse(text)
  const key = await keyOf(passphrase, fromBase64url(backup.salt), backup.iterations)
  let seed: Uint8Array
  try {
    const iv = fromBase64url(backup.iv) as Uint8Array<ArrayBuffer>
    seed = new Uint8Array(
      await crypto.subtle.decrypt(
        { name: 'AES-GCM', iv },
        key,
        fromBase64url(backup.sealed) as Uint8Array<ArrayBuffer>,
      ),
    )
  } catch (error) {
    throw new StickyError('WRONG_PASSPHRASE', 'The passphrase does not open this identity.', { cause: error })
  }
  if (seed.byteLength !== 32)
    throw new StickyError('IDENTITY_UNREADABLE', 'The identity inside is not an Ed25519 seed.')
  return seed
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

async function keyOf(passphrase: string, salt: Uint8Array, iterations: number): Promise<CryptoKey> {
  const material = await crypto.subtle.importKey(
    'raw',
    new TextEncoder().encode(passphrase),
    'PBKDF2',
    false,
    ['deriveKey'],
  )
  return crypto.subtle.deriveKey(
    { name: 'PBKDF2', hash: 'SHA-256', salt: salt as Uint8Array<ArrayBuffer>, iterations },
    material,
    { name: 'AES-GCM', length: 256 },
    false,
    ['encrypt', 'decrypt'],
  )
}
