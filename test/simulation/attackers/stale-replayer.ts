import { blockName } from '../../../src/dht/record.ts'
import { recordMethods } from '../../../src/dht/wire.ts'
import { COORDINATOR } from '../../../src/pubsub/options.ts'
import { topicMethods } from '../../../src/pubsub/wire.ts'
import type { Simulation } from '../simulation.ts'
import { Attacker, groundIdentity, isAmongClosestTwo } from './attacker.ts'

/**
 * A holder that lies: it has kept a true, signed, old state of the topic and shows it to everybody, again and again. It
 * takes subscribers and never serves them, and answers commits with its old head.
 */
export class StaleReplayer extends Attacker {
  #head: Uint8Array | null = null

  static create(simulation: Simulation, label: string): StaleReplayer {
    const identity = groundIdentity(simulation, label, isAmongClosestTwo(simulation))
    const attacker = new StaleReplayer(simulation, { label, identity, stores: true })
    attacker.#lie()
    return attacker
  }

  #lie(): void {
    const old = () => {
      this.count('lies')
      return this.#head
    }
    this.rpc.handle(recordMethods.head, () => ({ head: old() }))
    this.rpc.handle(recordMethods.offer, (_from, { head }) => ({ head: old() ?? head }))
    this.rpc.handle(recordMethods.append, () => ({ outcome: 'other' as const }))
    this.rpc.handle(recordMethods.commit, (_from, { head }) => {
      const mine = old()
      return mine === null
        ? { outcome: 'stored' as const, head }
        : { outcome: 'conflict' as const, head: mine }
    })
    this.rpc.handle(recordMethods.compare, (_from, { records }) => ({ differing: records.map((_, i) => i) }))
    this.rpc.handle(recordMethods.blocks, (_from, { refs }) => ({
      blocks: refs.slice(0, 8).map(([kind, id]) => this.blocks.get(blockName({ kind, id })) ?? null),
    }))
    this.rpc.handle(topicMethods.publish, this.busy)
    this.rpc.handle(topicMethods.subscribe, this.busy)
    this.rpc.handle(topicMethods.attach, () => ({ version: 0 }))
    this.rpc.handle(topicMethods.detach, () => ({}))
  }

  /** Remembers the state of now, and replays it to the holders for a while. */
  async replay(forMs: number, everyMs: number): Promise<void> {
    const { world, replicaSet, topicKey: key } = this.simulation
    const source = replicaSet[0]
    if (source === undefined) return
    this.#head = (await this.remember(source)) ?? null
    await world.sleep(2_000)
    const endMs = world.nowMs + forMs
    while (world.nowMs < endMs && this.#head !== null) {
      for (const { nodeId } of replicaSet) {
        const offer = { kind: COORDINATOR, key, head: this.#head, source: this.publicKey }
        const commit = { kind: COORDINATOR, key, head: this.#head }
        this.count('replays', 2)
        this.rpc.request(nodeId, recordMethods.offer, offer).catch(() => undefined)
        this.rpc.request(nodeId, recordMethods.commit, commit).catch(() => undefined)
      }
      await world.sleep(everyMs)
    }
  }
}
