import { beforeEach, describe, expect, it } from 'vitest'
import { decodeAny, encode, toHex } from '../../../src/dht/codec.ts'
import { memoryStorage } from '../../../src/dht/memory-storage.ts'
import type { Storage } from '../../../src/dht/storage.ts'
import { Sequences } from '../../../src/pubsub/sequence.ts'
import { ManualRuntime } from '../../support/manual-runtime.ts'
import { until } from '../../support/memory-nodes.ts'

const room = new Uint8Array(32).fill(1)
const hall = new Uint8Array(32).fill(2)
const ada = new Uint8Array(32).fill(0xaa)
const bob = new Uint8Array(32).fill(0xbb)

/** Nothing expires. */
const NEVER = 1_000_000_000_000

let storage: Storage
let runtime: ManualRuntime
beforeEach(() => {
  storage = memoryStorage()
  runtime = new ManualRuntime()
})

const start = (publisher = ada) => new Sequences(storage, publisher, runtime)

interface Taken {
  writer: string
  sequence: number
}

/** `count` numbers, all asked for at once, in the order of asking. */
async function take(sequences: Sequences, count: number, topic = room): Promise<Taken[]> {
  const taken = await Promise.all(Array.from({ length: count }, () => sequences.next(topic, NEVER)))
  return taken.map(({ writer, sequence }) => ({ writer: toHex(writer), sequence }))
}

const numbersOf = (taken: Taken[]) => taken.map(({ sequence }) => sequence)
const writersOf = (taken: Taken[]) => [...new Set(taken.map(({ writer }) => writer))]
const keys = async () => Array.fromAsync(storage.keys(''))

/** No number is given twice, and each writer's go from 1 without a hole. */
function expectGapless(taken: Taken[]): void {
  const byWriter = new Map<string, number[]>()
  for (const { writer, sequence } of taken)
    byWriter.set(
      writer,
      [...(byWriter.get(writer) ?? []), sequence].toSorted((a, b) => a - b),
    )
  for (const numbers of byWriter.values()) expect(numbers).toEqual(numbers.map((_, i) => i + 1))
}

describe('numbers of a publisher', () => {
  it('go from 1 without a hole, in the order of asking, each topic by itself', async () => {
    const sequences = start()
    const [inRoom, inHall] = await Promise.all([take(sequences, 5), take(sequences, 3, hall)])
    expect(numbersOf(inRoom)).toEqual([1, 2, 3, 4, 5])
    expect(numbersOf(inHall)).toEqual([1, 2, 3])
    expect(writersOf(inRoom)).toHaveLength(1)
    expect(writersOf(inHall)).not.toEqual(writersOf(inRoom))
  })

  it('go on where they stopped after a clean stop', async () => {
    const first = start()
    const before = await take(first, 3)
    await first.close()
    const after = await take(start(), 2)
    expect(numbersOf(after)).toEqual([4, 5])
    expect(writersOf(after)).toEqual(writersOf(before))
  })

  it('begin with a new writer after a crash, whose last number nobody knows', async () => {
    const before = await take(start(), 3)
    const after = await take(start(), 2)
    expect(numbersOf(after)).toEqual([1, 2])
    expect(writersOf(after)).not.toEqual(writersOf(before))
  })

  it('begin with a new writer after a crash that followed a clean stop', async () => {
    const first = start()
    await take(first, 3)
    await first.close()
    const second = await take(start(), 2)
    const third = await take(start(), 2)
    expect(numbersOf(second)).toEqual([4, 5])
    expect(numbersOf(third)).toEqual([1, 2])
    expect(writersOf(third)).not.toEqual(writersOf(second))
  })

  it('are of the identity: another one in the same storage begins with its own, and finds them again', async () => {
    const first = start(ada)
    const ofAda = await take(first, 3)
    await first.close()
    const second = start(bob)
    const ofBob = await take(second, 2)
    await second.close()
    expect(numbersOf(ofBob)).toEqual([1, 2])
    expect(writersOf(ofBob)).not.toEqual(writersOf(ofAda))
    expect(await keys()).toEqual([
      `sequence/${toHex(ada)}/${toHex(room)}`,
      `sequence/${toHex(bob)}/${toHex(room)}`,
    ])
    const again = await take(start(ada), 1)
    expect(again).toEqual([{ writer: writersOf(ofAda)[0], sequence: 4 }])
  })

  it('are not taken from what an earlier version saved without the identity', async () => {
    const saved = { writer: new Uint8Array(8).fill(0xee), next: 7, clean: true }
    await storage.write([{ type: 'put', key: `sequence/${toHex(room)}`, value: encode(saved) }])
    expect(numbersOf(await take(start(), 1))).toEqual([1])
  })
})

