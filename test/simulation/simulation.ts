import { crc32 } from 'node:zlib'
import { choose } from '../../src/dht/closest.ts'
import { encode, sha256, toHex } from '../../src/dht/index.ts'
import { entriesAfter, loadMessages } from '../../src/pubsub/collection.ts'
import { decodeCoordinator } from '../../src/pubsub/coordinator.ts'
import type { Message } from '../../src/pubsub/index.ts'
import { openMessage } from '../../src/pubsub/message.ts'
import { COORDINATOR } from '../../src/pubsub/options.ts'
import { topicKeyOf } from '../../src/pubsub/topic-key.ts'
import { toMessage } from '../../src/pubsub/view.ts'
import { type Delivered, History } from './history.ts'
import { SimulatedHub } from './hub.ts'
import { type NodeInit, SimulatedNode } from './node.ts'
import type { Random } from './random.ts'
import { distance, positionOf, positionOfKey } from './routing.ts'
import { EPOCH_MS, World, type WorldOptions } from './world.ts'

/** A network of shipped nodes in one world, with everything they do to the topic on record. */

export const TOPIC = 'room'

/** Settings of the test, beside which the defaults are an hour's (invariants.md). */
const REPLICATION = 5
const MIN_DURABLE = 3
export const SWEEP_MS = 20_000
const DHT_OPTIONS = {
  replication: REPLICATION,
  minDurable: MIN_DURABLE,
  antiEntropyMs: 5_000,
  sweepMs: SWEEP_MS,
}

/** Whom it asks first is known by itself. */
type NewNode = Pick<NodeInit, 'label' | 'stores' | 'durable'> & Partial<Pick<NodeInit, 'bootstrap'>>

export class Simulation {
  readonly world: World
  readonly hub: SimulatedHub
  readonly history: History
  readonly nodes: SimulatedNode[] = []
  /** Ids of nodes that store and lie. */
  readonly attackers = new Set<string>()
  readonly random: Random
  /** From the routing tables, as a small libp2p network does, or by look-up: half of the seeds each. */
  readonly smallNetworkPeers: number
  topicKey: Uint8Array = new Uint8Array()

  constructor(options: WorldOptions) {
    this.world = new World(options)
    this.hub = new SimulatedHub(this.world)
    this.history = new History(this.world)
    this.random = this.world.random('schedule')
    this.smallNetworkPeers = options.seed % 2 === 0 ? 20 : 0
  }

  async add(init: NewNode): Promise<SimulatedNode> {
    this.topicKey = await topicKeyOf(TOPIC)
    const node = new SimulatedNode(this.hub, {
      bootstrap: this.holders.slice(0, 3).map(({ nodeId }) => nodeId),
      ...init,
      smallNetworkPeers: this.smallNetworkPeers,
      // often, so that both ways of starting again are seen: from a checkpoint, and from a long log
      dhtOptions: { ...DHT_OPTIONS, checkpointCommits: this.world.seed % 3 === 0 ? 8 : 64 },
      options: {},
      onStart: (started) => this.#watch(started),
    })
    this.nodes.push(node)
    return node
  }

  /** Nine holders, two of three durable, and these clients; all but `fresh` are started. */
  async populate(clients: string[]): Promise<void> {
    for (let i = 0; i < 9; i++) await this.add({ label: `n${i}`, stores: true, durable: i % 3 !== 2 })
    for (const label of clients) await this.add({ label, stores: false, durable: false })
    for (const node of this.nodes) if (node.label !== 'fresh') await node.start()
    await this.world.sleep(1_000)
  }

  node(label: string): SimulatedNode {
    return this.nodes.find((node) => node.label === label) as SimulatedNode
  }

  get holders(): SimulatedNode[] {
    return this.nodes.filter(({ init }) => init.stores)
  }

  get clients(): SimulatedNode[] {
    return this.nodes.filter(({ init }) => !init.stores)
  }

  get merges(): number {
    return this.nodes.reduce((sum, node) => sum + node.merges, 0)
  }

  /** Who should hold the topic of those up now, attackers among them, nearest first, by the definition. */
  get replicaIds(): string[] {
    const target = positionOfKey(this.topicKey)
    const up = this.holders
      .filter(({ isUp }) => isUp)
      .map(({ nodeId, init }) => ({ nodeId, durable: init.durable }))
    const lying = [...this.attackers].map((nodeId) => ({ nodeId, durable: true }))
    const ranked = [...up, ...lying].map((peer) => ({
      ...peer,
      distance: distance(positionOf(peer.nodeId), target),
    }))
    return choose(ranked, REPLICATION, MIN_DURABLE).map(({ nodeId }) => nodeId)
  }

  /** The honest ones among them. */
  get replicaSet(): SimulatedNode[] {
    return this.replicaIds.flatMap((id) => this.nodes.filter(({ nodeId }) => nodeId === id))
  }

  /** Puts each advance of the topic at a node on record, and where it stands after a start. */
  #watch(node: SimulatedNode): void {
    if (!node.init.stores) return
    const { store } = node.pubsub.dht
    store.onAdvance(({ before, after }) => {
      this.history.add({
        type: 'advance',
        node: node.label,
        before: before === undefined ? 0 : decodeCoordinator(before).version,
        version: decodeCoordinator(after).version,
        bytes: after.byteLength,
        head: crc32(after).toString(16),
      })
    })
    if (node.incarnation === 1) return
    store.record(COORDINATOR, this.topicKey).then(
      ({ head }) => {
        const version = head === undefined ? 0 : decodeCoordinator(head).version
        const { lostHeads } = store.counters
        // without a corruption it would be this holder that has thrown away what its head names
        if (lostHeads > 0 && node.disk.counters.flippedBits > 0)
          this.history.add({ type: 'disk-lost', node: node.label })
        this.history.add({ type: 'boot', node: node.label, version })
      },
      // what cannot be read yet is tried again later; what never can is found out at the end
      (error: unknown) => this.world.log(node.label, `cannot read its record yet: ${error}`),
    )
  }

  /** What one node holds of the topic, read from its own disk and memory. */
  async messagesAt(node: SimulatedNode): Promise<{ head: string; messages: Delivered[] }> {
    const record = await node.pubsub.dht.store.record(COORDINATOR, this.topicKey)
    if (record.head === undefined) return { head: '', messages: [] }
    const { messages: root } = decodeCoordinator(record.head)
    const messages: Delivered[] = []
    if (root !== null) {
      const collection = await loadMessages(root, record.read)
      for await (const entry of entriesAfter(collection, 0, record.read)) {
        const message = await openMessage(entry.envelope, this.topicKey)
        const context = { topic: TOPIC, addedInVersion: entry.addedInVersion, historic: true }
        messages.push(deliveredFrom(await toMessage(message, context, record.read)))
      }
    }
    return { head: toHex(await sha256(record.head)), messages }
  }
}

export const checksumOf = (data: unknown): string => crc32(encode(data)).toString(16)

export function deliveredFrom(message: Message): Delivered {
  const { id, publisher, writer, sequence, data, expiresAt } = message
  const { token } = data as { token?: unknown }
  return {
    token: String(token),
    id,
    publisher,
    writer,
    sequence,
    expiresAtMs: expiresAt - EPOCH_MS,
    data: checksumOf(data),
  }
}
