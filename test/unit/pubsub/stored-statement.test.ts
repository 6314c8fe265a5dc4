import { beforeAll, describe, expect, it } from 'vitest'
import { decodeAny, encode, framed, type Identity, identityFromSeed, sha256 } from '../../../src/dht/index.ts'
import { LIMITS } from '../../../src/pubsub/options.ts'
import { signStored, verifyStored } from '../../../src/pubsub/stored-statement.ts'
import { topicKeyOf } from '../../../src/pubsub/topic-key.ts'

const NOW_MS = 1_800_000_000_000
const ids = [1, 2, 3].map((byte) => new Uint8Array(32).fill(byte))

let identity: Identity
let other: Identity
let topicKey: Uint8Array
beforeAll(async () => {
  identity = await identityFromSeed(new Uint8Array(32).fill(1))
  other = await identityFromSeed(new Uint8Array(32).fill(2))
  topicKey = await topicKeyOf('room')
})

const made = (at = NOW_MS, of = ids) => signStored({ topicKey, ids: of }, identity, at)
const checked = (
  bytes: Uint8Array,
  change: { topicKey?: Uint8Array; ids?: Uint8Array[]; replica?: Uint8Array } = {},
) =>
  verifyStored(bytes, { topicKey, ids, ...change }, { replica: identity.publicKey, now: NOW_MS, ...change })
const code = (bytes: Uint8Array, change = {}) =>
  checked(bytes, change).then(
    () => 'believed',
    (error: { code: string }) => error.code,
  )

describe('what a replica signs of a commit', () => {
  it('is believed of that replica, for those messages of that topic', async () => {
    expect(await code(await made())).toBe('believed')
    expect((await made()).byteLength).toBeLessThanOrEqual(128)
  })

  it('is believed of nobody else, of no other topic and no other messages', async () => {
    const bytes = await made()
    expect(await code(bytes, { replica: other.publicKey })).toBe('BAD_SIGNATURE')
    expect(await code(bytes, { topicKey: await topicKeyOf('another') })).toBe('BAD_SIGNATURE')
    expect(await code(bytes, { ids: ids.slice(1) })).toBe('BAD_SIGNATURE')
    expect(await code(bytes, { ids: ids.toReversed() })).toBe('BAD_SIGNATURE')
    expect(await code(bytes, { ids: [...ids, new Uint8Array(32)] })).toBe('BAD_SIGNATURE')
    expect(await code(bytes, { replica: new Uint8Array(32) })).toBe('BAD_SIGNATURE') // a key of small order
  })

  it('holds for ten minutes, both ways', async () => {
    const reach = 2 * LIMITS.maxSkewMs
    expect(await code(await made(NOW_MS - reach))).toBe('believed')
    expect(await code(await made(NOW_MS + reach))).toBe('believed')
    expect(await code(await made(NOW_MS - reach - 1))).toBe('REPLAYED')
    expect(await code(await made(NOW_MS + reach + 1))).toBe('FROM_THE_FUTURE')
  })

  it('is nothing in another form, with another moment, or signed for another purpose', async () => {
    const [at, signature] = decodeAny(await made(), 128) as [number, Uint8Array]
    expect(await code(encode([at + 1, signature]))).toBe('BAD_SIGNATURE')
    expect(await code(encode([at, signature, 1]))).toBe('MALFORMED')
    expect(await code(encode([at, signature.subarray(1)]))).toBe('MALFORMED')
    expect(await code(new Uint8Array(0))).not.toBe('believed')
    expect(await code(new Uint8Array(129))).toBe('TOO_LARGE')
    const purpose = framed('sticky-pubsub/message/1', topicKey, encode(at), await sha256(...ids))
    expect(await code(encode([at, await identity.sign(purpose)]))).toBe('BAD_SIGNATURE')
  })
})
