import { join } from 'node:path'
import { DEFAULT_DHT_OPTIONS } from '../../../src/dht/index.ts'
import { createNode, type StickyNode } from '../../../src/node/index.ts'
import type { Subscription, SyncStatus } from '../../../src/pubsub/index.ts'
import { Child, isOver, removeFolder, temporaryFolder } from '../children.ts'
import { echo } from '../echo.ts'
import { type Client, type History, type Network, type System, usageOf } from '../system.ts'
import type { Traffic } from '../usage.ts'

const ATTEMPTS = 6
const PAUSE_MS = 1_000
const KNOWN_TIMEOUT_MS = 120_000

interface Place {
  url: string
  holders: string[]
}

export const system: System = {
  name: 'ours',
  title: 'sticky-pubsub',
  hasHistory: true,
  losesNothing: true,
  note: 'stored: signed, verified, flushed at a majority of 8 replicas; clients verify what they receive',
  async start(nodes) {
    const folder = await temporaryFolder()
    const bridge = await Child.start('bridge-peer')
    const url = await bridge.ask<string>('url')
    const holders: Child[] = []
    // one after the other: together they would want the machine for longer than a handshake may take
    for (let i = 0; i < nodes; i++)
      holders.push(await patiently(() => Child.start('holder', [url, join(folder, `holder-${i}`)])))
    const ids = await Promise.all(holders.map((holder) => holder.ask<string>('nodeId')))
    const place: Place = { url, holders: ids }
    return new StickyNetwork(place, folder, bridge, holders)
  },
}

/** On a machine that is busy with other things a node may find no time to join. */
async function patiently<T>(start: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++)
    try {
      return await start()
    } catch (error) {
      if (attempt === ATTEMPTS || isOver()) throw error
      await new Promise((resolve) => setTimeout(resolve, attempt * PAUSE_MS))
    }
}

class StickyNetwork implements Network {
  readonly place: Place
  readonly replicas: number
  readonly #folder: string
  readonly #bridge: Child
  readonly #holders: Child[]

  constructor(place: Place, folder: string, bridge: Child, holders: Child[]) {
    this.place = place
    this.replicas = Math.min(DEFAULT_DHT_OPTIONS.replication, holders.length)
    this.#folder = folder
    this.#bridge = bridge
    this.#holders = holders
  }

  async usage(clients: Traffic) {
    const traffic = await Promise.all(this.#holders.map((holder) => holder.ask<Traffic>('traffic')))
    const sent = traffic.reduce((sum, { sentBytes }) => sum + sentBytes, 0)
    return usageOf(
      this.#holders.map(({ pid }) => pid),
      { wireBytes: sent + clients.sentBytes, storageSentBytes: sent },
    )
  }

  async counters() {
    const sum: Record<string, number> = {}
    for (const holder of this.#holders)
      for (const [name, value] of Object.entries(await holder.ask<Record<string, number>>('counters')))
        sum[name] = (sum[name] ?? 0) + value
    return sum
  }

  async profiled<T>(name: string, work: () => Promise<T>) {
    await Promise.all(this.#holders.map((holder) => holder.ask('startProfile')))
    const result = await work()
    await Promise.all(
      this.#holders.map((holder, i) => holder.ask('stopProfile', { file: `${name}-${i}.cpuprofile` })),
    )
    return result
  }

  async stop() {
    await Promise.all(this.#holders.map((holder) => holder.stop()))
    await this.#bridge.stop()
    await removeFolder(this.#folder)
  }
}

/** A node that stores nothing and knows all the holders. */
export async function connect(place: unknown): Promise<Client> {
  const { url, holders } = place as Place
  const node = await patiently(() => createNode({ role: 'client', bridgeUrl: url }))
  await untilKnown(node, holders.length)
  const data = '.'.repeat(200)
  return {
    async publish(topic, line) {
      await node.pubsub.publish(topic, line, { deadlineMs: 120_000 })
    },
    async subscribe(topic, history: History, onLine) {
      const onMessage = (message: { data: unknown }) => onLine(message.data as string)
      const subscription = await node.pubsub.subscribe(topic, { history, onMessage })
      await untilSynced(subscription)
    },
    async roundTrip() {
      await node.pubsub.dht.rpc.request(holders[0] as string, echo, { data })
    },
    close: () => node.close(),
  }
}

/** With patience between two looks, which cost the holders a look-up each. */
async function untilKnown(node: StickyNode, holders: number): Promise<void> {
  const deadline = performance.now() + KNOWN_TIMEOUT_MS
  while ((await node.knownHolders().catch(() => 0)) < holders) {
    if (performance.now() > deadline) throw new Error(`A client did not get to know ${holders} nodes.`)
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
}

/** One that did not reach its replica at once goes on trying; with history 'none' it begins where it has succeeded. */
function untilSynced(subscription: Subscription): Promise<void> {
  return new Promise((resolve) => {
    const off = subscription.on('sync', (status) => check(status))
    const check = (status: SyncStatus) => {
      if (status !== 'synced') return
      off()
      resolve()
    }
    check(subscription.status)
  })
}
