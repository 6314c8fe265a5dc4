import { readFileSync } from 'node:fs'
import * as v from 'valibot'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { DEFAULT_DHT_OPTIONS, identityFromSeed } from '../../src/dht/index.ts'
import { Rpc } from '../../src/dht/rpc.ts'
import { method, recordMethods } from '../../src/dht/wire.ts'
import { topicMethods } from '../../src/pubsub/wire.ts'
import { ManualRuntime } from '../support/manual-runtime.ts'
import { MemoryNet } from '../support/memory-nodes.ts'
import { codeOf } from '../support/rpc-net.ts'

/** How often one peer may ask (requirement E1): every request of the wire, at a node that serves it, in virtual time. */

/** So many a second, and so many at once. */
const RATES: Record<string, [perSecond: number, burst: number]> = {
  'record/append': [2_000, 4_000],
  'record/commit': [2_000, 4_000],
  'record/head': [500, 1_000],
  'record/offer': [200, 1_000],
  'record/compare': [20, 100],
  'record/blocks': [2_000, 8_000],
  'topic/publish': [200, 400],
  'topic/confirm': [500, 1_000],
  'topic/delivered': [10, 100],
  'topic/subscribe': [20, 400],
  'topic/attach': [20, 400],
  'topic/detach': [20, 400],
  'topic/push': [2_000, 4_000],
  'topic/presence': [40, 400],
  'topic/roster': [40, 400],
  'topic/present': [400, 2_000],
}
/** In work at once: less than a node takes of one peer. */
const AT_ONCE = 128

const methods = [...Object.values(recordMethods), ...Object.values(topicMethods)]

const net = new MemoryNet()
const runtime = new ManualRuntime()
const rpcs: Rpc[] = []
let server: string
let flooder: Rpc
let other: Rpc

beforeAll(async () => {
  // it holds topics and may subscribe: it serves what either does
  server = (await net.add({ runtime })).pubsub.nodeId
  for (const seed of [1, 2]) {
    const { nodeId } = await identityFromSeed(new Uint8Array(32).fill(seed))
    const place = net.hub.join(nodeId, { stores: false, durable: false })
    rpcs.push(new Rpc(place, runtime, DEFAULT_DHT_OPTIONS))
  }
  ;[flooder, other] = rpcs as [Rpc, Rpc]
})
afterAll(async () => {
  for (const rpc of rpcs) rpc.close()
  await net.close()
})

/** What is answered to requests that nobody would serve: how often one asks is looked at before what. */
async function answersTo(rpc: Rpc, name: string, count: number): Promise<string[]> {
  const shapeless = method(name, { perSecond: 1, burst: 1 }, v.unknown(), v.unknown())
  const codes: string[] = []
  while (codes.length < count) {
    const batch = Array.from({ length: Math.min(AT_ONCE, count - codes.length) }, () =>
      codeOf(rpc.request(server, shapeless, null)),
    )
    codes.push(...(await Promise.all(batch)))
  }
  return codes
}

/** How many of the first were looked at, and whether all others were not. */
function looked(codes: string[]) {
  const refusedFrom = codes.indexOf('RATE_LIMITED')
  const [before, after] = [codes.slice(0, refusedFrom), codes.slice(refusedFrom)]
  return { first: refusedFrom, codes: [new Set(before), new Set(after)] }
}
const first = (count: number) => ({
  first: count,
  codes: [new Set(['MALFORMED']), new Set(['RATE_LIMITED'])],
})

it('every request has a rate, and the protocol tells it', () => {
  expect(methods.map(({ name }) => name).toSorted()).toEqual(Object.keys(RATES).toSorted())
  const text = readFileSync(new URL('../../docs/protocol.md', import.meta.url), 'utf8')
  const told = [...text.matchAll(/^\*\*`([a-z/]+)`\*\* .*?Rate ([\d,]+), burst ([\d,]+)\./gm)]
  const numberOf = (digits = '') => Number(digits.replaceAll(',', ''))
  const rates = told.map(([, name, perSecond, burst]) => [name, [numberOf(perSecond), numberOf(burst)]])
  expect(Object.fromEntries(rates)).toEqual(RATES)
})

describe.each(Object.entries(RATES))('%s', (name, [perSecond, burst]) => {
  it('is taken so often at once and a second of one peer, which costs another one nothing', async () => {
    const excess = 10
    expect(looked(await answersTo(flooder, name, burst + excess))).toEqual(first(burst))
    expect(new Set(await answersTo(other, name, excess))).toEqual(new Set(['MALFORMED']))
    runtime.advance(1_000)
    expect(looked(await answersTo(flooder, name, perSecond + excess))).toEqual(first(perSecond))
  })
})
