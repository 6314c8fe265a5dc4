import { Child } from './children.ts'
import type { Arrivals, Job, Open, Publish, Published, Subscribe, Wait } from './host.ts'
import type { History, Network, System } from './system.ts'
import type { Traffic } from './usage.ts'

/** Publishers and subscribers of one system, spread over a few processes: one of publishers, up to two of subscribers. */

/** With two cores more processes only wait for each other. */
const SUBSCRIBER_PROCESSES = 2
const OPENED_AT_ONCE = 2
const WARM_UP_TIMEOUT_MS = 60_000
const ARRIVAL_TIMEOUT_MS = 120_000
/** What gossip has not brought by then was dropped: it repairs within a heartbeat or two of a second. */
const QUIET_MS = 3_000

interface Host {
  child: Child
  clients: number
  subscriptions: number
  arrived: number
}

export interface CrowdInit {
  system: System
  network: Network
  publishers: number
  subscribers: number
}

export class Crowd {
  readonly #init: CrowdInit
  readonly #publishing: Host
  readonly #subscribing: Host[]

  private constructor(init: CrowdInit, publishing: Host, subscribing: Host[]) {
    this.#init = init
    this.#publishing = publishing
    this.#subscribing = subscribing
  }

  static async open(init: CrowdInit): Promise<Crowd> {
    const startHost = async (): Promise<Host> => {
      const child = await Child.start('host', [init.system.name])
      return { child, clients: 0, subscriptions: 0, arrived: 0 }
    }
    const count = 1 + Math.min(SUBSCRIBER_PROCESSES, init.subscribers)
    const [publishing, ...subscribing] = (await Promise.all(Array.from({ length: count }, startHost))) as [
      Host,
      ...Host[],
    ]
    const crowd = new Crowd(init, publishing, subscribing)
    try {
      await crowd.#openClients()
      return crowd
    } catch (error) {
      await crowd.close()
      throw error
    }
  }

  async #openClients(): Promise<void> {
    const { network, publishers, subscribers } = this.#init
    const peers: string[] = []
    const openAt = async (host: Host, count: number) => {
      const request: Open = { place: network.place, peers: [...peers], count }
      host.clients += count
      return host.child.ask<string[]>('open', request)
    }
    for (let opened = 0, turn = 0; opened < subscribers; turn++) {
      const host = this.#subscribing[turn % this.#subscribing.length] as Host
      const share = Math.ceil(subscribers / this.#subscribing.length)
      const count = Math.min(OPENED_AT_ONCE, share - host.clients, subscribers - opened)
      peers.push(...(await openAt(host, count)))
      opened += count
    }
    while (this.#publishing.clients < publishers)
      await openAt(this.#publishing, Math.min(OPENED_AT_ONCE, publishers - this.#publishing.clients))
  }

  /** All subscribers, all topics. Resolves with the machine's time at which the first began. */
  async subscribe(topics: string[], history: History = 'none'): Promise<number> {
    const startsMs = await Promise.all(
      this.#subscribing.map((host) => {
        host.subscriptions += host.clients * topics.length
        const clients = Array.from({ length: host.clients }, (_, i) => i)
        return host.child.ask<number>('subscribe', { clients, topics, history } satisfies Subscribe)
      }),
    )
    const { subscribers, publishers } = this.#init
    for (let client = 0; client < publishers; client++)
      await this.#publishing.child.ask('ready', { client, topics, subscribers })
    return Math.min(...startsMs)
  }

  /** Publishes what does not count, from every publisher, until every subscription has heard something. */
  async warmUp(topics: string[]): Promise<void> {
    const jobs = topics.map((topic) => ({ topic, number: 0 }))
    const deadline = performance.now() + WARM_UP_TIMEOUT_MS
    for (;;) {
      await Promise.all(
        Array.from({ length: this.#init.publishers }, (_, client) => this.publish(client, jobs, 10)),
      )
      await new Promise((resolve) => setTimeout(resolve, 300))
      const unheard = await Promise.all(this.#subscribing.map(({ child }) => child.ask<number>('unheard')))
      if (unheard.every((count) => count === 0)) return
      if (performance.now() > deadline)
        throw new Error(`${unheard.join(' + ')} subscriptions heard nothing within a minute.`)
    }
  }

  publish(client: number, jobs: Job[], open = 1): Promise<Published> {
    return this.#publishing.child.ask<Published>('publish', { client, jobs, open } satisfies Publish)
  }

  /** Resolves once each subscription has so many more, or, where messages may be lost, nothing comes any more. */
  async arrivals(perSubscription: number): Promise<void> {
    const quiet = this.#init.system.losesNothing ? {} : { quietMs: QUIET_MS }
    await Promise.all(
      this.#subscribing.map(async (host) => {
        const atLeast = host.arrived + perSubscription * host.subscriptions
        const wait: Wait = { atLeast, timeoutMs: ARRIVAL_TIMEOUT_MS, ...quiet }
        host.arrived = await host.child.ask<number>('arrived', wait)
      }),
    )
  }

  /** What came since the last time, one of each subscription. */
  async take(): Promise<Arrivals[]> {
    const taken = await Promise.all(
      this.#subscribing.map((host) => {
        host.arrived = 0
        return host.child.ask<Arrivals[]>('take')
      }),
    )
    return taken.flat()
  }

  async roundTrips(samples: number): Promise<number[]> {
    return [...(await this.#publishing.child.ask<Float64Array>('roundTrips', { samples }))]
  }

  async traffic(): Promise<Traffic> {
    const all = await Promise.all(this.#hosts.map(({ child }) => child.ask<Traffic>('traffic')))
    return all.reduce((sum, { sentBytes, receivedBytes }) => ({
      sentBytes: sum.sentBytes + sentBytes,
      receivedBytes: sum.receivedBytes + receivedBytes,
    }))
  }

  async usage() {
    return this.#init.network.usage(await this.traffic())
  }

  async close(): Promise<void> {
    await Promise.all(this.#hosts.map(({ child }) => child.stop()))
  }

  get #hosts(): Host[] {
    return [this.#publishing, ...this.#subscribing]
  }
}

export interface Verdict {
  expected: number
  lost: number
  duplicated: number
  wrong: number
}

/** Compares what came with what was published, by topic. */
export function verdictOn(arrivals: readonly Arrivals[], published: readonly Job[]): Verdict {
  const verdict: Verdict = { expected: 0, lost: 0, duplicated: 0, wrong: 0 }
  const byTopic = Map.groupBy(published, ({ topic }) => topic)
  for (const { topic, numbers, wrong } of arrivals) {
    const expected = new Set((byTopic.get(topic) ?? []).map(({ number }) => number))
    const unique = new Set(numbers)
    const known = [...unique].filter((number) => expected.has(number)).length
    verdict.expected += expected.size
    verdict.lost += expected.size - known
    verdict.duplicated += numbers.length - unique.size
    verdict.wrong += wrong + unique.size - known
  }
  return verdict
}
