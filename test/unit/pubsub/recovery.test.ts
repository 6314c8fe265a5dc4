import { beforeEach, describe, expect, it } from 'vitest'
import type { Dht } from '../../../src/dht/index.ts'
import { DEFAULT_PUBSUB_OPTIONS } from '../../../src/pubsub/options.ts'
import { Recovery } from '../../../src/pubsub/recovery.ts'
import { topicKeyOf } from '../../../src/pubsub/topic-key.ts'
import { topicKey } from '../../support/lineage.ts'
import { ManualRuntime } from '../../support/manual-runtime.ts'

/** A look for the heads of a topic that ends when the test says so. */
let looks: PromiseWithResolvers<{ peer: string; head: undefined }[]>[]
let recovery: Recovery
beforeEach(() => {
  looks = []
  const heads = () => {
    looks.push(Promise.withResolvers())
    return looks.at(-1)?.promise
  }
  const dht = { runtime: new ManualRuntime(), replicas: { heads } } as unknown as Dht
  recovery = new Recovery(dht, DEFAULT_PUBSUB_OPTIONS)
})

/** So many merges in a row that led to no commit; what the last of them has begun. */
function mergesFailed(count: number, key = topicKey): Promise<void> {
  const failures = Array.from({ length: count }, () => recovery.mergeFailed(key))
  return failures.at(-1) as Promise<void>
}

describe('a topic whose merges fail', () => {
  it('is RECOVERING at the tenth in a row, and ACTIVE once that has succeeded', async () => {
    mergesFailed(9)
    expect([recovery.state(topicKey), looks.length]).toEqual(['ACTIVE', 0])
    const recovered = mergesFailed(1)
    expect([recovery.state(topicKey), looks.length]).toEqual(['RECOVERING', 1])
    mergesFailed(20)
    expect(looks).toHaveLength(1)
    looks[0]?.resolve([{ peer: 'a holder', head: undefined }])
    await recovered
    expect(recovery.state(topicKey)).toBe('ACTIVE')
    mergesFailed(9)
    expect([recovery.state(topicKey), looks.length]).toEqual(['ACTIVE', 1])
  })

  it('begins to count anew after a commit, and counts by itself', async () => {
    mergesFailed(9)
    mergesFailed(9, await topicKeyOf('another topic'))
    recovery.mergeSucceeded(topicKey)
    mergesFailed(9)
    expect([recovery.state(topicKey), looks.length]).toEqual(['ACTIVE', 0])
  })
})
