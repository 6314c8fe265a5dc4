import { beforeAll, describe, expect, it, vi } from 'vitest'
import { identityFromSeed, verifySignature } from '../../../src/dht/identity.ts'
import { useNodeEd25519 } from '../../../src/node/ed25519.ts'

const text = (value: string) => new TextEncoder().encode(value)
const seed = new Uint8Array(32).fill(7)

/** A turn of the event loop later there is time again. */
const nextTurn = () => new Promise((resolve) => setImmediate(resolve))

describe('Ed25519 in the calling thread', () => {
  beforeAll(() => useNodeEd25519())

  it('signs and checks without WebCrypto, and the same as it', async () => {
    const { publicKey, sign } = await identityFromSeed(seed)
    const here = { sign: vi.spyOn(crypto.subtle, 'sign'), verify: vi.spyOn(crypto.subtle, 'verify') }
    await nextTurn()
    const signature = await sign(text('hello'))
    expect(await verifySignature(publicKey, text('hello'), signature)).toBe(true)
    expect(await verifySignature(publicKey, text('hallo'), signature)).toBe(false)
    expect(here.sign).not.toHaveBeenCalled()
    expect(here.verify).not.toHaveBeenCalled()
    vi.restoreAllMocks()
    const key = await crypto.subtle.importKey('raw', publicKey as Uint8Array<ArrayBuffer>, 'Ed25519', false, [
      'verify',
    ])
    const bytes = signature as Uint8Array<ArrayBuffer>
    expect(await crypto.subtle.verify('Ed25519', key, bytes, text('hello'))).toBe(true)
    expect(signature.constructor).toBe(Uint8Array)
  })

  it('leaves what is beyond its share of a turn to WebCrypto, and every answer is right', async () => {
    const { publicKey, sign } = await identityFromSeed(seed)
    const messages = Array.from({ length: 60 }, (_, i) => text(`message ${i}`))
    const signatures = await Promise.all(messages.map((message) => sign(message)))
    const elsewhere = vi.spyOn(crypto.subtle, 'verify')
    await nextTurn()
    const answers = await Promise.all(
      messages.map((message, i) =>
        verifySignature(publicKey, message, signatures[i % 2 === 0 ? i : i - 1] as Uint8Array),
      ),
    )
    expect(answers).toEqual(messages.map((_, i) => i % 2 === 0))
    expect(elsewhere.mock.calls.length).toBeGreaterThan(0)
    expect(elsewhere.mock.calls.length).toBeLessThan(60)
    vi.restoreAllMocks()
  })

  it('refuses a key of small order and what is no signature, as before', async () => {
    const { publicKey } = await identityFromSeed(seed)
    expect(await verifySignature(new Uint8Array(32), text(''), new Uint8Array(64))).toBe(false)
    expect(await verifySignature(publicKey, text(''), new Uint8Array(64))).toBe(false)
    expect(await verifySignature(publicKey, text(''), new Uint8Array(63))).toBe(false)
  })
})
