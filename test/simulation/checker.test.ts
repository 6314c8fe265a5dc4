import { describe, expect, it } from 'vitest'
import { check } from './checker.ts'
import type { Flows } from './flows.ts'
import type { BadBlock, Delivered, HistoryEvent, Resources } from './history.ts'

/** The checker itself: a clean history passes, and each planted defect is caught under its own invariant. */

const HOUR_MS = 3_600_000

const delivered = (n: number, changes: Partial<Delivered> = {}): Delivered => ({
  token: `p${n}`,
  id: `id${n}`,
  publisher: 'P',
  writer: 'w',
  sequence: n,
  expiresAtMs: n * 100 + HOUR_MS,
  data: `data${n}`,
  ...changes,
})

const attempt = (n: number, ttlMs = HOUR_MS): HistoryEvent => {
  const token = `p${n}`
  return { atMs: n * 100, type: 'attempt', token, publisher: 'P', data: `data${n}`, ttlMs, deadlineMs: 5_000 }
}
const ack = (n: number): HistoryEvent => {
  const token = `p${n}`
  return { atMs: n * 100 + 20, type: 'ack', token, id: `id${n}`, writer: 'w', sequence: n, replicas: 3 }
}
const deliver = (n: number, changes: Partial<Delivered> = {}, atMs = n * 100 + 30): HistoryEvent => ({
  atMs,
  type: 'deliver',
  subscription: 's',
  ...delivered(n, changes),
})

const flows = (changes: Partial<Flows> = {}): Flows => {
  const flow = { begun: 9, ended: 7, pending: 2 }
  return {
    ...{ requests: flow, served: flow, publishes: flow, outbox: flow, writes: flow },
    ...{ received: flow, pushes: flow },
    ...changes,
  }
}

const resources = (
  moment: 'load' | 'rest',
  changes: Partial<Resources & { node: string }> = {},
): HistoryEvent => ({
  atMs: moment === 'load' ? 400 : 30_000,
  type: 'resources',
  node: 'n0',
  moment,
  waitingPublishes: 0,
  queuedTopics: 0,
  pendingRequests: 0,
  waitingConfirms: 0,
  attachedSubscribers: 0,
  peers: 2,
  links: 3,
  timers: 7,
  flows: flows(),
  ...changes,
})
const disk = (bad: BadBlock[]): HistoryEvent => ({
  atMs: 30_004,
  type: 'disk',
  node: 'n0',
  blocks: 9,
  hidden: 1,
  bad,
})

const COUNT = 5
const numbers = Array.from({ length: COUNT }, (_, i) => i + 1)
const all = numbers.map((n) => delivered(n))

/** Five messages, one subscriber, two replicas, all well. */
function clean(): HistoryEvent[] {
  return inOrder([
    { atMs: 1, type: 'subscribed', subscription: 's', node: 'S' },
    ...numbers.flatMap((n) => [attempt(n), ack(n), deliver(n)]),
    { atMs: 1_000, type: 'advance', node: 'n0', before: 1, version: 2, bytes: 300, head: 'h' },
    { atMs: 2_000, type: 'phase', phase: 'heal' },
    { atMs: 20_000, type: 'phase', phase: 'quiet' },
    { atMs: 30_000, type: 'phase', phase: 'end' },
    { atMs: 30_001, type: 'replica', node: 'n0', head: 'h', messages: all },
    { atMs: 30_001, type: 'replica', node: 'n1', head: 'h', messages: all },
    { atMs: 30_002, type: 'fresh', messages: all },
    { atMs: 30_003, type: 'subscribers', nodes: ['S'] },
    resources('load', { waitingPublishes: 3, queuedTopics: 1, pendingRequests: 9, timers: 20 }),
    resources('rest'),
    disk([]),
  ])
}

const inOrder = (events: HistoryEvent[]) => events.sort((a, b) => a.atMs - b.atMs)
const plus = (...events: HistoryEvent[]) => inOrder([...clean(), ...events])
const without = (isGone: (event: HistoryEvent) => boolean) => clean().filter((event) => !isGone(event))
const isDelivery = (token: string) => (event: HistoryEvent) =>
  event.type === 'deliver' && event.token === token
