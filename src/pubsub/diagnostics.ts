import {
  type CodeCounts,
  type CooledPeer,
  countCode,
  type Dht,
  MAX_DOWN,
  MAX_SCORED,
  type NodeId,
  type ReplicaSetView,
  type RpcCounters,
  type Stage,
  type StageReading,
  type StickyError,
  WIRE_VERSION,
} from '../dht/index.ts'
import type { Gap, SyncStatus } from './api.ts'
import type { PubSubOptions } from './options.ts'
import type { ClientPubSub } from './pubsub.ts'
import type { TopicSubscription } from './subscription.ts'

/**
 * What a node tells of itself: counts, states and ids, the same in Node and in a tab. Everything is read where it is kept
 * anyway. No message, presence or key of anybody is in it; a topic has its name only where this node itself subscribed to
 * it by that name. Lists have `MAX_LISTED` entries at most, the sums beside them count all.
 */

export const MAX_LISTED = 32

/** How a message came: with the history, with a push, or because the replica was read again. */
export type Way = 'history' | 'push' | 'read'

/** Of all subscriptions of a node since its start, closed ones included. */
export interface SubscriptionCounters {
  /** The sum of `ways`. */
  delivered: number
  ways: Record<Way, number>
  gaps: Record<Gap['reason'], number>
  failures: CodeCounts
}

export function countDelivered(counters: SubscriptionCounters, way: Way): void {
  counters.delivered += 1
  counters.ways[way] += 1
}

export function countEvent(counters: SubscriptionCounters, event: string, value: unknown): void {
  if (event === 'gap') counters.gaps[(value as Gap).reason] += 1
  if (event === 'error') countCode(counters.failures, (value as StickyError).code)
}

export interface PeerReading {
  nodeId: NodeId
  path: 'direct' | 'relayed' | 'unknown'
  /** A link for requests is open. */
  linked: boolean
  /** How well it has answered lately, 0 to 1; below 0.5 others are asked first. */
  score: number
}

export interface SubscriptionReading {
  topic: string
  status: SyncStatus
  version: number
  /** The replica that serves it; '' while none does. */
  source: NodeId | ''
  /** Messages still to be read; 0 where nothing is, or it is not known. */
  remaining: number
}

type Counters = ReturnType<ClientPubSub['counters']>

/** In each section with `pending`: what was begun = what has ended, in whatever way + pending. */
export interface Diagnostics {
  /** When it was read, by this node's clock: ms since the Unix epoch. */
  asOf: number
  /** `bootId`: another one after each start, when all counts begin at 0 again. */
  node: {
    nodeId: NodeId
    bootId: string
    wireVersion: number
    stores: boolean
    durable: boolean
    uptimeMs: number
  }
  peers: { direct: number; relayed: number; linked: number; list: PeerReading[]; cooled: CooledPeer[] }
  /** Of this node to others, and of others to it. */
  requests: RpcCounters & { pending: number; serving: number }
  /** `lostHeads`: topics whose state the disk could not give back after a start, which began anew from what was left. */
  records: { held: number; loaded: number; merges: number; lostHeads: number; sets: ReplicaSetView[] }
  subscriptions: SubscriptionCounters & { open: number; list: SubscriptionReading[] }
  publisher: Counters['publisher'] & { pending: number }
  outbox: Counters['outboxed'] & { pending: number; bytes: number }
  storage: Counters['storage'] & { pending: number; persistent: boolean }
  /** What only a node does that stores for others; absent where it does not. */
  replica?: {
    initiator: NonNullable<Counters['initiator']> & { pending: number }
    commits: NonNullable<Counters['commits']>
    antiEntropy: NonNullable<Counters['antiEntropy']>
    delivery: NonNullable<Counters['delivery']> & {
      pending: number
      topics: number
      subscribers: number
      waiting: { messages: number; bytes: number; mostMessages: number }
    }
    presence: NonNullable<Counters['presence']>
  }
  resyncs: Counters['resync']
  stages: Record<Stage, StageReading>
  /** What is kept, against the most that it may be. */
  bounds: Record<string, { held: number; limit: number }>
}

export interface DiagnosticsParts {
  dht: Dht
  options: PubSubOptions
  counters: Counters
  persistent: boolean
  startedAtMs: number
  subscriptions: TopicSubscription[]
  waiting: { messages: number; bytes: number; mostMessages: number } | undefined
}

