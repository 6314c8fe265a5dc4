import { describe, expect, it } from 'vitest'
import { toHex } from '../../../src/dht/codec.ts'
import { StickyError } from '../../../src/dht/errors.ts'
import { headName } from '../../../src/dht/record.ts'
import type { StorageOp } from '../../../src/dht/storage.ts'
import { FaultStorage } from '../../support/fault-storage.ts'
import { Holder, KIND } from '../../support/holder.ts'
import { topicKey } from '../../support/lineage.ts'

const isLog = ({ key }: StorageOp) => key.startsWith('log/')
const isBlock = ({ key }: StorageOp) => key.startsWith('block/')
const hex = (bytes: Uint8Array | undefined) => (bytes === undefined ? undefined : toHex(bytes))

describe('a commit', () => {
  it('is in the log before it is acknowledged, and its head is nobody’s before that', async () => {
    const holder = new Holder()
    await holder.commit()
    const before = hex(await holder.head())
    const events: string[] = []
    const release = holder.storage.hold()
    const committing = holder.commit().then(() => events.push('acknowledged'))
    await expect.poll(() => holder.storage.writes.length, { interval: 1 }).toBe(2)
    expect(hex(await holder.head())).toBe(before)
    expect(await holder.storage.allKeys('log/')).toHaveLength(1)
    expect(events).toEqual([])
    events.push('on disk')
    release()
    await committing
    expect(events).toEqual(['on disk', 'acknowledged'])
    expect(await holder.storage.allKeys('log/')).toHaveLength(2)
    expect(hex(await holder.head())).not.toBe(before)
  })

  it('writes its delta in one atomic step, and no block', async () => {
    const holder = new Holder()
    for (let n = 0; n < 5; n++) await holder.commit(3)
    expect(holder.storage.writes).toHaveLength(5)
    for (const operations of holder.storage.writes) {
      expect(operations.filter(isLog)).toHaveLength(1)
      expect(operations.some(isBlock)).toBe(false)
    }
    expect(await holder.storage.allKeys('block/')).toEqual([])
  })

  it('is applied after the one before it, in the order of the calls', async () => {
    const holder = new Holder()
    const record = await holder.record()
    const deltas = [await holder.delta(), await holder.delta(), await holder.delta()]
    const changes = await Promise.all(
      deltas.map((delta) => record.exclusive(() => holder.store.applyLocal(record, delta))),
    )
    expect(hex(changes.at(-1)?.head)).toBe(hex(record.head))
    expect(new Set(changes.map((change) => hex(change?.head))).size).toBe(3)
    const other = new Holder({ world: holder.world })
    const twin = await other.record()
    for (const delta of deltas) await twin.exclusive(() => other.store.applyLocal(twin, delta))
    expect(hex(twin.head)).toBe(hex(record.head))
  })

  it('that the disk refuses is an error, leaves the head as it was, and may be tried again', async () => {
    const holder = new Holder()
    await holder.commit()
    const before = hex(await holder.head())
    const advances: unknown[] = []
    holder.store.onAdvance((advance) => advances.push(advance))
    const record = await holder.record()
    const delta = await holder.delta()
    holder.storage.failWhen(() => true)
    await expect(record.exclusive(() => holder.store.applyLocal(record, delta))).rejects.toMatchObject({
      code: 'STORAGE_FAILED',
      retryable: true,
    })
    expect(hex(await holder.head())).toBe(before)
    expect(hex(await holder.restart().head())).toBe(before)
    expect(advances).toEqual([])
    holder.storage.heal()
    await record.exclusive(() => holder.store.applyLocal(record, delta))
    expect(hex(record.head)).not.toBe(before)
    expect(hex(await holder.restart().head())).toBe(hex(record.head))
    expect(advances).toHaveLength(1)
  })
})

