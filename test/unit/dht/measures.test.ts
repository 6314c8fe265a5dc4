import { describe, expect, it } from 'vitest'
import { StickyError } from '../../../src/dht/errors.ts'
import { MeasuredStorage } from '../../../src/dht/measured-storage.ts'
import { countCode, STAGE_BOUNDS_MS, STAGES, StageTimers, totalOf } from '../../../src/dht/measures.ts'
import { memoryStorage } from '../../../src/dht/memory-storage.ts'
import type { Storage, StorageOp } from '../../../src/dht/storage.ts'
import { ManualRuntime } from '../../support/manual-runtime.ts'

const PUT: StorageOp[] = [{ type: 'put', key: 'a', value: new Uint8Array(7) }]

function timers() {
  const runtime = new ManualRuntime()
  const stages = new StageTimers(runtime)
  const took = (ms: number) => {
    const begunMs = stages.begin()
    runtime.advance(ms)
    stages.end('load', begunMs)
  }
  return { runtime, stages, took }
}

describe('a stage timer', () => {
  it('counts, adds up and sorts what was timed, and nothing else', () => {
    const { stages, took } = timers()
    for (const ms of [0, 1, 1.5, 70_000]) took(ms)
    const { load, ...others } = stages.readings
    expect(load).toMatchObject({ count: 4, totalMs: 70_002.5, maxMs: 70_000 })
    expect(load.counts).toHaveLength(STAGE_BOUNDS_MS.length + 1)
    expect(load.counts[0]).toBe(1)
    expect(load.counts[STAGE_BOUNDS_MS.indexOf(1)]).toBe(1) // an upper end belongs to its class
    expect(load.counts[STAGE_BOUNDS_MS.indexOf(5)]).toBe(1)
    expect(load.counts.at(-1)).toBe(1)
    expect(load.counts.reduce((sum, count) => sum + count)).toBe(load.count)
    expect(Object.keys(others).sort()).toEqual(STAGES.filter((stage) => stage !== 'load').sort())
    for (const other of Object.values(others)) expect(other).toMatchObject({ count: 0, totalMs: 0 })
  })

  it('gives a reading that does not change any more', () => {
    const { stages, took } = timers()
    const { load } = stages.readings
    took(3)
    expect(load).toMatchObject({ count: 0, totalMs: 0 })
    expect(load.counts.every((count) => count === 0)).toBe(true)
  })

  it('gives the promise that it watches as it is, and times it until it is settled', async () => {
    const { runtime, stages } = timers()
    const done = Promise.withResolvers<number>()
    expect(stages.watch('disk', () => done.promise)).toBe(done.promise)
    const failed = stages.watch('disk', () => Promise.reject(new Error('no')))
    await expect(failed).rejects.toThrow('no')
    runtime.advance(40)
    done.resolve(1)
    await done.promise
    expect(stages.readings.disk).toMatchObject({ count: 2, totalMs: 40, maxMs: 40 })
  })
})

describe('counts by code', () => {
  it('hold what happened, and no zeros', () => {
    const counts = {}
    countCode(counts, 'BUSY')
    countCode(counts, 'BUSY', 3)
    countCode(counts, 'EXPIRED', 0)
    expect(counts).toEqual({ BUSY: 4 })
    expect(totalOf(counts)).toBe(4)
  })
})

describe('a measured storage', () => {
  const measured = (inner: Storage) => {
    const stages = new StageTimers(new ManualRuntime())
    return { stages, storage: new MeasuredStorage(inner, stages) }
  }

  it('passes everything on', async () => {
    const inner = memoryStorage()
    const { storage } = measured(inner)
    await storage.write(PUT)
    expect(storage.persistent).toBe(false)
    expect(await storage.get('a')).toEqual(new Uint8Array(7))
    expect(await Array.fromAsync(storage.keys(''))).toEqual(['a'])
    expect(await Array.fromAsync(storage.entries(''))).toEqual([['a', new Uint8Array(7)]])
    expect(storage.compact).toBeUndefined()
    let isCompacted = false
    const compact = async () => {
      isCompacted = true
    }
    await measured({ ...inner, compact }).storage.compact?.()
    expect(isCompacted).toBe(true)
    await storage.close()
    await expect(inner.get('a')).rejects.toMatchObject({ code: 'CLOSED' })
  })

  it('counts what was written, what failed by its code, and what waits, also the same operations twice', async () => {
    const inner = memoryStorage()
    const gates: PromiseWithResolvers<void>[] = []
    const write = () => {
      const gate = Promise.withResolvers<void>()
      gates.push(gate)
      return gate.promise
    }
    const { stages, storage } = measured({ ...inner, write })
    const writes = [PUT, PUT, PUT].map((operations) => storage.write(operations))
    expect(storage.pendingWrites).toBe(3)
    expect(storage.counters).toEqual({ begun: 3, written: 0, bytes: 0, failures: {} })
    gates[0]?.resolve()
    gates[1]?.reject(new StickyError('STORAGE_FULL', 'full'))
    expect((await Promise.allSettled(writes.slice(0, 2))).map(({ status }) => status)).toEqual([
      'fulfilled',
      'rejected',
    ])
    expect(storage.pendingWrites).toBe(1)
    expect(storage.counters).toEqual({ begun: 3, written: 1, bytes: 7, failures: { STORAGE_FULL: 1 } })
    expect(stages.readings.disk.count).toBe(2)
    gates[2]?.resolve()
    await writes[2]
  })
})
