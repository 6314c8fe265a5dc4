import { setTimeout } from 'node:timers/promises'
import type { Crowd } from '../crowd.ts'
import {
  type Bench,
  METRICS,
  noter,
  profiled,
  promiseTimes,
  verify,
  type Workload,
  wallMs,
  withCrowd,
} from '../workload.ts'

const ID = 'W5'
/** Publishes of the one publisher on their way at once. */
const OPEN = 100
/** Until what follows on the publishes is over: offers, and a round in which holders compare. */
const SETTLE_MS = 45_000
/** Two such rounds. */
const IDLE_MS = 60_000

/** One publisher, one subscriber of all the topics. */
export const w5: Workload = {
  id: ID,
  title: 'one message into each of many topics',
  async run(bench) {
    const { topics: count } = bench.sizes
    const scenario = `${count.toLocaleString('en-US')} topics`
    const note = noter(bench, ID, scenario)
    const topics = Array.from({ length: count }, (_, i) => `w5/topic-${i}`)
    await withCrowd(bench, { publishers: 1, subscribers: 1 }, async (crowd) => {
      const startMs = performance.now()
      await crowd.subscribe(topics.slice(0, 1))
      await crowd.warmUp(topics.slice(0, 1)) // opens the links: gossipsub drops what is sent before
      await crowd.take()
      await crowd.subscribe(topics.slice(1))
      note('subscribing, one after the other', 'ms', performance.now() - startMs)
      const jobs = topics.map((topic, i) => ({ topic, number: i + 1 }))
      const arriving = crowd.arrivals(1)
      const published = await profiled(bench, 'w5', async () => {
        const published = await crowd.publish(0, jobs, OPEN)
        await arriving
        return published
      })
      const arrivals = await crowd.take()
      verify(bench, ID, scenario, arrivals, jobs)
      note(METRICS.wall, 'ms', wallMs(arrivals, published))
      const stored = promiseTimes(published).map((ms, i) => (published.startedMs[i] as number) + ms)
      if (bench.system.losesNothing)
        note('all stored', 'ms', Math.max(...stored) - Math.min(...published.startedMs))
      await idle(bench, crowd, scenario)
    })
  },
}

/** What a node that holds all these topics uses while nothing happens. */
async function idle(bench: Bench, crowd: Crowd, scenario: string): Promise<void> {
  if ((await crowd.usage()).cpuMs.length === 0) return
  await setTimeout(SETTLE_MS)
  const before = await crowd.usage()
  const startMs = performance.now()
  await profiled(bench, 'w5-idle', () => setTimeout(IDLE_MS))
  const { cpuMs, memoryBytes } = await crowd.usage()
  const tookMs = performance.now() - startMs
  const shares = cpuMs.map((ms, i) => (100 * (ms - (before.cpuMs[i] as number))) / tookMs)
  const note = noter(bench, ID, scenario)
  note('idle: memory of the largest node', 'MB', Math.max(...memoryBytes) / 1e6)
  note('idle: processor, the busiest node', '%', Math.max(...shares))
}
