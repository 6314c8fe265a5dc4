import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import type { Receipt } from '../../src/pubsub/index.ts'
import { type OutboxClient, OutboxNet } from '../support/outbox-net.ts'

/**
 * What is enqueued ends up once in its topic or is reported as failed, in its topic's order, whatever befalls the process,
 * its network and those that it asks.
 */

const TOPICS = ['room', 'hall'] as const
const OPTIONS = { publishDeadlineMs: 1_000, outboxRetryMs: 1_000, offlineCheckMs: 1_000 }

const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      op: fc.constant('enqueue' as const),
      topic: fc.nat(1),
      count: fc.integer({ min: 1, max: 4 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ op: fc.constant('pass' as const), ms: fc.integer({ min: 50, max: 5_000 }) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant('fault' as const),
      fault: fc.constantFrom(undefined, undefined, 'never' as const, 'lost' as const, 'refused' as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('deaf' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constantFrom('crash' as const, 'reopen' as const, 'offline' as const, 'online' as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('publish' as const), topic: fc.nat(1) }) },
)
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never

let net: OutboxNet | undefined
afterEach(() => net?.close())

interface Outcome {
  enqueued: { topic: string; data: number }[]
  finals: Receipt[]
  found: Map<string, number[]>
}

async function play(steps: Step[]): Promise<Outcome> {
  await net?.close()
  const world = new OutboxNet()
  net = world
  const holder = await world.holder()
  const all: Receipt[][] = []
  const began = (client: OutboxClient) => {
    all.push(client.receipts)
    return client
  }
  let client = began(await world.client({ options: OPTIONS }))
  const enqueued: Outcome['enqueued'] = []
  for (const next of steps) {
    if (next.op === 'enqueue')
      for (let i = 0; i < next.count; i++) {
        const topic = TOPICS[next.topic] as string
        const data = enqueued.length
        enqueued.push({ topic, data })
        await client.pubsub.enqueue(topic, data, { key: `${data}` })
      }
    else if (next.op === 'pass') await world.pass(next.ms)
    else if (next.op === 'fault') client.fault = next.fault
    else if (next.op === 'deaf') client.isDeaf = true
    else if (next.op === 'crash') client = began(await world.crashed(client, OPTIONS))
    else if (next.op === 'reopen') client = began(await world.reopened(client, OPTIONS))
    else if (next.op === 'offline') world.cutOff(client)
    else if (next.op === 'online') world.heal()
    else if (next.op === 'publish')
      void client.pubsub.publish(TOPICS[next.topic] as string, -1, { deadlineMs: 500 }).catch(() => undefined)
  }
  world.heal()
  client = began(await world.crashed(client, OPTIONS)) // who is deaf hears again
  await world.until(async () => (await client.pubsub.outbox()).length === 0, 600_000)
  const found = new Map<string, number[]>()
  for (const topic of TOPICS)
    found.set(
      topic,
      (await world.read(holder, topic)).map(({ data }) => data as number).filter((data) => data >= 0),
    )
  const finals = all.flat().filter(({ state }) => state === 'stored' || state === 'failed')
  return { enqueued, finals, found }
}

function expectKept({ enqueued, finals, found }: Outcome): void {
  for (const topic of TOPICS) {
    const data = found.get(topic) as number[]
    expect(data).toEqual([...new Set(data)].toSorted((a, b) => a - b)) // once each, in order
  }
  for (const { topic, data } of enqueued) {
    const told = finals.filter(({ key }) => key === `${data}`)
    const isThere = found.get(topic)?.includes(data)
    const states = new Set(told.map(({ state, error }) => error?.code ?? state))
    expect(states.size, `one end of ${data}: ${[...states]}`).toBe(1)
    if (isThere) expect(['stored', 'OUTCOME_UNKNOWN']).toContain([...states][0])
    else expect([...states][0]).not.toBe('stored')
  }
}

describe('the outbox', () => {
  it('keeps what it takes: once in the topic and in order, or reported as failed', {
    timeout: 120_000,
  }, async () => {
    const ends = new Map<string, number>()
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 24 }), async (steps) => {
        const outcome = await play(steps)
        for (const { state, error } of outcome.finals) {
          const end = error?.code ?? state
          ends.set(end, (ends.get(end) ?? 0) + 1)
        }
        expectKept(outcome)
      }),
      { numRuns: Number(process.env.STICKY_RUNS ?? '25'), endOnFailure: true },
    )
    expect(ends.get('stored')).toBeGreaterThan(20)
    expect([...ends.keys()].length).toBeGreaterThan(1) // some have failed
  })
})
