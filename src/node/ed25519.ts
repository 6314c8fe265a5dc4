import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto'
import { toHex, useEd25519Here } from '../dht/index.ts'

/**
 * Signs and checks in the thread that asks: that is half the processor time of WebCrypto, which hands each signature to
 * another thread and back (`node test/bench/bench.ts --only floors`). Many together go there all the same: where cores are
 * idle they are done sooner, and nothing else has to wait for them.
 */

/** In one turn of the event loop: about half a millisecond. */
const MAX_HERE_EACH_TURN = 8
const MAX_CACHED_KEYS = 1_024

// RFC 8410: what comes before the 32 bytes of a seed in PKCS#8, and of a public key in SubjectPublicKeyInfo
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex')
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex')

let doneThisTurn = 0

function hasTime(): boolean {
  if (doneThisTurn >= MAX_HERE_EACH_TURN) return false
  if (doneThisTurn === 0)
    setImmediate(() => {
      doneThisTurn = 0
    })
  doneThisTurn += 1
  return true
}

/** Undefined where the platform cannot: WebCrypto is asked instead. */
function here<T>(work: () => T): T | undefined {
  if (!hasTime()) return undefined
  try {
    return work()
  } catch {
    return undefined
  }
}

const keys = new Map<string, KeyObject>()

function keyOf(publicKey: Uint8Array): KeyObject {
  const name = toHex(publicKey)
  let key = keys.get(name)
  if (key === undefined) {
    if (keys.size >= MAX_CACHED_KEYS) keys.delete(keys.keys().next().value as string)
    key = createPublicKey({ key: Buffer.concat([SPKI_PREFIX, publicKey]), format: 'der', type: 'spki' })
    keys.set(name, key)
  }
  return key
}

export function useNodeEd25519(): void {
  useEd25519Here({
    signer(seed) {
      const key = createPrivateKey({
        key: Buffer.concat([PKCS8_PREFIX, seed]),
        format: 'der',
        type: 'pkcs8',
      })
      return (bytes) => here(() => Uint8Array.from(sign(null, bytes, key)))
    },
    verify: (publicKey, bytes, signature) => here(() => verify(null, bytes, keyOf(publicKey), signature)),
  })
}
