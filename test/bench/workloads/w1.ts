import type { Published } from '../host.ts'
import {
  type Bench,
  jobsOf,
  joinPublished,
  latencies,
  METRICS,
  noteCost,
  noteP50P99,
  noter,
  profiled,
  promiseTimes,
  verify,
  type Workload,
  withCrowd,
} from '../workload.ts'

const ID = 'W1'

/** One message after the other, each once all subscribers have the one before. */
export const w1: Workload = {
  id: ID,
  title: 'publish → received, one publisher, one message at a time',
  async run(bench) {
    for (const { subscribers, messages } of bench.sizes.latency) await latency(bench, subscribers, messages)
  },
}

async function latency(bench: Bench, subscribers: number, messages: number): Promise<void> {
  const scenario = subscribers === 1 ? '1 subscriber' : `${subscribers} subscribers`
  bench.progress(scenario)
  const note = noter(bench, ID, scenario)
  const topic = `w1-${subscribers}/topic`
  await withCrowd(bench, { publishers: 1, subscribers }, async (crowd) => {
    await crowd.subscribe([topic])
    await crowd.warmUp([topic])
    await crowd.take()
    const jobs = jobsOf(topic, 1, messages)
    const published: Published[] = []
    const before = await crowd.usage()
    await profiled(bench, `w1-${subscribers}`, async () => {
      for (const job of jobs) {
        const arrivals = crowd.arrivals(1)
        published.push(await crowd.publish(0, [job]))
        await arrivals
      }
    })
    const after = await crowd.usage()
    const arrivals = await crowd.take()
    verify(bench, ID, scenario, arrivals, jobs)
    const times = joinPublished(published)
    const received = latencies(arrivals, jobs, times)
    noteP50P99(note, { p50: METRICS.receivedP50, p99: METRICS.receivedP99 }, received)
    if (bench.system.losesNothing)
      noteP50P99(note, { p50: METRICS.storedP50, p99: METRICS.storedP99 }, promiseTimes(times))
    noteCost(note, bench, [{ before, after }], messages)
    const { record, system } = bench
    record.addSamples({ workload: ID, scenario, name: 'publish → received', system: system.name }, received)
  })
}
