import { LIMITS } from '../../src/pubsub/options.ts'
import { recordNames } from './observe-disks.ts'
import { type Simulation, SWEEP_MS } from './simulation.ts'
import type { Workload } from './workload.ts'

/** Between two sweeps, at most. */
const LONGEST_SWEEP_MS = 1.5 * SWEEP_MS
const LEAPS = 3

/**
 * Everybody leaves, and time passes until the last statement has expired and its grace is over, by leaps in between which
 * holders are killed. Two are away just then, and come back, with all they had, when the others have let go of it.
 */
export async function outlive(simulation: Simulation, workload: Workload, skewMs: number): Promise<void> {
  const { world, history, random, nodes } = simulation
  const before = new Map(nodes.map((node) => [node, recordNames(node).length]))
  history.add({ type: 'phase', phase: 'expiry' })
  await workload.unsubscribeAll()
  const overMs = world.wallMs + LIMITS.subscriptionTtlMs + LIMITS.graceMs
  for (let leap = LEAPS; leap > 0; leap--) {
    const victim = random.pick(simulation.replicaSet)
    victim.crash({ isSilent: random.chance(0.3) })
    world.skip((overMs - 2 * skewMs - world.wallMs) / leap)
    await victim.start()
    await world.sleep(random.between(1_000, 5_000))
  }
  const away = random.sample(simulation.replicaSet, 2)
  for (const victim of away) victim.crash({ isSilent: random.chance(0.3) })
  // some clocks say that it is over, others that it is not
  await world.sleep(LONGEST_SWEEP_MS)
  world.skip(Math.max(0, overMs + 2 * skewMs - world.wallMs))
  await world.sleep(random.between(0, 2 * LONGEST_SWEEP_MS))
  for (const victim of away) await victim.start()
  await world.sleep(2 * LONGEST_SWEEP_MS + 2_000)
  for (const node of nodes) {
    const { head } = await simulation.messagesAt(node).catch((error) => ({ head: `unreadable: ${error}` }))
    history.add({
      type: 'kept',
      node: node.label,
      before: before.get(node) ?? 0,
      names: recordNames(node),
      head,
    })
  }
}
