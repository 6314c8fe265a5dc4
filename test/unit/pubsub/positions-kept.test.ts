import { beforeEach, describe, expect, it } from 'vitest'
import { encode } from '../../../src/dht/codec.ts'
import { memoryStorage } from '../../../src/dht/memory-storage.ts'
import type { Storage } from '../../../src/dht/storage.ts'
import { MAX_KEPT_POSITIONS, PositionsKept } from '../../../src/pubsub/positions-kept.ts'
import { ManualRuntime } from '../../support/manual-runtime.ts'

const room = 'room'
const hall = 'hall'
let storage: Storage
let runtime: ManualRuntime
beforeEach(() => {
  storage = memoryStorage()
  runtime = new ManualRuntime()
})
const start = () => new PositionsKept(storage, runtime)
const keys = () => Array.fromAsync(storage.keys(''))
const topic = (n: number) => `topic ${n}`

describe('kept positions', () => {
  it('are of one topic and reader, and survive a restart', async () => {
    const positions = start()
    expect(await positions.kept(room, 'default')).toBeUndefined()
    await positions.keep(room, 'default', 'a')
    await positions.keep(room, 'phone', 'b')
    await positions.keep(hall, 'default', 'c')
    await positions.keep(room, 'default', 'd')
    const again = start()
    expect(await again.kept(room, 'default')).toBe('d')
    expect(await again.kept(room, 'phone')).toBe('b')
    expect(await again.kept(hall, 'default')).toBe('c')
    expect(await again.kept(hall, 'phone')).toBeUndefined()
    expect(await keys()).toHaveLength(3)
    expect((await keys()).every((key) => /^position\/[0-9a-f]{64}$/.test(key))).toBe(true)
  })

  it('are written in the order of keeping, the last one wins', async () => {
    const positions = start()
    const kept = ['a', 'b', 'c'].map((position) => positions.keep(room, 'default', position))
    expect(await positions.kept(room, 'default')).toBe('c')
    await Promise.all(kept)
  })

  it('are bounded: the one that was kept longest ago goes, also after a restart', async () => {
    let positions = start()
    for (let n = 0; n < MAX_KEPT_POSITIONS; n++) {
      runtime.advance(1)
      await positions.keep(topic(n), 'default', String(n))
    }
    runtime.advance(1)
    await positions.keep(topic(0), 'default', 'again') // no longer the oldest
    positions = start()
    await positions.keep(hall, 'default', 'new')
    await positions.keep(room, 'default', 'newer')
    expect(await keys()).toHaveLength(MAX_KEPT_POSITIONS)
    expect(await positions.kept(topic(0), 'default')).toBe('again')
    expect(await positions.kept(topic(1), 'default')).toBeUndefined()
    expect(await positions.kept(topic(2), 'default')).toBeUndefined()
    expect(await positions.kept(topic(3), 'default')).toBe('3')
    expect(await positions.kept(room, 'default')).toBe('newer')
  })

  it('begin anew where the disk has something else', async () => {
    const positions = start()
    await positions.keep(room, 'default', 'a')
    const [key] = await keys()
    for (const value of [
      encode({ v: 2 }),
      new Uint8Array([0xff]),
      encode({ v: 1, keptAt: 1, position: 5 }),
    ]) {
      await storage.write([{ type: 'put', key: key as string, value }])
      expect(await start().kept(room, 'default')).toBeUndefined()
    }
    await start().keep(room, 'default', 'b')
    expect(await start().kept(room, 'default')).toBe('b')
  })

  it('are refused when they are too large, or the reader has no proper name', async () => {
    const positions = start()
    await expect(positions.keep(room, 'default', 'x'.repeat(131_073))).rejects.toMatchObject({
      code: 'TOO_LARGE',
    })
    for (const reader of ['', 'x'.repeat(65)])
      await expect(positions.keep(room, reader, 'a')).rejects.toMatchObject({ code: 'INVALID_DATA' })
    await positions.keep(room, 'default', 'a') // a refusal does not stop the next
    expect(await keys()).toHaveLength(1)
  })

  it('wait for the last write at the end, and take no more', async () => {
    const positions = start()
    const kept = positions.keep(room, 'default', 'a')
    await positions.close()
    expect(await keys()).toHaveLength(1)
    await kept
    await expect(positions.keep(room, 'default', 'b')).rejects.toMatchObject({ code: 'CLOSED' })
  })
})
