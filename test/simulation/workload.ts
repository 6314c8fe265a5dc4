import { asStickyError } from '../../src/dht/index.ts'
import type { Message, Subscription } from '../../src/pubsub/index.ts'
import type { SimulatedNode } from './node.ts'
import { checksumOf, deliveredFrom, type Simulation, TOPIC } from './simulation.ts'

/** Load L of invariants.md, scaled: publishers and subscribers, and what they saw. */

export interface LoadOptions {
  publishers: number
  /** Between two messages of one publisher. */
  minPauseMs: number
  maxPauseMs: number
  deadlineMs: number
  shortTtlMs: number
  longTtlMs: number
  /** Share of messages with the short time to live. */
  shortShare: number
  maxPadBytes: number
}

export const DEFAULT_LOAD: LoadOptions = {
  publishers: 10,
  minPauseMs: 400,
  maxPauseMs: 2_000,
  deadlineMs: 12_000,
  shortTtlMs: 20_000,
  longTtlMs: 24 * 3_600_000,
  shortShare: 0.2,
  maxPadBytes: 1_500,
}

/** By name, so that a run can be replayed from the command line. */
/** With fewer a run says nothing of positions. */
export const MIN_RETURNS = 3

export const LOADS = {
  full: {},
  /** Less than half, for the tests that run every time. */
  short: { minPauseMs: 700, maxPauseMs: 2_800 },
} satisfies Record<string, Partial<LoadOptions>>

/** What an application keeps of its own over its restarts. */
interface Kept {
  position?: string
}

export class Workload {
  readonly #simulation: Simulation
  readonly #options: LoadOptions
  #isPublishing = true
  #subscriptions = 0
  readonly #open = new Set<Promise<void>>()
  readonly #live = new Map<string, { node: SimulatedNode; incarnation: number; subscription: Subscription }>()

  constructor(simulation: Simulation, options: Partial<LoadOptions> = {}) {
    this.#simulation = simulation
    this.#options = { ...DEFAULT_LOAD, ...options }
  }

  get openPublishes(): number {
    return this.#open.size
  }

