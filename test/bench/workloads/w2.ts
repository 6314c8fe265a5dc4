import type { Crowd } from '../crowd.ts'
import type { Job } from '../host.ts'
import {
  type Bench,
  jobsOf,
  joinPublished,
  METRICS,
  noteP50P99,
  noter,
  profiled,
  promiseTimes,
  verify,
  type Workload,
  wallMs,
  withCrowd,
} from '../workload.ts'

const ID = 'W2'
const PUBLISHERS = 10

/** All at once: every publisher hands over its messages without waiting for any. */
export const w2: Workload = {
  id: ID,
  title: `${PUBLISHERS} publishers of one topic, until all subscribers have everything`,
  async run(bench) {
    for (const subscribers of [1, 10]) await throughput(bench, subscribers)
  },
}

async function throughput(bench: Bench, subscribers: number): Promise<void> {
  const who = subscribers === 1 ? '1 subscriber' : `${subscribers} subscribers`
  const { messagesEach: each, bursts } = bench.sizes
  const topic = `w2-${subscribers}/topic`
  await withCrowd(bench, { publishers: PUBLISHERS, subscribers }, async (crowd) => {
    await crowd.subscribe([topic])
    await crowd.warmUp([topic])
    await crowd.take()
    for (let burst = 0; burst < bursts; burst++) {
      const jobs = jobsOf(topic, 1 + burst * each * PUBLISHERS, each * PUBLISHERS)
      // programs that have just joined and never done this, and the same ones later
      const scenario = burst === 0 ? who : `${who}, burst ${burst + 1}`
      const isTold = burst === 0 || burst === bursts - 1
      bench.progress(scenario)
      await oneBurst(bench, crowd, { scenario, jobs, subscribers, isTold })
    }
  })
}

interface Burst {
  scenario: string
  jobs: Job[]
  subscribers: number
  /** Its numbers are; that nothing is missing is looked at in each. */
  isTold: boolean
}

async function oneBurst(
  bench: Bench,
  crowd: Crowd,
  { scenario, jobs, subscribers, isTold }: Burst,
): Promise<void> {
  const each = jobs.length / PUBLISHERS
  const name = scenario.replaceAll(/[ ,]+/g, '-')
  const before = await bench.network.counters?.()
  const published = await profiled(bench, `w2-${name}`, async () => {
    const arriving = crowd.arrivals(jobs.length)
    const sent = Array.from({ length: PUBLISHERS }, (_, i) =>
      crowd.publish(i, jobs.slice(i * each, (i + 1) * each), each),
    )
    const all = await Promise.all(sent)
    await arriving
    return all
  })
  const after = await bench.network.counters?.()
  const arrivals = await crowd.take()
  verify(bench, ID, scenario, arrivals, jobs)
  if (!isTold) return
  const note = noter(bench, ID, scenario)
  const times = joinPublished(published)
  const received = arrivals.reduce((sum, { numbers }) => sum + new Set(numbers).size, 0) / subscribers
  note(METRICS.rate, '/s', (1_000 * received) / wallMs(arrivals, times))
  if (bench.system.losesNothing)
    noteP50P99(note, { p50: METRICS.storedP50, p99: METRICS.storedP99 }, promiseTimes(times))
  for (const name of ['commits', 'conflicts', 'merges'])
    if (before && after) note(name, '', (after[name] ?? 0) - (before[name] ?? 0))
}