const found = (events: HistoryEvent[], skewMs = 0) => [
  ...new Set(check(events, { skewMs }).map(({ invariant }) => invariant)),
]

describe('the checker', () => {
  it('finds nothing wrong in a clean history', () => {
    expect(check(clean())).toEqual([])
  })

  it('finds a lost message, and that nobody was told', () => {
    expect(found(without(isDelivery('p3')))).toEqual(['I1', 'I23'])
  })

  it('finds a lost message that was told as a gap only as lost', () => {
    const gap: HistoryEvent = {
      atMs: 900,
      type: 'gap',
      subscription: 's',
      publisher: 'P',
      writer: 'w',
      fromSequence: 3,
      toSequence: 3,
    }
    expect(found(inOrder([...without(isDelivery('p3')), gap]))).toEqual(['I1'])
  })

  it('finds one that came too late', () => {
    const late = [...without(isDelivery('p5')), deliver(5, {}, 25_000)]
    expect(found(inOrder(late))).toEqual(['I1'])
  })

  it('does not ask for what was never acknowledged, or has expired', () => {
    expect(found(plus(attempt(6), { atMs: 700, type: 'fail', token: 'p6', code: 'BUSY' }))).toEqual([])
    expect(found(plus(attempt(6, 5_000), ack(6)))).toEqual([])
  })

  it('finds a duplicate, by id and by content', () => {
    expect(found(plus(deliver(5, {}, 800)))).toContain('I2')
    expect(found(plus(deliver(5, { id: 'other', sequence: 6 }, 800)))).toEqual(['I2', 'I14'])
  })

  it('takes the subscriptions of one reader as one: each message in one of them, all of them together', () => {
    const session = (name: string, atMs: number, ...events: HistoryEvent[]): HistoryEvent[] => [
      { atMs, type: 'subscribed', subscription: name, node: 'S', reader: 'r', isResumed: name !== 'a' },
      ...events.map((event) => ({ ...event, subscription: name }) as HistoryEvent),
    ]
    const left = (subscription: string, atMs: number): HistoryEvent => ({
      atMs,
      type: 'left',
      subscription,
      node: 'S',
      how: 'closed',
    })
    const first = [...session('a', 1, deliver(1), deliver(2)), left('a', 240)]
    const second = (...numbers: number[]) =>
      session('b', 700, ...numbers.map((n, i) => deliver(n, {}, 800 + i)))
    expect(found(plus(...first, ...second(3, 4, 5)))).toEqual([])
    expect(found(plus(...first, ...second(2, 3, 4, 5)))).toEqual(['I2', 'I4'])
    expect(found(plus(...first, ...second(3, 5)))).toEqual(['I3', 'I23'])
    expect(found(plus(...first))).toEqual([])
  })

  it('finds a late joiner without the history', () => {
    const joined: HistoryEvent = { atMs: 5_000, type: 'subscribed', subscription: 't', node: 'S' }
    expect(found(plus(joined))).toEqual(['I3', 'I23'])
  })

  it('finds two messages of one writer in the wrong order, unless the gap was told', () => {
    const swapped = without(isDelivery('p3'))
    const late = deliver(3, {}, 850)
    expect(found(inOrder([...swapped, late]))).toEqual(['I4'])
    const gap: HistoryEvent = {
      atMs: 700,
      type: 'gap',
      subscription: 's',
      publisher: 'P',
      writer: 'w',
      fromSequence: 3,
      toSequence: 3,
    }
    expect(found(inOrder([...swapped, late, gap]))).toEqual([])
  })

  it('finds a phantom, an altered message, and one under another name', () => {
    expect(found(plus(deliver(9)))).toEqual(['I5'])
    const altered = [...without(isDelivery('p4')), deliver(4, { data: 'other' })]
    expect(found(inOrder(altered))).toEqual(['I5'])
    const renamed = [...without(isDelivery('p4')), deliver(4, { publisher: 'Q' })]
    expect(found(inOrder(renamed))).toContain('I5')
  })

  it('finds an expired delivery, and allows for the clocks', () => {
    const short = [attempt(6, 5_000), ack(6), deliver(6, { expiresAtMs: 5_600 }, 9_000)]
    expect(found(plus(...short))).toEqual(['I6'])
    expect(found(plus(...short), 60_000)).toEqual([])
  })

  it('finds a replica that goes back, unless its disk was lost', () => {
    const boot: HistoryEvent = { atMs: 1_500, type: 'boot', node: 'n0', version: 1 }
    expect(found(plus(boot))).toEqual(['I7'])
    expect(found(plus({ atMs: 1_400, type: 'disk-lost', node: 'n0' }, boot))).toEqual([])
  })

  it('finds replicas that do not agree, and writes that never end', () => {
    expect(found(plus({ atMs: 30_001, type: 'replica', node: 'n2', head: 'x', messages: all }))).toEqual([
      'I8',
    ])
    const write: HistoryEvent = {
      atMs: 25_000,
      type: 'advance',
      node: 'n0',
      before: 2,
      version: 3,
      bytes: 300,
      head: 'i',
    }
    expect(found(plus(write))).toEqual(['I8'])
  })

  it('finds a replica, and a fresh node, without an acknowledged message', () => {
    const poor = all.slice(1)
    expect(found(plus({ atMs: 30_001, type: 'replica', node: 'n2', head: 'h', messages: poor }))).toEqual([
      'I9',
    ])
    expect(found(plus({ atMs: 30_002, type: 'fresh', messages: poor }))).toEqual(['I3'])
  })

  it('finds a replica that stored one message twice', () => {
    const twice = [...all, delivered(2)]
    expect(found(plus({ atMs: 30_001, type: 'replica', node: 'n2', head: 'h', messages: twice }))).toEqual([
      'I2',
    ])
  })

  it('finds a coordinator beyond its bounds', () => {
    const big: HistoryEvent = {
      atMs: 1_500,
      type: 'advance',
      node: 'n0',
      before: 2,
      version: 3,
      bytes: 1_025,
      head: 'i',
    }
    expect(found(plus(big))).toEqual(['I12'])
    expect(found(plus({ ...big, bytes: 300, version: 2 ** 60 }))).toEqual(['I12'])
  })

  it('finds a delivery to one that has left', () => {
    const left: HistoryEvent = { atMs: 600, type: 'left', subscription: 's', node: 'S', how: 'closed' }
    expect(found(plus(left, attempt(6, 10_000), ack(6), deliver(6, {}, 4_000)))).toEqual(['I13'])
  })

  it('finds a refused message that was delivered or stored', () => {
    const refused: HistoryEvent[] = [attempt(6), { atMs: 620, type: 'fail', token: 'p6', code: 'BUSY' }]
    expect(found(plus(...refused, deliver(6)))).toEqual(['I16'])
    const stored: HistoryEvent = { atMs: 30_002, type: 'fresh', messages: [...all, delivered(6)] }
    expect(found(plus(...refused, stored))).toEqual(['I16'])
  })

  it('finds a subscriber resurrected or forgotten', () => {
    const gone: HistoryEvent = {
      atMs: 25_000,
      type: 'left',
      subscription: 's',
      node: 'S',
      how: 'unsubscribed',
    }
    expect(found(plus(gone))).toEqual(['I17'])
    const empty = clean().map((event) => (event.type === 'subscribers' ? { ...event, nodes: [] } : event))
    expect(found(empty)).toEqual(['I17'])
  })

  it('finds an unknown outcome that came out half', () => {
    const unknown: HistoryEvent[] = [attempt(6), { atMs: 700, type: 'unknown', token: 'p6', code: 'CRASHED' }]
    expect(found(plus(...unknown))).toEqual([])
    expect(found(plus(...unknown, deliver(6)))).toEqual(['I19'])
  })

  it('allows half of an unknown outcome only to what went with the disks that had it', () => {
    const halfOf = (lostMs: number, gotMs: number, ...more: HistoryEvent[]) =>
      found(
        plus(
          attempt(6),
          { atMs: 700, type: 'unknown', token: 'p6', code: 'CRASHED' },
          { atMs: lostMs, type: 'disk-lost', node: 'n3' },
          deliver(6, {}, gotMs),
          ...more,
        ),
      )
    expect(halfOf(800, 650)).toEqual([])
    // it came after that disk, it was shown by somebody who still had it, or somebody has it
    expect(halfOf(550, 650)).toEqual(['I19'])
    expect(halfOf(800, 19_000)).toEqual(['I19'])
    const messages = [...all, delivered(6)]
    expect(halfOf(800, 650, { atMs: 30_001, type: 'replica', node: 'n2', head: 'h', messages })).toEqual([
      'I19',
    ])
  })

  it('finds a block that is not what its name says, and one that nobody should have stored', () => {
    const name = 'block/message/00'
    expect(found(plus(disk([{ name, isIntact: false, refusal: undefined }])))).toEqual(['I11'])
    expect(found(plus(disk([{ name, isIntact: true, refusal: 'FROM_THE_FUTURE' }])))).toEqual(['I18'])
    expect(found(plus(disk([{ name, isIntact: false, refusal: 'BAD_SIGNATURE' }])))).toEqual(['I11', 'I18'])
  })

  const LATER_MS = 2 * HOUR_MS

  it('finds what is left once everything has expired, on disk and in memory', () => {
    const kept = (names: string[], head: string): HistoryEvent[] => [
      { atMs: 30_010, type: 'phase', phase: 'expiry' },
      // what happens from here on is not judged as if the topic were in use
      { atMs: 30_020, type: 'left', subscription: 's', node: 'S', how: 'unsubscribed' },
      { atMs: 30_030, type: 'boot', node: 'n0', version: 0 },
      { atMs: LATER_MS, type: 'kept', node: 'n0', before: 9, names, head },
    ]
    expect(found(plus(...kept([], '')))).toEqual([])
    expect(found(plus(...kept(['head/coordinator/00'], '')))).toEqual(['I10'])
    expect(found(plus(...kept([], 'h')))).toEqual(['I10'])
    const unheard = without(isDelivery('p3'))
    expect(found(inOrder([...unheard, ...kept([], '')]))).toEqual(['I1', 'I23'])
    const crash: HistoryEvent = { atMs: LATER_MS, type: 'crash', where: 'a sweep', text: 'x' }
    expect(found(plus(...kept([], ''), crash))).toEqual(['I22'])
  })

  it('finds a message that can be read long after it expired, and allows for grace, sweeps and clocks', () => {
    const at = (overMs: number, skewMs = 0) => {
      const fresh: HistoryEvent = { atMs: 30_002, type: 'fresh', messages: [] }
      const expiresAtMs = fresh.atMs - HOUR_MS - 60_000 - overMs
      fresh.messages = all.map((message) => ({ ...message, expiresAtMs }))
      return found(plus(fresh), skewMs)
    }
    expect(at(-1)).toEqual([])
    expect(at(1)).toEqual(['I10'])
    expect(at(1, 1_000)).toEqual([])
  })

  it('finds what does not come to its end', () => {
    const atRest = (changes: Partial<Resources>) => found(plus(resources('rest', changes)))
    expect(atRest({})).toEqual([])
    expect(atRest({ waitingPublishes: 1 })).toEqual(['I21'])
    expect(atRest({ queuedTopics: 1 })).toEqual(['I21'])
    expect(atRest({ pendingRequests: 1 })).toEqual(['I21'])
    expect(atRest({ waitingConfirms: 1 })).toEqual(['I21'])
    expect(atRest({ attachedSubscribers: 1 })).toEqual([])
    expect(atRest({ attachedSubscribers: 2 })).toEqual(['I21'])
    expect(atRest({ links: 6 })).toEqual([])
    expect(atRest({ links: 7 })).toEqual(['I21'])
    expect(atRest({ timers: 80 })).toEqual([])
    expect(atRest({ timers: 81 })).toEqual(['I21'])
  })

  it('does not count who has left among those that may be served', () => {
    const left = (how: 'closed' | 'unsure'): HistoryEvent => ({
      atMs: 20_000,
      type: 'left',
      subscription: 's',
      node: 'S',
      how,
    })
    const served = resources('rest', { attachedSubscribers: 1 })
    expect(found(plus(served, left('closed')))).toEqual(['I21'])
    expect(found(plus(served, left('unsure')))).toEqual([])
  })

  it('compares a node that came later with the busiest of the others', () => {
    const newcomer = (timers: number) => found(plus(resources('rest', { node: 'n9', timers })))
    expect(newcomer(80)).toEqual([])
    expect(newcomer(81)).toEqual(['I21'])
  })

  it('finds a publish that hangs, and allows for a publisher that stood still', () => {
    expect(found(plus(attempt(6)))).toEqual(['I20'])
    expect(found(plus({ atMs: 590, type: 'paused', publisher: 'P', forMs: 60_000 }, attempt(6)))).toEqual([])
  })

  it('finds slow publishes while nothing is wrong, and allows them among faults', () => {
    const slow: HistoryEvent[] = [attempt(6), { ...ack(6), atMs: 4_000 }, deliver(6, {}, 4_001)]
    const expired = slow.map((event) => (event.type === 'attempt' ? { ...event, ttlMs: 10_000 } : event))
    expect(found(plus(...expired, { atMs: 5_000, type: 'phase', phase: 'faults' }))).toEqual(['I20'])
    expect(found(plus(...expired, { atMs: 500, type: 'phase', phase: 'faults' }))).toEqual([])
  })

  it('finds slow publishes, and those that were not stored, under an attack that must slow nobody', () => {
    const settings = { quickUntil: 'heal' } as const
    const attack: HistoryEvent = { atMs: 300, type: 'phase', phase: 'faults' }
    const healed = clean().map((event) =>
      event.type === 'phase' && event.phase === 'heal' ? { ...event, atMs: 9_000 } : event,
    )
    const speeds = (...events: HistoryEvent[]) =>
      check(inOrder([...healed, attack, ...events]), settings).map(({ invariant }) => invariant)
    expect(speeds()).toEqual([])
    expect(speeds(attempt(6, 10_000), { ...ack(6), atMs: 4_000 }, deliver(6, {}, 4_001))).toEqual(['I20'])
    expect(speeds(attempt(6, 10_000), { atMs: 700, type: 'fail', token: 'p6', code: 'BUSY' })).toEqual([
      'I20',
    ])
  })

  it('lets go of a forged version, and of no other', () => {
    const advance = (atMs: number, before: number, version: number): HistoryEvent => {
      return { atMs, type: 'advance', node: 'n0', before, version, bytes: 300, head: 'h' }
    }
    const leap = [advance(1_100, 2, 1_000_001), advance(1_200, 1_000_001, 3)]
    expect(found(plus(...leap))).toEqual([])
    expect(found(plus(...leap, advance(1_300, 3, 2)))).toEqual(['I7'])
  })

  it.each(Object.keys(flows()))('finds a loss, and one counted twice, among the %s', (name) => {
    const lost = resources('rest', { flows: flows({ [name]: { begun: 9, ended: 6, pending: 2 } }) })
    const twice = resources('load', { flows: flows({ [name]: { begun: 9, ended: 8, pending: 2 } }) })
    expect(found(plus(lost))).toEqual(['I26'])
    expect(found(plus(twice))).toEqual(['I26'])
    expect(found(plus(resources('rest'), resources('load')))).toEqual([])
  })

  it('finds an error that nobody caught', () => {
    expect(found(plus({ atMs: 500, type: 'crash', where: 'a test', text: 'x' }))).toEqual(['I22'])
  })
})
