import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createTracker, type Numbered, type TrackerOptions } from '../../../src/pubsub/gaps.ts'
import type { EarlierRun } from '../../../src/pubsub/known-writers.ts'

const message = (
  sequence: number,
  init: { publisher?: string; writer?: string; id?: string; lapsed?: boolean } = {},
): Numbered => {
  const { publisher = 'p', writer = 'w', lapsed } = init
  return { id: init.id ?? `${writer}${sequence}`, publisher, writer, sequence, ...(lapsed && { lapsed }) }
}
const tracker = (options: Partial<TrackerOptions> = {}, live = true) => {
  const made = createTracker<Numbered>({ patienceMs: 100, ...options })
  if (live) made.goLive()
  return made
}
const NONE = { deliver: [], gaps: [] }
const numbers = (messages: Numbered[]) => messages.map(({ sequence }) => sequence)

describe('gap tracker', () => {
  it('delivers in order and drops duplicates, held ones included', () => {
    const t = tracker()
    expect(numbers(t.offer(message(1)).deliver)).toEqual([1])
    expect(t.offer(message(3))).toEqual({ ...NONE, duplicate: false, hole: { from: 2, to: 2 } })
    expect(t.offer(message(3)).duplicate).toBe(true)
    expect(numbers(t.offer(message(2)).deliver)).toEqual([2, 3])
    for (const n of [1, 2, 3]) expect(t.offer(message(n))).toEqual({ ...NONE, duplicate: true })
    expect(t.heldCount).toBe(0)
  })

  it('takes the first number of history as the beginning, and reports a hole below a new writer when live', () => {
    const history = tracker({}, false)
    expect(numbers(history.offer(message(7)).deliver)).toEqual([7])
    const live = tracker()
    expect(live.offer(message(3)).hole).toEqual({ from: 1, to: 2 })
    const late = tracker({ strict: false })
    expect(numbers(late.offer(message(7)).deliver)).toEqual([7])
  })

  it('delivers what lies below the beginning when it comes after all, once', () => {
    const t = tracker({}, false)
    t.offer(message(7))
    expect(numbers(t.offer(message(5)).deliver)).toEqual([5])
    expect(t.offer(message(5)).duplicate).toBe(true)
    expect(numbers(t.offer(message(6)).deliver)).toEqual([6])
  })

  it('tells of what lies below the beginning before some of it comes late in the history, once', () => {
    const gap = { publisher: 'p', writer: 'w', fromSequence: 1, toSequence: 6, reason: 'withheld' }
    for (const trimmed of ['before', undefined] as const) {
      const t = tracker({}, false)
      t.readTrimmed(trimmed)
      expect(t.offer(message(7)).gaps).toEqual([])
      expect(t.offer(message(5)).gaps).toEqual([gap])
      expect(t.offer(message(6)).gaps).toEqual([])
      t.goLive()
      expect(t.release(1_000).gaps).toEqual([])
      expect(t.offer(message(4))).toMatchObject({ deliver: [message(4)] })
      expect(t.offer(message(4)).gaps).toEqual([])
    }
    const live = tracker({}, false)
    live.offer(message(7))
    live.goLive()
    expect(live.release(1_000).gaps).toEqual([{ ...gap, reason: 'expired' }])
    expect(live.offer(message(5)).gaps).toEqual([])
    const late = tracker({ strict: false }, false)
    late.offer(message(7))
    expect(late.offer(message(5)).gaps).toEqual([])
  })

  it('gives up a hole after the patience, says so once, and still delivers what comes later', () => {
    const t = tracker()
    t.offer(message(1), 0)
    t.offer(message(4), 10)
    t.offer(message(6), 50)
    expect(t.nextReleaseMs).toBe(110)
    expect(t.release(109)).toEqual({ deliver: [], gaps: [] })
    const first = t.release(110)
    expect(numbers(first.deliver)).toEqual([4])
    expect(first.gaps).toEqual([
      { publisher: 'p', writer: 'w', fromSequence: 2, toSequence: 3, reason: 'withheld' },
    ])
    expect(t.release(111)).toEqual({ deliver: [], gaps: [] })
    expect(numbers(t.offer(message(3), 120).deliver)).toEqual([3])
    expect(numbers(t.release(210).deliver)).toEqual([6])
    expect(numbers(t.offer(message(5), 220).deliver)).toEqual([5])
    expect(numbers(t.offer(message(2), 230).deliver)).toEqual([2])
    for (let n = 1; n <= 6; n++) expect(t.offer(message(n), 240).duplicate).toBe(true)
    expect(t.nextReleaseMs).toBeUndefined()
  })

  it('keeps both messages of a writer that contradicts itself, each once', () => {
    const t = tracker()
    t.offer(message(1))
    expect(t.offer(message(1, { id: 'other' })).deliver).toHaveLength(1)
    expect(t.offer(message(1, { id: 'other' })).duplicate).toBe(true)
    t.offer(message(3))
    t.offer(message(3, { id: 'another' }))
    expect(numbers(t.offer(message(2)).deliver)).toEqual([2, 3, 3])
  })

  it('bounds what waits: the oldest hole is given up and told', () => {
    const t = tracker({ maxHeld: 2 })
    t.offer(message(2, { writer: 'a' }), 1)
    t.offer(message(2, { writer: 'b' }), 2)
    const { deliver, gaps } = t.offer(message(4, { writer: 'b' }), 3)
    expect([...deliver, ...gaps].map(({ writer }) => writer)).toEqual(['a', 'a'])
    expect(t.heldCount).toBe(2)
    expect(t.release(4).gaps).toEqual([])
  })

  it('does not wait for what a writer says has expired, and tells it before what it says now', () => {
    const gap = { publisher: 'p', writer: 'w', reason: 'expired' }
    for (const strict of [true, false]) {
      const t = tracker({ strict })
      t.offer(message(1))
      expect(t.offer(message(4)).hole).toEqual({ from: 2, to: 3 })
      const offered = t.offer(message(7, { lapsed: true }))
      expect(numbers(offered.deliver)).toEqual([4, 7])
      expect(offered.gaps).toEqual([
        { ...gap, fromSequence: 2, toSequence: 3 },
        { ...gap, fromSequence: 5, toSequence: 6 },
      ])
      expect(t.release(0).gaps).toEqual([])
      expect(t.heldCount).toBe(0)
      expect(numbers(t.offer(message(8)).deliver)).toEqual([8])
      expect(t.offer(message(10)).hole).toEqual({ from: 9, to: 9 }) // and goes on waiting for others
      expect(numbers(t.offer(message(5)).deliver)).toEqual([5]) // it was not true: nothing is lost by it
      expect(t.offer(message(7, { lapsed: true })).duplicate).toBe(true)
    }
    const unheard = tracker().offer(message(3, { lapsed: true }))
    expect(unheard.gaps).toEqual([{ ...gap, fromSequence: 1, toSequence: 2 }])
    expect(numbers(unheard.deliver)).toEqual([3])
    const next = tracker()
    next.offer(message(1))
    expect(next.offer(message(2, { lapsed: true }))).toEqual({
      deliver: [message(2, { lapsed: true })],
      gaps: [],
      duplicate: false,
    })
  })

  it('gives what it had to let go of for a lapsed one, too', () => {
    const t = tracker({ maxHeld: 1 })
    t.offer(message(2, { writer: 'a' }), 1)
    const { deliver } = t.offer(message(5, { writer: 'b', lapsed: true }), 2)
    expect(deliver.map(({ id }) => id)).toEqual(['a2', 'b5'])
  })

  it('bounds the writers it remembers, the one that was silent longest going first', () => {
    const t = tracker({ maxWriters: 3 })
    for (const writer of ['a', 'b', 'c', 'a', 'd']) t.offer(message(1, { writer, id: `${writer}1` }))
    expect(t.writerCount).toBe(3)
    expect(t.offer(message(1, { writer: 'a' })).duplicate).toBe(true)
  })

  it('forgets of the writers that one publisher invents, none of another’s, and delivers nothing twice', () => {
    const t = tracker({ maxWriters: 20, maxWritersPerPublisher: 5 })
    for (const n of [1, 2, 3]) t.offer(message(n))
    for (let i = 0; i < 100; i++) t.offer(message(1, { publisher: 'mallory', writer: `w${i}` }))
    expect(t.writerCount).toBe(6)
    expect(numbers(t.offer(message(4)).deliver)).toEqual([4])
    // what forgotten writers said is still known, and what they say next is no hole
    const again = { publisher: 'mallory', writer: 'w0' }
    expect(t.offer(message(1, again))).toEqual({ ...NONE, duplicate: true })
    expect(numbers(t.offer(message(2, again)).deliver)).toEqual([2])
    expect(t.offer(message(2))).toEqual({ ...NONE, duplicate: true })
    expect(t.release(1_000)).toEqual({ deliver: [], gaps: [] })
  })

  it('tells a hole in the history once, with its reason', () => {
    const t = tracker({}, false)
    for (const n of [5, 6, 9]) t.offer(message(n))
    const told = t.release(1_000).gaps
    t.goLive()
    told.push(...t.release(1_000).gaps)
    expect(told.map(({ fromSequence, toSequence, reason }) => [fromSequence, toSequence, reason])).toEqual([
      [7, 8, 'withheld'],
      [1, 4, 'expired'],
    ])
  })

  it('delivers every message exactly once, and in order until patience ends, whatever the arrival', () => {
    const arrival = fc.record({
      count: fc.integer({ min: 1, max: 40 }),
      picks: fc.array(fc.nat(), { maxLength: 120 }),
      releaseAfter: fc.array(fc.boolean(), { maxLength: 120 }),
      /** What a writer says of itself, true or not. */
      lapsed: fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 5 }),
    })
    fc.assert(
      fc.property(arrival, ({ count, picks, releaseAfter, lapsed }) => {
        const t = tracker()
        const delivered: number[] = []
        let now = 0
        const order = [
          ...picks.map((n) => (n % count) + 1),
          ...Array.from({ length: count }, (_, i) => i + 1),
        ]
        for (const [i, sequence] of order.entries()) {
          now += 1
          delivered.push(
            ...numbers(t.offer(message(sequence, { lapsed: lapsed.includes(sequence) }), now).deliver),
          )
          if (releaseAfter[i]) now += 100
          if (releaseAfter[i]) delivered.push(...numbers(t.release(now).deliver))
        }
        delivered.push(...numbers(t.release(now + 200).deliver))
        expect(delivered.toSorted((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, i) => i + 1))
        if (!releaseAfter.some(Boolean) && lapsed.length === 0)
          expect(delivered).toEqual(delivered.toSorted((a, b) => a - b))
      }),
    )
  })
})

