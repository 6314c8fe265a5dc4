import { type CodeCounts, STAGE_BOUNDS_MS, type StageReading } from '../dht/index.ts'
import type { Diagnostics } from '../pubsub/index.ts'
import { FINDINGS, type HealthReading } from './health.ts'

/** The diagnostics of a node as text for Prometheus. Labels come from sets that this program knows; nobody else adds any. */

export const CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

type Sample = [labels: Record<string, string>, value: number]

/** What a node tells of itself, and what is thought of it. */
export type Told = Diagnostics & { health: HealthReading }

interface Metric {
  name: string
  type: 'counter' | 'gauge'
  help: string
  read(told: Told): number | Sample[] | undefined
}

const byLabel = (label: string, counts: Partial<Record<string, number>>): Sample[] =>
  Object.entries(counts).map(([name, count]): Sample => [{ [label]: name }, count ?? 0])
const byCode = (counts: CodeCounts | undefined): Sample[] => byLabel('code', counts ?? {})

/** While nothing else can be told, only whether the node could be read: 0 would say that all is well. */
function found({ status, findings }: HealthReading): Sample[] {
  const names = status === 'unknown' ? (['unreadable'] as const) : FINDINGS
  return names.map((finding) => [{ finding }, Number(findings.some((one) => one.finding === finding))])
}

const counter = (name: string, help: string, read: Metric['read']): Metric => ({
  name,
  type: 'counter',
  help,
  read,
})
const gauge = (name: string, help: string, read: Metric['read']): Metric => ({
  name,
  type: 'gauge',
  help,
  read,
})

const ABOUT_IT: Metric[] = [
  gauge('info', 'Always 1; who this is', ({ node }) => [
    [{ node_id: node.nodeId, boot_id: node.bootId, durable: String(node.durable) }, 1],
  ]),
  gauge('uptime_seconds', 'Since the start', ({ node }) => node.uptimeMs / 1_000),
  gauge('strained', '1 where anything is found; absent where it cannot be told', ({ health }) =>
    health.status === 'unknown' ? undefined : Number(health.status === 'strained'),
  ),
  gauge('finding', '1 for what is found', ({ health }) => found(health)),
  gauge('peers', 'Connected peers, by the best path to each', ({ peers: { direct, relayed } }) =>
    byLabel('path', { direct, relayed }),
  ),
  gauge('linked_peers', 'Peers with a link for requests', ({ peers }) => peers.linked),
  gauge('records_held', 'Topics on the disk, as of a few seconds ago', ({ records }) => records.held),
  counter('merges_total', 'Diverged states that were joined', ({ records }) => records.merges),
  counter('lost_heads_total', 'Topics that the disk could not give back', ({ records }) => records.lostHeads),
  gauge('bound_held', 'What is kept now, by what bounds it', ({ bounds }) =>
    Object.entries(bounds).map(([bound, { held }]): Sample => [{ bound }, held]),
  ),
  gauge('bound_limit', 'The most that may be kept', ({ bounds }) =>
    Object.entries(bounds).map(([bound, { limit }]): Sample => [{ bound }, limit]),
  ),
]

const REQUESTS: Metric[] = [
  counter('requests_begun_total', 'Requests to peers', ({ requests }) => requests.begun),
  counter('requests_answered_total', 'Answered', ({ requests }) => requests.answered),
  counter('requests_timed_out_total', 'Nobody answered', ({ requests }) => requests.timeouts),
  counter('requests_failed_total', 'Refused or undeliverable', ({ requests }) => byCode(requests.failures)),
  gauge('requests_pending', 'Under way', ({ requests }) => requests.pending),
  counter('requests_received_total', 'Requests of peers', ({ requests }) => requests.requestsReceived),
  counter('requests_served_total', 'Of these, answered', ({ requests }) => requests.served),
  counter('requests_refused_total', 'Of these, refused', ({ requests }) => byCode(requests.refusals)),
  gauge('requests_serving', 'Of these, in work', ({ requests }) => requests.serving),
  counter('frames_undecodable_total', 'Frames that are none', ({ requests }) => requests.undecodable),
  counter('method_requests_total', 'Requests by method and direction', ({ requests: { methods } }) =>
    Object.entries(methods).flatMap(([method, { begun, received }]): Sample[] => [
      [{ method, direction: 'sent' }, begun],
      [{ method, direction: 'received' }, received],
    ]),
  ),
  counter('bytes_sent_total', 'Of frames', ({ requests }) => requests.bytesSent),
  counter('bytes_received_total', 'Of frames', ({ requests }) => requests.bytesReceived),
]

