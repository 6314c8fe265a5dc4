import type { Violation } from './checker.ts'
import type { HistoryEvent } from './history.ts'
import type { SimulatedNode } from './node.ts'
import type { Simulation } from './simulation.ts'

/** The protocol's two acceptance tests: their numbers, what each may go through, and what their history must show. */

export interface AcceptanceTest {
  about: string
  publishers: number
  /** Messages of each publisher. */
  each: number
  minIntervalMs: number
  maxIntervalMs: number
  deadlineMs: number
  /** Publishers come to use different initiators, so that there is something to merge. */
  diverges: boolean
}

export const ACCEPTANCE: Record<string, AcceptanceTest> = {
  A1: {
    about: 'one publisher, a subscriber that joins after a tenth of the messages',
    publishers: 1,
    each: 1_000,
    minIntervalMs: 50,
    maxIntervalMs: 50,
    deadlineMs: 12_000,
    diverges: false,
  },
  A2: {
    about: 'ten publishers at once, two initiators for a while, a late subscriber',
    publishers: 10,
    each: 100,
    minIntervalMs: 10,
    maxIntervalMs: 50,
    deadlineMs: 60_000,
    diverges: true,
  },
}

const SHORT = 5

/** For tests that run every time: a fifth of the messages in the same time. */
export const shortened = (test: AcceptanceTest): AcceptanceTest => ({
  ...test,
  each: test.each / SHORT,
  minIntervalMs: test.minIntervalMs * SHORT,
  maxIntervalMs: test.maxIntervalMs * SHORT,
})

type Cause = (simulation: Simulation, first: SimulatedNode, publishers: SimulatedNode[]) => Promise<void>

/** Some of the publishers lose their links to the first holder, and one direction of the way for a while. */
async function cutOff(
  { random, hub, world }: Simulation,
  first: SimulatedNode,
  publishers: SimulatedNode[],
): Promise<void> {
  const share = random.int(3, publishers.length - 3)
  const isDeaf = random.chance(0.5)
  for (const { nodeId, label } of random.sample(publishers, share)) {
    world.log('net', `${label} loses its link to ${first.label}, ${isDeaf ? 'back' : 'forth'} is cut`)
    if (isDeaf) hub.cut(first.nodeId, nodeId)
    else hub.cut(nodeId, first.nodeId)
    for (const link of [...hub.links]) if (link.owner === nodeId && link.peer === first.nodeId) link.break()
  }
}

export const DIVERGING: Record<string, Cause> = {
  cut: async (simulation, first, publishers) => {
    await cutOff(simulation, first, publishers)
    await simulation.world.sleep(simulation.random.between(500, 4_000))
  },
  /** Then it answers nobody, shorter or longer than a publisher waits, and goes on with what waits at its door. */
  pause: async (simulation, first, publishers) => {
    const { random, world, history } = simulation
    await cutOff(simulation, first, publishers)
    await world.sleep(random.between(300, 1_000))
    const forMs = Math.round(random.between(1_000, 9_000))
    first.pause(forMs)
    history.add({ type: 'paused', publisher: first.nodeId, forMs })
    await world.sleep(forMs)
  },
}

export interface Expected {
  name: string
  publishers: number
  each: number
}

/** Everything is stored, and every subscription got it once, in each publisher's order from 1 on, and no gap. */
export function checkWhole(events: HistoryEvent[], { name, publishers, each }: Expected): Violation[] {
  const violations: Violation[] = []
  const endMs = events.at(-1)?.atMs ?? 0
  const violate = (text: string, atMs = endMs) => violations.push({ invariant: name, atMs, text })
  const total = publishers * each
  const stored = new Set(events.flatMap((event) => (event.type === 'ack' ? [event.token] : [])))
  if (stored.size !== total) violate(`${stored.size} of ${total} were stored`)
  const subscriptions = events.filter((event) => event.type === 'subscribed')
  if (subscriptions.length === 0) violate('nobody subscribed')
  for (const { subscription } of subscriptions) {
    const own = events.filter((event) => 'subscription' in event && event.subscription === subscription)
    const deliveries = own.filter((event) => event.type === 'deliver')
    const distinct = new Set(deliveries.map(({ id }) => id)).size
    if (distinct !== total) violate(`${subscription} got ${distinct} of ${total}`)
    if (deliveries.length !== distinct) violate(`${subscription} got ${deliveries.length - distinct} twice`)
    for (const gap of own.filter((event) => event.type === 'gap'))
      violate(`${subscription} was told of a gap: #${gap.fromSequence}-${gap.toSequence}`, gap.atMs)
    const last = new Map<string, number>()
    for (const { publisher, token, sequence, atMs } of deliveries) {
      const next = (last.get(publisher) ?? 0) + 1
      // the token has the number of the call, the sequence is the node's
      if (sequence !== next || Number(token.split('.')[1]) !== next)
        violate(`${subscription} got ${token} as #${sequence} where #${next} was due`, atMs)
      last.set(publisher, sequence)
    }
    for (const [publisher, count] of last)
      if (count !== each) violate(`${subscription} got #${count} of ${publisher.slice(-6)} last`)
    if (last.size !== publishers) violate(`${subscription} heard ${last.size} of ${publishers} publishers`)
  }
  return violations
}
