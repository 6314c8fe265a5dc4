import { describe, expect, it } from 'vitest'
import { decodeAny, encode, toHex } from '../../../src/dht/codec.ts'
import {
  checkFreshness,
  createMessage,
  openMessage,
  VerifiedMessages,
  verifyMessage,
} from '../../../src/pubsub/message.ts'
import { LIMITS } from '../../../src/pubsub/options.ts'
import { topicKeyOf } from '../../../src/pubsub/topic-key.ts'
import { publishers, START_MS, topicKey, World } from '../../support/lineage.ts'

const world = new World()
const fails = (promise: Promise<unknown>, code: string) =>
  expect(promise).rejects.toMatchObject({ name: 'StickyError', code })

/** The envelope with its body changed, the signature left as it was. */
function tampered(envelope: Uint8Array, change: (body: Record<string, unknown>) => void): Uint8Array {
  const { body, signature } = decodeAny(envelope, 1 << 20) as { body: Uint8Array; signature: Uint8Array }
  const fields = decodeAny(body, 1 << 20) as Record<string, unknown>
  change(fields)
  return encode({ body: encode(fields), signature })
}

describe('messages', () => {
  it('verify as they were made, and open to the same thing', async () => {
    const made = await world.message(3, { data: encode({ text: 'hi' }) })
    const verified = await verifyMessage(made.envelope, { topicKey })
    expect(verified.cid).toBe(made.cid)
    expect(verified.body).toEqual(made.body)
    expect((await openMessage(made.envelope)).cid).toBe(made.cid)
  })

  it('are refused when anything under the signature changed, or belongs elsewhere', async () => {
    const { envelope } = await world.message(1)
    const other = await topicKeyOf('another topic')
    await fails(verifyMessage(envelope, { topicKey: other }), 'WRONG_TOPIC')
    for (const change of [
      { sequence: 2 },
      { publishedAt: START_MS + 1 },
      { expiresAt: START_MS + 5 },
      { data: new Uint8Array([2]) },
      { publisher: publishers[1]?.publicKey },
      { writer: new Uint8Array(8).fill(7) },
    ])
      await fails(
        verifyMessage(
          tampered(envelope, (body) => Object.assign(body, change)),
          { topicKey },
        ),
        'BAD_SIGNATURE',
      )
    await fails(verifyMessage(new Uint8Array(LIMITS.maxEnvelopeBytes + 1), { topicKey }), 'TOO_LARGE')
    await fails(verifyMessage(envelope.subarray(0, 40), { topicKey }), 'MALFORMED')
  })

  it('are refused when their shape is not one of the protocol', async () => {
    const { envelope } = await world.message(1)
    const payload = { id: new Uint8Array(32), bytes: 1 }
    const changes: ((body: Record<string, unknown>) => void)[] = [
      (body) => Object.assign(body, { v: 2 }),
      (body) => Object.assign(body, { sequence: 0 }),
      (body) => Object.assign(body, { sequence: 1.5 }),
      (body) => Object.assign(body, { sequence: Number.MAX_SAFE_INTEGER }),
      (body) => Object.assign(body, { expiresAt: body.publishedAt }),
      (body) => Object.assign(body, { expiresAt: START_MS + LIMITS.maxTtlMs + 1 }),
      (body) => Object.assign(body, { extra: true }),
      (body) => Object.assign(body, { payload }),
      (body) => {
        delete body.data
      },
    ]
    for (const change of changes)
      await fails(verifyMessage(tampered(envelope, change), { topicKey }), 'MALFORMED')
  })

  it('with a payload name it, up to its limit; a time to live has one too', async () => {
    const init = {
      topicKey,
      identity: publishers[0]!,
      writer: new Uint8Array(8),
      sequence: 1,
      publishedAt: START_MS,
    }
    const payload = { id: new Uint8Array(32), bytes: LIMITS.maxPayloadBytes }
    const made = await createMessage({ ...init, ttlMs: 1, payload })
    expect((await verifyMessage(made.envelope, { topicKey })).body.payload).toEqual(payload)
    for (const ttlMs of [0, -1, 1.5, Number.NaN, LIMITS.maxTtlMs + 1])
      await fails(createMessage({ ...init, ttlMs, payload }), 'INVALID_DATA')
  })

  it('are fresh within the allowed clock difference, on both sides', async () => {
    const message = await world.message(1, { ttlMs: 1_000 })
    checkFreshness(message, START_MS - 2 * LIMITS.maxSkewMs)
    checkFreshness(message, START_MS + 1_000 + 2 * LIMITS.maxSkewMs - 1)
    expect(() => checkFreshness(message, START_MS - 2 * LIMITS.maxSkewMs - 1)).toThrow(/ahead/)
    expect(() => checkFreshness(message, START_MS + 1_000 + 2 * LIMITS.maxSkewMs)).toThrow(/passed/)
  })

  it('are verified once per exact bytes, and forgotten beyond the bound', async () => {
    const known = new VerifiedMessages(2)
    const [a, b, c] = await world.messages(1, 3)
    for (const message of [a, b, c]) await verifyMessage(message!.envelope, { topicKey, verified: known })
    expect(known.size).toBe(2)
    expect(known.has(a!)).toBe(false)
    expect(known.has(c!)).toBe(true)
    const { body } = decodeAny(c!.envelope, 1 << 20) as { body: Uint8Array }
    const forged = encode({ body, signature: new Uint8Array(64) }) // the same id, another signature
    await fails(verifyMessage(forged, { topicKey, verified: known }), 'BAD_SIGNATURE')
  })

  it('know a topic by a key that only the name gives', async () => {
    expect(toHex(await topicKeyOf('café'))).toBe(toHex(await topicKeyOf('cafe\u0301')))
    expect(toHex(await topicKeyOf('a'))).not.toBe(toHex(await topicKeyOf('b')))
    await fails(topicKeyOf(''), 'INVALID_TOPIC')
    await fails(topicKeyOf('x'.repeat(257)), 'INVALID_TOPIC')
  })
})
