import type { Job } from '../host.ts'
import { median } from '../record.ts'
import type { History } from '../system.ts'
import { type Bench, fill, METRICS, noter, verify, type Workload, withCrowd } from '../workload.ts'

const ID = 'W3'
const PUBLISHERS = 10
const PAGE = 50

/** From `subscribe` of a connected newcomer in a fresh process. */
export const w3: Workload = {
  id: ID,
  title: 'joining late',
  needsHistory: true,
  async run(bench) {
    for (const size of bench.sizes.histories) await lateJoin(bench, size)
  },
}

async function lateJoin(bench: Bench, size: number): Promise<void> {
  const scenario = `${size.toLocaleString('en-US')} messages`
  bench.progress(scenario)
  const note = noter(bench, ID, scenario)
  const topic = `w3-${size}/topic`
  let jobs: Job[] = []
  await withCrowd(bench, { publishers: PUBLISHERS, subscribers: 0 }, async (crowd) => {
    jobs = await fill(crowd, PUBLISHERS, topic, size)
  })
  const firstMs: number[] = []
  const allMs: number[] = []
  const pageMs: number[] = []
  for (let i = 0; i < bench.sizes.joins; i++) {
    const whole = await join(bench, topic, jobs, 'all')
    firstMs.push(whole.firstMs)
    allMs.push(whole.allMs)
    const page = await join(bench, topic, jobs, { last: Math.min(PAGE, size) })
    pageMs.push(page.firstMs)
  }
  note(METRICS.first, 'ms', median(firstMs))
  note(METRICS.all, 'ms', median(allMs))
  note(METRICS.latestPage, 'ms', median(pageMs))
}

async function join(bench: Bench, topic: string, jobs: Job[], history: History) {
  const scenario = `${jobs.length.toLocaleString('en-US')} messages`
  const wanted = typeof history === 'object' ? history.last : jobs.length
  const times = { firstMs: Number.NaN, allMs: Number.NaN }
  await withCrowd(bench, { publishers: 0, subscribers: 1 }, async (crowd) => {
    const startMs = await crowd.subscribe([topic], history)
    await crowd.arrivals(wanted)
    const arrivals = await crowd.take()
    const [{ atMs, numbers } = { atMs: new Float64Array(), numbers: new Float64Array() }] = arrivals
    // which ones are the latest is the system's own order, when ten publish at once
    const came = new Set(numbers)
    const expected = wanted === jobs.length ? jobs : jobs.filter(({ number }) => came.has(number))
    if (expected.length !== wanted)
      bench.record.problems.push(
        `${ID}, ${scenario}, ${bench.system.title}, run ${bench.run}: ${expected.length} of the latest ${wanted} came.`,
      )
    verify(bench, ID, scenario, arrivals, expected)
    times.firstMs = Math.min(...atMs) - startMs
    times.allMs = (atMs.at(-1) ?? Number.NaN) - startMs
  })
  return times
}
