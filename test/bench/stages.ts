import { StageTimers, systemRuntime } from '../../src/dht/index.ts'
import { MemoryNet, until } from '../support/memory-nodes.ts'

/**
 * What the stage timers cost: one timing alone, and how many of them a message takes, against the processor time that it
 * takes in all, over an in-process network of five storing nodes and a client. node test/bench/stages.ts
 */

const ROUNDS = 6
const MESSAGES = 600
const TIMINGS = 1_000_000

/** Microseconds of one timing, of work that takes no time itself. */
async function costOfOne(): Promise<{ endUs: number; watchUs: number }> {
  const stages = new StageTimers(systemRuntime)
  const timed = async (work: () => unknown, count: number) => {
    const begunMs = performance.now()
    for (let i = 0; i < count; i++) await work()
    return ((performance.now() - begunMs) * 1_000) / count
  }
  const done = Promise.resolve()
  await timed(() => stages.watch('disk', () => done), TIMINGS / 10) // warm
  const nothing = await timed(() => done, TIMINGS)
  const watched = await timed(() => stages.watch('disk', () => done), TIMINGS)
  const begunMs = performance.now()
  for (let i = 0; i < TIMINGS; i++) stages.end('decode', stages.begin())
  return { endUs: ((performance.now() - begunMs) * 1_000) / TIMINGS, watchUs: watched - nothing }
}

/** Processor time of one round, in ms. */
async function round(net: MemoryNet, topic: string): Promise<number> {
  const client = net.nodes.at(-1)?.pubsub
  if (client === undefined) throw new Error('no client')
  let received = 0
  const onMessage = () => {
    received += 1
  }
  const subscription = await client.subscribe(topic, { history: 'none', onMessage })
  const before = process.cpuUsage()
  for (let i = 0; i < MESSAGES; i += 20)
    await Promise.all(Array.from({ length: 20 }, (_, n) => client.publish(topic, `message ${i + n}`)))
  await until(() => received === MESSAGES)
  const { user, system } = process.cpuUsage(before)
  await subscription.close()
  return (user + system) / 1_000
}

/** Of all nodes since their start. */
async function timings({ nodes }: MemoryNet): Promise<number> {
  const all = await Promise.all(nodes.map(({ pubsub }) => pubsub.diagnostics()))
  return all.flatMap(({ stages }) => Object.values(stages)).reduce((sum, { count }) => sum + count, 0)
}

const one = await costOfOne()
const net = new MemoryNet()
for (let i = 0; i < 5; i++) await net.add({ dhtOptions: { antiEntropyMs: 60_000 } })
await net.add({ stores: false, durable: false })
await round(net, 'warm')
const timingsBefore = await timings(net)
let spentMs = 0
for (let i = 0; i < ROUNDS; i++) spentMs += await round(net, `${i}`)
const timed = (await timings(net)) - timingsBefore
await net.close()
const messages = ROUNDS * MESSAGES
const mostUs = (timed / messages) * Math.max(one.endUs, one.watchUs)
const messageUs = (spentMs * 1_000) / messages
process.stdout.write(
  [
    `one timing: ${one.endUs.toFixed(2)} µs around a call, ${one.watchUs.toFixed(2)} µs around a promise`,
    `a message, all nodes: ${(timed / messages).toFixed(1)} timings, ${messageUs.toFixed(0)} µs of processor time`,
    `share of the timings, all at the dearer price: ${((100 * mostUs) / messageUs).toFixed(2)} %`,
    '',
  ].join('\n'),
)