describe('after a crash', () => {
  it('the log gives the same head, byte for byte, at every commit', async () => {
    const holder = new Holder()
    for (let n = 1; n <= 12; n++) {
      await holder.commit(n * 3)
      const again = holder.restart()
      expect(hex(await again.head())).toBe(hex(await holder.head()))
      expect(await again.messageCount()).toBe((n * (n + 1) * 3) / 2)
    }
  })

  it('at any write, nothing acknowledged is missing', async () => {
    // each write of a life with checkpoints may be the last one that reached the disk
    const options = { checkpointCommits: 3 }
    for (let survived = 1; ; survived++) {
      const storage = new FaultStorage()
      const holder = new Holder({ options, storage })
      storage.failWhen(() => storage.writes.length > survived)
      let acknowledged = 0
      for (let n = 0; n < 8; n++) {
        const isStored = await holder.commit().then(
          () => true,
          () => false,
        )
        if (isStored) acknowledged += 1
        else break
      }
      storage.heal()
      const again = holder.restart()
      expect(await again.messageCount(), `after ${survived} writes`).toBeGreaterThanOrEqual(acknowledged)
      await again.commit(1, 5)
      expect(await again.restart().messageCount()).toBeGreaterThan(acknowledged)
      if (acknowledged === 8) break
      expect(survived).toBeLessThan(50)
    }
  })

  it('what came by joining and what was committed on it are there', async () => {
    const source = new Holder()
    await source.commit(70)
    const head = (await source.head()) as Uint8Array
    const holder = new Holder({
      world: source.world,
      fetchMissing: async (_record, ref) => (await source.record()).local(ref),
    })
    const record = await holder.record()
    expect(await record.exclusive(() => holder.store.joinLocal(record, head))).toBe(true)
    expect(hex(await holder.restart().head())).toBe(hex(head))
    await holder.commit(2, 1)
    const again = holder.restart()
    expect(hex(await again.head())).toBe(hex(record.head))
    expect(await again.messageCount()).toBe(72)
  })

  it('an entry that the disk has corrupted costs that entry, not those after it', async () => {
    const holder = new Holder()
    for (let n = 0; n < 3; n++) await holder.commit(2)
    const [, second] = await holder.storage.allKeys('log/')
    await holder.storage.corrupt(second as string)
    const again = holder.restart()
    expect(await again.messageCount()).toBe(4)
    await again.commit(1, 1)
    expect(await again.restart().messageCount()).toBe(5)
  })
})

describe('a checkpoint', () => {
  it('writes each block once and drops the log, in one atomic step', async () => {
    const holder = new Holder({ options: { checkpointCommits: 4 } })
    for (let n = 0; n < 3; n++) await holder.commit(2)
    expect(await holder.storage.allKeys('block/')).toEqual([])
    await holder.commit(2)
    expect(await holder.storage.allKeys('log/')).toEqual([])
    const last = holder.storage.writes.at(-1) as StorageOp[]
    expect(last.filter(isLog).map(({ type }) => type)).toEqual(['delete', 'delete', 'delete', 'delete'])
    expect(last.filter(({ key }) => key === headName(KIND, topicKey))).toHaveLength(1)
    for (let n = 0; n < 60; n++) await holder.commit(3)
    const written = holder.storage.writes
      .flat()
      .filter((operation) => operation.type === 'put' && isBlock(operation))
      .map(({ key }) => key)
    expect(new Set(written).size).toBe(written.length)
    expect(await holder.restart().messageCount()).toBe(188)
  })

  it('writes no block that the head left behind before it', async () => {
    const holder = new Holder({ options: { checkpointCommits: 10 } })
    for (let n = 0; n < 10; n++) await holder.commit(2)
    const stored = await holder.storage.allKeys('block/')
    expect(stored.filter((key) => key.startsWith('block/messages/'))).toHaveLength(1)
    expect(stored.filter((key) => key.startsWith('block/message/'))).toHaveLength(20)
  })

  it('comes by bytes as well as by commits', async () => {
    const holder = new Holder({ options: { checkpointCommits: 1_000, checkpointBytes: 5_000 } })
    let commits = 0
    while ((await holder.storage.allKeys('block/')).length === 0 && commits < 100) {
      await holder.commit(4)
      commits += 1
    }
    expect(commits).toBeGreaterThan(1)
    expect(commits).toBeLessThan(100)
    expect(await holder.storage.allKeys('log/')).toEqual([])
  })

  it('that the disk refuses changes nothing: the log is still there, and the next one has everything', async () => {
    const holder = new Holder()
    for (let n = 0; n < 3; n++) await holder.commit(2)
    const record = await holder.record()
    holder.storage.failWhen(() => true)
    await expect(record.exclusive(() => record.checkpoint())).rejects.toMatchObject({
      code: 'STORAGE_FAILED',
    })
    expect(await holder.restart().messageCount()).toBe(6)
    holder.storage.heal()
    await record.exclusive(() => record.checkpoint())
    expect(await holder.storage.allKeys('log/')).toEqual([])
    expect(await holder.restart().messageCount()).toBe(6)
  })

  it('leaves superseded blocks readable for a while, for those who read an older head', async () => {
    const holder = new Holder({ options: { keptOldCommits: 3 } })
    const record = await holder.record()
    const roots = []
    for (let n = 0; n < 6; n++) {
      await holder.commit()
      const head = record.head as Uint8Array
      roots.push(record.kind.links(head).find(({ kind }) => kind === 'messages'))
    }
    const readable = await Promise.all(
      roots.map(async (ref) => ref && (await record.local(ref)) !== undefined),
    )
    expect(readable).toEqual([false, false, true, true, true, true])
  })
})

