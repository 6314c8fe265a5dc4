import { ACCEPTANCE, type AcceptanceTest, checkWhole, DIVERGING, shortened } from './acceptance-check.ts'
import { Joins } from './acceptance-joins.ts'
import { check } from './checker.ts'
import type { HistoryEvent } from './history.ts'
import type { SimulatedNode } from './node.ts'
import { observe, onRecord, wasLookedAt } from './observe.ts'
import { noteResources } from './observe-resources.ts'
import type { RunOptions, RunResult } from './scenario.ts'
import { Simulation } from './simulation.ts'
import { installSynchronousCrypto } from './synchronous-crypto.ts'
import { Workload } from './workload.ts'

/** One run of an acceptance test: the load, a subscriber that joins late, what makes initiators differ, the final reads. */

const SETTLE_MS = 15_000
const QUIET_MS = 10_000
/** In which it is tried that two initiators meet. */
const MAX_ROUNDS = 3

export async function runAcceptance(options: RunOptions): Promise<RunResult> {
  const test = ACCEPTANCE[options.schedule]
  if (test === undefined)
    throw new Error(`No acceptance test ${options.schedule}: ${Object.keys(ACCEPTANCE)}`)
  const restoreCrypto = installSynchronousCrypto()
  const simulation = new Simulation({
    seed: options.seed,
    keepTrace: options.keepTrace ?? false,
    drainTurns: options.drainTurns ?? 1,
    maxVirtualMs: 10 * 60_000,
  })
  const { history } = simulation
  const run = new AcceptanceRun(simulation, options.load === 'short' ? shortened(test) : test)
  await onRecord(simulation, () => run.run())
  restoreCrypto()
  return {
    violations: [
      ...check(history.events, { settleMs: SETTLE_MS }),
      ...checkWhole(history.events, { name: options.schedule, ...run.test }),
    ],
    vacuous: run.vacuity(),
    events: history.events,
    trace: simulation.world.trace,
    checksum: simulation.world.checksum,
    stats: run.stats(),
  }
}

class AcceptanceRun {
  readonly test: AcceptanceTest
  readonly #simulation: Simulation
  readonly #workload: Workload
  readonly #total: number
  readonly #joins = new Joins()
  #joinedAfter = 0

  constructor(simulation: Simulation, test: AcceptanceTest) {
    this.#simulation = simulation
    this.test = test
    this.#total = test.publishers * test.each
    this.#workload = new Workload(simulation, { deadlineMs: test.deadlineMs })
  }

  async run(): Promise<void> {
    const { world, history } = this.#simulation
    const publishers = Array.from({ length: this.test.publishers }, (_, i) => `pub${i}`)
    await this.#simulation.populate(['early', 'late', 'fresh', ...publishers])
    for (const { pubsub } of this.#simulation.holders)
      pubsub.dht.store.onAdvance(({ after }) => this.#joins.note(after))
    await this.#workload.subscribe(this.#simulation.node('early'))
    await this.#workload.subscribe(this.#simulation.node('n1'))
    const publishing = Array.from({ length: this.test.publishers }, (_, i) => this.#publish(i))
    // a tenth, which is the first 100 of 1,000
    while (this.#count('ack') < this.#total / 10) await world.sleep(5)
    noteResources(this.#simulation)
    const cause = this.test.diverges ? this.#diverge() : Promise.resolve()
    await this.#workload.subscribe(this.#simulation.node('late'))
    this.#joinedAfter = this.#count('ack')
    await Promise.all([...publishing, cause])
    await this.#workload.finish()
    // nothing was wrong until here: this is where the checker ends to ask for speed
    if (!this.test.diverges) history.add({ type: 'phase', phase: 'faults' })
    await world.sleep(SETTLE_MS)
    history.add({ type: 'phase', phase: 'quiet' })
    await world.sleep(QUIET_MS)
    history.add({ type: 'phase', phase: 'end' })
    await observe(this.#simulation, this.#simulation.node('fresh'))
  }

  get #publishers(): SimulatedNode[] {
    return this.#simulation.clients.filter(({ label }) => label.startsWith('pub'))
  }

  #count(type: HistoryEvent['type']): number {
    return this.#simulation.history.events.filter((event) => event.type === type).length
  }

  /** One message after the other in time, not waiting for answers. */
  async #publish(index: number): Promise<void> {
    const { world } = this.#simulation
    const random = world.random(`publisher ${index}`)
    const { minIntervalMs, maxIntervalMs } = this.test
    for (let n = 1; n <= this.test.each; n++) {
      const pad = random.bytes(random.int(0, 200))
      this.#workload.publish(this.#simulation.node(`pub${index}`), { token: `p${index}.${n}`, pad })
      await world.sleep(random.between(minIntervalMs, maxIntervalMs))
    }
  }

  /** Two initiators at once, by a cause that the seed picks. */
  async #diverge(): Promise<void> {
    const { random, world, hub, history } = this.#simulation
    const first = await this.#firstHolder()
    await world.sleep(random.between(0, 500))
    history.add({ type: 'phase', phase: 'faults' })
    const cause = DIVERGING[random.pick(Object.keys(DIVERGING))]
    // two initiators that happen to take turns have nothing to merge
    for (let round = 0; round < MAX_ROUNDS; round++) {
      await cause?.(this.#simulation, first, this.#publishers)
      hub.heal()
      if (this.#joins.count > 0 || this.#count('attempt') === this.#total) break
    }
    history.add({ type: 'phase', phase: 'heal' })
  }

  /** Whom all publishers ask first. */
  async #firstHolder(): Promise<SimulatedNode> {
    const { topicKey, nodes } = this.#simulation
    const set = await this.#simulation.node('pub0').pubsub.dht.replicas.set(topicKey)
    const first = set.find(({ durable }) => durable)
    return nodes.find(({ nodeId }) => nodeId === first?.nodeId) as SimulatedNode
  }

  stats(): Record<string, number> {
    const { history, world, merges, holders, hub } = this.#simulation
    const late = history.events.filter(
      (event) => event.type === 'deliver' && event.subscription.endsWith('@late'),
    )
    const storedBy = holders
      .filter(({ isUp }) => isUp)
      .map(({ pubsub }) => pubsub.counters().initiator?.groupedMessages)
    return {
      attempts: this.#count('attempt'),
      acks: this.#count('ack'),
      weakAcks: history.events.filter((event) => event.type === 'ack' && event.replicas < 3).length,
      unknown: this.#count('unknown'),
      failed: this.#count('fail'),
      deliveries: this.#count('deliver'),
      gaps: this.#count('gap'),
      merges,
      total: this.#total,
      late: new Set(late.map((event) => event.type === 'deliver' && event.token)).size,
      joinedAfter: this.#joinedAfter,
      /** Holders that brought messages into the topic. */
      initiators: storedBy.filter(Boolean).length,
      joins: this.#joins.count,
      ...hub.counters,
      events: world.events,
      virtualMs: Math.round(world.nowMs),
    }
  }

  /** Without a late subscriber, or without a merge, the run proves nothing. */
  vacuity(): string[] {
    const { joinedAfter = 0, merges = 0, initiators = 0, joins = 0 } = this.stats()
    const out = wasLookedAt(this.#simulation.history.events)
    if (joinedAfter < this.#total / 10) out.push(`the late subscriber joined after ${joinedAfter} messages`)
    if (joinedAfter >= this.#total) out.push('the late subscriber joined when everything was stored')
    if (!this.test.diverges) return out
    if (initiators < 2) out.push('one initiator only')
    if (merges === 0 || joins === 0) out.push('no merges')
    return out
  }
}
