import type { StickyNode } from '../../src/node/index.ts'
import { until } from '../support/memory-nodes.ts'
import { GOSSIP_TOPIC, type GossipPeers, type StickyPeers } from './peers.ts'
import type { Results } from './statistics.ts'

/** Publish → stored and publish → received, ours and gossipsub's by turns: the same payloads in the same minutes. */

const PAYLOAD_BYTES = 200
/** Numbered, so that what arrives is known again; otherwise the same length for all. */
const payloadOf = (n: number): string => String(n).padStart(PAYLOAD_BYTES, '.')

export interface DeliveryInit {
  sticky: StickyPeers
  gossip: GossipPeers
  results: Results
  /** Messages of each side, in `rounds` turns. */
  messages: number
  rounds: number
}

/** When each message was received by each subscriber, by number. */
class Arrivals {
  readonly #subscribers: number
  readonly #pending = new Map<number, { sentAtMs: number; left: number; done: () => void }>()
  readonly receivedMs: number[] = []
  /** Subscribers that anything has reached. */
  readonly reached = new Set<number>()

  constructor(subscribers: number) {
    this.#subscribers = subscribers
  }

  /** Resolves once every subscriber has it. */
  expect(n: number): Promise<void> {
    return new Promise((done) => {
      this.#pending.set(n, { sentAtMs: performance.now(), left: this.#subscribers, done })
    })
  }

  take(payload: string, subscriber: number): void {
    this.reached.add(subscriber)
    const n = Number(payload.slice(payload.lastIndexOf('.') + 1))
    const pending = this.#pending.get(n)
    if (pending === undefined) return
    this.receivedMs.push(performance.now() - pending.sentAtMs)
    pending.left -= 1
    if (pending.left > 0) return
    this.#pending.delete(n)
    pending.done()
  }
}

const subscribersText = (count: number) => (count === 1 ? '1 subscriber' : `${count} subscribers`)

/** One message after the other, each once all have the one before. */
export async function measureLatency(init: DeliveryInit, subscribers: number): Promise<void> {
  const { results, messages, rounds } = init
  const ours = await stickySide(init.sticky, `latency ${subscribers}`, subscribers)
  const theirs = await gossipSide(init.gossip, subscribers)
  const storedMs: number[] = []
  let n = 0
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < messages / rounds; i++) {
      n += 1
      const received = ours.arrivals.expect(n)
      const sentAtMs = performance.now()
      await Promise.all([ours.publish(n).then(() => storedMs.push(performance.now() - sentAtMs)), received])
    }
    for (let i = 0; i < messages / rounds; i++) {
      n += 1
      const received = theirs.arrivals.expect(n)
      await Promise.all([theirs.publish(n), received])
    }
  }
  const section = `one message at a time, ${subscribersText(subscribers)}`
  results.durations(section, `${subscribers}: publish → stored (fsync at a majority of 8)`, storedMs)
  results.durations(section, `${subscribers}: publish → received`, ours.arrivals.receivedMs)
  results.durations(section, `${subscribers}: gossipsub publish → received`, theirs.arrivals.receivedMs)
  for (const p of ['p50', 'p99'])
    results.ratio(
      section,
      `${subscribers}: received, ours / gossipsub, ${p}`,
      `${subscribers}: publish → received ${p}`,
      `${subscribers}: gossipsub publish → received ${p}`,
    )
  await ours.close()
  await theirs.close()
}

async function stickySide(sticky: StickyPeers, topic: string, subscribers: number) {
  const arrivals = new Arrivals(subscribers)
  const publisher = await sticky.client()
  const nodes: StickyNode[] = []
  for (let i = 0; i < subscribers; i++) {
    const node = await sticky.client()
    nodes.push(node)
    await node.pubsub.subscribe(topic, { onMessage: ({ data }) => arrivals.take(data as string, i) })
  }
  return {
    arrivals,
    publish: (n: number) => publisher.pubsub.publish(topic, payloadOf(n)),
    close: () => Promise.all([publisher, ...nodes].map((node) => node.close())),
  }
}

