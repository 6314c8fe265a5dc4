import type { CodeCounts } from '../dht/index.ts'
import {
  type Counts,
  isReset,
  QUEUE_NAMES,
  QUEUES,
  type Queue,
  type Sample,
  SLOW_PUSH_MS,
  SLOW_REQUEST_MS,
} from './health-sample.ts'

/**
 * Whether a node is well: what happened between two readings of its diagnostics, and what there was at the later one, each
 * against a bar. It reads nothing itself (health-watch.ts does), and nobody is restarted or refused because of it.
 */

/** Of requests of peers, those above `SLOW_REQUEST_MS` (lesson L-D3). */
export const MAX_SLOW_REQUESTS = 0
/** Of known peers, those that are left out for a while because they could not be reached (lesson L-S11). */
export const MAX_COOLED_SHARE = 0.12
/** Of so few a share says little: then so many may be (lesson L-S11). */
export const MIN_PEERS_FOR_SHARE = 50
export const MAX_COOLED_PEERS = 5
/** Above it who asks waits for a node that does not keep up (lesson L-D6). Of fewer, one alone would decide. */
export const MAX_AVERAGE_SERVE_MS = 1_000
export const MIN_SERVED = 20
/** Of requests of this node that ended. Lesson L-A8 has two in half an hour, at a rate that it does not name. */
export const MAX_TIMED_OUT_SHARE = 0.05
/** One subscriber that goes without a word costs three, one replica two or three: several did. */
export const MIN_TIMED_OUT = 10
/** The bar of the lessons' gates for peers that time out, in ratio to what is done (L-O11 and the gate table). */
export const MAX_UNACKNOWLEDGED_SHARE = 0.25
export const MIN_ENDED_PUSHES = 20
/** Of requests of peers, those answered BUSY or RATE_LIMITED: what is turned away stays below it (lesson L-D5). */
export const MAX_REFUSED_SHARE = 0.01
export const MIN_RECEIVED = 100
/** Of pushes, those above `SLOW_PUSH_MS` (lesson L-A6: p99). */
export const MAX_SLOW_PUSHES_SHARE = 0.01
export const MIN_TIMED_PUSHES = 100
/** Of what a queue or a table of live things may hold (lesson L-O4): worth a word, and a strain. */
export const FILLING_SHARE = 0.5
export const NEARLY_FULL_SHARE = 0.8
/** No write of an ordinary disk fails, and no head is lost on it. */
export const MAX_FAILED_WRITES = 0
export const MAX_LOST_HEADS = 0
/** A majority out of reach for a moment costs one or two. */
export const MAX_FAILED_COMMITS_SHARE = 0.05
export const MIN_FAILED_COMMITS = 3
/** Joining takes a fraction of a second, and holders compare what they have every half minute. */
export const LONELY_AFTER_MS = 60_000

export const FINDINGS = [
  'unreadable',
  'no-linked-peer',
  'cooled-peers',
  'slow-requests',
  'slow-serving',
  'requests-timed-out',
  'requests-refused',
  'pushes-unacknowledged',
  'slow-pushes',
  'writes-failed',
  'commits-failed',
  'lost-heads',
  ...QUEUE_NAMES.map((name) => QUEUES[name].finding),
] as const
export type FindingName = (typeof FINDINGS)[number]

/** `text` says the same in words. `limit` is the most that it may be, of peers the least. */
export interface Finding {
  finding: FindingName
  value: number
  limit: number
  text: string
}

/** Of the window. What is a share of nothing, or a mean of nothing, is not there. */
export interface Rates {
  requestsAnsweredPerSecond?: number
  timedOutShare?: number
  refusedShare?: number
  averageServeMs?: number
  pushesAcknowledgedShare?: number
  slowPushesShare?: number
  messagesStoredPerSecond?: number
  deliveredPerSecond?: number
  failedCommitsShare?: number
  /** Not of the window but of its end. */
  cooledShare?: number
}

/** `unknown`: nothing can be said, which is not `ok`. */
export interface HealthReading {
  status: 'ok' | 'strained' | 'unknown'
  nodeId: string
  bootId: string
  /** When the node was read, or could not be, by its clock: ms since the Unix epoch. */
  asOf: number
  uptimeMs: number
  /** From the first to the last of what it was judged by; 0 where nothing was. */
  windowMs: number
  findings: Finding[]
  /** No strain, but on the way to one. */
  notices: Finding[]
  rates: Rates
}

