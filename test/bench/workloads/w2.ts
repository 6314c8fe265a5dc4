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
  const scenario = subscribers === 1 ? '1 subscriber' : `${subscribers} subscribers`
  bench.progress(scenario)
  const note = noter(bench, ID, scenario)
  const topic = `w2-${subscribers}/topic`
  const each = bench.sizes.messagesEach
  await withCrowd(bench, { publishers: PUBLISHERS, subscribers }, async (crowd) => {
    await crowd.subscribe([topic])
    await crowd.warmUp([topic])
    await crowd.take()
    const before = await bench.network.counters?.()
    const jobs = jobsOf(topic, 1, each * PUBLISHERS)
    const published = await profiled(bench, `w2-${subscribers}`, async () => {
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
    const times = joinPublished(published)
    const received = arrivals.reduce((sum, { numbers }) => sum + new Set(numbers).size, 0) / subscribers
    note(METRICS.rate, '/s', (1_000 * received) / wallMs(arrivals, times))
    if (bench.system.losesNothing)
      noteP50P99(note, { p50: METRICS.storedP50, p99: METRICS.storedP99 }, promiseTimes(times))
    for (const name of ['commits', 'conflicts', 'merges'])
      if (before && after) note(name, '', (after[name] ?? 0) - (before[name] ?? 0))
  })
}
