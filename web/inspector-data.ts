import type { ChannelState, ChatNode, CoordinatorView, FullHistory, ReplicaView } from './chat-node.ts'
import { describeProblem } from './problems.ts'

/** What the inspector knows of a topic: asked of the node, one question after the other. */

export type Holder = Pick<ReplicaView, 'nodeId' | 'durable'>

export interface HeadView
  extends Pick<
    CoordinatorView,
    | 'id'
    | 'version'
    | 'messages'
    | 'subscribers'
    | 'messageHistory'
    | 'subscriberHistory'
    | 'previous'
    | 'lastModified'
    | 'bytes'
  > {
  /** Who has it now; nobody: it was seen before. */
  holders: Holder[]
}

export interface Counter {
  name: string
  value: number
}

export interface Inspection {
  channel: ChannelState
  replicas: ReplicaView[]
  /** What a reader believes: the head that most replicas have. */
  agreed: CoordinatorView | undefined
  /** The newest first, also those that were seen before. */
  heads: HeadView[]
  full: FullHistory | undefined
  topicPlace: Uint8Array
  /** By node id: this node, its peers, the replicas. */
  places: Map<string, Uint8Array>
  counters: Counter[]
  /** Why a part of it is missing or old. */
  problem: string | undefined
}

/** So many heads are remembered, those that somebody still has first. */
const MAX_HEADS = 8
const MAX_PLACES = 512
/** Levels of snapshots: each holds the history of hundreds of versions. */
const MAX_SNAPSHOT_DEPTH = 8

export class TopicInspection {
  readonly #node: ChatNode
  readonly #topic: string
  readonly #heads = new Map<string, HeadView>()
  readonly #places = new Map<string, Uint8Array>()
  #replicas: ReplicaView[] = []
  #agreed: CoordinatorView | undefined
  #channel: ChannelState = 'ACTIVE'
  #full: { headId: string; history: FullHistory } | undefined
  #counters: Counter[] = []

  constructor(node: ChatNode, topic: string) {
    this.#node = node
    this.#topic = topic
  }

  /** What fails keeps its last answer. */
  async ask(): Promise<Inspection> {
    const problems: unknown[] = []
    const steps = [
      this.#readChannel,
      this.#readReplicas,
      this.#readAgreed,
      this.#readHeads,
      this.#readHistory,
      this.#readCounters,
    ]
    for (const step of steps) {
      try {
        await step.call(this)
      } catch (error) {
        problems.push(error)
      }
    }
    const topicPlace = await this.#node.keyspace.placeOfTopic(this.#topic)
    const nodeIds = [this.#node.nodeId, ...this.#node.status().peers.map(({ nodeId }) => nodeId)]
    for (const nodeId of [...nodeIds, ...this.#replicas.map((replica) => replica.nodeId)])
      await this.#place(nodeId)
    return {
      channel: this.#channel,
      replicas: this.#replicas,
      agreed: this.#agreed,
      heads: newestFirst([...this.#heads.values()]),
      full: this.#full?.history,
      topicPlace,
      places: this.#places,
      counters: this.#counters,
      problem: problems.length === 0 ? undefined : describeProblem(problems[0]),
    }
  }

  async #readChannel(): Promise<void> {
    this.#channel = await this.#node.pubsub.channelState(this.#topic)
  }

  async #readReplicas(): Promise<void> {
    this.#replicas = await this.#node.pubsub.replicas(this.#topic)
  }

  async #readAgreed(): Promise<void> {
    this.#agreed = await this.#node.pubsub.loadCoordinator(this.#topic)
  }

  async #readHeads(): Promise<void> {
    for (const { headId, head } of this.#replicas) {
      if (headId === undefined || head === undefined || this.#heads.has(headId)) continue
      // A head joined with itself is itself: this only decodes it.
      const view = await this.#node.pubsub.mergeCoordinators(this.#topic, head, head)
      this.#heads.set(headId, { ...view, holders: [] })
    }
    if (this.#agreed !== undefined && !this.#heads.has(this.#agreed.id))
      this.#heads.set(this.#agreed.id, { ...this.#agreed, holders: [] })
    for (const head of this.#heads.values())
      head.holders = this.#replicas.filter(({ headId }) => headId === head.id)
    this.#forgetHeads()
  }

  async #readHistory(): Promise<void> {
    if (this.#agreed === undefined || this.#full?.headId === this.#agreed.id) return
    const headId = this.#agreed.id
    const history = await this.#node.pubsub.loadFullHistory(this.#topic, MAX_SNAPSHOT_DEPTH)
    this.#full = { headId, history }
  }

  async #readCounters(): Promise<void> {
    this.#counters = namedCounters(await this.#node.pubsub.counters?.())
  }

  async #place(nodeId: string): Promise<void> {
    if (this.#places.has(nodeId)) return
    try {
      this.#places.set(nodeId, await this.#node.keyspace.placeOfNode(nodeId))
    } catch {
      return // a peer that is no node of ours has no place among them
    }
    if (this.#places.size > MAX_PLACES) this.#places.delete(this.#places.keys().next().value as string)
  }

  #forgetHeads(): void {
    const kept = [...this.#heads.values()].toSorted(
      (a, b) => Number(b.holders.length > 0) - Number(a.holders.length > 0) || b.version - a.version,
    )
    for (const { id } of kept.slice(MAX_HEADS)) this.#heads.delete(id)
  }
}

export const newestFirst = (heads: HeadView[]): HeadView[] =>
  heads.toSorted((a, b) => b.version - a.version || (a.id < b.id ? -1 : 1))

const COUNTERS = [
  ['Merges of heads', ['merges']],
  ['Commits', ['commits', 'commits']],
  ['Conflicts at commit', ['commits', 'conflicts']],
  ['Repairs by comparison', ['antiEntropy', 'repaired']],
  ['Comparison rounds', ['antiEntropy', 'rounds']],
  ['Publishes stored', ['publisher', 'stored']],
  ['Publishes failed', ['publisher', 'failed']],
  ['Outcome unknown', ['publisher', 'unknown']],
  ['Messages pushed', ['delivery', 'pushedMessages']],
  ['Pushes failed', ['delivery', 'failedPushes']],
  ['Subscribers served', ['attachedSubscribers']],
  ['In the outbox', ['outbox']],
  ['Resyncs', ['resync', 'runs']],
  ['Requests sent', ['rpc', 'requestsSent']],
  ['Requests answered', ['rpc', 'requestsReceived']],
  ['Timeouts', ['rpc', 'timeouts']],
  ['Bytes sent', ['rpc', 'bytesSent']],
  ['Bytes received', ['rpc', 'bytesReceived']],
] as const

/** Those that this page has words for, where the node counts them. */
export function namedCounters(counters: unknown): Counter[] {
  return COUNTERS.flatMap(([name, path]) => {
    const value = path.reduce<unknown>(
      (at, key) => (typeof at === 'object' && at !== null ? Reflect.get(at, key) : undefined),
      counters,
    )
    return typeof value === 'number' ? [{ name, value }] : []
  })
}
