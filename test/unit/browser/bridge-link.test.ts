import { afterEach, expect, it } from 'vitest'
import { type BridgeLink, keepBridge } from '../../../src/browser/bridge-link.ts'
import { identityFromSeed, StickyError } from '../../../src/dht/index.ts'
import { ManualRuntime } from '../../support/manual-runtime.ts'
import { until } from '../../support/memory-nodes.ts'

/** How often a bridge that does not answer is asked. */

let link: BridgeLink
afterEach(() => link.stop())

it('asks again after 1.5, 3 and 6 s, then every 10 s, and at once when told to', async () => {
  const runtime = new ManualRuntime()
  const outcomes: unknown[] = []
  link = keepBridge({
    bridgeUrl: 'http://127.0.0.1:1', // nobody listens there
    identity: await identityFromSeed(new Uint8Array(32).fill(7)),
    way: { isConnected: () => false, join: async () => undefined, dropDead: async () => false },
    runtime,
    onAttempt: ({ error }) => outcomes.push(error),
  })
  const attempts = async (count: number) => {
    await until(() => outcomes.length >= count && runtime.waiting === 1)
    expect(outcomes).toHaveLength(count)
  }
  await attempts(1)
  for (const [index, ms] of [1_500, 3_000, 6_000, 10_000, 10_000].entries()) {
    runtime.advance(ms - 1)
    expect(runtime.waiting).toBe(1)
    runtime.advance(1)
    expect(runtime.waiting).toBe(0)
    await attempts(index + 2)
  }
  await link.reconnect()
  await attempts(7)
  expect(outcomes.every((error) => error instanceof StickyError && error.code === 'UNREACHABLE')).toBe(true)
})
