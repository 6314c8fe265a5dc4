import type { NetworkNode } from '../../src/browser/origin-node.ts'
import { UNKNOWN_STATUS } from '../../src/browser/status.ts'
import { TabClient } from '../../src/browser/tab-client.ts'
import { DEFAULT_TAB_OPTIONS, type TabOptions } from '../../src/browser/tab-frames.ts'
import { TabLeader } from '../../src/browser/tab-leader.ts'
import { createTabPubSub } from '../../src/browser/tab-pubsub.ts'
import { StickyError } from '../../src/dht/index.ts'
import type { PubSub } from '../../src/pubsub/index.ts'
import { until } from './memory-nodes.ts'

/** A tab that follows, and the tabs that lead it one after the other, over ports in this process. */

/** Of a tab that leads, as far as the port is concerned. */
const networkNode = (pubsub: PubSub, nodeId: string): NetworkNode => ({
  nodeId,
  pubsub: pubsub as NetworkNode['pubsub'],
  status: () => UNKNOWN_STATUS,
  onStatus: () => () => undefined,
  resyncNode: async () => undefined,
  exportIdentity: async () => '',
  importIdentity: async () => undefined,
  replaced: new Promise(() => undefined),
  close: async () => undefined,
})

export class PortTab {
  readonly #node: PubSub
  readonly options: TabOptions
  readonly client: TabClient
  readonly pubsub: PubSub
  /** The two ends of the port to the present leader. */
  ports: MessageChannel | undefined
  leader: TabLeader | undefined
  readonly leaders: TabLeader[] = []
  nodeId: string

  /** `node`: of the first leader, unless another one is named. */
  constructor(node: PubSub, options: Partial<TabOptions> = {}) {
    this.#node = node
    this.nodeId = node.nodeId
    this.options = { ...DEFAULT_TAB_OPTIONS, ...options }
    this.client = new TabClient({
      options: this.options,
      onNode: (_events, mirror) => {
        this.nodeId = (mirror as { nodeId: string }).nodeId
      },
      onBye: () => undefined,
    })
    this.pubsub = createTabPubSub({
      client: this.client,
      options: this.options,
      nodeId: () => this.nodeId,
      close: async () => undefined,
    })
  }

  /**
   * A new leader over `pubsub`, by the same name as all of them; the one before goes on where it is, unheard, as one that
   * crashed would.
   */
  async follow(pubsub: PubSub = this.#node, nodeId = this.#node.nodeId): Promise<void> {
    this.ports = new MessageChannel()
    const { port1, port2 } = this.ports
    this.client.attach(port2)
    this.leader = new TabLeader(networkNode(pubsub, nodeId), this.options)
    this.leaders.push(this.leader)
    this.leader.join('tab', () => port1)
    await until(() => this.client.isConnected)
  }

  async close(): Promise<void> {
    this.client.close(new StickyError('CLOSED', 'Over.'))
    await Promise.all(this.leaders.map((leader) => leader.close(false)))
  }
}
