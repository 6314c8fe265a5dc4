import { describe, expect, it } from 'vitest'
import { decodeAny, encode } from '../../../src/dht/codec.ts'
import {
  checkStatementFreshness,
  createStatement,
  verifyStatement,
} from '../../../src/pubsub/subscription-statement.ts'
import { topicKeyOf } from '../../../src/pubsub/topic-key.ts'
import { client, START_MS, topicKey, World } from '../../support/lineage.ts'

const fails = (promise: Promise<unknown>, code: string) =>
  expect(promise).rejects.toMatchObject({ name: 'StickyError', code })

describe('a subscription statement', () => {
  it('verifies as it was made; nothing under its signature may change', async () => {
    const made = await new World().statement(1)
    expect((await verifyStatement(made.envelope, { topicKey })).body).toEqual(made.body)
    await fails(verifyStatement(made.envelope, { topicKey: await topicKeyOf('another') }), 'WRONG_TOPIC')
    const { body, signature } = decodeAny(made.envelope, 1_024) as { body: Uint8Array; signature: Uint8Array }
    const fields = decodeAny(body, 1_024) as Record<string, unknown>
    const change = (changes: object) => encode({ body: encode({ ...fields, ...changes }), signature })
    await fails(verifyStatement(change({ kind: 'unsubscribe' }), { topicKey }), 'BAD_SIGNATURE')
    await fails(verifyStatement(change({ issuedAt: START_MS + 1 }), { topicKey }), 'BAD_SIGNATURE')
    await fails(verifyStatement(change({ expiresAt: START_MS + 3_600_000 }), { topicKey }), 'MALFORMED')
    await fails(verifyStatement(change({ info: new Uint8Array(129) }), { topicKey }), 'MALFORMED')
  })

  it('is fresh for ten minutes, before and after: clocks that are each off by five', async () => {
    const statement = await new World().statement(1)
    const TEN_MINUTES_MS = 600_000
    checkStatementFreshness(statement, START_MS + TEN_MINUTES_MS)
    checkStatementFreshness(statement, START_MS - TEN_MINUTES_MS)
    expect(() => checkStatementFreshness(statement, START_MS + TEN_MINUTES_MS + 1)).toThrow(/ago/)
    expect(() => checkStatementFreshness(statement, START_MS - TEN_MINUTES_MS - 1)).toThrow(/ahead/)
  })

  it('that unsubscribes lives as long as any subscription before it', async () => {
    const made = await createStatement({
      topicKey,
      identity: await client(1),
      kind: 'unsubscribe',
      issuedAt: START_MS,
      expiresAt: START_MS + 60_000,
      info: new Uint8Array(),
    })
    await fails(verifyStatement(made.envelope, { topicKey }), 'MALFORMED')
  })
})
