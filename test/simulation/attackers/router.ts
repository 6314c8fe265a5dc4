import { type NodeId, nodeIdOf } from '../../../src/dht/index.ts'
import { BUCKET_SIZE, byDistance, contactOf } from '../routing.ts'
import type { Simulation } from '../simulation.ts'
import { Attacker, groundIdentity, rankedHolders } from './attacker.ts'

/**
 * It lies about who is where: to a routing question it answers with made-up ids close to the place, with its accomplices
 * and nobody else, or with nothing. It is too far from the topic to hold it.
 */
export class LyingRouter extends Attacker {
  static create(simulation: Simulation, label: string): LyingRouter {
    // so far away that it does not come in when two holders go
    const isFar = (nodeId: NodeId) => rankedHolders(simulation).indexOf(nodeId) >= FAR_PLACE
    const identity = groundIdentity(simulation, label, isFar)
    const random = simulation.world.random(`lies ${label}`)
    const madeUp = Array.from({ length: MADE_UP_IDS }, () => contactOf(nodeIdOf(random.bytes(32))))
    const lies: Record<string, (target: Uint8Array) => NodeId[]> = {
      madeUp: (target) =>
        byDistance(madeUp, target)
          .slice(0, BUCKET_SIZE)
          .map(({ nodeId }) => nodeId),
      accomplices: () => [...simulation.attackers],
      nothing: () => [],
    }
    const lie = (target: Uint8Array) => {
      const kind = random.pick(Object.keys(lies))
      router.count(kind)
      return lies[kind]?.(target) ?? []
    }
    const router = new LyingRouter(simulation, { label, identity, stores: true, lie })
    return router
  }
}

const FAR_PLACE = 7
const MADE_UP_IDS = 200