describe('gap tracker of a reader that comes back', () => {
  const of = (publisher: string) => ({ publisher: publisher.padEnd(16, '.'), writer: 'w'.padEnd(16, '.') })
  const offer = (
    t: ReturnType<typeof tracker>,
    sequence: number,
    publisher = 'p',
    id = `${publisher}${sequence}`,
  ) => t.offer({ id, sequence, ...of(publisher) })
  const back = (t: ReturnType<typeof tracker>, changes: Partial<EarlierRun> = {}) =>
    createTracker<Numbered>({ patienceMs: 100 }, { writers: t.known(), mayHaveExpired: false, ...changes })
  const gapsOf = (t: ReturnType<typeof tracker>) => {
    const gaps = t.release(Number.POSITIVE_INFINITY).gaps
    t.goLive()
    return [...gaps, ...t.release(0).gaps].map(({ fromSequence, toSequence, reason }) => [
      fromSequence,
      toSequence,
      reason,
    ])
  }

  it('goes on with each writer where it was, whatever is offered again', () => {
    const t = tracker()
    for (const n of [1, 2, 3]) offer(t, n)
    const next = back(t)
    for (const n of [1, 2, 3]) expect(offer(next, n).duplicate).toBe(true)
    expect(next.wasDelivered({ id: 'x', sequence: 3, ...of('p') })).toBe(true)
    expect(numbers(offer(next, 4).deliver)).toEqual([4])
    expect(offer(next, 2).duplicate).toBe(true)
    expect(gapsOf(next)).toEqual([])
  })

  it('has not been given what waited above a hole, and tells the hole', () => {
    const t = tracker()
    offer(t, 1)
    offer(t, 3)
    expect(t.held()).toHaveLength(1)
    const next = back(t)
    expect(next.wasDelivered({ id: 'p3', sequence: 3, ...of('p') })).toBe(false)
    offer(next, 3)
    expect(gapsOf(next)).toEqual([[2, 2, 'withheld']])
  })

  it('still takes what it was told is missing, once, and is not told again', () => {
    const t = tracker()
    for (const n of [1, 4]) offer(t, n)
    t.release(1_000)
    const next = back(t)
    offer(next, 5)
    expect(gapsOf(next)).toEqual([])
    expect(numbers(offer(next, 3).deliver)).toEqual([3])
    expect(offer(next, 3).duplicate).toBe(true)
    expect(numbers(offer(back(next), 2).deliver)).toEqual([2])
  })

  it('says that what is missing has expired only where it may have', () => {
    const t = tracker()
    offer(t, 1)
    const long = back(t, { mayHaveExpired: true })
    for (const n of [3, 5]) offer(long, n)
    expect(gapsOf(long)).toEqual([
      [2, 2, 'expired'],
      [4, 4, 'expired'],
    ])
    const silent = back(t, { mayHaveExpired: true })
    silent.goLive()
    for (const n of [3, 5]) offer(silent, n) // the first hole may be from before, the second is not
    expect(silent.release(1_000).gaps.map(({ reason }) => reason)).toEqual(['expired', 'withheld'])
  })

  it('says what was trimmed since, of whom it knew and of whom it did not', () => {
    const t = tracker()
    for (const publisher of ['p', 'silent']) offer(t, 1, publisher)
    const next = back(t, { mayHaveExpired: true })
    next.readTrimmed('since')
    for (const n of [3, 5]) offer(next, n) // only what is missing first can have been trimmed
    offer(next, 4, 'new')
    next.readTrimmed(undefined)
    expect(gapsOf(next)).toEqual([
      [2, 2, 'trimmed'],
      [4, 4, 'expired'],
      [1, 3, 'trimmed'],
    ])
    const told = (publisher: string, sequence: number) => {
      offer(next, sequence, publisher)
      return next.release(1_000).gaps.map(({ reason }) => reason)
    }
    expect([told('silent', 5), told('silent', 7)]).toEqual([['trimmed'], ['withheld']])
    expect([told('unheard', 5), told('unheard', 7)]).toEqual([['trimmed'], ['withheld']])
  })

  it('says nothing of what was trimmed before it came, and still waits for what comes out of order', () => {
    const t = tracker({}, false)
    t.readTrimmed('before')
    for (const n of [5, 7]) offer(t, n)
    t.readTrimmed(undefined)
    expect(gapsOf(t)).toEqual([[6, 6, 'withheld']])
    const told = (publisher: string, sequence: number) => {
      expect(offer(t, sequence, publisher).deliver).toEqual([])
      return t.release(1_000).gaps.map(({ reason }) => reason)
    }
    expect([told('new', 2), told('new', 4), told('p', 9)]).toEqual([['expired'], ['withheld'], ['withheld']])
  })

  it('is told what a writer lacked from before, unless it was told then', () => {
    const t = tracker({}, false)
    offer(t, 7)
    const untold = back(t)
    offer(untold, 8)
    expect(gapsOf(untold)).toEqual([[1, 6, 'expired']])
    const told = back(untold)
    offer(told, 8)
    expect(gapsOf(told)).toEqual([])
  })

  it('is told what an earlier run found missing and had no time to tell, before anything of it comes', () => {
    const t = tracker({}, false)
    offer(t, 4)
    const silent = back(t)
    silent.goLive() // nothing was heard of that writer, in the run after it either
    expect(silent.release(0).gaps).toEqual([])
    const next = back(silent)
    next.goLive()
    const late = offer(next, 1)
    expect(numbers(late.deliver)).toEqual([1])
    expect(late.gaps).toEqual([
      expect.objectContaining({ ...of('p'), fromSequence: 1, toSequence: 3, reason: 'expired' }),
    ])
    for (const n of [2, 5, 3]) expect(offer(next, n)).toMatchObject({ gaps: [], duplicate: false })
  })

  it('is not told twice, nor what was no news', () => {
    const t = tracker({}, false)
    offer(t, 7)
    expect(offer(t, 5).gaps.map(({ reason }) => reason)).toEqual(['withheld'])
    t.readTrimmed('before')
    offer(t, 9, 'full')
    const next = back(t)
    for (const [n, publisher] of [
      [8, 'p'],
      [10, 'full'],
    ] as const)
      offer(next, n, publisher)
    expect(gapsOf(next)).toEqual([])
    expect(offer(next, 2).gaps).toEqual([])
  })

  it('keeps writers that say nothing, over any number of restarts, the longest silent first', () => {
    const t = tracker()
    for (const publisher of ['a', 'b', 'c']) offer(t, 1, publisher)
    const next = back(t)
    offer(next, 2, 'a')
    const last = back(next)
    expect(last.known().map(({ name, next: to }) => [name[0], to])).toEqual([
      ['b', 2],
      ['c', 2],
      ['a', 3],
    ])
    expect(offer(last, 1, 'b').duplicate).toBe(true)
  })
})