  /** So that what comes next comes in the middle of a publish. */
  async untilPublishing(): Promise<void> {
    for (let waitedMs = 0; this.#open.size === 0 && waitedMs < 3_000; waitedMs += 2)
      await this.#simulation.world.sleep(2)
  }

  startPublisher(node: SimulatedNode, index: number): void {
    const { world } = this.#simulation
    const random = world.random(`publisher ${index}`)
    const { minPauseMs, maxPauseMs } = this.#options
    const loop = async () => {
      for (let n = 1; this.#isPublishing; n++) {
        await world.sleep(random.between(minPauseMs, maxPauseMs))
        if (!this.#isPublishing || !node.isUp) continue
        const pad = random.chance(0.05) ? 12_000 : random.int(0, this.#options.maxPadBytes)
        const isShort = random.chance(this.#options.shortShare)
        this.publish(node, { token: `p${index}.${n}`, pad: random.bytes(pad) }, isShort)
      }
    }
    void loop()
  }

  publish(node: SimulatedNode, data: { token: string; pad: Uint8Array }, isShort = false): void {
    const { history } = this.#simulation
    const { deadlineMs, shortTtlMs, longTtlMs } = this.#options
    const { token } = data
    const ttlMs = isShort ? shortTtlMs : longTtlMs
    history.add({ type: 'attempt', token, publisher: node.nodeId, data: checksumOf(data), ttlMs, deadlineMs })
    const { incarnation } = node
    const isSame = () => node.isUp && node.incarnation === incarnation
    let settled = false
    const outcome = node.pubsub.publish(TOPIC, data, { ttlMs, deadlineMs }).then(
      ({ id, writer, sequence, replicas }) => {
        if (isSame()) history.add({ type: 'ack', token, id, writer, sequence, replicas })
        settled = true
      },
      (error: unknown) => {
        const { code } = asStickyError(error, 'MALFORMED')
        if (isSame()) history.add({ type: code === 'OUTCOME_UNKNOWN' ? 'unknown' : 'fail', token, code })
        settled = true
      },
    )
    const done = outcome.finally(() => this.#open.delete(done))
    this.#open.add(done)
    // a publisher that dies never hears: nobody knows
    void (async () => {
      while (!settled && isSame()) await this.#simulation.world.sleep(250)
      if (!settled || !isSame()) {
        const told = history.events.some(
          (event) =>
            (event.type === 'ack' || event.type === 'fail' || event.type === 'unknown') &&
            event.token === token,
        )
        if (!told) history.add({ type: 'unknown', token, code: 'CRASHED' })
        this.#open.delete(done)
      }
    })()
  }

  /** Stops publishing and waits until every outcome is known. */
  async finish(): Promise<void> {
    this.#isPublishing = false
    while (this.#open.size > 0) await this.#simulation.world.sleep(100)
  }

  /** Gives the subscription's name in the history. */
  async subscribe(node: SimulatedNode, kept?: Kept): Promise<string> {
    const { history } = this.#simulation
    this.#subscriptions += 1
    const name = `s${this.#subscriptions}@${node.label}`
    const { incarnation } = node
    const isSame = () => node.isUp && node.incarnation === incarnation
    const onMessage = (message: Message) => {
      if (!isSame()) return
      history.add({ type: 'deliver', subscription: name, ...deliveredFrom(message) })
      if (kept !== undefined) kept.position = this.#live.get(name)?.subscription.position ?? ''
    }
    let isSettled = false
    const options = kept?.position === undefined ? {} : { history: { from: kept.position } }
    const subscribing = node.pubsub.subscribe(TOPIC, { ...options, onMessage }).then((subscription) => {
      if (isSame()) this.#subscribed(name, node, subscription, kept)
    })
    void subscribing.finally(() => {
      isSettled = true
    })
    while (!isSettled && isSame()) await this.#simulation.world.sleep(5) // a ghost never hears
    return name
  }

  /** In the same turn in which `subscribe` resolves: what is delivered comes after it on record. */
  #subscribed(name: string, node: SimulatedNode, subscription: Subscription, kept?: Kept): void {
    const { history } = this.#simulation
    const { incarnation } = node
    const asReader = kept && { reader: node.label, isResumed: kept.position !== undefined }
    history.add({ type: 'subscribed', subscription: name, node: node.nodeId, ...asReader })
    this.#live.set(name, { node, incarnation, subscription })
    subscription.on('gap', ({ publisher, writer, fromSequence, toSequence }) => {
      if (node.isUp && node.incarnation === incarnation)
        history.add({ type: 'gap', subscription: name, publisher, writer, fromSequence, toSequence })
    })
  }

  async unsubscribe(name: string): Promise<void> {
    const live = this.#live.get(name)
    if (live === undefined || !this.#live.delete(name)) return
    const { history } = this.#simulation
    const { node, incarnation, subscription } = live
    if (!node.isUp || node.incarnation !== incarnation) return
    const isSame = () => node.isUp && node.incarnation === incarnation
    history.add({ type: 'left', subscription: name, node: node.nodeId, how: 'unsure' })
    const leaving = subscription.unsubscribe().then(
      () => {
        if (isSame())
          history.add({ type: 'left', subscription: name, node: node.nodeId, how: 'unsubscribed' })
        return true
      },
      () => true,
    )
    let settled = false
    void leaving.then(() => {
      settled = true
    })
    while (!settled && isSame()) await this.#simulation.world.sleep(50) // a ghost never hears
  }

  /**
   * Ends and comes back with the position that it keeps at each message, or took last, until the load ends and it has come
   * back often enough; then it stays.
   */
  async comeAndGo(node: SimulatedNode): Promise<void> {
    const { world } = this.#simulation
    const random = world.random(`comes and goes ${node.label}`)
    const kept: Kept = {}
    for (let returns = 0; ; ) {
      if (kept.position !== undefined) returns += 1
      const isOver = !this.#isPublishing && returns >= MIN_RETURNS
      const name = await this.subscribe(node, kept)
      if (isOver) return
      await world.sleep(random.between(500, 4_000))
      this.#end(name, kept, random.chance(0.5))
      await world.sleep(random.between(200, 3_000))
    }
  }

  #end(name: string, kept: Kept, isInOrder: boolean): void {
    const live = this.#live.get(name)
    if (live === undefined || !this.#live.delete(name)) return
    const { node, subscription } = live
    void subscription.close()
    if (isInOrder) kept.position = subscription.position
    this.#simulation.history.add({ type: 'left', subscription: name, node: node.nodeId, how: 'closed' })
  }

  /** Everybody leaves. */
  async unsubscribeAll(): Promise<void> {
    await Promise.all([...this.#live.keys()].map((name) => this.unsubscribe(name)))
  }

  /** The node is about to crash: its subscriptions end there. */
  noteCrash(node: SimulatedNode): void {
    for (const [name, live] of this.#live) {
      if (live.node !== node) continue
      this.#live.delete(name)
      this.#simulation.history.add({ type: 'left', subscription: name, node: node.nodeId, how: 'crashed' })
    }
  }

  /** On and off, until the load ends. */
  async cycle(node: SimulatedNode, onMs: number, offMs: number): Promise<void> {
    const { world } = this.#simulation
    while (this.#isPublishing) {
      const name = await this.subscribe(node)
      await world.sleep(onMs)
      await this.unsubscribe(name)
      await world.sleep(offMs)
    }
  }
}
