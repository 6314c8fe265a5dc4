import { setTimeout } from 'node:timers/promises'
import { median } from '../record.ts'
import { type Bench, noter, type Workload, withCrowd } from '../workload.ts'

const ID = 'W7'
/** Pings, tables and offers that follow on a client's coming. */
const SETTLE_MS = 10_000
/** A node that has lost a neighbour looks for others at once. */
const WINDOW_MS = 2_000

/** What a client that subscribes and leaves costs those who store. */
export const w7: Workload = {
  id: ID,
  title: 'a client comes and goes',
  needsHistory: true,
  async run(bench) {
    const windows = { atRest: [] as number[], afterwards: [] as number[] }
    for (let i = 0; i < bench.sizes.joins; i++) {
      await withCrowd(bench, { publishers: 0, subscribers: 1 }, async (crowd) => {
        await crowd.subscribe(['w7/topic'])
        await setTimeout(SETTLE_MS)
        windows.atRest.push(await busyMs(bench))
      })
      windows.afterwards.push(await busyMs(bench))
    }
    const note = noter(bench, ID, '1 client')
    note(`all storing nodes, in ${WINDOW_MS / 1_000} s at rest`, 'ms', median(windows.atRest))
    note(`all storing nodes, in the ${WINDOW_MS / 1_000} s after it left`, 'ms', median(windows.afterwards))
  },
}

/** Processor time of all storing nodes from now on. */
async function busyMs({ network }: Bench): Promise<number> {
  const used = async () => {
    const { cpuMs } = await network.usage({ sentBytes: 0, receivedBytes: 0 })
    return cpuMs.length === 0 ? Number.NaN : cpuMs.reduce((sum, ms) => sum + ms, 0)
  }
  const before = await used()
  await setTimeout(WINDOW_MS)
  return (await used()) - before
}