const OWN_TOPICS: Metric[] = [
  gauge('subscriptions', 'Open ones of this node', ({ subscriptions }) => subscriptions.open),
  counter('delivered_total', 'Messages given to them, by how they came', ({ subscriptions }) =>
    byLabel('way', subscriptions.ways),
  ),
  counter('gaps_total', 'Gaps told to them', ({ subscriptions }) => byLabel('reason', subscriptions.gaps)),
  counter('subscription_failures_total', 'Failed reads', ({ subscriptions }) =>
    byCode(subscriptions.failures),
  ),
  counter('publishes_begun_total', 'Publishes of this node', ({ publisher }) => publisher.begun),
  counter('publishes_stored_total', 'Stored', ({ publisher }) => publisher.stored),
  counter('publishes_failed_total', 'Not stored, or not known', ({ publisher }) =>
    byCode(publisher.failures),
  ),
  gauge('publishes_pending', 'Under way', ({ publisher }) => publisher.pending),
  counter('outbox_taken_total', 'Entries taken into the outbox', ({ outbox }) => outbox.taken),
  counter('outbox_stored_total', 'Stored', ({ outbox }) => outbox.stored),
  counter('outbox_failed_total', 'Failed', ({ outbox }) => byCode(outbox.failures)),
  counter('outbox_unwritten_total', 'Refused by the own disk', ({ outbox }) => outbox.unwritten),
  gauge('outbox_pending', 'Waiting', ({ outbox }) => outbox.pending),
]

const DISK: Metric[] = [
  counter('writes_begun_total', 'Writes to the disk', ({ storage }) => storage.begun),
  counter('writes_done_total', 'On the disk', ({ storage }) => storage.written),
  counter('writes_failed_total', 'Failed', ({ storage }) => byCode(storage.failures)),
  gauge('writes_pending', 'Under way', ({ storage }) => storage.pending),
  counter('written_bytes_total', 'Values written', ({ storage }) => storage.bytes),
]

