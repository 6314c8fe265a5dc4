import {
  DEFAULT_DHT_OPTIONS,
  type Identity,
  type NodeId,
  publicKeyOf,
  StickyError,
} from '../../../src/dht/index.ts'
import { blockName } from '../../../src/dht/record.ts'
import { Rpc } from '../../../src/dht/rpc.ts'
import { COORDINATOR } from '../../../src/pubsub/options.ts'
import { simulatedIdentity } from '../identity.ts'
import { SimulatedNetwork, type SimulatedNetworkInit } from '../network.ts'
import type { SimulatedNode } from '../node.ts'
import type { Random } from '../random.ts'
import { byDistance, contactOf, positionOfKey } from '../routing.ts'
import type { Simulation } from '../simulation.ts'
import { SimulatedRuntime } from '../world.ts'

/** What all attackers share: an identity, a place in the network, and a voice on the wire. None runs a shipped holder. */

export interface AttackerInit {
  label: string
  identity: Identity
  stores: boolean
  lie?: SimulatedNetworkInit['lie']
}

export abstract class Attacker {
  protected readonly simulation: Simulation
  protected readonly identity: Identity
  protected readonly runtime: SimulatedRuntime
  protected readonly network: SimulatedNetwork
  protected readonly rpc: Rpc
  protected readonly random: Random
  /** True blocks of the topic, by name. */
  protected readonly blocks = new Map<string, Uint8Array>()
  /** What it did, by name: a run in which an attack did not happen proves nothing. */
  readonly counters: Record<string, number> = {}

  constructor(simulation: Simulation, { label, identity, stores, lie }: AttackerInit) {
    const { hub, world } = simulation
    this.simulation = simulation
    this.identity = identity
    this.random = world.random(`attacker ${label}`)
    this.runtime = new SimulatedRuntime(world, world.random(`process ${label}`))
    this.network = new SimulatedNetwork({
      hub,
      self: identity.nodeId,
      label,
      stores,
      durable: stores,
      bootstrap: simulation.holders.slice(0, 3).map(({ nodeId }) => nodeId),
      ...(lie ? { lie } : {}),
    })
    this.rpc = new Rpc(this.network, this.runtime, { ...DEFAULT_DHT_OPTIONS })
  }

  get nodeId(): NodeId {
    return this.identity.nodeId
  }

  protected get publicKey(): Uint8Array {
    return publicKeyOf(this.nodeId)
  }

  async join(): Promise<void> {
    await this.network.join()
  }

  protected count(what: string, by = 1): void {
    this.counters[what] = (this.counters[what] ?? 0) + by
  }

  /** For a request that it does not care to answer. */
  protected readonly busy = (): never => {
    throw new StickyError('BUSY', 'Come again.')
  }

  /** The whole true state of now, as every holder has it. Gives its head. */
  protected async remember(source: SimulatedNode): Promise<Uint8Array | undefined> {
    const { store } = source.pubsub.dht
    const record = await store.record(COORDINATOR, this.simulation.topicKey)
    const head = record.head
    if (head === undefined) return undefined
    const waiting = record.kind.links(head)
    for (let ref = waiting.pop(); ref !== undefined; ref = waiting.pop()) {
      const name = blockName(ref)
      const bytes = this.blocks.has(name) ? undefined : await record.local(ref)
      if (bytes === undefined) continue
      this.blocks.set(name, bytes)
      waiting.push(...store.blockKind(ref.kind).links(bytes))
    }
    return head
  }

  /** Puts what it did on record. */
  tell(): void {
    this.simulation.history.add({ type: 'attack', counts: { ...this.counters } })
  }
}

/** An identity in a chosen place, as anybody can grind one. It counts as a holder from then on. */
export function groundIdentity(
  simulation: Simulation,
  label: string,
  fits: (nodeId: NodeId) => boolean,
): Identity {
  const random = simulation.world.random(`identity ${label}`)
  for (;;) {
    const identity = simulatedIdentity(random.bytes(32))
    simulation.attackers.add(identity.nodeId)
    if (fits(identity.nodeId)) return identity
    simulation.attackers.delete(identity.nodeId)
  }
}

/** Among the two closest to the topic: where most questions go. */
export const isAmongClosestTwo = (simulation: Simulation) => (nodeId: NodeId) => {
  const place = simulation.replicaIds.indexOf(nodeId)
  return place >= 0 && place < 2
}

/** All who store, honest or not, nearest to the topic first. */
export function rankedHolders(simulation: Simulation): NodeId[] {
  const honest = simulation.holders.filter(({ isUp }) => isUp).map(({ nodeId }) => nodeId)
  const contacts = [...honest, ...simulation.attackers].map(contactOf)
  return byDistance(contacts, positionOfKey(simulation.topicKey)).map(({ nodeId }) => nodeId)
}
