import { beforeEach, describe, expect, it } from 'vitest'
import { type Finding, type HealthReading, unknown, unreadable } from '../../../src/node/health.ts'
import { BETWEEN_LINES_MS, HealthLog } from '../../../src/node/health-log.ts'
import type { Output } from '../../../src/node/output.ts'

/** What whoever runs a node is told, and how often. */

let nowMs: number
let lines: string[]
let events: object[]
let log: HealthLog

const begin = (json = false) => {
  nowMs = 0
  lines = []
  events = []
  const output: Output = {
    json,
    result: (value) => events.push(value),
    note: (text) => lines.push(text),
    progress: () => undefined,
  }
  log = new HealthLog(output)
}
beforeEach(() => begin())

const reading = (part: Partial<HealthReading>): HealthReading => ({
  ...unknown({ nodeId: 'n', bootId: 'b', asOf: 1, uptimeMs: 2 }),
  ...part,
})
const OK = reading({ status: 'ok' })
const strained = (...findings: Finding[]) => reading({ status: 'strained', findings })
const WRITES: Finding = { finding: 'writes-failed', value: 1, limit: 0, text: '1 write failed' }
const HEADS: Finding = { finding: 'lost-heads', value: 1, limit: 0, text: '1 topic is lost' }
const HALF: Finding = {
  finding: 'outbox-entries-filling',
  value: 0.6,
  limit: 0.5,
  text: 'the outbox has 60 %',
}
const FULL: Finding = {
  finding: 'outbox-entries-filling',
  value: 1,
  limit: 0.8,
  text: 'the outbox has 100 %',
}

/** A reading comes, `ms` after the one before. */
const see = (one: HealthReading, ms = 10_000) => {
  nowMs += ms
  log.see(one, nowMs)
}

describe('who runs a node', () => {
  it('is told nothing while it is well, or nothing is known', () => {
    for (const one of [reading({}), OK, OK, reading({}), OK]) see(one)
    expect(lines).toEqual([])
  })

  it('is told once what strains it, in which other way, and that it is over', () => {
    see(strained(WRITES))
    for (let i = 0; i < 100; i++) see(strained({ ...WRITES, value: i + 2, text: `${i + 2} writes failed` }))
    expect(lines).toEqual(['strained: 1 write failed'])
    see(strained(WRITES, HEADS))
    see(strained(HEADS), BETWEEN_LINES_MS)
    see(OK, BETWEEN_LINES_MS)
    for (let i = 0; i < 100; i++) see(OK)
    expect(lines.slice(1)).toEqual([
      'strained: 1 write failed; 1 topic is lost',
      'strained: 1 topic is lost',
      'well again',
    ])
  })

  it('has one line in half a minute, however things come and go, and the last of them is how it is', () => {
    for (let i = 0; i < 600; i++) see(i % 2 === 0 ? strained(WRITES) : OK, 100) // a minute
    expect(lines.length).toBeLessThanOrEqual(3)
    see(OK, BETWEEN_LINES_MS)
    expect(lines.at(-1)).toBe('well again')
  })

  it('is told later of what came too soon, if it is still so, and not of what has passed', () => {
    see(strained(WRITES))
    see(strained(WRITES, HEADS), BETWEEN_LINES_MS - 1)
    expect(lines).toHaveLength(1)
    see(strained(WRITES), 1)
    see(OK, 0)
    expect(lines).toEqual(['strained: 1 write failed', 'well again'])
  })

  it('is told that nothing can be told', () => {
    see(OK)
    see(reading({ findings: [unreadable(1, 'TIMEOUT')] }))
    see(reading({ findings: [unreadable(2, 'TIMEOUT')] }), BETWEEN_LINES_MS)
    see(reading({}), BETWEEN_LINES_MS)
    see(OK, BETWEEN_LINES_MS)
    expect(lines).toEqual([
      'health unknown: diagnostics that could not be read (TIMEOUT), in a row: 1',
      'well again',
    ])
  })
})

describe('of a queue', () => {
  const half = reading({ status: 'ok', notices: [HALF] })

  it('that fills it is told mildly first, and then strongly', () => {
    see(half)
    see(half, BETWEEN_LINES_MS)
    see(strained(FULL))
    see(half, BETWEEN_LINES_MS)
    see(OK, BETWEEN_LINES_MS)
    expect(lines).toEqual([
      'filling: the outbox has 60 %',
      'strained: the outbox has 100 %',
      'filling: the outbox has 60 %',
      'well again',
    ])
  })

  it('that is full from one moment to the next it is told strongly at once', () => {
    see(OK)
    see(strained(FULL))
    expect(lines).toEqual(['strained: the outbox has 100 %'])
  })

  it('it is told beside what strains the node', () => {
    see(reading({ status: 'strained', findings: [WRITES], notices: [HALF] }))
    expect(lines).toEqual(['strained: 1 write failed; filling: the outbox has 60 %'])
  })
})

it('machines are told by the same rules, with the whole reading', () => {
  begin(true)
  for (const one of [OK, strained(WRITES), strained(WRITES)]) see(one)
  see(OK, BETWEEN_LINES_MS)
  expect(lines).toEqual([])
  expect(events).toEqual([
    { event: 'health', ...strained(WRITES) },
    { event: 'health', ...OK },
  ])
})
