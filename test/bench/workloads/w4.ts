import type { Crowd } from '../crowd.ts'
import { percentile } from '../statistics.ts'
import type { Usage } from '../system.ts'
import {
  type Bench,
  fill,
  jobsOf,
  METRICS,
  noteCost,
  noter,
  promiseTimes,
  type Workload,
  withCrowd,
} from '../workload.ts'

const ID = 'W4'
const PUBLISHERS = 10
const TURNS = 5
/** More than a record's log has before it is folded: what the fill has left there is not what one publish costs. */
const UNCOUNTED = 70
const QUIET_BYTES = 50_000
const QUIET_MS = 2_000
const QUIET_WITHIN_MS = 120_000

interface Topic {
  name: string
  size: number
  /** The number of the next message. */
  next: number
  storedMs: number[]
  costs: { before: Usage; after: Usage }[]
}

/** One publish at a time into topics of growing size, nobody subscribed, by turns. */
export const w4: Workload = {
  id: ID,
  title: 'one publish into a topic of growing size',
  needsHistory: true,
  async run(bench) {
    const topics = bench.sizes.topicSizes.map(
      (size): Topic => ({ name: `w4-${size}/topic`, size, next: size + 1, storedMs: [], costs: [] }),
    )
    await withCrowd(bench, { publishers: PUBLISHERS, subscribers: 0 }, async (crowd) => {
      for (const { name, size } of topics) {
        bench.progress(`${size.toLocaleString('en-US')} messages`)
        await fill(crowd, PUBLISHERS, name, size)
      }
      bench.progress('until that is written')
      for (const topic of topics) {
        await crowd.publish(0, jobsOf(topic.name, topic.next, UNCOUNTED))
        topic.next += UNCOUNTED
      }
      await untilQuiet(crowd)
      bench.progress('one at a time')
      // by turns, so that what else the machine does in a minute is in all of them
      for (let turn = 0; turn < TURNS; turn++)
        for (const topic of topics) {
          const count = Math.ceil(bench.sizes.samples / TURNS)
          const before = await crowd.usage()
          const published = await crowd.publish(0, jobsOf(topic.name, topic.next, count))
          topic.next += count
          topic.costs.push({ before, after: await crowd.usage() })
          topic.storedMs.push(...promiseTimes(published))
        }
      for (const topic of topics) noteTopic(bench, topic)
      const { memoryBytes } = await crowd.usage()
      const largest = Math.max(...bench.sizes.topicSizes).toLocaleString('en-US')
      if (memoryBytes.length > 0)
        noter(bench, ID, `${largest} messages`)(
          'memory of the largest node',
          'MB',
          Math.max(...memoryBytes) / 1e6,
        )
    })
  },
}

/** Disks go on compacting what they were given for a while. */
async function untilQuiet(crowd: Crowd): Promise<void> {
  const written = async () => (await crowd.usage()).fileBytes ?? 0
  const deadline = performance.now() + QUIET_WITHIN_MS
  for (let before = Number.NEGATIVE_INFINITY, now = await written(); now - before > QUIET_BYTES; ) {
    if (performance.now() > deadline) return
    await new Promise((resolve) => setTimeout(resolve, QUIET_MS))
    before = now
    now = await written()
  }
}

function noteTopic(bench: Bench, { size, storedMs, costs }: Topic): void {
  const note = noter(bench, ID, `${size.toLocaleString('en-US')} messages`)
  note(METRICS.storedP50, 'ms', percentile(storedMs, 50))
  noteCost(note, bench, costs, storedMs.length)
}
