import { type CheckerSettings, check, type Violation } from './checker.ts'
import { outlive } from './expiry.ts'
import type { HistoryEvent } from './history.ts'
import type { SimulatedNode } from './node.ts'
import { observe, onRecord, wasLookedAt } from './observe.ts'
import { noteResources } from './observe-resources.ts'
import { type FaultContext, type Needs, SCHEDULES, type Schedule } from './schedules.ts'
import { Simulation } from './simulation.ts'
import { installSynchronousCrypto } from './synchronous-crypto.ts'
import { LOADS, MIN_RETURNS, Workload } from './workload.ts'

/** One run: load, faults, heal, quiet, and the final read by a node that was never there. */

export interface RunOptions {
  schedule: string
  seed: number
  keepTrace?: boolean
  drainTurns?: number
  load?: keyof typeof LOADS
  /** How many, for a schedule with attackers in any number. */
  attackers?: number | undefined
}

export interface RunResult {
  violations: Violation[]
  /** Why the run proves nothing; empty when it counts. */
  vacuous: string[]
  events: HistoryEvent[]
  trace: string[]
  checksum: string
  stats: Record<string, number>
}

const CLEAN_MS = 5_000
const AFTER_HEAL_MS = 3_000
const SETTLE_MS = 15_000
const QUIET_MS = 10_000

/** Which of nine holders and six clients publish. */
const PUBLISHING_HOLDERS = [0, 3, 5, 8]
const PUBLISHING_CLIENTS = 6
const CLIENTS = ['early', 'steady', 'cycling', 'returning', 'late', 'end', 'fresh']

export async function runScenario(options: RunOptions): Promise<RunResult> {
  const schedule = SCHEDULES[options.schedule]
  if (schedule === undefined) throw new Error(`No schedule ${options.schedule}: ${Object.keys(SCHEDULES)}`)
  const restoreCrypto = installSynchronousCrypto()
  const simulation = new Simulation({
    seed: options.seed,
    keepTrace: options.keepTrace ?? false,
    drainTurns: options.drainTurns ?? 1,
    maxVirtualMs: 10 * 60_000,
  })
  const { history } = simulation
  const scenario = new Scenario(simulation, schedule, options)
  await onRecord(simulation, () => scenario.run())
  restoreCrypto()
  const { skewMs = 0, quickUntil = 'faults', settleMs = SETTLE_MS } = schedule
  const settings: Partial<CheckerSettings> = { skewMs, quickUntil, settleMs }
  return {
    violations: check(history.events, settings),
    vacuous: scenario.vacuity(),
    events: history.events,
    trace: simulation.world.trace,
    checksum: simulation.world.checksum,
    stats: scenario.stats(),
  }
}

/** The one command that does the same again. */
export const replayCommand = ({ schedule, seed, load = 'full' }: RunOptions): string =>
  `npm run test:sim -- --seeds ${seed} --schedule ${schedule} --load ${load} --trace trace.txt`

/** What attackers did, all together, by name. */
export function attackCounts(events: HistoryEvent[]): Record<string, number> {
  const sums: Record<string, number> = {}
  for (const event of events)
    if (event.type === 'attack')
      for (const [name, count] of Object.entries(event.counts)) sums[name] = (sums[name] ?? 0) + count
  return sums
}

class Scenario {
  readonly #simulation: Simulation
  readonly #workload: Workload
  readonly #schedule: Schedule
  readonly #attackers: number | undefined
  readonly #resubscribe = new Set<SimulatedNode>()
  #headsBeforeHeal = 0
  #openAtCrash = 0

  constructor(simulation: Simulation, schedule: Schedule, { load = 'full', attackers }: RunOptions) {
    this.#simulation = simulation
    this.#schedule = schedule
    this.#attackers = attackers
    this.#workload = new Workload(simulation, { ...LOADS[load], ...schedule.load })
  }

