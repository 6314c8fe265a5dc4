import { describe, expect, it } from 'vitest'
import { encode, sha256, toHex } from '../../../src/dht/codec.ts'
import { decodePage, decodeRoot } from '../../../src/pubsub/collection.ts'
import { decodeCoordinator } from '../../../src/pubsub/coordinator.ts'
import { encodeDelta } from '../../../src/pubsub/delta.ts'
import { createMessage, type VerifiedMessage } from '../../../src/pubsub/message.ts'
import { LIMITS } from '../../../src/pubsub/options.ts'
import { topicKeyOf } from '../../../src/pubsub/topic-key.ts'
import { publishers, topicKey, World } from '../../support/lineage.ts'

const fails = (promise: Promise<unknown>, code: string) =>
  expect(promise).rejects.toMatchObject({ name: 'StickyError', code })

async function withPayload(world: World, payload: Uint8Array, sequence = 1): Promise<VerifiedMessage> {
  return createMessage({
    topicKey,
    identity: publishers[0] as (typeof publishers)[0],
    writer: new Uint8Array(8),
    sequence,
    publishedAt: world.nowMs,
    ttlMs: 60_000,
    payload: { id: await sha256(payload), bytes: payload.byteLength },
  })
}

describe('applying a delta', () => {
  it('gives the same bytes at the initiator and at a replica that verifies everything itself', async () => {
    const [initiator, replica] = [new World(), new World()]
    let own: Uint8Array | undefined
    for (let commit = 0; commit < 40; commit++) {
      initiator.nowMs += 1_000
      const messages = await initiator.messages(commit * 7 + 1, 7)
      const statements = [await initiator.statement(commit % 5, commit % 3 ? 'subscribe' : 'unsubscribe')]
      const delta = encodeDelta({ nowMs: initiator.nowMs, messages, payloads: [], statements })
      for (const message of messages) initiator.verified.add(message)
      const before = own
      own = initiator.keep(await initiator.kind.apply(topicKey, before, delta, initiator.read, 'peer'))
      const theirs = replica.keep(await replica.kind.apply(topicKey, before, delta, replica.read, 'peer'))
      expect(toHex(theirs)).toBe(toHex(own))
      expect(decodeCoordinator(own).version).toBe(commit + 1)
    }
    await replica.verifyAll(own as Uint8Array)
  })

  it('remembers of what it built what its bytes say', async () => {
    const world = new World()
    let head: Uint8Array | undefined
    let compared = 0
    const compare = (decodeBytes: (bytes: Uint8Array) => unknown, bytes: Uint8Array) => {
      expect(decodeBytes(bytes)).toEqual(decodeBytes(bytes.slice()))
      compared += 1
    }
    for (let commit = 0; commit < 40; commit++) {
      const messages = await world.messages(commit * 7 + 1, 7)
      const delta = encodeDelta({ nowMs: world.nowMs, messages, payloads: [], statements: [] })
      const change = await world.kind.apply(topicKey, head, delta, world.read, 'peer')
      compare(decodeCoordinator, change.head)
      for (const { kind, bytes } of change.blocks) {
        if (kind === 'messages') compare(decodeRoot, bytes)
        if (kind === 'page') compare(decodePage, bytes)
      }
      head = world.keep(change)
    }
    expect(compared).toBe(40 + 40 + 4)
  })

  it('changes nothing when everything in it is there already', async () => {
    const world = new World()
    const [messages, statements] = [await world.messages(1, 2), [await world.statement(1)]]
    const head = await world.apply(undefined, messages, statements)
    const delta = encodeDelta({ nowMs: world.nowMs, messages, payloads: [], statements })
    const again = await world.kind.apply(topicKey, head, delta, world.read, 'peer')
    expect(toHex(again.head)).toBe(toHex(head))
    expect(again.blocks).toEqual([])
  })

  it('never lets the clock of a topic go back', async () => {
    const world = new World()
    const first = await world.apply(undefined, await world.messages(1, 1))
    world.nowMs -= 60_000
    const second = await world.apply(first, await world.messages(2, 1))
    expect(decodeCoordinator(second).lastModified).toBe(decodeCoordinator(first).lastModified)
  })

  it('takes a payload with the message that names it, whole', async () => {
    const world = new World()
    const payload = encode({ big: 'x'.repeat(50_000) })
    const message = await withPayload(world, payload)
    const head = await world.apply(undefined, [message], [], [payload])
    expect([...(await world.verifyAll(head))]).toContain(`payload/${toHex(await sha256(payload))}`)
    await fails(world.apply(undefined, [message]), 'MALFORMED')
    await fails(world.apply(undefined, [message], [], [payload.slice(1)]), 'MALFORMED')
    // A retry whose message was stored by the first attempt brings a payload nobody asks for: no harm.
    const again = await world.apply(head, await world.messages(5, 1), [], [payload])
    expect(await world.entries(again)).toHaveLength(2)
  })

  it('takes nothing from the future, except what its own disk replays after the clock went back', async () => {
    const world = new World()
    const ahead = new World()
    ahead.nowMs = world.nowMs + LIMITS.maxAheadMs + 1
    const delta = (changes: object) =>
      encode({ v: 1, nowMs: world.nowMs, messages: [], payloads: [], statements: [], ...changes })
    const late = [
      delta({ nowMs: ahead.nowMs }),
      delta({ messages: [(await ahead.message(1)).envelope] }),
      delta({ statements: [(await ahead.statement(1)).envelope] }),
    ]
    for (const bytes of late) {
      const apply = (origin: 'peer' | 'disk') =>
        world.kind.apply(topicKey, undefined, bytes, world.read, origin)
      await fails(apply('peer'), 'FROM_THE_FUTURE')
      await expect(apply('disk')).resolves.toBeDefined()
    }
    ahead.nowMs -= 1
    const onTime = delta({ messages: [(await ahead.message(1)).envelope] })
    await expect(world.kind.apply(topicKey, undefined, onTime, world.read, 'peer')).resolves.toBeDefined()
  })

  it('brings back nothing that has expired, except what its own disk replays', async () => {
    const world = new World()
    const message = await world.message(1, { ttlMs: 60_000 })
    const bytes = encode({
      v: 1,
      nowMs: world.nowMs,
      messages: [message.envelope],
      payloads: [],
      statements: [],
    })
    const apply = (origin: 'peer' | 'disk') =>
      world.kind.apply(topicKey, undefined, bytes, world.read, origin)
    // what an initiator still took may be over for this long by another clock
    world.nowMs = message.body.expiresAt + LIMITS.graceMs - LIMITS.maxAheadMs
    expect(LIMITS.graceMs - LIMITS.maxAheadMs).toBeGreaterThan(2 * 2 * LIMITS.maxSkewMs)
    await expect(apply('peer')).resolves.toBeDefined()
    world.nowMs += 1
    await fails(apply('peer'), 'EXPIRED')
    await expect(apply('disk')).resolves.toBeDefined()
  })

  it('is refused as a whole when anything in it is not true', async () => {
    const world = new World()
    const [good] = await world.messages(1, 1)
    const delta = (changes: object) =>
      encode({ v: 1, nowMs: world.nowMs, messages: [], payloads: [], statements: [], ...changes })
    const apply = (bytes: Uint8Array) => world.kind.apply(topicKey, undefined, bytes, world.read, 'peer')
    const forged = (good as VerifiedMessage).envelope.slice()
    forged[forged.byteLength - 1] = (forged.at(-1) as number) ^ 1
    await fails(apply(delta({ messages: [(good as VerifiedMessage).envelope, forged] })), 'BAD_SIGNATURE')
    await fails(apply(delta({ statements: [(good as VerifiedMessage).envelope] })), 'MALFORMED')
    await fails(apply(new Uint8Array(LIMITS.maxDeltaBytes + 1)), 'TOO_LARGE')
    await fails(apply(delta({ more: 1 })), 'MALFORMED')
    const bytes = delta({ messages: [(good as VerifiedMessage).envelope] })
    await fails(
      world.kind.apply(await topicKeyOf('another'), undefined, bytes, world.read, 'peer'),
      'WRONG_TOPIC',
    )
  })
})