describe('two instances', () => {
  it('that begin at once on an empty storage never give one number twice', async () => {
    const [a, b] = [start(), start()]
    const taken = (await Promise.all([take(a, 4), take(b, 4), take(a, 2), take(b, 3)])).flat()
    expectGapless(taken)
    expect(taken).toHaveLength(13)
    expect(writersOf(taken)).toHaveLength(2)
  })

  it('of which one goes on with a stopped writer never give one number twice, in whatever order they stop', async () => {
    const first = start()
    const taken = await take(first, 3)
    await first.close()
    const [a, b] = [start(), start()]
    taken.push(...(await take(a, 2)), ...(await take(b, 2)), ...(await take(a, 1)))
    await a.close()
    taken.push(...(await take(b, 2)))
    const c = start()
    taken.push(...(await take(c, 2)))
    await b.close()
    taken.push(...(await take(c, 2)), ...(await take(start(), 2)))
    expect(taken).toHaveLength(16)
    expectGapless(taken)
  })
})

describe('a writer of whom all has expired', () => {
  const MINUTE_MS = 60_000
  const lapsed = async (sequences: Sequences, ttlMs = MINUTE_MS) => (await sequences.next(room, ttlMs)).lapsed

  it('is told with its next number, and only then; the numbers go on', async () => {
    const sequences = start()
    expect(await lapsed(sequences, 2 * MINUTE_MS)).toBe(false) // it has said nothing
    expect(await lapsed(sequences)).toBe(false)
    runtime.advance(MINUTE_MS)
    expect(await lapsed(sequences)).toBe(false) // the first one is still there
    runtime.advance(MINUTE_MS)
    const { sequence, lapsed: told } = await sequences.next(room, MINUTE_MS)
    expect({ sequence, told }).toEqual({ sequence: 4, told: true })
    expect(await lapsed(sequences)).toBe(false)
  })

  it('is known after a clean stop, and not claimed of what an earlier version of the program wrote', async () => {
    const first = start()
    await lapsed(first)
    await first.close()
    runtime.advance(MINUTE_MS)
    const second = start()
    expect(await lapsed(second)).toBe(true)
    await second.close()
    const [key] = await keys()
    const { lapsesAt: _, ...old } = decodeAny((await storage.get(key as string)) as Uint8Array, 1_024) as {
      lapsesAt: number
    }
    await storage.write([{ type: 'put', key: key as string, value: encode(old) }])
    runtime.advance(MINUTE_MS)
    const third = start()
    expect(await lapsed(third)).toBe(false)
    await third.close()
    runtime.advance(MINUTE_MS)
    expect(await lapsed(start())).toBe(false)
  })
})

