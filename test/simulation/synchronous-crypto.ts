import { createPrivateKey, createPublicKey, hash, type KeyObject, sign, verify } from 'node:crypto'
import { type Sha256Here, useSha256Here } from '../../src/dht/index.ts'

/**
 * The platform's WebCrypto works on other threads and finishes in no fixed order. In a seeded world the same functions
 * (SHA-256, Ed25519) compute at once and answer with promises that are already resolved, so that all work after an event
 * lies in microtasks. Same inputs, same results.
 */

// RFC 8410 SubjectPublicKeyInfo prefix for Ed25519.
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex')
const MAX_REMEMBERED_VERIFICATIONS = 100_000

interface SimulatedKey {
  key: KeyObject
  /** Tells keys apart in the memory of verifications. */
  name: string
}

/** Verification is a pure function: nodes that check the same signature share one computation. */
const verified = new Map<string, boolean>()

/**
 * Adds the same number of microtasks whether the caller's cache of keys is cold or warm: otherwise the second run of a
 * seed in one process would interleave differently from the first.
 */
function resolvedKey(key: SimulatedKey): Promise<SimulatedKey> {
  const promise = Promise.resolve(key)
  Object.defineProperty(promise, 'catch', { value: () => promise })
  return promise
}

function importKey(format: string, bytes: Uint8Array): Promise<SimulatedKey> {
  try {
    if (format === 'pkcs8')
      return resolvedKey({
        key: createPrivateKey({ key: Buffer.from(bytes), format: 'der', type: 'pkcs8' }),
        name: '',
      })
    const der = Buffer.concat([SPKI_PREFIX, bytes])
    return resolvedKey({
      key: createPublicKey({ key: der, format: 'der', type: 'spki' }),
      name: Buffer.from(bytes).toString('latin1'),
    })
  } catch (error) {
    return Promise.reject(error)
  }
}

function digest(algorithm: string, bytes: Uint8Array): Promise<ArrayBuffer> {
  if (algorithm !== 'SHA-256') throw new Error(`The seeded world has no synchronous ${algorithm}.`)
  return Promise.resolve(Uint8Array.from(hash('sha256', bytes, 'buffer')).buffer as ArrayBuffer)
}

function verifyOnce({ key, name }: SimulatedKey, signature: Uint8Array, bytes: Uint8Array): Promise<boolean> {
  const claim = `${name}${Buffer.from(signature).toString('latin1')}${hash('sha256', bytes, 'hex')}`
  let result = verified.get(claim)
  if (result === undefined) {
    result = verify(null, bytes, key, signature)
    if (verified.size >= MAX_REMEMBERED_VERIFICATIONS) verified.clear()
    verified.set(claim, result)
  }
  return Promise.resolve(result)
}

const replacements = {
  digest,
  importKey: (format: string, bytes: Uint8Array) => importKey(format, bytes),
  sign: (_algorithm: string, { key }: SimulatedKey, bytes: Uint8Array) =>
    Promise.resolve(Uint8Array.from(sign(null, bytes, key)).buffer),
  verify: (_algorithm: string, key: SimulatedKey, signature: Uint8Array, bytes: Uint8Array) =>
    verifyOnce(key, signature, bytes),
}

/** Small ones are hashed at once anyway: quicker here than by the portable code, for which a run spends a twentieth of its time. */
const sha256Here: Sha256Here = {
  hash: (bytes) => Uint8Array.from(hash('sha256', bytes, 'buffer')),
  maxBytes: 4_096,
}
let sha256Before: Sha256Here | undefined

let users = 0

/** Until the returned function is called. Nests. Keys imported before it do not work while it is installed, nor the other way round. */
export function installSynchronousCrypto(): () => void {
  const { subtle } = globalThis.crypto
  users += 1
  if (users === 1) {
    sha256Before = useSha256Here(sha256Here)
    for (const [name, value] of Object.entries(replacements))
      Object.defineProperty(subtle, name, { value, configurable: true })
  }
  let installed = true
  return () => {
    if (!installed) return
    installed = false
    users -= 1
    if (users > 0) return
    if (sha256Before !== undefined) useSha256Here(sha256Before)
    for (const name of Object.keys(replacements)) Reflect.deleteProperty(subtle, name)
  }
}
