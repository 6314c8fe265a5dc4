import { type CodeCounts, STAGE_BOUNDS_MS, type StageReading, StickyError, totalOf } from '../dht/index.ts'
import type { Diagnostics } from '../pubsub/index.ts'

/** What a node is judged by (health.ts), out of its diagnostics. */

/** No request of a peer takes longer in ordinary traffic (lesson L-D3). The end of a class of `STAGE_BOUNDS_MS`. */
export const SLOW_REQUEST_MS = 5_000
/**
 * Lesson L-A6: 99 of 100 come back within 80 % of what they may take, here 2,000 of 2,500 ms. The nearest end of a class
 * below that is 1,000.
 */
export const SLOW_PUSH_MS = 1_000

/** Bounds of what lives. The others are caches, which are full by design. */
export const QUEUES = {
  outboxEntries: { finding: 'outbox-entries-filling', what: 'entries of the outbox' },
  outboxBytes: { finding: 'outbox-bytes-filling', what: 'bytes of the outbox' },
  attachedTopics: { finding: 'attached-topics-filling', what: 'topics with subscribers' },
  presenceTopics: { finding: 'presence-topics-filling', what: 'topics with members' },
  presenceEntries: { finding: 'presence-entries-filling', what: 'members of topics' },
} as const
export type Queue = keyof typeof QUEUES
export const QUEUE_NAMES = Object.keys(QUEUES) as Queue[]

/** What is needed of one reading of the diagnostics. */
export interface Sample {
  nodeId: string
  bootId: string
  asOf: number
  uptimeMs: number
  /** Since the start of the node: none of them ever goes back. */
  counts: Counts
  writeFailures: CodeCounts
  peers: { linked: number; connected: number; cooled: number; known: number }
  /** It holds or reads something, which it cannot do well alone. */
  isUsed: boolean
  queues: Record<Queue, { held: number; limit: number }>
}

export type Counts = ReturnType<typeof countsOf>

/** Throws where something is not there, or no number: what cannot be read must not pass as zero (lesson L-H1). */
export function sampleOf(told: Diagnostics): Sample {
  const { node, asOf, storage, records, subscriptions } = told
  const { nodeId, bootId, uptimeMs } = node
  const counts = countsOf(told)
  const peers = peersOf(told)
  const queues = Object.fromEntries(
    QUEUE_NAMES.map((name) => [name, queueOf(told, name)]),
  ) as Sample['queues']
  const numbers = [asOf, uptimeMs, ...Object.values(counts), ...Object.values(peers)]
  // a bound may be turned off, which is infinite
  for (const { held, limit } of Object.values(queues)) numbers.push(limit >= 0 ? held : Number.NaN)
  if (!numbers.every((each) => Number.isFinite(each) && each >= 0))
    throw new StickyError('MALFORMED', 'The diagnostics of this node have a hole.')
  const isUsed = records.held > 0 || subscriptions.open > 0
  const writeFailures = { ...storage.failures }
  return { nodeId, bootId, asOf, uptimeMs, counts, writeFailures, peers, isUsed, queues }
}

function countsOf({ requests, subscriptions, storage, records, replica, stages }: Diagnostics) {
  const { BUSY = 0, RATE_LIMITED = 0 } = requests.refusals
  return {
    requestsAnswered: requests.answered,
    requestsTimedOut: requests.timeouts,
    requestsFailed: totalOf(requests.failures),
    requestsReceived: requests.requestsReceived,
    requestsTurnedAway: BUSY + RATE_LIMITED,
    served: stages.serve.count,
    servedMs: stages.serve.totalMs,
    servedSlowly: slowerThan(SLOW_REQUEST_MS, stages.serve),
    pushesAcknowledged: replica?.delivery.acknowledged ?? 0,
    pushesFailed: totalOf(replica?.delivery.failures ?? {}),
    pushesTimed: stages.fanOut.count,
    pushesSlow: slowerThan(SLOW_PUSH_MS, stages.fanOut),
    messagesStored: replica?.initiator.stored ?? 0,
    delivered: subscriptions.delivered,
    commits: replica?.commits.commits ?? 0,
    commitsFailed: replica?.commits.failed ?? 0,
    writesFailed: totalOf(storage.failures),
    lostHeads: records.lostHeads,
  }
}

function slowerThan(boundMs: (typeof STAGE_BOUNDS_MS)[number], { counts }: StageReading): number {
  const classes = counts.slice(STAGE_BOUNDS_MS.indexOf(boundMs) + 1)
  return classes.length === 0 ? Number.NaN : classes.reduce((sum, count) => sum + count, 0)
}

/** Known are those that are connected, hold a topic that was looked up, or are left out now. */
function peersOf({ node, peers, records }: Diagnostics): Sample['peers'] {
  const cooled = new Set(peers.cooled.filter(({ leftMs }) => leftMs > 0).map(({ nodeId }) => nodeId))
  const listed = new Set(peers.list.map(({ nodeId }) => nodeId))
  const named = new Set([...listed, ...cooled, ...records.sets.flatMap((set) => set.peers)])
  named.delete(node.nodeId)
  const connected = Math.max(peers.linked, peers.direct + peers.relayed)
  // lists are cut off: beyond their end only the sums tell
  const known = Math.max(named.size, connected + [...cooled].filter((nodeId) => !listed.has(nodeId)).length)
  return { linked: peers.linked, connected, cooled: cooled.size, known }
}

function queueOf({ bounds }: Diagnostics, name: Queue): { held: number; limit: number } {
  const bound = bounds[name]
  if (bound === undefined) throw new StickyError('MALFORMED', `The diagnostics do not tell of ${name}.`)
  return bound
}

/** Another start, or a number that goes back: nothing between these two can be told. */
export function isReset(before: Sample, after: Sample): boolean {
  if (before.bootId !== after.bootId || before.uptimeMs > after.uptimeMs) return true
  return Object.entries(before.counts).some(([name, count]) => count > after.counts[name as keyof Counts])
}
