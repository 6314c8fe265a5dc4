import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { StickyError } from '../../../src/dht/index.ts'
import type { HealthReading } from '../../../src/node/health.ts'
import {
  type HealthOptions,
  type HealthSource,
  HealthWatch,
  healthSource,
} from '../../../src/node/health-watch.ts'
import type { Diagnostics } from '../../../src/pubsub/index.ts'
import { COORDINATOR } from '../../../src/pubsub/options.ts'
import { ManualRuntime } from '../../support/manual-runtime.ts'
import { MemoryNet, type MemoryNode, until } from '../../support/memory-nodes.ts'

/** When a node is read, what is kept of it, and what becomes of readings that fail; in virtual time. */

const SAMPLE_MS = 10_000
const WINDOW_MS = 60_000

let net: MemoryNet
let runtime: ManualRuntime
let node: MemoryNode
let watch: HealthWatch
/** All that were told, in order. */
let readings: HealthReading[]
/** Timers of the node itself. */
let others: number

beforeEach(async () => {
  net = new MemoryNet()
  runtime = new ManualRuntime()
  node = await net.add({ runtime })
  const { pubsub } = await net.add({ runtime })
  await node.pubsub.dht.headAt(COORDINATOR, new Uint8Array(32), pubsub.nodeId) // links them
  readings = []
  others = runtime.waiting
})
afterEach(async () => {
  watch.close()
  await net.close()
})

const start = (
  source: Partial<HealthSource> = {},
  options: Partial<HealthOptions> = {},
): Promise<unknown> => {
  watch = new HealthWatch(
    { ...healthSource(node.pubsub), ...source },
    { runtime, sampleMs: SAMPLE_MS, windowMs: WINDOW_MS, ...options },
    (reading) => readings.push(reading),
  )
  return until(() => readings.length === 1)
}
/** Time passes until the next reading has come. */
async function next(): Promise<HealthReading> {
  const before = readings.length
  runtime.advance(SAMPLE_MS)
  await until(() => readings.length > before)
  return watch.reading
}
async function samples(count: number): Promise<HealthReading> {
  for (let i = 0; i < count; i++) await next()
  return watch.reading
}
/** The node's own diagnostics, with what a test changes of them. */
const changed = (change: (told: Diagnostics) => void) => async () => {
  const told = await node.pubsub.diagnostics()
  change(told)
  return told
}
const unreadable = (code: string, times = 1) => [
  { finding: 'unreadable', value: times, limit: 0, text: expect.stringContaining(code) },
]

describe('a node that is watched', () => {
  it('is unknown until there are two samples, and then judged by what lies between them', async () => {
    const starting = start()
    const { nodeId, bootId } = healthSource(node.pubsub)
    expect(watch.reading).toMatchObject({ status: 'unknown', nodeId, bootId, windowMs: 0, findings: [] })
    await starting
    expect(watch.reading).toMatchObject({ status: 'unknown', nodeId, bootId, windowMs: 0, findings: [] })
    expect(await next()).toMatchObject({ status: 'ok', nodeId, bootId, windowMs: SAMPLE_MS })
    expect(watch.reading.asOf).toBe(runtime.now())
    expect((await next()).windowMs).toBe(2 * SAMPLE_MS)
  })

  it('is judged by the window alone, however long it runs', async () => {
    let failed = 0
    await start({ read: changed(({ storage }) => (storage.failures.STORAGE_FULL = failed)) })
    await next()
    failed = 1
    expect((await next()).findings).toMatchObject([{ finding: 'writes-failed', value: 1 }])
    expect((await samples(5)).status).toBe('strained')
    expect(watch.reading.windowMs).toBe(WINDOW_MS)
    expect((await next()).status).toBe('ok')
    for (let i = 0; i < 30; i++) expect((await next()).windowMs).toBe(WINDOW_MS)
  })

  it('begins anew when it was started again, or a number of it goes back', async () => {
    let bootId = 'first'
    let delivered = 5
    const read = changed((told) => {
      told.node.bootId = bootId
      told.subscriptions.delivered = delivered
    })
    await start({ read })
    expect((await samples(2)).status).toBe('ok')
    bootId = 'second'
    expect(await next()).toMatchObject({ status: 'unknown', bootId, windowMs: 0, findings: [] })
    expect(await next()).toMatchObject({ status: 'ok', bootId, windowMs: SAMPLE_MS })
    delivered = 4
    expect(await next()).toMatchObject({ status: 'unknown', windowMs: 0, findings: [] })
    expect(await next()).toMatchObject({ status: 'ok', windowMs: SAMPLE_MS })
  })

  it('has all counted that are left out, however many', async () => {
    await start()
    const { replicas } = node.pubsub.dht
    for (let i = 0; i < 100; i++) replicas.markDown(`12D3KooW${i}`)
    const told = await node.pubsub.diagnostics()
    expect(told.peers.cooled).toHaveLength(32)
    const { rates, findings } = await readAgain()
    expect(rates.cooledShare).toBeCloseTo(100 / 101)
    expect(findings).toMatchObject([
      { finding: 'cooled-peers', text: expect.stringContaining('of 101 known') },
    ])
    expect((await samples(10)).findings.filter(({ finding }) => finding === 'cooled-peers')).toEqual([])
  })

  /** Nobody is left out for as long as it is to the next sample. */
  async function readAgain(): Promise<HealthReading> {
    watch.close()
    readings = []
    await start({}, { sampleMs: 100 })
    runtime.advance(100)
    await until(() => readings.length === 2)
    return watch.reading
  }
})