const REPLICA: Metric[] = [
  counter('received_total', 'Messages sent here to be stored', ({ replica }) => replica?.initiator.received),
  counter('received_refused_total', 'Refused', ({ replica }) => byCode(replica?.initiator.refusals)),
  counter('received_stored_total', 'Stored at a majority', ({ replica }) => replica?.initiator.stored),
  counter('received_failed_total', 'Not stored, or not known', ({ replica }) =>
    byCode(replica?.initiator.failures),
  ),
  gauge('received_pending', 'Waiting for a commit, or in one', ({ replica }) => replica?.initiator.pending),
  counter('commits_total', 'Commits with a majority', ({ replica }) => replica?.commits.commits),
  counter(
    'commit_conflicts_total',
    'Replicas that had diverged',
    ({ replica }) => replica?.commits.conflicts,
  ),
  counter('commit_retries_total', 'Commits sent again', ({ replica }) => replica?.commits.retries),
  counter('commits_failed_total', 'Without a majority', ({ replica }) => replica?.commits.failed),
  counter(
    'comparisons_total',
    'Rounds of comparing with others',
    ({ replica }) => replica?.antiEntropy.rounds,
  ),
  counter('repairs_total', 'Records repaired by them', ({ replica }) => replica?.antiEntropy.repaired),
  counter('comparison_failures_total', 'Failed', ({ replica }) => replica?.antiEntropy.failures),
  gauge(
    'served_subscribers',
    'Attached here, once for each topic',
    ({ replica }) => replica?.delivery.subscribers,
  ),
  gauge('served_topics', 'Topics with such', ({ replica }) => replica?.delivery.topics),
  counter('pushes_begun_total', 'Pushes to them', ({ replica }) => replica?.delivery.pushes),
  counter('pushes_acknowledged_total', 'Acknowledged', ({ replica }) => replica?.delivery.acknowledged),
  counter('pushes_failed_total', 'Not acknowledged', ({ replica }) => byCode(replica?.delivery.failures)),
  gauge('pushes_pending', 'Under way', ({ replica }) => replica?.delivery.pending),
  counter('pushed_messages_total', 'Messages in them', ({ replica }) => replica?.delivery.pushedMessages),
  counter('push_overflows_total', 'Queues too long to push', ({ replica }) => replica?.delivery.overflows),
  counter('subscribers_dropped_total', 'Subscribers let go of', ({ replica }) => replica?.delivery.dropped),
  gauge('push_waiting_messages', 'Waiting for a push', ({ replica }) => replica?.delivery.waiting.messages),
  gauge('push_waiting_bytes', 'The same in bytes', ({ replica }) => replica?.delivery.waiting.bytes),
  gauge('push_waiting_most', 'In the longest queue', ({ replica }) => replica?.delivery.waiting.mostMessages),
  counter('presence_taken_total', 'Statements of members taken', ({ replica }) => replica?.presence.taken),
  counter('presence_pushes_total', 'Pushes of changes', ({ replica }) => replica?.presence.pushes),
  counter('presence_pushes_failed_total', 'Failed', ({ replica }) => replica?.presence.failedPushes),
]

const METRICS: Metric[] = [...ABOUT_IT, ...REQUESTS, ...OWN_TOPICS, ...DISK, ...REPLICA]
const PREFIX = 'sticky_node_'
const STAGES = 'stage_seconds'

export const METRIC_NAMES = [...METRICS.map(({ name }) => PREFIX + name), PREFIX + STAGES]

export function prometheusText(told: Told): string {
  const lines: string[] = []
  for (const { name, type, help, read } of METRICS) {
    const value = read(told)
    if (value === undefined) continue // what this node does not do
    lines.push(`# HELP ${PREFIX}${name} ${help}`, `# TYPE ${PREFIX}${name} ${type}`)
    for (const sample of typeof value === 'number' ? [[{}, value] as Sample] : value)
      lines.push(line(name, ...sample))
  }
  lines.push(`# HELP ${PREFIX}${STAGES} Time of one step, waiting included`)
  lines.push(`# TYPE ${PREFIX}${STAGES} histogram`)
  for (const [stage, reading] of Object.entries(told.stages)) lines.push(...histogram(stage, reading))
  return `${lines.join('\n')}\n`
}

function histogram(stage: string, { count, totalMs, counts }: StageReading): string[] {
  let below = 0
  const buckets = STAGE_BOUNDS_MS.map((bound, at) => {
    below += counts[at] ?? 0
    return line(`${STAGES}_bucket`, { stage, le: String(bound / 1_000) }, below)
  })
  return [
    ...buckets,
    line(`${STAGES}_bucket`, { stage, le: '+Inf' }, count),
    line(`${STAGES}_sum`, { stage }, totalMs / 1_000),
    line(`${STAGES}_count`, { stage }, count),
  ]
}

function line(name: string, labels: Record<string, string>, value: number): string {
  const pairs = Object.entries(labels).map(([label, text]) => `${label}=${JSON.stringify(text)}`)
  return `${PREFIX}${name}${pairs.length > 0 ? `{${pairs.join(',')}}` : ''} ${value}`
}
