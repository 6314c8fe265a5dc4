import { afterEach, expect, it } from 'vitest'
import { createNode, type StickyNode } from '../../src/node/index.ts'
import type { Gap, Message } from '../../src/pubsub/index.ts'
import { LocalNetwork, type RunningNode } from '../support/local-network.ts'
import { until } from '../support/memory-nodes.ts'

/**
 * The protocol's two acceptance tests over a cluster of processes: nothing is missing and nothing doubled for who joins
 * late, with one publisher and with ten at once. `npm run acceptance` keeps the intervals as they are written; `npm test`
 * shortens them, because waiting is the only thing they cost.
 */

const IS_FULL = process.env.STICKY_ACCEPTANCE === 'full'
const INTERVAL_MS = IS_FULL ? 50 : 2
const [MIN_INTERVAL_MS, MAX_INTERVAL_MS] = IS_FULL ? [10, 50] : [5, 25]

let network: LocalNetwork
const clients: StickyNode[] = []
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()))
  await network.stop()
})

async function client(): Promise<StickyNode> {
  const node = await createNode({ role: 'client', bridgeUrl: network.url })
  clients.push(node)
  return node
}

interface Seen {
  messages: Message[]
  gaps: Gap[]
}

async function subscribe(node: StickyNode): Promise<Seen> {
  const seen: Seen = { messages: [], gaps: [] }
  const subscription = await node.pubsub.subscribe('acceptance', {
    onMessage: (message) => seen.messages.push(message),
  })
  subscription.on('gap', (gap) => seen.gaps.push(gap))
  return seen
}

/** Publishes one message after the other in time, not waiting for answers; resolves when all are stored. */
async function publish(node: StickyNode, count: number, intervalMs: () => number, onStored: () => void) {
  const stored: Promise<unknown>[] = []
  for (let n = 1; n <= count; n++) {
    stored.push(node.pubsub.publish('acceptance', n, { deadlineMs: 60_000 }).then(onStored))
    await new Promise((resolve) => setTimeout(resolve, intervalMs()))
  }
  await Promise.all(stored)
}

/** Everything once, and each publisher's numbers from 1 without a gap, in order. */
function expectWhole({ messages, gaps }: Seen, publishers: number, each: number): void {
  expect(new Set(messages.map(({ id }) => id)).size).toBe(publishers * each)
  expect(messages).toHaveLength(publishers * each)
  const last = new Map<string, number>()
  for (const { publisher, sequence, data } of messages) {
    expect(sequence).toBe((last.get(publisher) ?? 0) + 1)
    expect(data).toBe(sequence)
    last.set(publisher, sequence)
  }
  expect([...last.values()]).toEqual(Array(publishers).fill(each))
  expect(gaps).toEqual([])
}

const complete = (seen: Seen, total: number) =>
  until(
    () => seen.messages.length >= total,
    60_000,
    () => `${seen.messages.length} of ${total} arrived`,
  )

it('one publisher, 1,000 messages, a subscriber that joins after 100: 1,000 of 1,000', async () => {
  network = await LocalNetwork.start({ nodes: 5 })
  let stored = 0
  const published = publish(
    await client(),
    1_000,
    () => INTERVAL_MS,
    () => {
      stored += 1
    },
  )
  await until(() => stored >= 100, 60_000)
  expect(stored).toBeLessThan(1_000)
  const late = await subscribe(await client())
  await published
  await complete(late, 1_000)
  expectWhole(late, 1, 1_000)
}, 180_000)

it('ten publishers, 100 messages each, an initiator that stands still meanwhile, a late subscriber: all, merged', async () => {
  network = await LocalNetwork.start({ nodes: 5 })
  const early = await subscribe(await client())
  const publishers = await Promise.all(Array.from({ length: 10 }, client))
  const standing = await initiator(publishers[0] as StickyNode)
  // half of them hold it for unreachable at first and go to the next one: two initiators at once, which must merge
  for (const { pubsub } of publishers.slice(5)) pubsub.dht.replicas.markDown(standing.nodeId)
  const spread = MAX_INTERVAL_MS - MIN_INTERVAL_MS
  let stored = 0
  const published = publishers.map((node, i) =>
    publish(
      node,
      100,
      () => MIN_INTERVAL_MS + ((i * 7) % 10) * (spread / 10),
      () => {
        stored += 1
        if (stored === 100) standing.process.child.kill('SIGSTOP')
      },
    ),
  )
  await until(() => stored >= 100, 60_000)
  const late = await subscribe(await client())
  await Promise.all(published)
  standing.process.child.kill('SIGCONT')
  expect(stored).toBe(1_000)
  for (const seen of [early, late]) {
    await complete(seen, 1_000)
    expectWhole(seen, 10, 100)
  }
  expect(await mergesOf(network.nodes)).toBeGreaterThan(0)
}, 180_000)

async function initiator(node: StickyNode): Promise<RunningNode> {
  const [first] = await node.pubsub.replicas('acceptance')
  const running = network.nodes.find(({ nodeId }) => nodeId === first?.nodeId)
  if (running === undefined) throw new Error('The first replica is one of the nodes.')
  return running
}

/** Ends the nodes; each tells what it did. */
async function mergesOf(nodes: RunningNode[]): Promise<number> {
  const merges = nodes.map(async ({ process: program }) => {
    await program.kill('SIGTERM')
    const stopped = program.events.find((event) => event.event === 'stopped') as
      | { counters: { merges: number } }
      | undefined
    return stopped?.counters.merges ?? 0
  })
  return (await Promise.all(merges)).reduce((sum, count) => sum + count, 0)
}
