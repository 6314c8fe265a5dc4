import { describe, expect, it } from 'vitest'
import { toHex } from '../../../src/dht/codec.ts'
import { StickyError } from '../../../src/dht/errors.ts'
import { headName } from '../../../src/dht/record.ts'
import type { Advance } from '../../../src/dht/record-store.ts'
import { LIMITS } from '../../../src/pubsub/options.ts'
import { Holder, KIND } from '../../support/holder.ts'
import { topicKey } from '../../support/lineage.ts'
import { until } from '../../support/memory-nodes.ts'

const hex = (bytes: Uint8Array | undefined) => (bytes === undefined ? undefined : toHex(bytes))
const otherKey = (n: number) => new Uint8Array(32).fill(n)
const keysOf = async (holder: Holder) => {
  const keys: string[] = []
  for await (const key of holder.store.heldKeys(KIND)) keys.push(toHex(key))
  return keys
}

describe('a record store', () => {
  it('gives an empty record for what it does not hold, and writes nothing for it', async () => {
    const holder = new Holder()
    expect(await holder.head(otherKey(1))).toBeUndefined()
    expect(await keysOf(holder)).toEqual([])
    await holder.store.close()
    expect(await holder.storage.allKeys()).toEqual([])
    expect(holder.storage.writes).toEqual([])
  })

  it('knows its kinds, and refuses others', async () => {
    const holder = new Holder()
    expect(() => holder.store.headKind('odd')).toThrow(expect.objectContaining({ code: 'UNKNOWN_KIND' }))
    expect(() => holder.store.blockKind('odd')).toThrow(expect.objectContaining({ code: 'UNKNOWN_KIND' }))
    expect(() => holder.store.record('odd', topicKey)).toThrow(
      expect.objectContaining({ code: 'UNKNOWN_KIND' }),
    )
  })

  it('finds what it holds again at the next start, from the first commit on', async () => {
    const holder = new Holder()
    await holder.commit()
    expect(await keysOf(holder)).toEqual([toHex(topicKey)])
    expect(await keysOf(holder.restart())).toEqual([toHex(topicKey)])
    await holder.store.close()
    expect(await keysOf(holder.restart())).toEqual([toHex(topicKey)])
  })

  it('tells of each advance once, with the delta that made it', async () => {
    const holder = new Holder()
    const advances: Advance[] = []
    const stop = holder.store.onAdvance((advance) => advances.push(advance))
    await holder.commit()
    const first = await holder.head()
    const record = await holder.record()
    const delta = await holder.delta()
    await record.exclusive(() => holder.store.applyLocal(record, delta))
    expect(advances.map(({ before, after }) => [hex(before), hex(after)])).toEqual([
      [undefined, hex(first)],
      [hex(first), hex(record.head)],
    ])
    expect(advances[1]?.delta).toBe(delta)
    // what changes nothing is not told, and not written
    const writes = holder.storage.writes.length
    expect(await record.exclusive(() => holder.store.applyLocal(record, delta))).toBeUndefined()
    expect(advances).toHaveLength(2)
    expect(holder.storage.writes).toHaveLength(writes)
    stop()
    await holder.commit()
    expect(advances).toHaveLength(2)
  })

  it('lets a proposal travel while the disk works, with the base that it stands on', async () => {
    const holder = new Holder()
    await holder.commit()
    const record = await holder.record()
    const baseId = hex(record.headId)
    const delta = await holder.delta()
    const release = holder.storage.hold()
    const seen = Promise.withResolvers<[string | undefined, string | undefined]>()
    const applying = record.exclusive(() =>
      holder.store.applyLocal(record, delta, (change, base) => seen.resolve([hex(change.head), hex(base)])),
    )
    const [proposed, base] = await seen.promise
    expect(base).toBe(baseId)
    expect(hex(record.headId)).toBe(baseId)
    release()
    await applying
    expect(hex(record.head)).toBe(proposed)
  })

  it('writes what is in memory when it closes, so that the next start replays nothing', async () => {
    const holder = new Holder()
    for (let n = 0; n < 3; n++) await holder.commit(5)
    expect(await holder.storage.allKeys('log/')).toHaveLength(3)
    await holder.store.close()
    expect(await holder.storage.allKeys('log/')).toEqual([])
    expect(await holder.restart().messageCount()).toBe(15)
  })
})

