import { join } from 'node:path'
import { Crowd, verdictOn } from './crowd.ts'
import type { Arrivals, Job, Published } from './host.ts'
import type { BenchRecord } from './record.ts'
import { percentile } from './statistics.ts'
import type { Network, System, Usage } from './system.ts'

/** What a workload is given, and what several of them need. */

export interface Sizes {
  /** W1: how many subscribers, how many messages, and how many that are not measured come before them. */
  latency: readonly { subscribers: number; messages: number; after?: number }[]
  /** W2: of each of ten publishers. */
  messagesEach: number
  /** How often, one after the other. */
  bursts: number
  /** W3: messages in the topic. */
  histories: readonly number[]
  /** How often somebody joins each, and comes and goes in W7. */
  joins: number
  /** W4: messages in the topic. */
  topicSizes: readonly number[]
  /** Publishes measured at each. */
  samples: number
  /** W5. */
  topics: number
  /** W6: times topics is subscriptions. */
  clients: number
  topicsEach: number
  rounds: number
  floorSamples: number
}

export interface Bench {
  system: System
  network: Network
  record: BenchRecord
  run: number
  sizes: Sizes
  /** What it is about to do, for whoever watches. */
  progress(step: string): void
  /** Where processor profiles go, if anywhere. */
  profileFolder?: string
}

export interface Workload {
  id: string
  title: string
  needsHistory?: boolean
  onlyOurs?: boolean
  run(bench: Bench): Promise<void>
}

/** Names of metrics that targets and plots look for. */
export const METRICS = {
  receivedP50: 'publish → received p50',
  receivedP99: 'publish → received p99',
  storedP50: 'publish → stored p50',
  storedP99: 'publish → stored p99',
  wire: 'wire, all nodes',
  file: 'written to files, each replica',
  disk: 'handed to the disk, each replica',
  processor: 'processor time, all storing nodes',
  rate: 'messages received',
  first: 'first message',
  all: 'all messages',
  latestPage: 'first message of the latest 50',
  wall: 'all received',
  lost: 'lost',
} as const

/** Notes values of one scenario. */
export const noter =
  ({ record, system, run }: Bench, workload: string, scenario: string) =>
  (name: string, unit: string, value: number | undefined): void => {
    if (value !== undefined && Number.isFinite(value))
      record.add({ workload, scenario, name, unit }, { system: system.name, run }, value)
  }

export async function withCrowd(
  { system, network }: Bench,
  size: { publishers: number; subscribers: number },
  work: (crowd: Crowd) => Promise<void>,
): Promise<void> {
  const crowd = await Crowd.open({ system, network, ...size })
  try {
    await work(crowd)
  } finally {
    await crowd.close()
  }
}

/** Around what is measured, without what comes before and after it. */
export async function profiled<T>(bench: Bench, name: string, work: () => Promise<T>): Promise<T> {
  const { network, profileFolder, run } = bench
  if (profileFolder === undefined || network.profiled === undefined) return work()
  return network.profiled(join(profileFolder, `${name}-run-${run}`), work)
}

/** Nothing may be missing where that is promised, and nothing may come twice or changed from anybody. */
export function verify(
  { record, system, run }: Bench,
  workload: string,
  scenario: string,
  arrivals: readonly Arrivals[],
  published: readonly Job[],
): void {
  const { expected, lost, duplicated, wrong } = verdictOn(arrivals, published)
  if (!system.losesNothing)
    record.add(
      { workload, scenario, name: METRICS.lost, unit: '%' },
      { system: system.name, run },
      (100 * lost) / expected,
    )
  if ((lost > 0 && system.losesNothing) || duplicated > 0 || wrong > 0)
    record.problems.push(
      `${workload}, ${scenario}, ${system.title}, run ${run}: of ${expected} messages ${lost} were lost, ${duplicated} came twice, ${wrong} were others.`,
    )
}

/** Of each arrival, how long after the call that published it. */
export function latencies(
  arrivals: readonly Arrivals[],
  jobs: readonly Job[],
  published: Published,
): number[] {
  const startedMs = new Map(jobs.map(({ number }, i) => [number, published.startedMs[i] as number]))
  const ms: number[] = []
  for (const { numbers, atMs } of arrivals)
    for (const [i, number] of numbers.entries()) {
      const start = startedMs.get(number)
      if (start !== undefined) ms.push((atMs[i] as number) - start)
    }
  return ms
}

export function joinPublished(all: readonly Published[]): Published {
  const join = (of: (one: Published) => Float64Array) => Float64Array.from(all.flatMap((one) => [...of(one)]))
  return { startedMs: join((one) => one.startedMs), promisedMs: join((one) => one.promisedMs) }
}

export const promiseTimes = ({ startedMs, promisedMs }: Published): number[] =>
  Array.from(startedMs, (start, i) => (promisedMs[i] as number) - start)

/** From the first call to the last arrival. */
export function wallMs(arrivals: readonly Arrivals[], { startedMs }: Published): number {
  let last = Number.NaN
  for (const { atMs } of arrivals) for (const at of atMs) if (!(at <= last)) last = at
  return last - Math.min(...startedMs)
}

export const jobsOf = (topic: string, first: number, count: number): Job[] =>
  Array.from({ length: count }, (_, i) => ({ topic, number: first + i }))

export function noteP50P99(
  note: (name: string, unit: string, value: number) => void,
  names: { p50: string; p99: string },
  ms: readonly number[],
): void {
  if (ms.length === 0) return
  note(names.p50, 'ms', percentile(ms, 50))
  note(names.p99, 'ms', percentile(ms, 99))
}

/** What a publish cost between two looks. */
export function noteCost(
  note: (name: string, unit: string, value: number | undefined) => void,
  { network }: Bench,
  costs: readonly { before: Usage; after: Usage }[],
  publishes: number,
): void {
  const share = (of: (usage: Usage) => number | undefined, parts: number) => {
    let sum = 0
    for (const { before, after } of costs) {
      const [from, to] = [of(before), of(after)]
      if (from === undefined || to === undefined || parts === 0) return undefined
      sum += to - from
    }
    return sum / publishes / parts
  }
  note(
    METRICS.wire,
    'bytes',
    share(({ wireBytes }) => wireBytes, 1),
  )
  if (network.replicas === 0) return
  note(
    METRICS.file,
    'bytes',
    share(({ fileBytes }) => fileBytes, network.replicas),
  )
  note(
    METRICS.disk,
    'bytes',
    share(({ diskBytes }) => diskBytes, network.replicas),
  )
  note(
    METRICS.processor,
    'ms',
    share(({ cpuMs }) => cpuMs.reduce((sum, ms) => sum + ms, 0), 1),
  )
}

/** Puts messages into a topic, from all publishers at once. */
export async function fill(crowd: Crowd, publishers: number, topic: string, count: number): Promise<Job[]> {
  const jobs = jobsOf(topic, 1, count)
  const each = Math.ceil(count / publishers)
  await Promise.all(
    Array.from({ length: publishers }, (_, i) =>
      crowd.publish(i, jobs.slice(i * each, (i + 1) * each), FILL_OPEN),
    ),
  )
  return jobs
}

/** Publishes of one publisher on their way at once while a topic is filled. */
const FILL_OPEN = 50
