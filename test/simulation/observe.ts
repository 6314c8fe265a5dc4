import type { History, HistoryEvent } from './history.ts'
import type { SimulatedNode } from './node.ts'
import { observeDisks } from './observe-disks.ts'
import { observeResources } from './observe-resources.ts'
import { deliveredFrom, type Simulation, TOPIC } from './simulation.ts'

/** What is told of a run besides what its nodes do: its own errors, and what is there at the end. */

/** A block that a read found corrupted leaves the disk. */
const REPAIR_MS = 500

/** Runs it in its world; whatever it throws, or nobody catches, is on record. */
export async function onRecord({ world, history }: Simulation, run: () => Promise<void>): Promise<void> {
  const onRejection = noteCrash(history, 'an unhandled rejection')
  process.on('unhandledRejection', onRejection)
  try {
    await world.run(run)
  } catch (error) {
    noteCrash(history, 'the run itself')(error)
  } finally {
    process.off('unhandledRejection', onRejection)
  }
}

const noteCrash = (history: History, where: string) => (error: unknown) =>
  history.add({ type: 'crash', where, text: String((error as Error)?.stack ?? error) })

/** Once nothing is asked of anybody: what is still under way, what is in the topic, and what is on the disks. */
export async function observe(simulation: Simulation, fresh: SimulatedNode): Promise<void> {
  await observeResources(simulation)
  try {
    await observeTopic(simulation, fresh)
  } finally {
    await simulation.world.sleep(REPAIR_MS)
    await observeDisks(simulation)
  }
}

/** What each replica holds, and what `fresh`, which was never there before, reads. */
async function observeTopic(simulation: Simulation, fresh: SimulatedNode): Promise<void> {
  const { history, replicaSet } = simulation
  for (const node of replicaSet) {
    const unreadable = (error: unknown) => ({ head: `unreadable: ${error}`, messages: [] })
    history.add({
      type: 'replica',
      node: node.label,
      ...(await simulation.messagesAt(node).catch(unreadable)),
    })
  }
  await fresh.start()
  const messages = []
  let before: string | undefined
  do {
    const page = await fresh.pubsub.history(TOPIC, { limit: 100, ...(before ? { before } : {}) })
    messages.unshift(...page.messages.map(deliveredFrom))
    before = page.before
  } while (before !== undefined)
  history.add({ type: 'fresh', messages })
  const subscribers = await fresh.pubsub.subscribers(TOPIC)
  history.add({ type: 'subscribers', nodes: subscribers.map(({ nodeId }) => nodeId) })
}

/** Why a run says nothing of disks and resources; empty when it does. */
export function wasLookedAt(events: HistoryEvent[]): string[] {
  const out: string[] = []
  if (!events.some((event) => event.type === 'disk' && event.blocks > 0)) out.push('no block was on any disk')
  for (const moment of ['load', 'rest'] as const)
    if (!events.some((event) => event.type === 'resources' && event.moment === moment))
      out.push(`nobody's resources were looked at, ${moment}`)
  return out
}
