import { recordMethods } from '../../../src/dht/wire.ts'
import { topicMethods } from '../../../src/pubsub/wire.ts'
import type { Random } from '../random.ts'

/** Bodies for every request of the protocol, of four sorts: random, malformed, oversized, and good for nothing. */

export type Body = unknown

/** What the flooder has picked up so far. */
export interface Pool {
  topicKey: Uint8Array
  random: Random
  self: Uint8Array
  heads: Uint8Array[]
  envelopes: Uint8Array[]
  statement: Uint8Array
}

type Make = (pool: Pool) => Record<string, unknown>
type Bodies = Record<'random' | 'malformed' | 'oversized' | 'useless', (pool: Pool) => Body>

const kind = 'coordinator'

/** A body that keeps to its schema and brings nothing new to anybody. */
const USELESS: Record<string, Make> = {
  [recordMethods.append.name]: (pool) => ({
    kind,
    key: pool.topicKey,
    base: pool.random.bytes(32),
    id: pool.random.bytes(32),
    delta: pool.random.chance(0.5) ? new Uint8Array() : pool.random.bytes(200),
  }),
  [recordMethods.commit.name]: (pool) => ({ kind, key: pool.topicKey, head: headOf(pool) }),
  [recordMethods.head.name]: (pool) => ({ kind, key: keyOf(pool) }),
  [recordMethods.offer.name]: (pool) => ({
    kind,
    key: pool.topicKey,
    head: headOf(pool),
    source: pool.random.chance(0.5) ? pool.self : pool.random.bytes(32),
  }),
  [recordMethods.compare.name]: (pool) => ({
    kind,
    records: Array.from({ length: pool.random.int(0, 40) }, () => [keyOf(pool), pool.random.bytes(32)]),
  }),
  [recordMethods.blocks.name]: (pool) => ({
    kind,
    key: keyOf(pool),
    refs: Array.from({ length: pool.random.int(1, 40) }, () => [
      pool.random.pick(['page', 'messages', 'spine', 'snapshot', 'payload', 'nothing']),
      pool.random.bytes(32),
    ]),
  }),
  [topicMethods.publish.name]: (pool) => ({
    topic: keyOf(pool),
    // what everybody has already, or never was a message
    messages: [pool.envelopes.length > 0 ? pool.random.pick(pool.envelopes) : pool.random.bytes(300)],
    payloads: pool.random.chance(0.1) ? [pool.random.bytes(500)] : [],
  }),
  [topicMethods.confirm.name]: (pool) => ({
    topic: keyOf(pool),
    ids: Array.from({ length: pool.random.int(1, 40) }, () => pool.random.bytes(32)),
    waitMs: pool.random.int(0, 10_000),
  }),
  [topicMethods.delivered.name]: (pool) => ({
    topic: keyOf(pool),
    ids: Array.from({ length: pool.random.int(1, 40) }, () => pool.random.bytes(32)),
  }),
  [topicMethods.subscribe.name]: (pool) => ({ topic: keyOf(pool), statement: pool.statement }),
  [topicMethods.attach.name]: (pool) => ({ topic: pool.topicKey, statement: pool.statement }),
  [topicMethods.detach.name]: (pool) => ({ topic: pool.random.bytes(32) }),
  [topicMethods.push.name]: (pool) => ({
    topic: pool.topicKey,
    previous: 0,
    version: pool.random.int(0, 2 ** 40),
    messages: pool.random.bytes(32),
    entries: [],
  }),
  [topicMethods.presence.name]: (pool) => ({ topic: pool.topicKey, statement: pool.statement }),
  [topicMethods.roster.name]: (pool) => ({
    topic: keyOf(pool),
    epoch: pool.random.bytes(8),
    since: pool.random.int(0, 10),
    listed: 0,
  }),
  [topicMethods.present.name]: (pool) => ({
    topic: pool.topicKey,
    epoch: pool.random.bytes(8),
    since: 0,
    counter: pool.random.int(0, 10),
    latest: 10,
    entries: [pool.statement],
    gone: [pool.random.bytes(32)],
  }),
}

export const METHOD_NAMES = Object.keys(USELESS)

/** The topic, or a key under which there is nothing. */
const keyOf = ({ random, topicKey }: Pool): Uint8Array => (random.chance(0.8) ? topicKey : random.bytes(32))

/** Share of old true heads among the heads it shows: each costs a holder, and this process, a whole join. */
const KNOWN_HEADS = 0.1

const headOf = ({ random, heads }: Pool): Uint8Array =>
  heads.length > 0 && random.chance(KNOWN_HEADS) ? random.pick(heads) : random.bytes(random.int(0, 1_024))

export function bodiesOf(name: string): Bodies {
  const useless = USELESS[name] as Make
  return {
    random: ({ random }) => anything(random, 3),
    malformed: (pool) => spoilt(useless(pool), pool.random),
    oversized: (pool) => swollen(useless(pool), pool.random),
    useless,
  }
}

/** Any value that can be encoded. */
function anything(random: Random, depth: number): Body {
  const leaf = [
    () => random.bytes(random.int(0, 100)),
    () => random.int(-(2 ** 31), 2 ** 31),
    () => random.next(),
    () => random.chance(0.5),
    () => null,
    () => 'x'.repeat(random.int(0, 50)),
  ]
  const nested = [
    () => Array.from({ length: random.int(0, 5) }, () => anything(random, depth - 1)),
    () =>
      Object.fromEntries(
        Array.from({ length: random.int(0, 5) }, (_, i) => [`f${i}`, anything(random, depth - 1)]),
      ),
  ]
  return random.pick(depth > 0 ? [...leaf, ...nested] : leaf)()
}

/** A field too many, one too few, or one of another type. */
function spoilt(body: Record<string, unknown>, random: Random): Body {
  const field = random.pick(Object.keys(body))
  const { [field]: _, ...rest } = body
  return random.pick([{ ...body, more: 1 }, rest, { ...body, [field]: anything(random, 2) }])
}

/** A field longer than it may be. */
function swollen(body: Record<string, unknown>, random: Random): Body {
  const field = random.pick(Object.keys(body))
  const value = body[field]
  const longer =
    value instanceof Uint8Array
      ? random.pick([new Uint8Array(1_025), new Uint8Array(12_000)])
      : Array.isArray(value)
        ? Array.from({ length: 1_025 }, () => value[0] ?? null)
        : 'x'.repeat(1_000)
  return { ...body, [field]: longer }
}