describe('memory', () => {
  it('holds a bounded number of records, and forgets the one that was unused longest', async () => {
    const holder = new Holder({ options: { maxLoadedRecords: 4 } })
    await holder.commit(3)
    for (let n = 1; n <= 50; n++) {
      await holder.record(otherKey(n))
      expect(holder.store.loadedCount).toBeLessThanOrEqual(4)
    }
    expect(await holder.messageCount()).toBe(3)
  })

  it('folds what it forgets into its checkpoint', async () => {
    const holder = new Holder({ options: { maxLoadedRecords: 1 } })
    await holder.commit(3)
    expect(await holder.storage.allKeys('log/')).toHaveLength(1)
    await holder.record(otherKey(1))
    await expect.poll(() => holder.storage.allKeys('log/'), { interval: 1 }).toEqual([])
    expect(await holder.messageCount()).toBe(3)
  })

  it('writes nothing for what it forgets, or closes with, and has on the disk as it is', async () => {
    const holder = new Holder({ options: { maxLoadedRecords: 1 } })
    await holder.commit(3)
    await holder.record(otherKey(1))
    await expect.poll(() => holder.storage.allKeys('log/'), { interval: 1 }).toEqual([])
    const writes = holder.storage.writes.length
    for (let n = 1; n <= 10; n++) {
      await holder.record()
      await holder.record(otherKey(n))
    }
    expect(await holder.messageCount()).toBe(3)
    await holder.store.close()
    expect(holder.storage.writes).toHaveLength(writes)
    expect(await holder.restart().messageCount()).toBe(3)
  })

  it('never has a record twice: who still holds one that was forgotten has the one that is found again', async () => {
    const holder = new Holder({ options: { maxLoadedRecords: 1 } })
    await holder.commit(3)
    const record = await holder.record()
    await holder.record(otherKey(1))
    await expect.poll(() => holder.storage.allKeys('log/'), { interval: 1 }).toEqual([])
    expect(await holder.record()).toBe(record)
    await holder.record(otherKey(2))
    const late = await holder.delta(1, 1)
    await record.exclusive(() => holder.store.applyLocal(record, late))
    await holder.commit(1, 2)
    expect(await holder.messageCount()).toBe(5)
    expect(await holder.restart().messageCount()).toBe(5)
  })
})

describe('a record on its way out of memory', () => {
  it('is the same object for whoever asks meanwhile, so that no commit overwrites another', async () => {
    const holder = new Holder({ options: { maxLoadedRecords: 1 } })
    await holder.commit()
    const first = await holder.record()
    const go = holder.storage.hold()
    const other = holder.record(otherKey(1)) // the first one has to go, and its checkpoint takes its time
    const again = holder.record()
    go()
    expect(await again).toBe(first)
    await other
    await holder.commit(2)
    expect(await holder.restart().messageCount()).toBe(3)
  })
})

describe('a record whose join the disk refuses', () => {
  it('is read again once, also by who asks for it in that moment while it is on its way out of memory', async () => {
    const holder = new Holder({ options: { maxLoadedRecords: 1 } })
    await holder.commit()
    const other = new Holder({ world: holder.world })
    await other.commit(1, 1)
    const head = (await other.head()) as Uint8Array
    await other.store.close()
    for await (const [key, value] of other.storage.entries('block/'))
      await holder.storage.write([{ type: 'put', key, value }])
    const record = await holder.record()
    const go = holder.storage.hold()
    holder.storage.failWhen(() => true)
    const joining = record.exclusive(() => holder.store.joinLocal(record, head))
    const refused = joining.catch((error: StickyError) => error)
    const writes = holder.storage.writes.length
    await until(() => holder.storage.writes.length > writes)
    const elsewhere = holder.record(otherKey(1)) // the first one has to go, when its join is over
    const staleMoment = (async () => {
      while (!record.isStale) await undefined
      return holder.record()
    })()
    go()
    const asked = await staleMoment
    expect(await refused).toMatchObject({ code: 'STORAGE_FAILED' })
    expect(asked).not.toBe(record)
    expect(await holder.record()).toBe(asked)
    await elsewhere
  })
})