describe('a block', () => {
  const corrupted = async (kind: string) => {
    const holder = new Holder()
    await holder.commit(70)
    await holder.store.close()
    const name = (await holder.storage.allKeys(`block/${kind}/`))[0] as string
    const good = (await holder.storage.get(name)) as Uint8Array
    await holder.storage.corrupt(name)
    return { holder, name, good }
  }

  for (const kind of ['messages', 'spine', 'page', 'message']) {
    it(`${kind} that the disk has corrupted is never handed out: fetched again, or NOT_FOUND`, async () => {
      const { holder, name, good } = await corrupted(kind)
      const asked: string[] = []
      const alone = holder.restart()
      await expect(alone.messageCount()).rejects.toMatchObject({ code: 'NOT_FOUND' })
      expect(await holder.storage.allKeys(name)).toEqual([])
      const helped = holder.restart({
        fetchMissing: async (_record, ref) => {
          asked.push(`block/${ref.kind}/${toHex(ref.id)}`)
          return good
        },
      })
      expect(await helped.messageCount()).toBe(70)
      expect(new Set(asked)).toEqual(new Set([name]))
    })
  }

  it('that a checkpoint needs and nobody has does not make the log unreadable: what it adds begins anew', async () => {
    const holder = new Holder()
    await holder.commit(70)
    await holder.store.close()
    const name = (await holder.storage.allKeys('block/messages/'))[0] as string
    const good = (await holder.storage.get(name)) as Uint8Array
    await holder.restart().commit(2, 1) // and is killed
    await holder.storage.corrupt(name)

    const unsure = holder.restart({
      fetchMissing: () => Promise.reject(new StickyError('UNREACHABLE', 'Gone.')),
    })
    await expect(unsure.record()).rejects.toMatchObject({ code: 'UNREACHABLE' })
    const helped = holder.restart({ fetchMissing: async () => good })
    expect(await helped.messageCount()).toBe(72)
    expect(helped.store.counters.lostHeads).toBe(0)
    const alone = holder.restart()
    expect(await alone.messageCount()).toBe(2)
    expect(alone.store.counters.lostHeads).toBe(1)
    await alone.commit(1, 2)
    expect(await holder.restart().messageCount()).toBe(3)
  })

  it('is not asked of anybody while memory or disk has it', async () => {
    const holder = new Holder({ fetchMissing: () => Promise.reject(new Error('asked')) })
    await holder.commit(70)
    expect(await holder.messageCount()).toBe(70)
    await holder.store.close()
    expect(await holder.restart().messageCount()).toBe(70)
  })
})

describe('a join', () => {
  const two = async () => {
    const left = new Holder()
    await left.commit(2)
    const base = (await left.head()) as Uint8Array
    const right = new Holder({
      world: left.world,
      fetchMissing: async (_record, ref) => (await left.record()).local(ref),
    })
    const record = await right.record()
    await record.exclusive(() => right.store.joinLocal(record, base))
    await right.commit(3, 1)
    await left.commit(4, 2)
    return { right, record, other: (await left.head()) as Uint8Array }
  }

  it('is on disk when it is told', async () => {
    const { right, record, other } = await two()
    expect(await record.exclusive(() => right.store.joinLocal(record, other))).toBe(true)
    const again = right.restart()
    expect(hex(await again.head())).toBe(hex(record.head))
    expect(await again.messageCount()).toBe(9)
    expect(await record.exclusive(() => right.store.joinLocal(record, other))).toBe(false)
  })

  it('is seen by nobody before it is on disk: who asks for the head would take it for stored', async () => {
    const { right, record, other } = await two()
    const before = hex(record.head)
    const written = right.storage.writes.length
    const release = right.storage.hold()
    const joining = record.exclusive(() => right.store.joinLocal(record, other))
    await expect.poll(() => right.storage.writes.length, { interval: 1 }).toBe(written + 1)
    expect(hex(record.head)).toBe(before)
    release()
    expect(await joining).toBe(true)
    expect(hex(record.head)).toBe(hex(await right.restart().head()))
    expect(await right.messageCount()).toBe(9)
  })

  it('that the disk refuses is an error, and the record is read again: no head that nobody stored', async () => {
    const { right, record, other } = await two()
    const before = hex(record.head)
    const advances: unknown[] = []
    right.store.onAdvance((advance) => advances.push(advance))
    right.storage.failWhen(() => true)
    await expect(record.exclusive(() => right.store.joinLocal(record, other))).rejects.toMatchObject({
      code: 'STORAGE_FAILED',
    })
    right.storage.heal()
    expect(advances).toEqual([])
    const fresh = await right.record()
    expect(hex(fresh.head)).toBe(before)
    expect(fresh).not.toBe(record)
    // who still holds the old copy can do nothing with it
    await expect(record.exclusive(async () => 'done')).rejects.toMatchObject({ code: 'STORAGE_FAILED' })
    expect(await fresh.exclusive(() => right.store.joinLocal(fresh, other))).toBe(true)
    expect(await right.restart().messageCount()).toBe(9)
  })
})