async function gossipSide(gossip: GossipPeers, subscribers: number, publishing = 1) {
  const arrivals = new Arrivals(subscribers)
  const start = (count: number, subscribes: boolean) =>
    Promise.all(Array.from({ length: count }, () => gossip.client(subscribes)))
  const publishers = await start(publishing, false)
  const nodes = await start(subscribers, true)
  for (const [i, node] of nodes.entries())
    node.services.pubsub.addEventListener('message', ({ detail }) =>
      arrivals.take(new TextDecoder().decode(detail.data), i),
    )
  const publish = async (n: number, from = 0) => {
    const data = new TextEncoder().encode(payloadOf(n))
    await publishers[from]?.services.pubsub.publish(GOSSIP_TOPIC, data)
  }
  // its mesh forms with time; until then messages do not reach everybody
  await until(async () => {
    for (const i of publishers.keys()) await publish(0, i)
    return arrivals.reached.size >= subscribers
  }, 60_000)
  const close = () => Promise.all([...publishers, ...nodes].map((node) => node.stop()))
  return { arrivals, publishers, publish, close }
}

/** Several publishers of one topic, each with some publishes open at any time, and one subscriber that gets all. */
export async function measureThroughput(init: DeliveryInit, publishers: number, open: number): Promise<void> {
  const { sticky, gossip, results, messages } = init
  const section = `${publishers} publishers of one topic, ${open} publishes open each`
  const each = Math.ceil(messages / publishers)
  const total = each * publishers

  const subscriber = await sticky.client()
  let received = 0
  await subscriber.pubsub.subscribe('throughput', {
    onMessage: () => {
      received += 1
    },
  })
  const ours = await Promise.all(Array.from({ length: publishers }, () => sticky.client()))
  const storedMs: number[] = []
  const startMs = performance.now()
  await Promise.all(
    ours.map((node, i) =>
      publishAll(each, open, async (n) => {
        const sentAtMs = performance.now()
        await node.pubsub.publish('throughput', payloadOf(i * each + n), { deadlineMs: 120_000 })
        storedMs.push(performance.now() - sentAtMs)
      }),
    ),
  )
  results.add(section, 'messages stored', total / seconds(startMs), '/s')
  await until(() => received >= total, 120_000)
  results.add(section, 'messages received', total / seconds(startMs), '/s')
  results.durations(section, 'publish → stored under this load', storedMs)
  await Promise.all([subscriber, ...ours].map((node) => node.close()))

  // gossipsub tells a publisher nothing: here a publish is open until the subscriber has it, or will not get it any more
  const theirs = await gossipSide(gossip, 1, publishers)
  const gossipStartMs = performance.now()
  await Promise.all(
    theirs.publishers.map((_, i) =>
      publishAll(each, open, async (n) => {
        const number = i * each + n + 1
        const received = theirs.arrivals.expect(number)
        await theirs.publish(number, i)
        await Promise.race([received, new Promise((resolve) => setTimeout(resolve, GIVE_UP_MS))])
      }),
    ),
  )
  const heard = theirs.arrivals.receivedMs.length
  results.add(section, 'gossipsub messages received', heard / seconds(gossipStartMs), '/s')
  results.add(section, 'gossipsub share that arrived', (100 * heard) / total, '%')
  results.ratio(section, 'received, ours / gossipsub', 'messages received', 'gossipsub messages received')
  await theirs.close()
}

/** What gossipsub has not brought by then was dropped. */
const GIVE_UP_MS = 5_000

const seconds = (sinceMs: number): number => (performance.now() - sinceMs) / 1_000

async function publishAll(count: number, open: number, publish: (n: number) => Promise<void>): Promise<void> {
  let next = 0
  const lane = async () => {
    while (next < count) await publish(next++)
  }
  await Promise.all(Array.from({ length: open }, lane))
}
