import fc from 'fast-check'
import type { Storage, StorageOp } from '../../src/dht/storage.ts'

/**
 * What every Storage promises, as named cases without a test runner: vitest runs them for memory and LevelDB, and a page
 * in a real browser runs the very same for IndexedDB.
 */

export interface StorageFixture {
  persistent: boolean
  /** Opens what was kept under this name, or an empty storage. */
  open(name: string): Promise<Storage>
}

export interface StorageCase {
  name: string
  run(fixture: StorageFixture): Promise<void>
}

let opened = 0
const freshName = () => `suite-${Date.now()}-${opened++}`

export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
export const put = (key: string, value: Uint8Array | string): StorageOp => ({
  type: 'put',
  key,
  value: typeof value === 'string' ? bytes(value) : value,
})
const remove = (key: string): StorageOp => ({ type: 'delete', key })

function equal(actual: unknown, expected: unknown, what: string): void {
  const [got, wanted] = [JSON.stringify(actual), JSON.stringify(expected)]
  if (got !== wanted) throw new Error(`${what}: got ${got?.slice(0, 400)}, expected ${wanted?.slice(0, 400)}`)
}

function equalBytes(actual: Uint8Array | undefined, expected: Uint8Array, what: string): void {
  if (!(actual instanceof Uint8Array)) throw new Error(`${what}: got ${actual}`)
  equal(actual.byteLength, expected.byteLength, `${what}, length`)
  const at = expected.findIndex((byte, index) => byte !== actual[index])
  if (at !== -1) throw new Error(`${what}: differs at byte ${at}`)
}

