import {
  type DhtOptions,
  identityFromSeed,
  memoryStorage,
  type Runtime,
  type Storage,
} from '../../src/dht/index.ts'
import { type PubSubOptions, StickyPubSub } from '../../src/pubsub/index.ts'
import type { Retention } from '../../src/pubsub/retention.ts'
import { MemoryHub, type MemoryPeer } from './memory-network.ts'

export interface MemoryNode {
  pubsub: StickyPubSub
  network: MemoryPeer
  storage: Storage
  seed: Uint8Array
}

export interface MemoryNodeOptions {
  seed?: Uint8Array
  storage?: Storage
  stores?: boolean
  durable?: boolean
  runtime?: Runtime
  dhtOptions?: Partial<DhtOptions>
  options?: Partial<PubSubOptions>
  retention?: Retention
}

/** Nodes of the shipped classes over an in-process network. */
export class MemoryNet {
  readonly hub = new MemoryHub()
  readonly nodes: MemoryNode[] = []

  async add(init: MemoryNodeOptions = {}): Promise<MemoryNode> {
    const seed = init.seed ?? crypto.getRandomValues(new Uint8Array(32))
    const identity = await identityFromSeed(seed)
    const storage = init.storage ?? memoryStorage()
    const network = this.hub.join(identity.nodeId, {
      stores: init.stores ?? true,
      durable: init.durable ?? true,
    })
    const pubsub = new StickyPubSub({
      network,
      storage,
      identity,
      ...(init.runtime ? { runtime: init.runtime } : {}),
      dhtOptions: { antiEntropyMs: 500, ...init.dhtOptions },
      ...(init.options ? { options: init.options } : {}),
      ...(init.retention ? { retention: init.retention } : {}),
    })
    const node = { pubsub, network, storage, seed }
    this.nodes.push(node)
    return node
  }

  async close(): Promise<void> {
    await Promise.all(this.nodes.map(({ pubsub }) => pubsub.close()))
  }
}

/** Resolves once `condition` holds; fails with what it last saw when it does not within `timeoutMs`. */
export async function until<T>(
  condition: () => T | Promise<T>,
  timeoutMs = 10_000,
  describe?: () => string,
): Promise<T> {
  const end = performance.now() + timeoutMs
  for (;;) {
    const value = await condition()
    if (value) return value
    if (performance.now() > end)
      throw new Error(`Not within ${timeoutMs} ms: ${describe?.() ?? condition.toString()}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
