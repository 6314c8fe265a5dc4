import { describe, expect, it } from 'vitest'
import { StickyError } from '../../../src/dht/errors.ts'
import { GroupWriter } from '../../../src/dht/group-writer.ts'
import type { StorageOp } from '../../../src/dht/storage.ts'

const put = (key: string, size = 1): StorageOp => ({ type: 'put', key, value: new Uint8Array(size) })

/** A disk that ends each flush when told to. */
function heldDisk() {
  const flushes: { keys: string[]; end: PromiseWithResolvers<void> }[] = []
  const flush = (operations: StorageOp[]) => {
    const end = Promise.withResolvers<void>()
    flushes.push({ keys: operations.map(({ key }) => key), end })
    return end.promise
  }
  const finish = (index: number, error?: unknown) => {
    const { end } = flushes[index] as (typeof flushes)[number]
    if (error === undefined) end.resolve()
    else end.reject(error)
  }
  const flushed = (count: number) => expect.poll(() => flushes.length, { interval: 1 }).toBe(count)
  return { flushes, flush, finish, flushed }
}

describe('GroupWriter', () => {
  it('puts everything that arrives during a flush into the next one, and answers each after its own', async () => {
    const disk = heldDisk()
    const writer = new GroupWriter(disk.flush)
    const answered: string[] = []
    const write = (key: string) => writer.write([put(key)]).then(() => answered.push(key))
    const first = write('a')
    await disk.flushed(1)
    const others = ['b', 'c', 'd'].map(write)
    disk.finish(0)
    await first
    await expect.poll(() => disk.flushes.map(({ keys }) => keys)).toEqual([['a'], ['b', 'c', 'd']])
    expect(answered).toEqual(['a'])
    disk.finish(1)
    await Promise.all(others)
    expect(answered).toEqual(['a', 'b', 'c', 'd'])
    expect(writer.counters).toEqual({ writes: 4, flushes: 2, failedFlushes: 0 })
  })

  it('makes one flush of what is written in one turn', async () => {
    const disk = heldDisk()
    const writer = new GroupWriter(disk.flush)
    const writes = ['a', 'b', 'c'].map((key) => writer.write([put(key)]))
    await disk.flushed(1)
    disk.finish(0)
    await Promise.all(writes)
    expect(disk.flushes.map(({ keys }) => keys)).toEqual([['a', 'b', 'c']])
  })

  it('rejects only the callers of the group that failed, and serves on', async () => {
    const disk = heldDisk()
    const writer = new GroupWriter(disk.flush)
    const good = writer.write([put('a')])
    await disk.flushed(1)
    const outcomes = Promise.allSettled([writer.write([put('b')]), writer.write([put('c')])])
    disk.finish(0)
    await good
    await disk.flushed(2)
    disk.finish(1, new StickyError('STORAGE_FULL', 'full'))
    for (const outcome of await outcomes)
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'STORAGE_FULL' } })
    const after = writer.write([put('d')])
    await disk.flushed(3)
    disk.finish(2)
    await after
    expect(writer.counters).toEqual({ writes: 4, flushes: 3, failedFlushes: 1 })
  })

  it('serves on after a flush that throws before it returns a promise', async () => {
    let failing = true
    const writer = new GroupWriter(() => {
      if (failing) throw new StickyError('STORAGE_FAILED', 'at once')
      return Promise.resolve()
    })
    await expect(writer.write([put('a')])).rejects.toMatchObject({ code: 'STORAGE_FAILED' })
    failing = false
    await writer.write([put('b')])
  })

  it('refuses as BUSY what would wait beyond the bound, takes it once there is room, and any size alone', async () => {
    const disk = heldDisk()
    const writer = new GroupWriter(disk.flush, { maxWaitingBytes: 1_000 })
    const flushing = writer.write([put('a', 5_000)])
    await disk.flushed(1)
    const alone = writer.write([put('b', 5_000)])
    expect(writer.waitingBytes).toBe(5_002)
    await expect(writer.write([put('c')])).rejects.toMatchObject({ code: 'BUSY', retryable: true })
    disk.finish(0)
    await flushing
    await disk.flushed(2)
    expect(writer.waitingBytes).toBe(0)
    const small = [writer.write([put('d', 400)]), writer.write([put('e', 400)])]
    await expect(writer.write([put('f', 400)])).rejects.toMatchObject({ code: 'BUSY' })
    disk.finish(1)
    await alone
    await disk.flushed(3)
    disk.finish(2)
    await Promise.all(small)
    expect(disk.flushes.map(({ keys }) => keys)).toEqual([['a'], ['b'], ['d', 'e']])
  })

  it('closes after what it accepted, and refuses the rest', async () => {
    const disk = heldDisk()
    const writer = new GroupWriter(disk.flush)
    const order: string[] = []
    const accept = (key: string) => writer.write([put(key)]).then(() => order.push('written'))
    const accepted = [accept('a')]
    await disk.flushed(1)
    accepted.push(accept('b'))
    const closing = writer.close().then(() => order.push('closed'))
    await expect(writer.write([put('c')])).rejects.toMatchObject({ code: 'CLOSED' })
    disk.finish(0)
    await disk.flushed(2)
    disk.finish(1)
    await Promise.all([...accepted, closing])
    expect(order).toEqual(['written', 'written', 'closed'])
    await writer.close()
  })
})
