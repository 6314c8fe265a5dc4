import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { momentMs } from '../../../src/node/cli.ts'

describe('a moment as it is typed', () => {
  const NOW_MS = Date.UTC(2026, 10, 23, 12)
  beforeEach(() => {
    vi.useFakeTimers({ now: NOW_MS })
  })
  afterEach(() => vi.useRealTimers())

  it.each([
    ['10m', NOW_MS - 600_000],
    ['2h', NOW_MS - 7_200_000],
    ['7d', NOW_MS - 604_800_000],
    ['2026-11-23', Date.UTC(2026, 10, 23)],
    ['2026-11-23 10:05', Date.UTC(2026, 10, 23, 10, 5)],
    ['2026-11-23 10:05:06', Date.UTC(2026, 10, 23, 10, 5, 6)],
    ['2026-11-23T10:05:06.789Z', Date.UTC(2026, 10, 23, 10, 5, 6, 789)],
    ['2026-11-23T10:05+01:00', Date.UTC(2026, 10, 23, 9, 5)],
  ])('%s', (text, ms) => {
    expect(momentMs(text)).toBe(ms)
  })

  it.each([
    '',
    '12',
    '-10m',
    '0m',
    '10',
    'yesterday',
    '2026',
    '2026-13-01',
    '2026-11-23T25:00',
    '1795428000000',
  ])('is not %j, and it is said what to write', (text) => {
    expect(() => momentMs(text)).toThrow(/2026-11-23T10:00Z, or how long ago: 10m/)
  })
})