describe('a node that cannot be read', () => {
  it('is unknown, and not as well as it was; what happened meanwhile counts afterwards', async () => {
    let cause: unknown
    let failed = 0
    const read = async () => {
      if (cause !== undefined) throw cause
      return changed(({ storage }) => (storage.failures.STORAGE_FULL = failed))()
    }
    await start({ read })
    expect((await next()).status).toBe('ok')
    cause = new StickyError('STORAGE_FULL', 'at /home/ada')
    failed = 1
    const { status, findings, windowMs, asOf } = await next()
    expect({ status, findings, windowMs }).toEqual({
      ...{ status: 'unknown', findings: unreadable('STORAGE_FULL'), windowMs: 0 },
    })
    expect(asOf).toBe(runtime.now())
    cause = 'whatever'
    expect((await next()).findings).toEqual(unreadable('STORAGE_FAILED', 2))
    expect(JSON.stringify(readings)).not.toMatch(/home|whatever/)
    cause = undefined
    const again = await next()
    expect(again).toMatchObject({ status: 'strained', windowMs: 4 * SAMPLE_MS })
    expect(again.findings).toMatchObject([{ finding: 'writes-failed' }])
    cause = new Error('once more')
    expect((await next()).findings).toEqual(unreadable('STORAGE_FAILED'))
  })

  it('is so too where a part of what it tells is missing, from the first', async () => {
    await start({ read: changed((told) => delete (told as Partial<Diagnostics>).requests) })
    const { nodeId, bootId } = healthSource(node.pubsub)
    expect(watch.reading).toMatchObject({ status: 'unknown', nodeId, bootId })
    expect(watch.reading.findings).toEqual(unreadable('MALFORMED'))
  })

  it('for longer than the window is judged by what comes after', async () => {
    let isBroken = false
    const read = async () => {
      if (isBroken) throw new Error('broken')
      return node.pubsub.diagnostics()
    }
    await start({ read })
    isBroken = true
    expect((await samples(6)).findings).toEqual(unreadable('STORAGE_FAILED', 6))
    isBroken = false
    expect(await next()).toMatchObject({ status: 'unknown', windowMs: 0, findings: [] })
    expect(await next()).toMatchObject({ status: 'ok', windowMs: SAMPLE_MS })
  })

  it('because it does not answer is asked once, and waited for no longer than it may take', async () => {
    let asked = 0
    let gate: PromiseWithResolvers<void> | undefined
    const read = async () => {
      asked += 1
      await gate?.promise
      return node.pubsub.diagnostics()
    }
    await start({ read }, { readTimeoutMs: 2_000 })
    gate = Promise.withResolvers()
    runtime.advance(SAMPLE_MS)
    await until(() => asked === 2)
    for (let times = 1; times <= 3; times++) {
      runtime.advance(2_000)
      await until(() => readings.length === 1 + times)
      expect(watch.reading.findings).toEqual(unreadable('TIMEOUT', times))
      runtime.advance(SAMPLE_MS)
    }
    expect(asked).toBe(2)
    gate.resolve()
    await until(() => readings.length === 5)
    expect(watch.reading.status).toBe('ok')
    await next()
    expect(asked).toBe(3)
  })
})

describe('a watch that is closed', () => {
  it('leaves no timer, and reads no more', async () => {
    await start()
    await next()
    expect(runtime.waiting).toBe(others + 1)
    watch.close()
    expect(runtime.waiting).toBe(others)
    runtime.advance(10 * SAMPLE_MS)
    expect(readings).toHaveLength(2)
  })

  it('does so in the middle of a reading too, whatever becomes of that', async () => {
    for (const end of ['resolve', 'reject'] as const) {
      const gate = Promise.withResolvers<void>()
      let isRead = false
      const read = async () => {
        await gate.promise.finally(() => {
          isRead = true
        })
        return node.pubsub.diagnostics()
      }
      const started = start({ read }).catch(() => 'never read')
      watch.close()
      expect(runtime.waiting).toBe(others)
      if (end === 'resolve') gate.resolve()
      else gate.reject(new Error('closed'))
      await until(() => isRead)
      await node.pubsub.diagnostics()
      runtime.advance(10 * SAMPLE_MS)
      expect(readings).toEqual([])
      expect(watch.reading).toMatchObject({ status: 'unknown', findings: [] })
      void started
    }
  })
})
