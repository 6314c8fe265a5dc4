import { KeyObject, sign, verify } from 'node:crypto'
import { useEd25519Here } from '../dht/index.ts'

/**
 * Signs and checks in the thread that asks: that is half the processor time of WebCrypto, which hands each signature to
 * another thread and back (`node test/bench/bench.ts --only floors`). Many together go there all the same: where cores are
 * idle they are done sooner, and nothing else has to wait for them.
 */

/** In one turn of the event loop: about half a millisecond. */
const MAX_HERE_EACH_TURN = 8

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

export function useNodeEd25519(): void {
  useEd25519Here({
    sign: (key, bytes) => (hasTime() ? Uint8Array.from(sign(null, bytes, KeyObject.from(key))) : undefined),
    verify: (key, bytes, signature) =>
      hasTime() ? verify(null, bytes, KeyObject.from(key), signature) : undefined,
  })
}
