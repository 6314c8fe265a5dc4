import { recordMethods } from '../../../src/dht/wire.ts'
import { topicMethods } from '../../../src/pubsub/wire.ts'
import type { Simulation } from '../simulation.ts'
import { Attacker, groundIdentity, rankedHolders } from './attacker.ts'

/**
 * A holder that says yes to everything and does nothing: what it calls stored it never had, and whom it takes as a
 * subscriber it never tells anything. Several of them say the same, so none gives another away.
 */
export class Withholder extends Attacker {
  /** `count` of them among the closest to the topic; five and more take all the places. */
  static createGroup(simulation: Simulation, count: number): Withholder[] {
    const group: Withholder[] = []
    for (let i = 0; i < count; i++) {
      const label = `mute${i}`
      const identity = groundIdentity(simulation, label, () => allAmongClosest(simulation, count))
      const attacker = new Withholder(simulation, { label, identity, stores: true })
      attacker.#withhold()
      group.push(attacker)
    }
    return group
  }

  #withhold(): void {
    const { rpc } = this
    rpc.handle(topicMethods.publish, (_from, { messages }) => {
      this.count('swallowed', messages.length)
      const results = messages.map(() => null)
      return { version: 1, replicas: CLAIMED_REPLICAS, durableReplicas: CLAIMED_DURABLE, results }
    })
    rpc.handle(topicMethods.confirm, (_from, { ids }) => ({ stored: ids.map(() => true) }))
    rpc.handle(recordMethods.append, () => {
      this.count('falselyStored')
      return { outcome: 'stored' as const }
    })
    rpc.handle(recordMethods.commit, (_from, { head }) => {
      this.count('falselyStored')
      return { outcome: 'stored' as const, head }
    })
    rpc.handle(recordMethods.offer, (_from, { head }) => ({ head }))
    rpc.handle(recordMethods.head, () => {
      this.count('withheldHeads')
      return { head: null }
    })
    rpc.handle(recordMethods.blocks, (_from, { refs }) => ({ blocks: refs.map(() => null) }))
    rpc.handle(recordMethods.compare, () => ({ differing: [] }))
    rpc.handle(topicMethods.attach, () => {
      this.count('muteAttachments')
      return { version: 0 }
    })
    rpc.handle(topicMethods.detach, () => ({}))
    rpc.handle(topicMethods.subscribe, () => ({ version: 1 }))
  }
}

const REPLICAS = 5
const CLAIMED_REPLICAS = 5
const CLAIMED_DURABLE = 3

/** Each that follows may push the ones before it a place further, so room is left for it. */
function allAmongClosest(simulation: Simulation, count: number): boolean {
  const ranked = rankedHolders(simulation)
  const { size } = simulation.attackers
  const places = count < REPLICAS ? REPLICAS - (count - size) : size
  return [...simulation.attackers].every((nodeId) => ranked.indexOf(nodeId) < places)
}