describe('a sweep', () => {
  const pastEverything = 31 * 24 * 3_600_000

  it('goes on past a record that cannot be read, and takes no block that it might need', async () => {
    const holder = new Holder()
    await holder.commit(70, 0, 60_000)
    await holder.store.sweep()
    const bad = `head/${KIND}/${toHex(otherKey(0))}`
    const get = holder.storage.get.bind(holder.storage)
    holder.storage.get = (key) =>
      key === bad ? Promise.reject(new StickyError('STORAGE_FAILED', 'A bad sector.')) : get(key)
    await holder.storage.write([
      { type: 'put', key: bad, value: new Uint8Array(3) },
      { type: 'put', key: 'block/message/perhaps', value: new Uint8Array(3) },
    ])
    holder.world.nowMs += pastEverything
    for (let n = 0; n < 3; n++) await holder.store.sweep()
    expect(await keysOf(holder)).toEqual([toHex(otherKey(0))])
    expect(await holder.storage.allKeys('block/message/perhaps')).toHaveLength(1)
    await holder.storage.write([{ type: 'delete', key: bad }])
    for (let n = 0; n < 3; n++) await holder.store.sweep()
    expect(await holder.storage.allKeys()).toEqual([])
  })

  it('takes nothing that lives', async () => {
    const holder = new Holder()
    for (let n = 0; n < 4; n++) await holder.commit(50)
    const head = hex(await holder.head())
    for (let n = 0; n < 3; n++) await holder.store.sweep()
    expect(await holder.messageCount()).toBe(200)
    const again = holder.restart()
    for (let n = 0; n < 3; n++) await again.store.sweep()
    expect(await again.messageCount()).toBe(200)
    expect(hex(await again.head())).toBe(head)
    expect(await keysOf(again)).toEqual([toHex(topicKey)])
  })

  it('makes room where the disk is full, and keeps what a start needs until there is a checkpoint again', async () => {
    const holder = new Holder()
    await holder.commit(70)
    await holder.store.sweep()
    await holder.commit(70)
    await holder.store.sweep()
    await holder.commit(70) // in the log, beyond the checkpoint
    const roots = () => holder.storage.allKeys('block/messages/')
    const [before, head] = [await roots(), hex(await holder.head())]
    holder.storage.failWhen((group) => group.some(({ type }) => type === 'put'))
    for (let n = 0; n < 3; n++) await holder.store.sweep()
    expect(before).toHaveLength(2)
    expect(await roots()).toHaveLength(1)
    expect(await holder.messageCount()).toBe(210)
    const again = holder.restart()
    expect(await again.messageCount()).toBe(210)
    expect(hex(await again.head())).toBe(head)
    expect(again.store.counters.lostHeads).toBe(0)
    holder.storage.heal()
    for (let n = 0; n < 3; n++) await again.store.sweep()
    expect(await again.restart().messageCount()).toBe(210)
    expect(await holder.storage.allKeys('log/')).toEqual([])
  })

  it('leaves the grace to a record that has expired, and then nothing of it', async () => {
    const holder = new Holder()
    await holder.commit(70, 0, 60_000)
    holder.world.nowMs += 60_000 + LIMITS.graceMs
    await holder.store.sweep()
    expect(await holder.messageCount()).toBe(70)
    holder.world.nowMs += 1
    const removed = (await holder.store.sweep()) + (await holder.store.sweep()) + (await holder.store.sweep())
    expect(removed).toBeGreaterThan(0)
    expect(await holder.storage.allKeys()).toEqual([])
    expect(await holder.head()).toBeUndefined()
    expect(await holder.restart().head()).toBeUndefined()
  })

  it('brings the disk back to where it was, whatever was committed, joined and crashed meanwhile', async () => {
    const holder = new Holder({ options: { checkpointCommits: 3 } })
    await holder.storage.write([{ type: 'put', key: 'identity/own', value: new Uint8Array(3) }])
    const baseline = await holder.storage.allKeys()
    for (let n = 0; n < 20; n++) await holder.commit(10, n % 3)
    const crashed = holder.restart()
    await crashed.commit(5, 4)
    crashed.world.nowMs += pastEverything
    const after = crashed.restart()
    for (let n = 0; n < 3; n++) await after.store.sweep()
    expect(await holder.storage.allKeys()).toEqual(baseline)
  })

  it('takes superseded blocks, seen out of reach twice, and no block of a transfer that is still under way', async () => {
    const holder = new Holder()
    await holder.commit(70)
    await holder.store.sweep()
    await holder.commit(70)
    await holder.store.sweep() // the root of the first commit is out of reach now, for the first time
    const arriving = 'block/message/arriving'
    await holder.storage.write([{ type: 'put', key: arriving, value: new Uint8Array(1) }])
    const roots = () => holder.storage.allKeys('block/messages/')
    expect(await roots()).toHaveLength(2)
    await holder.store.sweep()
    expect(await roots()).toHaveLength(1)
    expect(await holder.storage.allKeys(arriving)).toEqual([arriving])
    await holder.store.sweep()
    expect(await holder.storage.allKeys(arriving)).toEqual([])
    expect(await holder.messageCount()).toBe(140)
  })

  it('keeps what a commit makes while it runs, also in a topic that it takes away', async () => {
    const holder = new Holder()
    await holder.commit(3, 0, 60_000)
    holder.world.nowMs += pastEverything
    const delta = await holder.delta(2, 1)
    const old = await holder.record()
    const go = holder.storage.hold()
    const sweeping = holder.store.sweep()
    await until(() => holder.storage.writes.some((group) => group.some(({ type }) => type === 'delete')))
    const refused = old
      .exclusive(() => holder.store.applyLocal(old, delta))
      .catch((error: StickyError) => error)
    go()
    await sweeping
    expect(await refused).toMatchObject({ code: 'STORAGE_FAILED', retryable: true })
    const fresh = await holder.record()
    await fresh.exclusive(() => holder.store.applyLocal(fresh, delta))
    for (let n = 0; n < 3; n++) await holder.store.sweep()
    expect(await holder.messageCount()).toBe(2)
    expect(await holder.restart().messageCount()).toBe(2)
  })

  it('does not let anybody find what it is just taking away', async () => {
    const holder = new Holder()
    await holder.commit(3, 0, 60_000)
    holder.world.nowMs += pastEverything
    const go = holder.storage.hold()
    const sweeping = holder.store.sweep()
    await until(() => holder.storage.writes.some((group) => group.some(({ type }) => type === 'delete')))
    const asked = holder.record()
    await new Promise(setImmediate) // all that needs no disk has happened
    go()
    await sweeping
    expect((await asked).head).toBeUndefined()
    expect(await holder.head()).toBeUndefined()
  })

  it('keeps a record that the disk does not let go', async () => {
    const holder = new Holder()
    await holder.commit(3, 0, 60_000)
    holder.world.nowMs += pastEverything
    holder.storage.failWhen((group) => group.some(({ type }) => type === 'delete'))
    await holder.store.sweep()
    expect(await holder.head()).toBeDefined()
    holder.storage.heal()
    await holder.store.sweep()
    expect(await holder.head()).toBeUndefined()
  })

  it('takes expired records only, and lets the topic begin anew', async () => {
    const holder = new Holder()
    await holder.commit(3, 0, 60_000)
    holder.world.nowMs += pastEverything
    await holder.store.sweep()
    await holder.commit(2, 1)
    for (let n = 0; n < 3; n++) await holder.store.sweep()
    expect(await holder.messageCount()).toBe(2)
    expect(await holder.restart().messageCount()).toBe(2)
  })

  it('goes on after a clock that went back: a head from ahead of it stays', async () => {
    const holder = new Holder()
    await holder.commit(3)
    holder.world.nowMs -= 2 * LIMITS.maxAheadMs
    await holder.store.sweep()
    expect(await holder.storage.allKeys(headName(KIND, topicKey))).toHaveLength(1)
    expect(await holder.messageCount().catch(({ code }) => code)).toBe('FROM_THE_FUTURE')
    holder.world.nowMs += 2 * LIMITS.maxAheadMs
    expect(await holder.messageCount()).toBe(3)
  })

  it('asks the disk for its space once enough was removed, and not before', async () => {
    const holder = new Holder()
    await holder.commit(70)
    await holder.store.sweep()
    expect(holder.storage.compactions).toBe(0)
    holder.world.nowMs += pastEverything
    for (let n = 0; n < 3; n++) await holder.store.sweep()
    expect(holder.storage.compactions).toBeGreaterThan(0)
    const before = holder.storage.compactions
    await holder.store.sweep()
    expect(holder.storage.compactions).toBe(before)
  })
})
