import type { SimulatedNode } from '../simulation/node.ts'
import { ScaleNetwork } from './scale-network.ts'
import type { Results } from './statistics.ts'

/** A tenth of all nodes goes without a word each minute and comes back a minute later, while a topic is used. */

const PUBLISHERS = 5
const SUBSCRIBERS = 20
const CHURN_MS = 3 * 60_000
const SETTLE_MS = 30_000

export async function churn(results: Results, seed: number, nodes: number): Promise<void> {
  const network = new ScaleNetwork(seed)
  await network.world.run(async () => {
    const { world } = network
    await network.grow(nodes)
    const publishers = await network.addClients(PUBLISHERS)
    const subscribers = await network.addClients(SUBSCRIBERS)
    const seen = subscribers.map(() => new Map<string, number>())
    await Promise.all(
      subscribers.map(({ pubsub }, i) =>
        pubsub.subscribe('churn', {
          onMessage: ({ id }) => seen[i]?.set(id, (seen[i]?.get(id) ?? 0) + 1),
        }),
      ),
    )
    const acknowledged: string[] = []
    let failed = 0
    const endMs = world.nowMs + CHURN_MS
    const publishing = publishers.map(async ({ pubsub }) => {
      while (world.nowMs < endMs) {
        await pubsub.publish('churn', '.'.repeat(200)).then(
          ({ id }) => acknowledged.push(id),
          () => {
            failed += 1
          },
        )
        await world.sleep(1_000)
      }
    })
    const gone = await comeAndGo(network, endMs)
    await Promise.all(publishing)
    await world.sleep(SETTLE_MS)
    const missing = seen.reduce((sum, ids) => sum + acknowledged.filter((id) => !ids.has(id)).length, 0)
    const twice = seen.reduce((sum, ids) => sum + [...ids.values()].filter((count) => count > 1).length, 0)
    const section = `${nodes} nodes, a tenth of them gone each minute`
    results.add(section, 'nodes that went', gone, '')
    results.add(section, 'messages acknowledged', acknowledged.length, '')
    results.add(section, 'publishes that failed or are unknown', failed, '')
    const total = acknowledged.length * SUBSCRIBERS
    results.add(section, 'delivered of those acknowledged', (100 * (total - missing)) / total, '%')
    results.add(section, 'delivered twice', twice, '')
  })
}

/** Gives how many nodes went. The first three are everybody's way in and stay. */
async function comeAndGo({ world, random, holders }: ScaleNetwork, endMs: number): Promise<number> {
  const pauseMs = 60_000 / (holders.length / 10)
  let gone = 0
  while (world.nowMs < endMs) {
    await world.sleep(pauseMs)
    const node = random.pick(holders.slice(3).filter(({ isUp }) => isUp)) as SimulatedNode
    node.crash({ isSilent: random.chance(0.5) })
    gone += 1
    world.at(60_000, () => void node.start().catch(() => undefined))
  }
  return gone
}
