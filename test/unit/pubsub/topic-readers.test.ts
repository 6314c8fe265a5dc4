import { beforeEach, describe, expect, it } from 'vitest'
import { TopicReaders } from '../../../src/pubsub/topic-readers.ts'

let readers: TopicReaders<number>
let given: number[]
beforeEach(() => {
  readers = new TopicReaders()
  given = []
})
const give = (value: number) => readers.give(value, () => given.push(value))
/** Everything that follows from what was done so far has happened. */
const settled = () => new Promise((resolve) => setImmediate(resolve))

describe('who reads a topic', () => {
  it('gets nothing lost before it came', async () => {
    const first = give(1)
    await settled()
    expect(given).toEqual([])
    const seen: number[] = []
    readers.listen((value) => seen.push(value))
    expect(await first).toBe(true)
    expect([seen, given]).toEqual([[1], [1]])
  })

  it('gets the next when it asks for it, and others wait for it', async () => {
    const seen: number[] = []
    readers.listen((value) => seen.push(value))
    const slow = readers.iterate()
    const wanted = slow.next()
    await give(1)
    expect(await wanted).toEqual({ done: false, value: 1 })
    const second = give(2)
    await settled()
    expect([seen, given]).toEqual([[1], [1]])
    expect(await slow.next()).toEqual({ done: false, value: 2 })
    expect(await second).toBe(true)
    expect(seen).toEqual([1, 2])
  })

  it('is not waited for before its first step, nor after it has left', async () => {
    const seen: number[] = []
    readers.listen((value) => seen.push(value))
    const unused = readers.iterate()
    expect(await give(1)).toBe(true)
    void unused.next()
    expect(await give(2)).toBe(true)
    const third = give(3)
    await settled()
    expect(seen).toEqual([1, 2])
    await unused.return?.()
    expect(await third).toBe(true)
    expect(await unused.next()).toEqual({ done: true, value: undefined })
  })

  it('keeps what comes while nobody listens any more', async () => {
    const stop = readers.listen(() => undefined)
    stop()
    stop()
    const first = give(1)
    await settled()
    expect(given).toEqual([])
    expect(await readers.iterate().next()).toEqual({ done: false, value: 1 })
    expect(await first).toBe(true)
  })

  it('answers several steps at once in order', async () => {
    const iteration = readers.iterate()
    const steps = [iteration.next(), iteration.next()]
    await give(1)
    await give(2)
    expect(await Promise.all(steps)).toEqual([
      { done: false, value: 1 },
      { done: false, value: 2 },
    ])
  })

  it('ends with the topic', async () => {
    const iteration = readers.iterate()
    const wanted = iteration.next()
    const nobody = new TopicReaders<number>()
    const waiting = nobody.give(1, () => given.push(1))
    readers.end()
    nobody.end()
    expect(await wanted).toEqual({ done: true, value: undefined })
    expect(await iteration.next()).toEqual({ done: true, value: undefined })
    expect(await waiting).toBe(false)
    expect(await give(2)).toBe(false)
    expect(given).toEqual([])
  })
})
