import type { Crowd } from '../crowd.ts'
import type { Job, Published } from '../host.ts'
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
  type Sizes,
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
    for (const size of bench.sizes.latency) await latency(bench, size)
  },
}

/** `after`: a program that has just started compiles itself, and takes longer for that. */
async function latency(
  bench: Bench,
  { subscribers, messages, after = 0 }: Sizes['latency'][number],
): Promise<void> {
  const who = subscribers === 1 ? '1 subscriber' : `${subscribers} subscribers`
  const scenario = after === 0 ? who : `${who}, after ${after.toLocaleString('en')} messages`
  bench.progress(scenario)
  const note = noter(bench, ID, scenario)
  const name = `w1-${subscribers}${after === 0 ? '' : '-warm'}`
  const topic = `${name}/topic`
  await withCrowd(bench, { publishers: 1, subscribers }, async (crowd) => {
    await crowd.subscribe([topic])
    await crowd.warmUp([topic])
    await oneByOne(crowd, jobsOf(topic, 1, after))
    await crowd.take()
    const jobs = jobsOf(topic, after + 1, messages)
    const before = await crowd.usage()
    const published = await profiled(bench, name, () => oneByOne(crowd, jobs))
    const usage = await crowd.usage()
    const arrivals = await crowd.take()
    verify(bench, ID, scenario, arrivals, jobs)
    const times = joinPublished(published)
    const received = latencies(arrivals, jobs, times)
    noteP50P99(note, { p50: METRICS.receivedP50, p99: METRICS.receivedP99 }, received)
    if (bench.system.losesNothing)
      noteP50P99(note, { p50: METRICS.storedP50, p99: METRICS.storedP99 }, promiseTimes(times))
    noteCost(note, bench, [{ before, after: usage }], messages)
    const { record, system } = bench
    record.addSamples({ workload: ID, scenario, name: 'publish → received', system: system.name }, received)
  })
}

async function oneByOne(crowd: Crowd, jobs: Job[]): Promise<Published[]> {
  const published: Published[] = []
  for (const job of jobs) {
    const arrivals = crowd.arrivals(1)
    published.push(await crowd.publish(0, [job]))
    await arrivals
  }
  return published
}
