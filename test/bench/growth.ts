import type { StickyNode } from '../../src/node/index.ts'
import type { StickyPeers } from './peers.ts'
import { percentile, type Results } from './statistics.ts'

/** What a publish costs, and what joining late takes, in topics of growing size. */

const PAYLOAD = '.'.repeat(200)
/** Publishes of one client on their way at once while a topic is filled. */
const FILL_OPEN = 500

export interface GrowthInit {
  sticky: StickyPeers
  results: Results
  sizes: number[]
  /** Publishes measured at each size. */
  samples: number
}

const ROUNDS = 5

export async function measureGrowth({ sticky, results, sizes, samples }: GrowthInit): Promise<void> {
  const publisher = await sticky.client()
  const costs = sizes.map((size) => ({ size, topic: `size ${size}`, ms: [] as number[], bytes: 0 }))
  for (const { topic, size } of costs) await fill(publisher, topic, size)
  // by turns, so that what else the machine does in a minute is in all of them
  for (let round = 0; round < ROUNDS; round++)
    for (const cost of costs) {
      const before = await sticky.bytesSent()
      cost.ms.push(...(await publishTimes(publisher, cost.topic, samples / ROUNDS)))
      cost.bytes += (await sticky.bytesSent()) - before
    }
  const section = 'one publish in a topic of so many messages'
  const smallest = sizes[0] as number
  for (const { size, ms, bytes } of costs) {
    results.add(section, `${size}: time p50`, percentile(ms, 50), 'ms')
    results.add(section, `${size}: sent by all nodes`, bytes / samples, 'bytes')
    if (size !== smallest)
      for (const cost of ['time p50', 'sent by all nodes'])
        results.ratio(section, `${size}: ${cost}, to ${smallest}`, `${size}: ${cost}`, `${smallest}: ${cost}`)
  }
  for (const size of sizes.slice(1)) await lateJoin(sticky, results, `size ${size}`, size + samples)
  await publisher.close()
}

async function fill(publisher: StickyNode, topic: string, size: number): Promise<void> {
  for (let done = 0; done < size; done += FILL_OPEN) {
    const count = Math.min(FILL_OPEN, size - done)
    await Promise.all(
      Array.from({ length: count }, () => publisher.pubsub.publish(topic, PAYLOAD, { deadlineMs: 120_000 })),
    )
  }
}

async function publishTimes(publisher: StickyNode, topic: string, count: number): Promise<number[]> {
  const ms: number[] = []
  for (let i = 0; i < count; i++) {
    const startMs = performance.now()
    await publisher.pubsub.publish(topic, PAYLOAD)
    ms.push(performance.now() - startMs)
  }
  return ms
}

/** From `subscribe` until the boundary of the history, with every message delivered. */
async function lateJoin(sticky: StickyPeers, results: Results, topic: string, size: number): Promise<void> {
  const subscriber = await sticky.client()
  const startMs = performance.now()
  let firstMs: number | undefined
  const subscription = await subscriber.pubsub.subscribe(topic, {
    onMessage: () => {
      firstMs ??= performance.now() - startMs
    },
  })
  const { count } = await new Promise<{ count: number }>((resolve) => subscription.on('history-end', resolve))
  const ms = performance.now() - startMs
  if (count !== size) throw new Error(`${count} of ${size} messages came.`)
  const section = 'joining late, every message verified'
  results.add(section, `${size}: first message after`, firstMs ?? ms, 'ms')
  results.add(section, `${size}: whole history after`, ms, 'ms')
  results.add(section, `${size}: messages`, size / (ms / 1_000), '/s')
  await subscriber.close()
}