export function judge(before: Sample, after: Sample): HealthReading {
  const windowMs = after.uptimeMs - before.uptimeMs
  if (isReset(before, after) || windowMs === 0) return unknown(after)
  const grown = Object.fromEntries(
    Object.entries(after.counts).map(([name, count]) => [name, count - before.counts[name as keyof Counts]]),
  ) as Counts
  const rates = ratesOf(grown, windowMs, after)
  const found = CHECKS.map((check) => check({ before, after, grown, rates })).filter(
    (one) => one !== undefined,
  )
  const queues = QUEUE_NAMES.map((name) => fillingOf(name, after)).filter((one) => one !== undefined)
  const findings = [...found, ...queues.filter(({ limit }) => limit === NEARLY_FULL_SHARE)]
  return {
    ...unknown(after),
    status: findings.length > 0 ? 'strained' : 'ok',
    windowMs,
    findings,
    notices: queues.filter(({ limit }) => limit === FILLING_SHARE),
    rates,
  }
}

/** Of what there is one sample, or none, there is nothing to say. */
export function unknown({
  nodeId,
  bootId,
  asOf,
  uptimeMs,
}: Pick<Sample, 'nodeId' | 'bootId' | 'asOf' | 'uptimeMs'>): HealthReading {
  const nothing = { windowMs: 0, findings: [], notices: [], rates: {} }
  return { status: 'unknown', nodeId, bootId, asOf, uptimeMs, ...nothing }
}

/** `code` of why; what else an error says may be nobody's business. */
export const unreadable = (times: number, code: string): Finding => ({
  finding: 'unreadable',
  value: times,
  limit: 0,
  text: `diagnostics that could not be read (${code}), in a row: ${count(times)}`,
})

const endedOf = ({ requestsAnswered, requestsTimedOut, requestsFailed }: Counts): number =>
  requestsAnswered + requestsTimedOut + requestsFailed

function ratesOf(grown: Counts, windowMs: number, { peers }: Sample): Rates {
  const seconds = windowMs / 1_000
  const pushed = grown.pushesAcknowledged + grown.pushesFailed
  const all: Record<keyof Rates, number> = {
    requestsAnsweredPerSecond: grown.requestsAnswered / seconds,
    timedOutShare: grown.requestsTimedOut / endedOf(grown),
    refusedShare: grown.requestsTurnedAway / grown.requestsReceived,
    averageServeMs: grown.servedMs / grown.served,
    pushesAcknowledgedShare: grown.pushesAcknowledged / pushed,
    slowPushesShare: grown.pushesSlow / grown.pushesTimed,
    messagesStoredPerSecond: grown.messagesStored / seconds,
    deliveredPerSecond: grown.delivered / seconds,
    failedCommitsShare: grown.commitsFailed / (grown.commits + grown.commitsFailed),
    cooledShare: peers.cooled / peers.known,
  }
  return Object.fromEntries(Object.entries(all).filter(([, rate]) => Number.isFinite(rate)))
}

interface Window {
  before: Sample
  after: Sample
  grown: Counts
  rates: Rates
}

