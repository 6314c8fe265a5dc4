import type { SimulatedNode } from '../simulation/node.ts'
import { ScaleNetwork } from './scale-network.ts'
import { percentile, type Results } from './statistics.ts'

/** What a publish costs as one thing grows and the others stay: nodes, subscribers, messages. And what topics weigh. */

const PAYLOAD = '.'.repeat(200)
const SAMPLES = 20
const TOPIC = 'scale'

interface Cost {
  frames: number
  bytes: number
  ms: number
}

/** Mean frames and bytes of all nodes, and the median of the virtual time until it is stored. */
async function costOfPublish(network: ScaleNetwork, publisher: SimulatedNode, topic: string): Promise<Cost> {
  const { counters } = network.hub
  await publisher.pubsub.publish(topic, PAYLOAD) // opens the links
  await network.world.sleep(1_000)
  const before = { ...counters }
  const times: number[] = []
  for (let i = 0; i < SAMPLES; i++) {
    const startMs = network.world.nowMs
    await publisher.pubsub.publish(topic, PAYLOAD)
    times.push(network.world.nowMs - startMs)
  }
  await network.world.sleep(200) // the last pushes and answers
  return {
    frames: (counters.frames - before.frames) / SAMPLES,
    bytes: (counters.bytes - before.bytes) / SAMPLES,
    ms: percentile(times, 50),
  }
}

function addCost(results: Results, section: string, name: string, { frames, bytes, ms }: Cost): void {
  results.add(section, `${name}: frames per publish`, frames, '')
  results.add(section, `${name}: bytes per publish`, bytes, 'bytes')
  results.add(section, `${name}: publish → stored p50 (virtual)`, ms, 'ms')
}

export async function growthWithNodes(results: Results, seed: number, sizes: number[]): Promise<void> {
  const network = new ScaleNetwork(seed)
  await network.world.run(async () => {
    for (const size of sizes) {
      await network.grow(size)
      const [client] = (await network.addClients(1)) as [SimulatedNode]
      const section = 'with the number of nodes'
      const asked = () => network.hub.questions.get(client.nodeId) ?? 0
      const questions: number[] = []
      for (let i = 0; i < SAMPLES; i++) {
        const before = asked()
        await client.pubsub.dht.replicas.set(network.random.bytes(32))
        questions.push(asked() - before)
      }
      results.add(
        section,
        `${size} nodes: routing questions to find a topic p50`,
        percentile(questions, 50),
        '',
      )
      addCost(
        results,
        section,
        `${size} nodes`,
        await costOfPublish(network, client, `${TOPIC} ${size} nodes`),
      )
    }
  })
}

export async function growthWithSubscribers(
  results: Results,
  seed: number,
  nodes: number,
  sizes: number[],
): Promise<void> {
  const network = new ScaleNetwork(seed)
  await network.world.run(async () => {
    await network.grow(nodes)
    const [publisher] = (await network.addClients(1)) as [SimulatedNode]
    let delivered = 0
    let subscribers = 0
    for (const size of sizes) {
      const added = await network.addClients(size - subscribers)
      subscribers = size
      const onMessage = () => {
        delivered += 1
      }
      await Promise.all(added.map((node) => node.pubsub.subscribe(TOPIC, { history: 'none', onMessage })))
      await network.world.sleep(10_000)
      const sentBefore = new Map(network.hub.sentBytes)
      delivered = 0
      const cost = await costOfPublish(network, publisher, TOPIC)
      const section = 'with the number of subscribers'
      addCost(results, section, `${size} subscribers`, cost)
      const expected = (SAMPLES + 1) * size
      await network.until(() => delivered >= expected, 60_000)
      results.add(section, `${size} subscribers: delivered`, (100 * delivered) / expected, '%')
      const sent = network.holders
        .map(({ nodeId }) => (network.hub.sentBytes.get(nodeId) ?? 0) - (sentBefore.get(nodeId) ?? 0))
        .sort((a, b) => b - a)
        .slice(0, REPLICATION)
      results.add(
        section,
        `${size} subscribers: busiest replica, to the median one`,
        (sent[0] as number) / percentile(sent, 50),
        'x',
      )
    }
  })
}

export async function growthWithMessages(results: Results, seed: number, sizes: number[]): Promise<void> {
  const network = new ScaleNetwork(seed)
  await network.world.run(async () => {
    await network.grow(20)
    const [publisher] = (await network.addClients(1)) as [SimulatedNode]
    for (const size of sizes) {
      const topic = `${TOPIC} ${size} messages`
      for (let done = 0; done < size; done += FILL)
        await Promise.all(
          Array.from({ length: Math.min(FILL, size - done) }, () =>
            publisher.pubsub.publish(topic, PAYLOAD, { deadlineMs: 120_000 }),
          ),
        )
      addCost(
        results,
        'with the number of messages',
        `${size} messages`,
        await costOfPublish(network, publisher, topic),
      )
    }
  })
}

/** Bytes that nodes sent while each of many topics got some messages: how evenly the work lies. */
export async function loadOfTopics(
  results: Results,
  seed: number,
  nodes: number,
  topics: number,
): Promise<void> {
  const network = new ScaleNetwork(seed)
  await network.world.run(async () => {
    await network.grow(nodes)
    const clients = await network.addClients(20)
    network.hub.sentBytes.clear()
    await Promise.all(
      clients.map(async ({ pubsub }, i) => {
        for (let n = i; n < topics; n += clients.length)
          for (let message = 0; message < 3; message++) await pubsub.publish(`topic ${n}`, PAYLOAD)
      }),
    )
    const sent = network.holders.map(({ nodeId }) => network.hub.sentBytes.get(nodeId) ?? 0)
    const section = `${topics} topics on ${nodes} nodes`
    results.add(section, 'bytes a node sent, median', percentile(sent, 50), 'bytes')
    results.add(section, 'busiest node, to the median one', Math.max(...sent) / percentile(sent, 50), 'x')
  })
}

const REPLICATION = 8
const FILL = 500
