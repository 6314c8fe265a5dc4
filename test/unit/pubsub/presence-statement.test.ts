import { beforeAll, describe, expect, it } from 'vitest'
import { encode, framed, type Identity, identityFromSeed } from '../../../src/dht/index.ts'
import { LIMITS } from '../../../src/pubsub/options.ts'
import {
  createPresence,
  encodePresenceState,
  openPresence,
  presenceStateOf,
  verifyPresence,
} from '../../../src/pubsub/presence-statement.ts'
import { topicKeyOf } from '../../../src/pubsub/topic-key.ts'
import { nested } from '../../support/nested.ts'

const NOW_MS = 1_800_000_000_000
const STATE = encode({ name: 'ana' })

let identity: Identity
let topicKey: Uint8Array
beforeAll(async () => {
  identity = await identityFromSeed(new Uint8Array(32).fill(1))
  topicKey = await topicKeyOf('room')
})

const made = async (at = NOW_MS, state: Uint8Array | undefined = STATE) =>
  (await createPresence({ topicKey, identity, state, since: at, at })).envelope
/** As it comes from a link: other bytes than those that were signed here, so nothing is remembered of them. */
const received = (envelope: Uint8Array) => envelope.slice()
const read = async (envelope: Uint8Array, nowMs = NOW_MS, key = topicKey) =>
  verifyPresence(openPresence(received(envelope), key, nowMs))

async function signed(change: object, domain = 'sticky-pubsub/presence/1'): Promise<Uint8Array> {
  const { publicKey: client } = identity
  const fields = { v: 1, topic: topicKey, client, state: STATE, since: NOW_MS, at: NOW_MS, leaves: false }
  const body = encode({ ...fields, ...change })
  return encode({ body, signature: await identity.sign(framed(domain, body)) })
}

describe('a presence statement', () => {
  it('is read back, one that leaves too', async () => {
    const statement = await read(await made())
    expect(statement.nodeId).toBe(identity.nodeId)
    expect(presenceStateOf(statement)).toEqual({ name: 'ana' })
    const leave = await read(
      (await createPresence({ topicKey, identity, state: undefined, since: 1, at: NOW_MS })).envelope,
    )
    expect(leave.body).toMatchObject({ leaves: true, since: 1 })
    await expect(read(await signed({}))).resolves.toMatchObject({ nodeId: identity.nodeId })
  })

  it('fits with the longest state', async () => {
    const state = encodePresenceState(new Uint8Array(LIMITS.maxPresenceStateBytes - 2))
    expect(state.byteLength).toBe(LIMITS.maxPresenceStateBytes)
    expect((await made(NOW_MS, state)).byteLength).toBeLessThanOrEqual(LIMITS.maxPresenceBytes)
  })

  it('takes no state that is too long, or that nobody could decode', () => {
    expect(() => encodePresenceState(new Uint8Array(LIMITS.maxPresenceStateBytes - 1))).toThrow(
      expect.objectContaining({ code: 'TOO_LARGE' }),
    )
    for (const state of [Number.NaN, nested(65)])
      expect(() => encodePresenceState(state)).toThrow(expect.objectContaining({ code: 'INVALID_DATA' }))
    expect(encodePresenceState(nested(64)).byteLength).toBe(64)
  })

  it.each<[string, object]>([
    ['a state beyond its limit', { state: new Uint8Array(LIMITS.maxPresenceStateBytes + 1) }],
    ['a state that nobody can decode', { state: Uint8Array.of(0xff) }],
    ['no state', { state: new Uint8Array() }],
    ['a leave with a state', { leaves: true }],
    ['a stay that begins later', { since: NOW_MS + 1 }],
    ['another version', { v: 2 }],
    ['a field too many', { admin: true }],
  ])('with %s is refused', async (_name, change) => {
    await expect(read(await signed(change))).rejects.toMatchObject({ code: 'MALFORMED' })
  })

  it('of another topic, purpose or signer is refused', async () => {
    await expect(read(await made(), NOW_MS, await topicKeyOf('elsewhere'))).rejects.toMatchObject({
      code: 'WRONG_TOPIC',
    })
    const badSignature = { code: 'BAD_SIGNATURE' }
    await expect(read(await signed({}, 'sticky-pubsub/subscription/1'))).rejects.toMatchObject(badSignature)
    const { publicKey: client } = await identityFromSeed(new Uint8Array(32).fill(2))
    await expect(read(await signed({ client }))).rejects.toMatchObject(badSignature)
    await expect(read(new Uint8Array(LIMITS.maxPresenceBytes + 1))).rejects.toMatchObject({
      code: 'TOO_LARGE',
    })
  })

  it('is as old or as new as two clocks may differ, and no more', async () => {
    const envelope = await made()
    const ahead = NOW_MS - 2 * LIMITS.maxSkewMs
    const behind = NOW_MS + 2 * LIMITS.maxSkewMs + LIMITS.presenceExpiryMs
    await expect(read(envelope, ahead)).resolves.toBeDefined()
    await expect(read(envelope, behind)).resolves.toBeDefined()
    await expect(read(envelope, ahead - 1)).rejects.toMatchObject({ code: 'FROM_THE_FUTURE' })
    await expect(read(envelope, behind + 1)).rejects.toMatchObject({ code: 'REPLAYED' })
  })
})
