/** 32 bytes from a passphrase, by the one derivation that browsers and Node both have: PBKDF2 of WebCrypto. */

/** OWASP's figure for PBKDF2-SHA256 (2023). */
export const PASSPHRASE_ITERATIONS = 600_000

export async function bytesOfPassphrase(
  passphrase: string,
  salt: Uint8Array,
  iterations: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const material = await crypto.subtle.importKey(
    'raw',
    // one form of each letter: keyboards differ in how they compose an accent
    new TextEncoder().encode(passphrase.normalize('NFKC')),
    'PBKDF2',
    false,
    ['deriveBits'],
  )
  const algorithm = { name: 'PBKDF2', hash: 'SHA-256', salt: salt as Uint8Array<ArrayBuffer>, iterations }
  return new Uint8Array(await crypto.subtle.deriveBits(algorithm, material, 256))
}
