import * as v from 'valibot'
import { method } from '../../src/dht/index.ts'

/** A request answered at once with what it carries: what a round trip costs before any protocol. */
export const echo = method(
  'bench/echo',
  { perSecond: 100_000, burst: 100_000 },
  v.strictObject({ data: v.string() }),
  v.strictObject({ data: v.string() }),
)
