import { serve } from './children.ts'
import { machineMs } from './clock.ts'
import { Lines } from './lines.ts'
import type { Client, History, SystemName } from './system.ts'
import { connectOf } from './systems/index.ts'
import { countTraffic } from './usage.ts'

/** A process of publishers and subscribers of one system. It stamps what they send and receive. Argument: the system. */

export interface Open {
  place: unknown
  peers: string[]
  count: number
}
export interface Subscribe {
  clients: number[]
  topics: string[]
  history: History
}
export interface Publish {
  client: number
  jobs: Job[]
  /** Publishes on their way at once. */
  open: number
}
/** Number 0 opens links and is not counted. */
export interface Job {
  topic: string
  number: number
}
/** Machine times, one of each for each job. */
export interface Published {
  startedMs: Float64Array
  promisedMs: Float64Array
}
export interface Wait {
  /** Messages of all subscriptions of this process since the last `take`. */
  atLeast: number
  /** Given: also ends when nothing came for so long. */
  quietMs?: number
  timeoutMs: number
}
export interface Arrivals {
  topic: string
  numbers: Float64Array
  atMs: Float64Array
  /** Lines that nobody sent like that. */
  wrong: number
}

const traffic = countTraffic()
const lines = Lines.load()
const connect = await connectOf(process.argv[2] as SystemName)
const clients: Client[] = []

class Subscription {
  readonly topic: string
  heard = false
  wrong = 0
  numbers: number[] = []
  atMs: number[] = []

  constructor(topic: string) {
    this.topic = topic
  }

  onLine(line: string): void {
    const atMs = machineMs()
    this.heard = true
    const number = lines.numberOf(line)
    if (number === 0) return
    if (number === undefined) this.wrong += 1
    else {
      this.numbers.push(number)
      this.atMs.push(atMs)
    }
    total += 1
    lastMs = atMs
    onArrival?.()
  }

  take(): Arrivals {
    const { topic, wrong } = this
    const taken = {
      topic,
      wrong,
      numbers: Float64Array.from(this.numbers),
      atMs: Float64Array.from(this.atMs),
    }
    this.wrong = 0
    this.numbers = []
    this.atMs = []
    return taken
  }
}

const subscriptions: Subscription[] = []
let total = 0
let lastMs = 0
let onArrival: (() => void) | undefined

async function open({ place, peers, count }: Open): Promise<string[]> {
  const opened = await Promise.all(Array.from({ length: count }, () => connect(place, peers)))
  clients.push(...opened)
  return opened.map(({ address }) => address ?? '')
}

/** Resolves with the machine's time at which it began. */
async function subscribe(request: Subscribe): Promise<number> {
  const startMs = machineMs()
  for (const topic of request.topics)
    await Promise.all(
      request.clients.map((i) => {
        const subscription = new Subscription(topic)
        subscriptions.push(subscription)
        return client(i).subscribe(topic, request.history, (line) => subscription.onLine(line))
      }),
    )
  return startMs
}

async function ready({
  client: i,
  topics,
  subscribers,
}: {
  client: number
  topics: string[]
  subscribers: number
}) {
  for (const topic of topics) await client(i).ready?.(topic, subscribers)
}

async function publish({ client: i, jobs, open }: Publish): Promise<Published> {
  const startedMs = new Float64Array(jobs.length)
  const promisedMs = new Float64Array(jobs.length)
  let next = 0
  const lane = async () => {
    while (next < jobs.length) {
      const at = next++
      const { topic, number } = jobs[at] as Job
      const line = lines.line(number)
      startedMs[at] = machineMs()
      await client(i).publish(topic, line)
      promisedMs[at] = machineMs()
    }
  }
  await Promise.all(Array.from({ length: Math.min(open, jobs.length) }, lane))
  return { startedMs, promisedMs }
}

/** Resolves with how many have come. */
function arrived({ atLeast, quietMs, timeoutMs }: Wait): Promise<number> {
  const sinceMs = machineMs()
  return new Promise((resolve) => {
    const done = () => {
      clearInterval(timer)
      onArrival = undefined
      resolve(total)
    }
    const timer = setInterval(() => {
      const nowMs = machineMs()
      const isQuiet = quietMs !== undefined && nowMs - Math.max(sinceMs, lastMs) > quietMs
      if (isQuiet || nowMs - sinceMs > timeoutMs) done()
    }, 100)
    onArrival = () => {
      if (total >= atLeast) done()
    }
    onArrival()
  })
}

function take(): Arrivals[] {
  total = 0
  return subscriptions.map((subscription) => subscription.take())
}

async function roundTrips({ samples }: { samples: number }): Promise<Float64Array> {
  const ms = new Float64Array(samples)
  for (let i = 0; i < samples; i++) {
    const startMs = machineMs()
    await client(0).roundTrip?.()
    ms[i] = machineMs() - startMs
  }
  return ms
}

function client(index: number): Client {
  const found = clients[index]
  if (found === undefined) throw new Error(`There is no client ${index} here.`)
  return found
}

const unheard = () => subscriptions.filter(({ heard }) => !heard).length

serve({ open, subscribe, ready, publish, arrived, take, roundTrips, unheard, traffic }, () =>
  Promise.all(clients.map((open) => open.close())),
)