  async run(): Promise<void> {
    const { world, history } = this.#simulation
    const publishers = Array.from({ length: PUBLISHING_CLIENTS }, (_, i) => `pub${i}`)
    await this.#simulation.populate([...CLIENTS, ...publishers])
    const cycling = this.#startLoad()
    await world.sleep(CLEAN_MS)
    noteResources(this.#simulation)
    history.add({ type: 'phase', phase: 'faults' })
    const late = this.#subscribeLate()
    await this.#schedule.faults(this.#context())
    this.#headsBeforeHeal = await this.#countHeads()
    await this.#heal()
    await world.sleep(AFTER_HEAL_MS)
    await Promise.all([this.#workload.finish(), cycling, late])
    await this.#workload.subscribe(this.#simulation.node('end'))
    await world.sleep(this.#schedule.settleMs ?? SETTLE_MS)
    history.add({ type: 'phase', phase: 'quiet' })
    await world.sleep(QUIET_MS)
    history.add({ type: 'phase', phase: 'end' })
    await observe(this.#simulation, this.#simulation.node('fresh'))
    if (this.#schedule.expires) await outlive(this.#simulation, this.#workload, this.#schedule.skewMs ?? 0)
  }

  /** Resolves when the cycling subscriber has stopped, and the returning one has come to stay. */
  #startLoad(): Promise<unknown> {
    const { holders } = this.#simulation
    const publishers = [
      ...PUBLISHING_HOLDERS.map((i) => holders[i] as SimulatedNode),
      ...Array.from({ length: PUBLISHING_CLIENTS }, (_, i) => this.#simulation.node(`pub${i}`)),
    ]
    for (const [i, node] of publishers.entries()) this.#workload.startPublisher(node, i)
    const subscribing = [
      this.#simulation.node('early'),
      this.#simulation.node('steady'),
      holders[1] as SimulatedNode,
    ]
    for (const node of subscribing) {
      this.#resubscribe.add(node)
      void this.#workload.subscribe(node)
    }
    const cycling = this.#workload.cycle(this.#simulation.node('cycling'), 5_000, 2_000)
    const returning = this.#workload.comeAndGo(this.#simulation.node('returning'))
    return Promise.all([cycling, returning])
  }

  async #subscribeLate(): Promise<void> {
    await this.#simulation.world.sleep(5_000)
    await this.#workload.subscribe(this.#simulation.node('late'))
  }

  #context(): FaultContext {
    return {
      simulation: this.#simulation,
      workload: this.#workload,
      attackers: this.#attackers,
      crash: (node, options) => {
        if (!node.isUp) return
        this.#openAtCrash += this.#workload.openPublishes
        this.#workload.noteCrash(node)
        if (options?.losesDisk) this.#simulation.history.add({ type: 'disk-lost', node: node.label })
        node.crash(options)
      },
      restart: async (node) => {
        if (node.isUp) return
        await node.start()
        if (this.#resubscribe.has(node)) void this.#workload.subscribe(node)
      },
    }
  }

  async #heal(): Promise<void> {
    const { hub, nodes, history } = this.#simulation
    hub.heal()
    const { restart } = this.#context()
    for (const node of nodes) {
      node.disk.fault = undefined
      node.disk.options = { minWriteMs: 0.5, maxWriteMs: 4, maxReadMs: 0.3 }
      if (!node.isUp && node.incarnation > 0) await restart(node)
    }
    history.add({ type: 'phase', phase: 'heal' })
  }

  async #countHeads(): Promise<number> {
    const heads = new Set<string>()
    for (const node of this.#simulation.holders.filter(({ isUp }) => isUp))
      heads.add((await this.#simulation.messagesAt(node).catch(() => ({ head: 'unreadable' }))).head)
    return heads.size
  }

  stats(): Record<string, number> {
    const { history, hub, world, merges } = this.#simulation
    const count = (type: HistoryEvent['type']) => history.events.filter((event) => event.type === type).length
    return {
      attempts: count('attempt'),
      acks: count('ack'),
      /** Acknowledged with fewer than a majority of the five: a small part of the network went on by itself. */
      weakAcks: history.events.filter((event) => event.type === 'ack' && event.replicas < 3).length,
      unknown: count('unknown'),
      failed: count('fail'),
      deliveries: count('deliver'),
      gaps: count('gap'),
      merges,
      headsBeforeHeal: this.#headsBeforeHeal,
      openAtCrash: this.#openAtCrash,
      ...attackCounts(history.events),
      ...hub.counters,
      failedWrites: this.#diskSum('failedWrites'),
      flippedBits: this.#diskSum('flippedBits'),
      events: world.events,
      virtualMs: Math.round(world.nowMs),
    }
  }

  #diskSum(counter: 'failedWrites' | 'flippedBits'): number {
    return this.#simulation.nodes.reduce((sum, { disk }) => sum + disk.counters[counter], 0)
  }

  /** A run without faults, without load or without merges proves nothing. */
  vacuity(): string[] {
    const stats = this.stats() as Record<string, number>
    const { events } = this.#simulation.history
    const faultsMs = events.find((event) => event.type === 'phase' && event.phase === 'faults')?.atMs ?? 0
    const clean = events.filter((event) => event.type === 'attempt' && event.atMs < faultsMs - 2_000)
    const acked = new Set(events.flatMap((event) => (event.type === 'ack' ? [event.token] : [])))
    const share =
      clean.filter((event) => event.type === 'attempt' && acked.has(event.token)).length / clean.length
    const out: string[] = []
    if (clean.length < 10) out.push(`only ${clean.length} publishes before the faults`)
    if (!(share >= 0.8)) out.push(`only ${Math.round(share * 100)} % acknowledged before the faults`)
    if ((stats.deliveries ?? 0) < (stats.acks ?? 0)) out.push('fewer deliveries than messages')
    const required: [keyof Needs, string[]][] = [
      ['crashes', ['crashes', 'openAtCrash']],
      ['merges', ['merges']],
      ['stalled', ['stalledFrames']],
      ['resets', ['resets', 'lostPackets']],
      ['failedWrites', ['failedWrites']],
      ['flippedBits', ['flippedBits']],
      ['attack', this.#schedule.needs.attack ?? []],
    ]
    for (const [need, counters] of required)
      for (const counter of counters)
        if (this.#schedule.needs[need] && !stats[counter]) out.push(`no ${counter}`)
    if (events.filter((event) => event.type === 'subscribed' && event.isResumed).length < MIN_RETURNS)
      out.push('nobody came back with a position')
    out.push(...wasLookedAt(events))
    if (this.#schedule.expires && !events.some((event) => event.type === 'kept' && event.before > 0))
      out.push('nothing was there to expire')
    if (this.#schedule.needs.merges && this.#headsBeforeHeal < 2) out.push('one head only before the heal')
    return out
  }
}
