import { Dht } from '../../src/dht/dht.ts'
import { holdRecords } from '../../src/dht/holding.ts'
import { identityFromSeed, type NodeId } from '../../src/dht/identity.ts'
import type { DhtOptions } from '../../src/dht/options.ts'
import type { HeldRecord } from '../../src/dht/record.ts'
import { encodeDelta } from '../../src/pubsub/delta.ts'
import { FaultStorage } from './fault-storage.ts'
import { countMessages, KIND } from './holder.ts'
import { topicKey, World } from './lineage.ts'
import { ManualRuntime } from './manual-runtime.ts'
import { MemoryHub, type MemoryPeer } from './memory-network.ts'

/** Record stores of several nodes over an in-process network. No timer runs unless a test moves the time. */

export interface DhtNode {
  nodeId: NodeId
  dht: Dht
  network: MemoryPeer
  storage: FaultStorage
  /** Commits new messages at this node alone. */
  commit(count?: number, data?: Uint8Array): Promise<void>
  record(): Promise<HeldRecord>
  head(): Promise<Uint8Array | undefined>
}

export interface DhtNodeInit {
  stores?: boolean
  durable?: boolean
  storage?: FaultStorage
  options?: Partial<DhtOptions>
}

export class DhtNet {
  readonly hub = new MemoryHub()
  readonly world = new World()
  readonly runtime = new ManualRuntime(() => this.world.nowMs)
  readonly nodes: DhtNode[] = []

  async add(init: DhtNodeInit = {}): Promise<DhtNode> {
    const number = this.nodes.length + 1
    const { nodeId } = await identityFromSeed(new Uint8Array(32).fill(100 + number))
    const network = this.hub.join(nodeId, { stores: init.stores ?? true, durable: init.durable ?? true })
    const storage = init.storage ?? new FaultStorage()
    const dht = new Dht({
      holdRecords,
      network,
      storage,
      runtime: this.runtime,
      headKinds: [this.world.kind],
      blockKinds: [...this.world.blockKinds.values()],
      options: init.options ?? {},
    })
    let sequence = 0
    const record = () => dht.store.record(KIND, topicKey)
    const node: DhtNode = {
      nodeId,
      dht,
      network,
      storage,
      record,
      head: async () => (await record()).head,
      commit: async (count = 1, data = Uint8Array.of(1)) => {
        this.world.nowMs += 1
        const messages = await this.world.messages(sequence + 1, count, { writer: number, data })
        sequence += count
        const delta = encodeDelta({ nowMs: this.world.nowMs, messages, payloads: [], statements: [] })
        const held = await record()
        await held.exclusive(() => dht.store.applyLocal(held, delta))
      },
    }
    this.nodes.push(node)
    return node
  }

  async close(): Promise<void> {
    await Promise.all(this.nodes.map(({ dht }) => dht.close()))
  }
}

/** How many messages a node's head reaches, each read through its record and verified. */
export const messageCount = async ({ dht, record }: DhtNode): Promise<number> =>
  countMessages(dht.store, await record())
