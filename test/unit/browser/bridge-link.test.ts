import { afterEach, describe, expect, it } from 'vitest'
import { startBridge } from '../../../src/bridge/index.ts'
import { type BridgeLink, keepBridge } from '../../../src/browser/bridge-link.ts'
import { identityFromSeed, isTimeout, StickyError } from '../../../src/dht/index.ts'
import { ManualRuntime } from '../../support/manual-runtime.ts'
import { until } from '../../support/memory-nodes.ts'

/** How often a bridge that does not answer is asked, and who is asked for a sign of life meanwhile. */

/** Nobody listens there. */
const NOWHERE = 'http://127.0.0.1:1'

let link: BridgeLink
afterEach(() => link.stop())

it('asks again after 1.5, 3 and 6 s, then every 10 s, and at once when told to', async () => {
  const runtime = new ManualRuntime()
  const outcomes: unknown[] = []
  link = keepBridge({
    bridgeUrl: NOWHERE,
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

describe('whom a node finds silent', () => {
  /** What happened, after `reconnect`, where the first asking leaves some, or none. */
  async function reconnected(bridgeUrl: string, areLeft: boolean): Promise<string[]> {
    const events: string[] = []
    let isConnected = false
    const atFirst = Promise.withResolvers<void>()
    link = keepBridge({
      bridgeUrl,
      identity: await identityFromSeed(new Uint8Array(32).fill(7)),
      way: {
        isConnected: () => isConnected,
        join: async () => {
          isConnected = true
          events.push('joined')
        },
        dropDead: async () => {
          events.push('asked')
          return areLeft
        },
      },
      runtime: new ManualRuntime(),
      onAttempt: () => atFirst.resolve(),
    })
    await atFirst.promise
    events.length = 0
    isConnected = false // it was lost again
    await link.reconnect()
    return events
  }

  it('it asks again once it is at the bridge, where it has left some for want of one', async () => {
    await using bridge = await startBridge({ seed: new Uint8Array(32).fill(8), port: 0 })
    expect(await reconnected(bridge.url, true)).toEqual(['asked', 'joined', 'asked'])
  })

  it('it does not ask again where it has left none', async () => {
    await using bridge = await startBridge({ seed: new Uint8Array(32).fill(8), port: 0 })
    expect(await reconnected(bridge.url, false)).toEqual(['asked', 'joined'])
  })

  it('it asks nobody once it was stopped', async () => {
    await using bridge = await startBridge({ seed: new Uint8Array(32).fill(8), port: 0 })
    const events = await reconnected(bridge.url, false)
    events.length = 0
    await link.stop()
    await link.reconnect()
    expect(events).toEqual([])
  })

  it('it says by the signal that the asking was stopped, not that it took too long', async () => {
    const asked = Promise.withResolvers<AbortSignal>()
    const dropDead = (signal: AbortSignal) => {
      asked.resolve(signal)
      return new Promise<boolean>((resolve) => signal.addEventListener('abort', () => resolve(false)))
    }
    link = keepBridge({
      bridgeUrl: NOWHERE,
      identity: await identityFromSeed(new Uint8Array(32).fill(7)),
      way: { isConnected: () => false, join: async () => undefined, dropDead },
      runtime: new ManualRuntime(),
      onAttempt: () => undefined,
    })
    const reconnecting = link.reconnect()
    const signal = await asked.promise
    await link.stop()
    await reconnecting
    expect([signal.aborted, isTimeout(signal)]).toEqual([true, false])
  })

  it('it does not ask again where the bridge is away still', async () => {
    expect(await reconnected(NOWHERE, true)).toEqual(['asked'])
  })
})
