import { beforeAll, describe, expect, it } from 'vitest'
import { identityFromSeed } from '../../../src/dht/index.ts'
import { LIMITS } from '../../../src/pubsub/options.ts'
import { assignedReplicas } from '../../../src/pubsub/statements.ts'

const REPLICAS = 8
const KEY = new Uint8Array(32).fill(1)
const OTHER_KEY = new Uint8Array(32).fill(2)

let ids: string[]
let set: { nodeId: string; durable: boolean }[]
beforeAll(async () => {
  const seeds = Array.from({ length: REPLICAS + LIMITS.maxSubscribers }, (_, i) => {
    const seed = new Uint8Array(32)
    new DataView(seed.buffer).setUint32(0, i)
    return seed
  })
  ids = (await Promise.all(seeds.map(identityFromSeed))).map(({ nodeId }) => nodeId)
  set = ids.slice(0, REPLICAS).map((nodeId) => ({ nodeId, durable: true }))
})

describe('the subscribers of a topic that is full', () => {
  it('are spread over its replicas: none pushes to more than a fifth above its share', async () => {
    const served = new Map<string, number>()
    for (const subscriber of ids.slice(REPLICAS)) {
      const [first] = (await assignedReplicas(subscriber, KEY, set)) as [string]
      served.set(first, (served.get(first) ?? 0) + 1)
    }
    const share = LIMITS.maxSubscribers / REPLICAS
    expect(served.size).toBe(REPLICAS)
    for (const count of served.values()) expect(Math.abs(count - share)).toBeLessThanOrEqual(share / 5)
  })

  it('each have one order of them all, whoever asks, and another one in another topic', async () => {
    const [subscriber] = ids.slice(REPLICAS) as [string]
    const order = await assignedReplicas(subscriber, KEY, set)
    expect(order.toSorted()).toEqual(set.map(({ nodeId }) => nodeId).toSorted())
    expect(await assignedReplicas(subscriber, KEY, set.toReversed())).toEqual(order)
    expect(await assignedReplicas(subscriber, OTHER_KEY, set)).not.toEqual(order)
  })

  it('serve themselves where they are replicas', async () => {
    for (const { nodeId } of set) expect((await assignedReplicas(nodeId, KEY, set))[0]).toBe(nodeId)
  })
})
