import { median } from '../record.ts'
import { METRICS, noter, verify, type Workload, wallMs, withCrowd } from '../workload.ts'

const ID = 'W6'

/** Every client subscribes to all the topics; then one message in each topic, all at once. */
export const w6: Workload = {
  id: ID,
  title: 'fan-out to many subscriptions, time to the last',
  async run(bench) {
    const { clients, topicsEach, rounds } = bench.sizes
    const scenario = `${clients} clients × ${topicsEach} topics`
    const note = noter(bench, ID, scenario)
    const topics = Array.from({ length: topicsEach }, (_, i) => `w6/topic-${i}`)
    await withCrowd(bench, { publishers: 1, subscribers: clients }, async (crowd) => {
      await crowd.subscribe(topics)
      await crowd.warmUp(topics)
      await crowd.take()
      const walls: number[] = []
      for (let round = 0; round < rounds; round++) {
        const jobs = topics.map((topic, i) => ({ topic, number: 1 + round * topicsEach + i }))
        const arriving = crowd.arrivals(1)
        const published = await crowd.publish(0, jobs, topicsEach)
        await arriving
        const arrivals = await crowd.take()
        verify(bench, ID, scenario, arrivals, jobs)
        walls.push(wallMs(arrivals, published))
      }
      note(METRICS.wall, 'ms', median(walls))
    })
  },
}
