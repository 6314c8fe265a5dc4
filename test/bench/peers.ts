import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { multiaddr } from '@multiformats/multiaddr'
import { createNode, type StickyNode } from '../../src/node/index.ts'
import { Program } from '../support/local-network.ts'
import { until } from '../support/memory-nodes.ts'
import { Child } from './children.ts'
import { createGossipNode, type GossipNode } from './gossip.ts'

/** The two networks that are compared: ten processes each on loopback; publishers and subscribers live in this one. */

export const PEERS = 10
export const GOSSIP_TOPIC = 'bench'

export class StickyPeers {
  readonly nodeIds: string[] = []
  readonly #directory: string
  readonly #holders: Child[] = []
  readonly #clients: StickyNode[] = []
  #bridge: Program | undefined
  #url = ''

  private constructor(directory: string) {
    this.#directory = directory
  }

  static async start(): Promise<StickyPeers> {
    const peers = new StickyPeers(await mkdtemp(join(tmpdir(), 'sticky-bench-')))
    await peers.#start()
    return peers
  }

  async #start(): Promise<void> {
    this.#bridge = new Program(['bridge', '--json', '--port', '0', '--data', join(this.#directory, 'bridge')])
    this.#url = (await this.#bridge.event(({ event }) => event === 'ready')).url as string
    for (let i = 0; i < PEERS; i++) {
      const args = [this.#url, join(this.#directory, `holder-${i}`)]
      const { child, ready } = await Child.start<{ nodeId: string }>('holder.ts', args)
      this.#holders.push(child)
      this.nodeIds.push(ready.nodeId)
    }
  }

  /** A node of this process that stores nothing and knows all the holders. */
  async client(): Promise<StickyNode> {
    const node = await createNode({ role: 'client', bridgeUrl: this.#url })
    this.#clients.push(node)
    await until(async () => (await node.knownHolders()) >= PEERS, 60_000)
    return node
  }

  /** Bytes of protocol frames that all nodes have sent so far. */
  async bytesSent(): Promise<number> {
    const holders = await Promise.all(this.#holders.map((holder) => holder.ask<number>('bytes')))
    const clients = this.#clients.map(({ pubsub }) => pubsub.counters().rpc.bytesSent)
    return [...holders, ...clients].reduce((sum, bytes) => sum + bytes, 0)
  }

  async stop(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.close()))
    await Promise.all(this.#holders.map((holder) => holder.stop()))
    await this.#bridge?.kill('SIGTERM')
    await rm(this.#directory, { recursive: true, force: true })
  }
}

export class GossipPeers {
  readonly #addresses: string[] = []
  readonly #peers: Child[] = []
  readonly #clients: GossipNode[] = []

  static async start(): Promise<GossipPeers> {
    const network = new GossipPeers()
    for (let i = 0; i < PEERS; i++) {
      const { child, ready } = await Child.start<{ address: string }>('gossip-peer.ts', [
        GOSSIP_TOPIC,
        ...network.#addresses,
      ])
      network.#peers.push(child)
      network.#addresses.push(ready.address)
    }
    return network
  }

  /** A node of this process, connected to all the others. */
  async client(subscribes: boolean): Promise<GossipNode> {
    const node = await createGossipNode([])
    this.#clients.push(node)
    if (subscribes) node.services.pubsub.subscribe(GOSSIP_TOPIC)
    for (const address of this.#addresses) await node.dial(multiaddr(address))
    const subscribers = () => node.services.pubsub.getSubscribers(GOSSIP_TOPIC).length
    await until(() => subscribers() >= PEERS, 60_000)
    return node
  }

  async stop(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.stop()))
    await Promise.all(this.#peers.map((peer) => peer.stop()))
  }
}
