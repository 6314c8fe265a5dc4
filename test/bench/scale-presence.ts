import type { SimulatedNode } from '../simulation/node.ts'
import { ScaleNetwork } from './scale-network.ts'
import type { Results } from './statistics.ts'

/** What it costs that the members of a topic know of each other, at rest and when one of them changes. */

const TOPIC = 'scale'
const HEARTBEAT_MS = 15_000
const HEARTBEATS = 4

interface Traffic {
  frames: number
  bytes: number
  /** Sent by the node that sent most. */
  busiest: number
}

async function during(network: ScaleNetwork, work: () => Promise<unknown>): Promise<Traffic> {
  const { hub } = network
  const before = { ...hub.counters, sent: new Map(hub.sentBytes) }
  await work()
  const sent = [...hub.sentBytes].map(([nodeId, bytes]) => bytes - (before.sent.get(nodeId) ?? 0))
  return {
    frames: hub.counters.frames - before.frames,
    bytes: hub.counters.bytes - before.bytes,
    busiest: Math.max(...sent),
  }
}

export async function presenceOfMembers(
  results: Results,
  seed: number,
  nodes: number,
  sizes: number[],
): Promise<void> {
  for (const size of sizes) {
    const network = new ScaleNetwork(seed)
    await network.world.run(async () => {
      await network.grow(nodes)
      const members = await network.addClients(size)
      const subscriptions = await Promise.all(
        members.map((node) => node.pubsub.subscribe(TOPIC, { history: 'none' })),
      )
      await network.world.sleep(30_000)
      const rest = () => during(network, () => network.world.sleep(HEARTBEATS * HEARTBEAT_MS))
      const without = await rest()
      const join = await during(network, async () => {
        await Promise.all(
          subscriptions.map((subscription, i) => subscription.setPresence({ name: `member ${i}` })),
        )
        const areComplete = () => subscriptions.every(({ present }) => present.length === size)
        if (!(await network.until(areComplete, 60_000))) throw new Error('Not everybody sees everybody.')
      })
      await network.world.sleep(HEARTBEAT_MS)
      const withPresence = await rest()
      const [first] = subscriptions as [(typeof subscriptions)[number]]
      const [{ nodeId }] = members as [SimulatedNode]
      const startMs = network.world.nowMs
      const change = await during(network, async () => {
        await first.setPresence({ name: 'member 0', typing: true })
        const areTold = () =>
          subscriptions.every(({ present }) =>
            present.some(
              (member) => member.nodeId === nodeId && JSON.stringify(member.state).includes('typing'),
            ),
          )
        if (!(await network.until(areTold, 10_000))) throw new Error('Not everybody sees the change.')
      })
      const section = 'presence'
      const add = (what: string, value: number, unit: string) =>
        results.add(section, `${size} members: ${what}`, value, unit)
      add('frames in 15 s', (withPresence.frames - without.frames) / HEARTBEATS, '')
      add('bytes in 15 s', (withPresence.bytes - without.bytes) / HEARTBEATS, 'bytes')
      add('bytes in 15 s of the busiest node', (withPresence.busiest - without.busiest) / HEARTBEATS, 'bytes')
      add('bytes in 15 s of the subscriptions without it', without.bytes / HEARTBEATS, 'bytes')
      add('all join at once: bytes', join.bytes, 'bytes')
      add('one changes: frames', change.frames, '')
      add('one changes: bytes', change.bytes, 'bytes')
      add('one changes, until everybody knows (virtual)', network.world.nowMs - startMs, 'ms')
    })
  }
}
