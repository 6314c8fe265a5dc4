import { identityFromSeed } from '../../src/dht/index.ts'
import type { MemoryNode, MemoryNodeOptions } from './memory-nodes.ts'
import { OutboxNet } from './outbox-net.ts'

const HOUR_MS = 3_600_000

/** Nodes of which some start knowing nobody, in virtual time. */
export class StrangersNet extends OutboxNet {
  /** Whom nobody knows, and who know nobody. */
  readonly strangers = new Set<string>()
  /** How often somebody looked for holders, by node id. */
  readonly looks = new Map<string, number>()

  /** Nothing is noticed by a check. Holders compare what they have a second after peers came or went. */
  async add({ isStranger, ...init }: MemoryNodeOptions & { isStranger?: boolean }): Promise<MemoryNode> {
    const seed = init.seed ?? crypto.getRandomValues(new Uint8Array(32))
    const { nodeId: self } = await identityFromSeed(seed)
    if (isStranger) this.strangers.add(self)
    const node = await this.holder({
      durable: false,
      ...init,
      seed,
      dhtOptions: { antiEntropyMs: HOUR_MS, ...init.dhtOptions },
      options: { checkIntervalMs: 0, ...init.options },
    })
    const closestPeers = node.network.closestPeers.bind(node.network)
    node.network.closestPeers = async (...args) => {
      this.looks.set(self, (this.looks.get(self) ?? 0) + 1)
      const isKnown = (nodeId: string) =>
        nodeId === self || !(this.strangers.has(self) || this.strangers.has(nodeId))
      return (await closestPeers(...args)).filter(({ nodeId }) => isKnown(nodeId))
    }
    return node
  }

  peersCameOrWent(): void {
    for (const { network } of this.net.nodes) network.topologyChanged()
  }

  meet(): void {
    this.strangers.clear()
    this.peersCameOrWent()
  }
}
