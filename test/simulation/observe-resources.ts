import { flowsOf } from './flows.ts'
import type { Resources } from './history.ts'
import type { SimulatedNode } from './node.ts'
import type { Simulation } from './simulation.ts'

/** What each node keeps for work under way. */

/** What is done now and then, e.g. a comparison with a neighbour, has an end in between. */
const REST_WITHIN_MS = 10_000
const LOOK_EVERY_MS = 50

export function resourcesOf({ hub }: Simulation, node: SimulatedNode): Resources {
  const { waitingPublishes, queuedTopics, pendingRequests, waitingConfirms, ...others } =
    node.pubsub.counters()
  const { attachedSubscribers, connectedPeers } = others
  const links = [...hub.links].filter(({ owner }) => owner === node.nodeId).length
  const { timers } = node
  return {
    waitingPublishes,
    queuedTopics,
    pendingRequests,
    waitingConfirms,
    attachedSubscribers,
    peers: connectedPeers,
    links,
    timers,
    flows: flowsOf(node.pubsub),
  }
}

/** Amid the load. */
export function noteResources(simulation: Simulation): void {
  const { history, nodes } = simulation
  for (const node of nodes.filter(({ isUp }) => isUp))
    history.add({ type: 'resources', node: node.label, moment: 'load', ...resourcesOf(simulation, node) })
}

/** Each node's when nothing is under way there, or as they are when that takes too long. */
export async function observeResources(simulation: Simulation): Promise<void> {
  const { world, history, nodes } = simulation
  const endMs = world.nowMs + REST_WITHIN_MS
  let busy = nodes.filter(({ isUp }) => isUp)
  for (;;) {
    busy = busy.filter((node) => {
      const resources = resourcesOf(simulation, node)
      const { waitingPublishes, queuedTopics, pendingRequests, waitingConfirms } = resources
      if (waitingPublishes + queuedTopics + pendingRequests + waitingConfirms > 0 && world.nowMs < endMs)
        return true
      history.add({ type: 'resources', node: node.label, moment: 'rest', ...resources })
      return false
    })
    if (busy.length === 0) return
    await world.sleep(LOOK_EVERY_MS)
  }
}