async function rejectsWith(code: string, promise: Promise<unknown>, what: string): Promise<void> {
  const outcome = await promise.then(
    () => 'no rejection',
    (error: unknown) => (error as { code?: string }).code ?? String(error),
  )
  equal(outcome, code, what)
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

const dump = async (storage: Storage, prefix = ''): Promise<[string, string][]> =>
  (await collect(storage.entries(prefix))).map(([key, value]) => [key, new TextDecoder().decode(value)])

/** A case over one fresh storage, closed afterwards. */
const one = (name: string, run: (storage: Storage) => Promise<void>): StorageCase => ({
  name,
  async run(fixture) {
    const storage = await fixture.open(freshName())
    try {
      await run(storage)
    } finally {
      await storage.close()
    }
  },
})

const values: StorageCase[] = [
  one('gives back exactly the bytes that were put, and undefined for what was not', async (storage) => {
    const everyByte = Uint8Array.from({ length: 256 }, (_, index) => index)
    const large = Uint8Array.from({ length: 1_000_000 }, (_, index) => (index * 31) % 251)
    await storage.write([put('every', everyByte), put('empty', new Uint8Array(0)), put('large', large)])
    equalBytes(await storage.get('every'), everyByte, 'every byte')
    equalBytes(await storage.get('empty'), new Uint8Array(0), 'an empty value')
    equalBytes(await storage.get('large'), large, 'a large value')
    equal(await storage.get('ever'), undefined, 'a key that was not put')
    equal(await storage.get(''), undefined, 'the empty key')
  }),

  one('replaces, deletes, and takes a delete of what is not there', async (storage) => {
    await storage.write([put('a', '1'), put('b', '1')])
    await storage.write([put('a', '2'), remove('b'), remove('c')])
    equal(await dump(storage), [['a', '2']], 'after')
    equal(await storage.get('b'), undefined, 'the deleted one')
  }),

  one('applies the operations of one write in order', async (storage) => {
    await storage.write([
      put('a', '1'),
      remove('a'),
      put('b', '1'),
      put('b', '2'),
      remove('c'),
      put('c', '3'),
    ])
    equal(
      await dump(storage),
      [
        ['b', '2'],
        ['c', '3'],
      ],
      'the last of each key',
    )
    await storage.write([])
  }),

  one(
    'keeps its own copy: neither the caller’s array nor a buffer around it matters later',
    async (storage) => {
      const buffer = new Uint8Array(1_000_000).fill(7)
      const view = buffer.subarray(500_000, 500_100)
      await storage.write([put('view', view)])
      buffer.fill(9)
      const kept = (await storage.get('view')) as Uint8Array
      equalBytes(kept, new Uint8Array(100).fill(7), 'the view')
      if (kept.buffer.byteLength > 100_000) throw new Error(`kept ${kept.buffer.byteLength} bytes for 100`)
    },
  ),
]

const ranges: StorageCase[] = [
  one('iterates one prefix, in key order, without its neighbours', async (storage) => {
    const names = ['a', 'a/', 'a/10', 'a/2', 'a/2/x', 'a/~', 'a0', 'A/1', 'b/1', 'a.', 'a/Z', 'a/a']
    await storage.write(names.toReversed().map((name) => put(name, name)))
    const within = names.filter((name) => name.startsWith('a/')).sort()
    equal(await collect(storage.keys('a/')), within, 'keys')
    equal(
      await dump(storage, 'a/'),
      within.map((name) => [name, name]),
      'entries',
    )
    equal(await collect(storage.keys('')), names.toSorted(), 'all keys')
    equal(await collect(storage.keys('nothing/')), [], 'a prefix without keys')
    equal(await collect(storage.entries('nothing/')), [], 'a prefix without entries')
  }),

  one('gives each of many entries exactly once', async (storage) => {
    const names = Array.from({ length: 2_500 }, (_, index) => `n/${String(index).padStart(5, '0')}`)
    await storage.write(names.map((name) => put(name, name)))
    equal(await collect(storage.keys('n/')), names, 'keys')
    equal(
      await dump(storage, 'n/'),
      names.map((name) => [name, name]),
      'entries',
    )
  }),

  one('goes on while the caller awaits and writes between two entries', async (storage) => {
    const names = Array.from({ length: 300 }, (_, index) => `n/${String(index).padStart(3, '0')}`)
    await storage.write(names.map((name) => put(name, name)))
    const seen: string[] = []
    for await (const [name] of storage.entries('n/')) {
      seen.push(name)
      // the entry itself goes, which must not make the next one be skipped
      await storage.write([remove(name), put(`other/${name}`, name)])
    }
    equal(seen, names, 'seen')
    equal(await collect(storage.keys('n/')), [], 'left')
    equal((await collect(storage.keys('other/'))).length, 300, 'written meanwhile')
  }),

  one('lets the caller stop early', async (storage) => {
    await storage.write(Array.from({ length: 300 }, (_, index) => put(`n/${index}`, 'x')))
    for await (const _ of storage.entries('n/')) break
    for await (const _ of storage.keys('n/')) break
    await storage.write([put('after', '1')])
    equal((await collect(storage.keys(''))).length, 301, 'all')
  }),
]

const writes: StorageCase[] = [
  one('applies concurrent writes in call order', async (storage) => {
    const count = 200
    const done: number[] = []
    await Promise.all(
      Array.from({ length: count }, (_, index) =>
        storage.write([put('last', String(index)), put(`w/${index}`, 'x')]).then(() => done.push(index)),
      ),
    )
    equal(await dump(storage, 'last'), [['last', String(count - 1)]], 'the last call wins')
    equal((await collect(storage.keys('w/'))).length, count, 'all applied')
    equal(
      done,
      done.toSorted((a, b) => a - b),
      'answered in order',
    )
  }),

  one('shows a write to reads once it has resolved', async (storage) => {
    for (let index = 0; index < 30; index++) {
      await storage.write([put('a', String(index))])
      equal(await dump(storage), [['a', String(index)]], 'at once')
    }
  }),

  one('behaves as a sorted map, whatever is done to it', async (storage) => {
    const key = fc.constantFrom('a', 'a/', 'a/b', 'a/c', 'b', 'b/1', 'b/10', 'b/2', '~')
    const operation = fc.oneof(
      fc.record({ type: fc.constant('put' as const), key, value: fc.uint8Array({ maxLength: 40 }) }),
      fc.record({ type: fc.constant('delete' as const), key }),
    )
    const model = new Map<string, Uint8Array>()
    const batches = fc.array(fc.array(operation, { maxLength: 6 }), { maxLength: 5 })
    const property = fc.asyncProperty(
      batches,
      fc.constantFrom('', 'a', 'a/', 'b/1'),
      async (groups, prefix) => {
        for (const { type, key: name, ...rest } of groups.flat()) {
          if (type === 'put') model.set(name, (rest as { value: Uint8Array }).value)
          else model.delete(name)
        }
        await Promise.all(groups.map((operations) => storage.write(operations)))
        const expected = [...model]
          .filter(([name]) => name.startsWith(prefix))
          .sort(([a], [b]) => (a < b ? -1 : 1))
        const actual = await collect(storage.entries(prefix))
        const plain = (entries: [string, Uint8Array][]) => entries.map(([name, value]) => [name, [...value]])
        equal(plain(actual), plain(expected), 'the map')
      },
    )
    // no shrinking: what a run leaves behind is part of the next, so the printed seed and path replay all of it
    await fc.assert(property, { numRuns: 40, endOnFailure: true })
  }),
]

const life: StorageCase[] = [
  {
    name: 'keeps everything over a close, or nothing at all, as it says',
    async run(fixture) {
      const name = freshName()
      const first = await fixture.open(name)
      equal(first.persistent, fixture.persistent, 'persistent')
      await first.write([put('a', '1'), put('b', '1')])
      await first.write([remove('b'), put('c', '2')])
      await first.close()
      const second = await fixture.open(name)
      const kept = [
        ['a', '1'],
        ['c', '2'],
      ]
      equal(await dump(second), fixture.persistent ? kept : [], 'after opening again')
      await second.close()
    },
  },
  {
    name: 'keeps storages of different names apart',
    async run(fixture) {
      const [one, other] = await Promise.all([fixture.open(freshName()), fixture.open(freshName())])
      await one.write([put('a', 'one')])
      await other.write([put('b', 'other')])
      equal([await dump(one), await dump(other)], [[['a', 'one']], [['b', 'other']]], 'each its own')
      await Promise.all([one.close(), other.close()])
    },
  },
  {
    name: 'finishes what it accepted before close, then refuses everything as CLOSED',
    async run(fixture) {
      const name = freshName()
      const storage = await fixture.open(name)
      await storage.write(Array.from({ length: 300 }, (_, index) => put(`old/${index}`, 'x')))
      const reading = storage.entries('old/')[Symbol.asyncIterator]()
      await reading.next()
      const accepted = Array.from({ length: 20 }, (_, index) => storage.write([put(`new/${index}`, 'x')]))
      const closing = storage.close()
      const late = storage.write([put('late', 'x')])
      await rejectsWith('CLOSED', late, 'a write after close')
      await Promise.all([...accepted, closing])
      await storage.close()
      await rejectsWith('CLOSED', storage.get('a'), 'get')
      await rejectsWith('CLOSED', collect(storage.keys('')), 'keys')
      await rejectsWith('CLOSED', collect(storage.entries('')), 'entries')
      await rejectsWith('CLOSED', storage.write([]), 'write')
      // a reader under way may still give what it has at hand; then it ends, or says why not
      const rest = collect({ [Symbol.asyncIterator]: () => reading })
      const ending = await rest.then(
        () => 'CLOSED',
        (error: { code?: string }) => error.code,
      )
      equal(ending, 'CLOSED', 'a reader under way')
      if (!fixture.persistent) return
      const again = await fixture.open(name)
      equal((await collect(again.keys('new/'))).length, 20, 'accepted before close')
      equal(await again.get('late'), undefined, 'refused after close')
      await again.close()
    },
  },
]

export const storageCases: StorageCase[] = [...values, ...ranges, ...writes, ...life]
