import { afterEach, describe, expect, it } from 'vitest'
import { encode, systemRuntime } from '../../src/dht/index.ts'
import { recordMethods } from '../../src/dht/wire.ts'
import { type Coordinator, decodeCoordinator } from '../../src/pubsub/coordinator.ts'
import { COORDINATOR, LIMITS } from '../../src/pubsub/options.ts'
import { topicKeyOf } from '../../src/pubsub/topic-key.ts'
import { MemoryNet, type MemoryNode, until } from '../support/memory-nodes.ts'

/** Heads are not signed: whoever has a link to a holder can hand it one that names what the holder has, and lies about the rest. */

const TOPIC = 'room'
const HOUR_MS = 3_600_000

let net: MemoryNet
let offMs = 0
afterEach(() => {
  offMs = 0
  return net.close()
})

async function network() {
  net = new MemoryNet()
  const runtime = { ...systemRuntime, now: () => Date.now() + offMs }
  const holders: MemoryNode[] = []
  for (let n = 0; n < 3; n++) holders.push(await net.add({ runtime }))
  const client = () => net.add({ runtime, stores: false, durable: false })
  const [author, stranger] = [await client(), await client()]
  await author.pubsub.publish(TOPIC, 'said')
  const key = await topicKeyOf(TOPIC)
  const headOf = async ({ pubsub }: MemoryNode) => (await pubsub.dht.store.record(COORDINATOR, key)).head
  await until(async () => (await Promise.all(holders.map(headOf))).every((head) => head !== undefined))
  /** What a holder has, changed, handed to it: its answer, or the code of its refusal. */
  const hand = async (holder: MemoryNode, change: (own: Coordinator) => Partial<Coordinator>) => {
    const own = decodeCoordinator((await headOf(holder)) as Uint8Array)
    const head = encode({ ...own, ...change(own) })
    const request = { kind: COORDINATOR, key, head }
    return stranger.pubsub.dht.rpc.request(holder.pubsub.nodeId, recordMethods.commit, request).then(
      ({ outcome }) => outcome,
      (error: { code: string }) => error.code,
    )
  }
  const texts = async () => (await author.pubsub.history(TOPIC)).messages.map(({ data }) => data)
  return { holders, author, hand, headOf, texts }
}

describe('a head that somebody has made up', () => {
  it('does not end a topic before its messages do', async () => {
    const { holders, hand, texts, author } = await network()
    for (const expiresAt of [0, Date.now() - 2 * HOUR_MS])
      for (const holder of holders) await hand(holder, ({ version }) => ({ version: version + 1, expiresAt }))
    offMs = 2 * HOUR_MS // of the day that the message lives
    for (const { pubsub } of holders) for (let n = 0; n < 3; n++) await pubsub.dht.sweep()
    expect(await texts()).toEqual(['said'])
    await author.pubsub.publish(TOPIC, 'and more')
    expect(await texts()).toEqual(['said', 'and more'])
  })

  it('does not keep a topic for longer than any message lives', async () => {
    const { holders, hand, headOf } = await network()
    const [holder] = holders as [MemoryNode]
    const before = decodeCoordinator((await headOf(holder)) as Uint8Array)
    const tooLong = () => Date.now() + LIMITS.maxAheadMs + LIMITS.maxTtlMs + HOUR_MS
    const answer = await hand(holder, ({ version }) => ({ version: version + 1, expiresAt: tooLong() }))
    expect(answer).toBe('FROM_THE_FUTURE')
    expect(decodeCoordinator((await headOf(holder)) as Uint8Array).expiresAt).toBe(before.expiresAt)
  })

  it('is taken where it is merely newer', async () => {
    const { holders, hand } = await network()
    const [holder] = holders as [MemoryNode]
    expect(await hand(holder, ({ version }) => ({ version: version + 1 }))).toBe('stored')
  })
})