const CHECKS: ((window: Window) => Finding | undefined)[] = [
  ({ after: { uptimeMs, isUsed, peers } }) => {
    if (peers.linked > 0 || uptimeMs <= LONELY_AFTER_MS) return
    if (peers.connected > 0 && !isUsed) return // links are opened by who has something to say
    const text = `no peer is linked (at least 1), ${count(Math.floor(uptimeMs / 1_000))} s after the start`
    return { finding: 'no-linked-peer', value: 0, limit: 1, text }
  },
  ({ after: { peers }, rates: { cooledShare = 0 } }) => {
    const { cooled, known } = peers
    if (known < MIN_PEERS_FOR_SHARE)
      return over('cooled-peers', cooled, MAX_COOLED_PEERS, `${cooled} of ${known} known peers are left out`)
    const text = `${percent(cooledShare)} of ${count(known)} known peers are left out`
    return over('cooled-peers', cooledShare, MAX_COOLED_SHARE, text, percent)
  },
  ({ grown: { servedSlowly: slow } }) => {
    const text = `requests of peers that took more than ${ms(SLOW_REQUEST_MS)}: ${count(slow)}`
    return over('slow-requests', slow, MAX_SLOW_REQUESTS, text)
  },
  ({ grown: { served }, rates: { averageServeMs = 0 } }) => {
    if (served < MIN_SERVED) return
    const text = `requests of peers took ${ms(averageServeMs)} on average`
    return over('slow-serving', averageServeMs, MAX_AVERAGE_SERVE_MS, text, ms)
  },
  ({ grown, rates: { timedOutShare = 0 } }) => {
    const ended = endedOf(grown)
    if (grown.requestsTimedOut < MIN_TIMED_OUT) return
    const text = `${percent(timedOutShare)} of ${count(ended)} requests to peers timed out`
    return over('requests-timed-out', timedOutShare, MAX_TIMED_OUT_SHARE, text, percent)
  },
  ({ grown: { requestsReceived: received }, rates: { refusedShare = 0 } }) => {
    if (received < MIN_RECEIVED) return
    const text = `${percent(refusedShare)} of ${count(received)} requests of peers were refused as too many`
    return over('requests-refused', refusedShare, MAX_REFUSED_SHARE, text, percent)
  },
  ({ grown: { pushesAcknowledged: acknowledged, pushesFailed: failed } }) => {
    const ended = acknowledged + failed
    if (ended < MIN_ENDED_PUSHES) return
    const text = `${percent(failed / ended)} of ${count(ended)} pushes were not acknowledged`
    return over('pushes-unacknowledged', failed / ended, MAX_UNACKNOWLEDGED_SHARE, text, percent)
  },
  ({ grown: { pushesTimed: timed }, rates: { slowPushesShare = 0 } }) => {
    if (timed < MIN_TIMED_PUSHES) return
    const text = `${percent(slowPushesShare)} of ${count(timed)} pushes took more than ${ms(SLOW_PUSH_MS)}`
    return over('slow-pushes', slowPushesShare, MAX_SLOW_PUSHES_SHARE, text, percent)
  },
  ({ before, after, grown: { writesFailed: failed } }) => {
    const text = `writes to the disk that failed with ${codesBetween(before, after)}: ${count(failed)}`
    return over('writes-failed', failed, MAX_FAILED_WRITES, text)
  },
  ({ grown: { commits, commitsFailed: failed }, rates: { failedCommitsShare = 0 } }) => {
    if (failed < MIN_FAILED_COMMITS) return
    const text = `${percent(failedCommitsShare)} of ${count(commits + failed)} commits failed`
    return over('commits-failed', failedCommitsShare, MAX_FAILED_COMMITS_SHARE, text, percent)
  },
  ({ after: { counts } }) => {
    const text = `topics that the disk could not give back: ${count(counts.lostHeads)} since the start`
    return over('lost-heads', counts.lostHeads, MAX_LOST_HEADS, text)
  },
]

/** Above one of two bars: the higher one is a finding, the lower one a notice. */
function fillingOf(name: Queue, { queues }: Sample): Finding | undefined {
  const { held, limit } = queues[name]
  const share = held / limit
  const bar = share > NEARLY_FULL_SHARE ? NEARLY_FULL_SHARE : FILLING_SHARE
  const { finding, what } = QUEUES[name]
  return over(finding, share, bar, `${count(held)} of ${count(limit)} ${what}, ${percent(share)}`, percent)
}

function over(
  finding: FindingName,
  value: number,
  limit: number,
  text: string,
  inWords: (limit: number) => string = count,
): Finding | undefined {
  return value > limit ? { finding, value, limit, text: `${text} (at most ${inWords(limit)})` } : undefined
}

function codesBetween({ writeFailures: before }: Sample, { writeFailures: after }: Sample): string {
  const codes = Object.keys(after) as (keyof CodeCounts)[]
  return codes.filter((code) => (after[code] ?? 0) > (before[code] ?? 0)).join(', ')
}

const count = (value: number): string => value.toLocaleString('en')
const percent = (share: number): string =>
  `${(100 * share).toLocaleString('en', { maximumFractionDigits: 2 })} %`
const ms = (value: number): string => `${Math.round(value).toLocaleString('en')} ms`
