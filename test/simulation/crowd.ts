import { parseArgs } from 'node:util'
import { SimulatedHub } from './hub.ts'
import { SimulatedNode } from './node.ts'
import { installSynchronousCrypto } from './synchronous-crypto.ts'
import { World } from './world.ts'

/**
 * Tabs by the hundred around a few nodes with disks (requirement B8): they chat, and then every window is closed at the same
 * moment, in the middle of it. `node test/simulation/crowd.ts --tabs 500 --seeds 3`
 */

export interface CrowdOptions {
  seed: number
  durable: number
  tabs: number
  /** Of a topic's replicas so many are durable ones; what ships when left out. */
  minDurable?: number
}

export interface CrowdResult {
  acknowledged: number
  /** Of these, what a node that was never there does not find afterwards. */
  lost: string[]
}

const TOPICS = 8
const PUBLISHERS = 16
const ROUNDS = 4
/** Tabs that open at the same moment. */
const OPENING_AT_ONCE = 50
/** What takes a holder down is noticed, and the nodes that are left agree on what they hold. */
const SETTLE_MS = 15_000

export async function closeTheWindows({
  seed,
  durable,
  tabs,
  minDurable,
}: CrowdOptions): Promise<CrowdResult> {
  const restoreCrypto = installSynchronousCrypto()
  const world = new World({ seed })
  const hub = new SimulatedHub(world)
  const dhtOptions = minDurable === undefined ? {} : { minDurable }
  const bootstrap: string[] = []
  const node = (label: string, rest: { stores: boolean; durable: boolean }) =>
    new SimulatedNode(hub, { label, ...rest, bootstrap, smallNetworkPeers: 20, dhtOptions, options: {} })
  const nodes = Array.from({ length: durable }, (_, i) => node(`d${i}`, { stores: true, durable: true }))
  bootstrap.push(...nodes.map(({ nodeId }) => nodeId))
  const windows = Array.from({ length: tabs }, (_, i) => node(`t${i}`, { stores: true, durable: false }))
  const reader = node('reader', { stores: false, durable: false })

  return world
    .run(async () => {
      for (const one of nodes) await one.start()
      for (let i = 0; i < tabs; i += OPENING_AT_ONCE)
        await Promise.all(windows.slice(i, i + OPENING_AT_ONCE).map((tab) => tab.start()))
      await world.sleep(2_000)
      const acknowledged = await chat(world, windows)
      await world.sleep(SETTLE_MS)
      await reader.start()
      const found = await readAll(reader)
      return { acknowledged: acknowledged.length, lost: acknowledged.filter((text) => !found.has(text)) }
    })
    .finally(restoreCrypto)
}

const topicOf = (n: number): string => `topic ${n % TOPICS}`

/** Publishers say something every now and then; the last of it is on its way when all windows close. */
async function chat(world: World, windows: SimulatedNode[]): Promise<string[]> {
  const acknowledged: string[] = []
  const say = (publisher: SimulatedNode, n: number, round: number) => {
    const text = `${round} of ${n}`
    return publisher.pubsub.publish(topicOf(n), text).then(
      () => acknowledged.push(text),
      () => undefined,
    )
  }
  const publishers = windows.slice(0, PUBLISHERS)
  for (let round = 0; round < ROUNDS; round++)
    await Promise.all(publishers.map((publisher, n) => say(publisher, n, round)))
  for (const [n, publisher] of publishers.entries()) void say(publisher, n, ROUNDS)
  await world.sleep(30)
  for (const [i, tab] of windows.entries()) tab.crash({ isSilent: i % 2 === 0 })
  return acknowledged
}

async function readAll({ pubsub }: SimulatedNode): Promise<Set<string>> {
  const found = new Set<string>()
  for (let n = 0; n < TOPICS; n++) {
    const { messages } = await pubsub.history(topicOf(n), { limit: 256 })
    for (const { data } of messages) found.add(String(data))
  }
  return found
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      tabs: { type: 'string', default: '500' },
      durable: { type: 'string', default: '5' },
      seeds: { type: 'string', default: '1' },
    },
  })
  for (let seed = 1; seed <= Number(values.seeds); seed++) {
    const size = { tabs: Number(values.tabs), durable: Number(values.durable) }
    const startedMs = performance.now()
    const { acknowledged, lost } = await closeTheWindows({ seed, ...size })
    const seconds = ((performance.now() - startedMs) / 1_000).toFixed(1)
    console.log(
      `seed ${seed}: ${size.durable} durable nodes, ${size.tabs} tabs, ${acknowledged} acknowledged, ${lost.length} lost, ${seconds} s`,
    )
    if (lost.length > 0 || acknowledged === 0) process.exitCode = 1
  }
}
