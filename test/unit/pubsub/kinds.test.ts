import { describe, expect, it } from 'vitest'
import { encode, fromHex, sha256 } from '../../../src/dht/codec.ts'
import type { BlockKind } from '../../../src/dht/kinds.ts'
import { decodeCoordinator } from '../../../src/pubsub/coordinator.ts'
import { LIMITS } from '../../../src/pubsub/options.ts'
import { topicKeyOf } from '../../../src/pubsub/topic-key.ts'
import { topicKey, World } from '../../support/lineage.ts'

const fails = (promise: Promise<unknown>, code: string) =>
  expect(promise).rejects.toMatchObject({ name: 'StickyError', code })

/** A topic with a block of every kind but payload. */
async function everyKind() {
  const world = new World()
  let head: Uint8Array | undefined
  for (let commit = 0; commit < 36; commit++)
    head = await world.apply(head, await world.messages(commit * 120 + 1, 120), [
      ...(commit < 7
        ? await Promise.all(Array.from({ length: 10 }, (_, i) => world.statement(commit * 10 + i)))
        : []),
    ])
  const reached = await world.verifyAll(head as Uint8Array)
  return { world, head: head as Uint8Array, reached }
}
const prepared = everyKind()

describe('block kinds', () => {
  it('verify all that the protocol makes, and say when it may be forgotten', async () => {
    const { world, reached } = await prepared
    const kinds = new Set([...reached].map((name) => name.split('/')[0]))
    expect([...kinds].sort()).toEqual(
      ['index', 'message', 'messages', 'page', 'snapshot', 'spine', 'subscribers'].sort(),
    )
    for (const name of reached) {
      const [kindName, id] = name.split('/') as [string, string]
      const kind = world.blockKinds.get(kindName) as BlockKind
      const bytes = world.blocks.get(name) as Uint8Array
      expect(bytes.byteLength).toBeLessThanOrEqual(kind.maxBytes)
      expect(await kind.matches(fromHex(id), bytes)).toBe(true)
      const info = await kind.verify(fromHex(id), bytes)
      expect(info.links).toEqual(kind.links(bytes))
      if (kindName === 'page' || kindName === 'message')
        expect(info.expiresAtMs).toBe(world.nowMs + LIMITS.defaultTtlMs + LIMITS.graceMs)
    }
  })

  it('refuse other bytes under an id, too many bytes, and what is not of the kind', async () => {
    const { world, reached } = await prepared
    for (const [kindName, kind] of world.blockKinds) {
      const name = [...reached].find((one) => one.startsWith(`${kindName}/`))
      if (name !== undefined) {
        const intact = world.blocks.get(name) as Uint8Array
        const id = fromHex(name.split('/')[1] as string)
        // the last bytes of a message are its signature, which its id does not cover
        for (const at of [0, intact.byteLength >> 1, intact.byteLength - 1]) {
          const bytes = intact.slice()
          bytes[at] = (bytes[at] as number) ^ 0x10
          expect(await kind.matches(id, bytes)).toBe(false)
          await expect(kind.verify(id, bytes)).rejects.toMatchObject({ action: 'penalise' })
        }
      }
      const long = new Uint8Array(kind.maxBytes + 1)
      await fails(kind.verify(await sha256(long), long), 'TOO_LARGE')
      if (kindName === 'payload') continue
      const odd = encode({ v: 1, odd: true })
      await fails(kind.verify(await sha256(odd), odd), 'MALFORMED')
    }
  })

  it('refuse a page with a message of another topic or a false signature', async () => {
    const world = new World()
    const [message] = await world.messages(1, 1)
    const envelope = (message as NonNullable<typeof message>).envelope
    const page = world.blockKinds.get('page') as BlockKind
    const other = encode({ v: 1, topic: await topicKeyOf('another'), entries: [[1, envelope]] })
    await fails(page.verify(await sha256(other), other), 'WRONG_TOPIC')
    const forged = envelope.slice()
    forged[forged.byteLength - 1] = (forged.at(-1) as number) ^ 1
    const bad = encode({ v: 1, topic: topicKey, entries: [[1, forged]] })
    await fails(page.verify(await sha256(bad), bad), 'BAD_SIGNATURE')
  })

  it('refuse messages and subscriptions from the future, and take those of clocks that merely differ', async () => {
    const world = new World()
    const message = await world.message(1)
    const statement = await world.statement(1)
    const blocks: [string, Uint8Array, Uint8Array][] = await Promise.all(
      [
        ['page', encode({ v: 1, topic: topicKey, entries: [[1, message.envelope]] })] as const,
        [
          'subscribers',
          encode({ v: 1, topic: topicKey, depth: 0, statements: [statement.envelope] }),
        ] as const,
      ].map(async ([kind, bytes]) => [kind, await sha256(bytes), bytes]),
    )
    blocks.push(['message', message.id, message.envelope])
    const now = world.nowMs
    for (const [kindName, id, bytes] of blocks) {
      const kind = world.blockKinds.get(kindName) as BlockKind
      world.nowMs = now - LIMITS.maxAheadMs - 1
      await fails(kind.verify(id, bytes), 'FROM_THE_FUTURE')
      world.nowMs = now - LIMITS.maxAheadMs
      await kind.verify(id, bytes)
    }
  })

  it('refuse a head of another topic or from the future', async () => {
    const { world, head } = await prepared
    await fails(world.kind.verify(await topicKeyOf('another'), head), 'WRONG_TOPIC')
    const now = world.nowMs
    world.nowMs = now - LIMITS.graceMs
    await fails(world.kind.verify(topicKey, head), 'FROM_THE_FUTURE')
    world.nowMs = now
    await world.kind.verify(topicKey, head)
    const highest = world.nowMs + LIMITS.maxAheadMs - LIMITS.versionEpochMs
    const numbered = (version: number) => encode({ ...decodeCoordinator(head), version })
    await world.kind.verify(topicKey, numbered(highest))
    await fails(world.kind.verify(topicKey, numbered(highest + 1)), 'FROM_THE_FUTURE')
  })
})
