import { decodeAny, type Identity, publicKeyOf } from '../../../src/dht/index.ts'
import { recordMethods } from '../../../src/dht/wire.ts'
import { openMessage } from '../../../src/pubsub/message.ts'
import { signStored } from '../../../src/pubsub/stored-statement.ts'
import { type Signed, topicMethods } from '../../../src/pubsub/wire.ts'
import type { Simulation } from '../simulation.ts'
import { Attacker, groundIdentity, rankedHolders } from './attacker.ts'

/**
 * A holder that says yes to everything and does nothing: what it calls stored it never had, and whom it takes as a
 * subscriber it never tells anything. Several of them say the same, and sign it, so none gives another away.
 */
export class Withholder extends Attacker {
  /** All of them, this one too: they have each other's keys. */
  #friends: Identity[] = []

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
    for (const attacker of group) attacker.#friends = group.map(({ identity }) => identity)
    return group
  }

  #withhold(): void {
    const { rpc } = this
    rpc.handle(topicMethods.publish, async (_from, { messages }) => {
      this.count('swallowed', messages.length)
      const results = messages.map(() => null)
      const signed = await this.#lies(messages)
      return { version: 1, replicas: CLAIMED_REPLICAS, durableReplicas: CLAIMED_DURABLE, results, signed }
    })
    rpc.handle(topicMethods.confirm, (_from, { ids }) => ({ stored: ids.map(() => true) }))
    rpc.handle(recordMethods.append, async (_from, { key, delta }) => {
      this.count('falselyStored')
      const { messages } = decodeAny(delta, delta.byteLength) as { messages: Uint8Array[] }
      const ids = await idsOf(messages)
      const signed = await signStored({ topicKey: key, ids }, this.identity, this.runtime.now())
      return { outcome: 'stored' as const, signed }
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

  /** What each of them has signed, and for the honest holders what it has not. */
  async #lies(messages: Uint8Array[]): Promise<Signed> {
    const { topicKey, holders } = this.simulation
    const ids = await idsOf(messages)
    const sign = (identity: Identity) => signStored({ topicKey, ids }, identity, this.runtime.now())
    const byFriends = this.#friends.map(async (friend): Promise<[Uint8Array, Uint8Array]> => {
      return [friend.publicKey, await sign(friend)]
    })
    const forged = await sign(this.identity)
    const byOthers = holders.map(({ nodeId }): [Uint8Array, Uint8Array] => [publicKeyOf(nodeId), forged])
    return { ids, by: [...(await Promise.all(byFriends)), ...byOthers] }
  }
}

const idsOf = (envelopes: Uint8Array[]): Promise<Uint8Array[]> =>
  Promise.all(envelopes.map(async (envelope) => (await openMessage(envelope)).id))

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
