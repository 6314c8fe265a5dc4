import { parseArgs } from 'node:util'
import type { HistoryEvent } from './history.ts'
import { runScenario } from './scenario.ts'

/**
 * node test/simulation/withholders.ts [--seeds 5] [--to 8]: what becomes of messages with 0 to 8 colluding withholders
 * (schedule S8), over a number of seeds. From five on every place next to the topic is theirs.
 */

const { values } = parseArgs({
  options: { seeds: { type: 'string', default: '5' }, to: { type: 'string', default: '8' } },
})

interface Sums {
  acknowledged: number
  /** Of the acknowledged: to every subscriber that stayed from before it was published until the end. */
  delivered: number
  /** Of all pairs of an acknowledged message and such a subscriber, those in which it arrived. */
  pairs: number
  arrived: number
  /** Of the acknowledged: read at the end by a node that was never there before. */
  read: number
  unknown: number
  failed: number
}

/** What the network said of each message that was published after the withholders came, and what became of it. */
function sumsOf(events: HistoryEvent[]): Sums {
  const attackedMs = events.find((event) => event.type === 'phase' && event.phase === 'faults')?.atMs ?? 0
  const publishedMs = new Map<string, number>()
  const joinedMs = new Map<string, number>()
  const got = new Map<string, Set<string>>()
  const sums = { acknowledged: 0, delivered: 0, pairs: 0, arrived: 0, read: 0, unknown: 0, failed: 0 }
  const read = new Set<string>()
  for (const event of events) {
    // one that expires before the end says nothing
    if (event.type === 'attempt' && event.atMs > attackedMs && event.ttlMs > LONG_MS)
      publishedMs.set(event.token, event.atMs)
    if (event.type === 'subscribed') joinedMs.set(event.subscription, event.atMs)
    if (event.type === 'left') joinedMs.delete(event.subscription)
    if (event.type === 'deliver')
      got.set(event.subscription, (got.get(event.subscription) ?? new Set()).add(event.token))
    if (event.type === 'fresh') for (const { token } of event.messages) read.add(token)
  }
  for (const event of events) {
    if (!('token' in event)) continue
    const atMs = publishedMs.get(event.token)
    if (atMs === undefined) continue
    if (event.type === 'unknown') sums.unknown += 1
    if (event.type === 'fail') sums.failed += 1
    if (event.type !== 'ack') continue
    const stayed = [...joinedMs].filter(([, joined]) => joined < atMs)
    const reached = stayed.filter(([name]) => got.get(name)?.has(event.token)).length
    sums.acknowledged += 1
    sums.delivered += reached === stayed.length ? 1 : 0
    sums.pairs += stayed.length
    sums.arrived += reached
    sums.read += read.has(event.token) ? 1 : 0
  }
  return sums
}

const LONG_MS = 60_000
const percent = (part: number, whole: number) =>
  whole === 0 ? '-' : `${((100 * part) / whole).toFixed(1)} %`

const columns = ['m', 'acknowledged', 'delivered', 'to each', 'read anew', 'unknown', 'failed']
console.log(columns.map((name) => name.padStart(13)).join(''))
for (let attackers = 0; attackers <= Number(values.to); attackers++) {
  const total: Sums = { acknowledged: 0, delivered: 0, pairs: 0, arrived: 0, read: 0, unknown: 0, failed: 0 }
  for (let seed = 1; seed <= Number(values.seeds); seed++) {
    const { events } = await runScenario({ schedule: 'S8', seed, load: 'short', attackers })
    const sums = sumsOf(events)
    for (const name of Object.keys(total) as (keyof Sums)[]) total[name] += sums[name]
  }
  const { acknowledged, delivered, pairs, arrived, read, unknown, failed } = total
  const line = [
    attackers,
    acknowledged,
    percent(delivered, acknowledged),
    percent(arrived, pairs),
    percent(read, acknowledged),
    unknown,
    failed,
  ]
  console.log(line.map((value) => String(value).padStart(13)).join(''))
}