describe('what is kept of topics', () => {
  const DAY_MS = 24 * 3_600_000
  const roomOf = (n: number) => new Uint8Array(32).fill(n)
  const few = () => new Sequences(storage, ada, runtime, { maxNumberedTopics: 3 })
  const one = async (sequences: Sequences, n: number, ttlMs = DAY_MS) => {
    const { writer, sequence, lapsed } = await sequences.next(roomOf(n), ttlMs)
    return { writer: toHex(writer), sequence, lapsed }
  }
  const keptTopics = async () => (await keys()).map((key) => Number.parseInt(key.slice(-2), 16))
  const untilKept = (...topics: number[]) => until(async () => String(await keptTopics()) === String(topics))

  it('is bounded in memory and on disk, and no number is given twice when one is used again', async () => {
    const sequences = few()
    const taken: Taken[] = []
    for (let round = 0; round < 3; round++)
      for (const n of [1, 2, 3, 4, 5, 1]) taken.push(...(await take(sequences, 2, roomOf(n))))
    expect(sequences.size).toBe(3)
    expectGapless(taken)
    await untilKept(1, 4, 5)
    await sequences.close()
    const again = few()
    expectGapless([...taken, ...(await take(again, 1, roomOf(1))), ...(await take(again, 1, roomOf(2)))])
  })

  it('is what was used last, also by calls that are under way when it is let go of', async () => {
    const sequences = few()
    const ofOne = await one(sequences, 1)
    await one(sequences, 2)
    const taking = [1, 3, 4, 5].map((n) => take(sequences, 2, roomOf(n)))
    expectGapless([ofOne, ...(await Promise.all(taking)).flat()])
    expect(await one(sequences, 5)).toMatchObject({ sequence: 3 })
    expect((await one(sequences, 1)).writer).not.toBe(ofOne.writer)
  })

  it('goes a month after the last message has expired, in this run or the next, and not before', async () => {
    const sequences = few()
    const first = [await one(sequences, 1), await one(sequences, 2, 3 * DAY_MS)]
    runtime.advance(31 * DAY_MS)
    await one(sequences, 3)
    await untilKept(2, 3)
    await sequences.close()
    const second = few()
    const ofTwo = await one(second, 2)
    expect(ofTwo).toEqual({ writer: first[1]?.writer, sequence: 2, lapsed: true })
    await second.close()
    runtime.advance(31 * DAY_MS - 1)
    const third = few()
    await one(third, 4)
    await third.close()
    expect(await keptTopics()).toEqual([2, 3, 4])
    runtime.advance(1)
    const fourth = few()
    await one(fourth, 5)
    await untilKept(4, 5)
    expect(await one(fourth, 2)).toMatchObject({ sequence: 1, lapsed: false })
  })

  it('is not what a crash left behind, or the disk has damaged', async () => {
    const crashed = start()
    for (const n of [1, 2]) await one(crashed, n)
    const [key] = await keys()
    const damaged = (key as string).slice(0, -2)
    for (const end of ['06', '07'])
      await storage.write([{ type: 'put', key: damaged + end, value: new Uint8Array([1, 2, 3]) }])
    const next = start()
    expect(await one(next, 7)).toMatchObject({ sequence: 1 })
    await next.close()
    expect(await keptTopics()).toEqual([7])
  })
})

describe('a number that stays empty', () => {
  it('makes its writer end: the next message begins a new one', async () => {
    const sequences = start()
    const before = await take(sequences, 2)
    const given = await sequences.next(room, NEVER)
    await sequences.beginAnew(room, given.writer)
    const after = await take(sequences, 2)
    expect(numbersOf(after)).toEqual([1, 2])
    expect(writersOf(after)).not.toEqual(writersOf(before))
    await sequences.close()
    expect(await take(start(), 1)).toEqual([{ writer: writersOf(after)[0], sequence: 3 }])
  })

  it('of a writer that has ended already, or of a topic that was not used, changes nothing', async () => {
    const sequences = start()
    const given = await sequences.next(room, NEVER)
    await sequences.beginAnew(room, given.writer)
    const current = await take(sequences, 1)
    await sequences.beginAnew(room, given.writer) // a second message of the same writer was given up
    await sequences.beginAnew(hall, given.writer)
    expect(await take(sequences, 1)).toEqual([{ writer: writersOf(current)[0], sequence: 2 }])
    expect(numbersOf(await take(sequences, 1, hall))).toEqual([1])
  })
})

describe('a stop', () => {
  it('records every number that was given, also one asked for while it waits for another topic', async () => {
    const { get } = storage
    const gate = Promise.withResolvers<void>()
    storage.get = async (key) => {
      if (key.endsWith(toHex(hall))) await gate.promise
      return get(key)
    }
    const sequences = start()
    const taken = await take(sequences, 2)
    const opening = take(sequences, 1, hall)
    const closing = sequences.close()
    for (let i = 0; i < 20; i++) await null // as far as it comes without the other topic
    taken.push(...(await take(sequences, 3)))
    gate.resolve()
    await Promise.all([opening, closing])
    taken.push(...(await take(start(), 3)))
    expect(taken).toHaveLength(8)
    expectGapless(taken)
  })

  it('leaves the topic to be opened again after its storage failed once', async () => {
    const { write } = storage
    storage.write = async () => {
      storage.write = write
      throw new Error('disk')
    }
    const sequences = start()
    await expect(sequences.next(room, NEVER)).rejects.toThrow('disk')
    expect(numbersOf(await take(sequences, 2))).toEqual([1, 2])
  })
})