export async function readDiagnostics(parts: DiagnosticsParts): Promise<Diagnostics> {
  const held = await parts.dht.store.heldCount()
  const { dht, counters } = parts
  const { network, replicas, rpc, runtime, stages } = dht
  const { sets, cooled } = replicas.view(MAX_LISTED)
  const read: Diagnostics = {
    asOf: runtime.now(),
    node: {
      nodeId: dht.self,
      bootId: rpc.sessionId,
      wireVersion: WIRE_VERSION,
      stores: network.stores,
      durable: network.durable,
      uptimeMs: runtime.monotonicNow() - parts.startedAtMs,
    },
    peers: { ...peersOf(dht), cooled },
    requests: { ...counters.rpc, pending: counters.pendingRequests, serving: counters.serving },
    records: {
      held,
      loaded: counters.loadedRecords,
      merges: counters.merges,
      lostHeads: counters.lostHeads,
      sets,
    },
    subscriptions: {
      ...counters.subscribed,
      open: counters.subscriptions,
      list: parts.subscriptions.slice(0, MAX_LISTED).map(subscriptionReading),
    },
    publisher: { ...counters.publisher, pending: counters.waitingPublishes },
    outbox: { ...counters.outboxed, pending: counters.outbox, bytes: counters.outboxHeld.bytes },
    storage: { ...counters.storage, pending: counters.pendingWrites, persistent: parts.persistent },
    ...replicaOf(parts),
    resyncs: counters.resync,
    stages: stages.readings,
    bounds: boundsOf(parts),
  }
  return structuredClone(read) // nothing in it changes any more
}

function peersOf({ network, rpc }: Dht): Omit<Diagnostics['peers'], 'cooled'> {
  const linked = new Set(rpc.connectedPeers)
  const told = network.connections?.() ?? []
  const paths = new Map(told.map(({ nodeId, direct }) => [nodeId, direct ? 'direct' : 'relayed'] as const))
  const count = (wanted: string) => [...paths.values()].filter((path) => path === wanted).length
  const list = [...new Set([...linked, ...paths.keys()])].slice(0, MAX_LISTED).map(
    (nodeId): PeerReading => ({
      nodeId,
      path: paths.get(nodeId) ?? 'unknown',
      linked: linked.has(nodeId),
      score: rpc.scores.of(nodeId),
    }),
  )
  return { direct: count('direct'), relayed: count('relayed'), linked: linked.size, list }
}

const subscriptionReading = (subscription: TopicSubscription): SubscriptionReading => ({
  topic: subscription.topic,
  status: subscription.status,
  version: subscription.lastSeenVersion,
  source: subscription.source ?? '',
  remaining: subscription.remaining ?? 0,
})

function replicaOf({ counters, waiting }: DiagnosticsParts): Pick<Diagnostics, 'replica'> {
  const { initiator, commits, antiEntropy, delivery, presence } = counters
  if (!initiator || !commits || !antiEntropy || !delivery || !presence || !waiting) return {}
  return {
    replica: {
      initiator: { ...initiator, pending: counters.openMessages },
      commits,
      antiEntropy,
      delivery: {
        ...delivery,
        pending: counters.pushesInFlight,
        topics: counters.attachedTopics,
        subscribers: counters.attachedSubscribers,
        waiting,
      },
      presence,
    },
  }
}

function boundsOf({ dht, options, counters }: DiagnosticsParts): Diagnostics['bounds'] {
  const bound = (held: number, limit: number) => ({ held, limit })
  return {
    loadedRecords: bound(counters.loadedRecords, dht.options.maxLoadedRecords),
    replicaSets: bound(dht.replicas.cachedSets, dht.options.maxCachedReplicaSets),
    cooledPeers: bound(counters.downPeers, MAX_DOWN),
    rateBuckets: dht.rpc.rateBuckets,
    peerScores: bound(dht.rpc.scores.size, MAX_SCORED),
    verifiedMessages: bound(counters.verifiedMessages, options.maxVerifiedMessages),
    outboxEntries: bound(counters.outboxHeld.entries, options.maxOutboxEntries),
    outboxBytes: bound(counters.outboxHeld.bytes, options.maxOutboxBytes),
    rememberedKeys: bound(counters.rememberedKeys, options.maxRememberedKeys),
    numberedTopics: bound(counters.numberedTopics, options.maxNumberedTopics),
    deliveredWatched: bound(counters.deliveredWatched, options.maxDeliveredWatched),
    attachedTopics: bound(counters.attachedTopics, options.maxAttachedTopics),
    presenceTopics: bound(counters.presenceTopics, options.maxPresenceTopics),
    presenceEntries: bound(counters.presenceEntries, options.maxPresenceEntries),
  }
}
