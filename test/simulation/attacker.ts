import { DEFAULT_DHT_OPTIONS, encode, type Identity, publicKeyOf, StickyError } from '../../src/dht/index.ts'
import { blockName } from '../../src/dht/record.ts'
import { Rpc } from '../../src/dht/rpc.ts'
import { recordMethods } from '../../src/dht/wire.ts'
import { createMessage } from '../../src/pubsub/message.ts'
import { COORDINATOR, LIMITS } from '../../src/pubsub/options.ts'
import { topicMethods } from '../../src/pubsub/wire.ts'
import { simulatedIdentity } from './identity.ts'
import { SimulatedNetwork } from './network.ts'
import type { SimulatedNode } from './node.ts'
import type { Simulation } from './simulation.ts'
import { SimulatedRuntime } from './world.ts'

/** Of the replays, so many come with a forgery. */
const FORGED_SHARE = 0.2

/**
 * A holder that lies: it has kept a true, signed, old state of the topic and shows it to everybody, again and again. It
 * takes subscribers and never serves them, answers commits with its old head, and publishes in others' names what they
 * never signed. A program of its own over the wire.
 */
export class StaleReplayer {
  readonly #simulation: Simulation
  readonly #runtime: SimulatedRuntime
  readonly #rpc: Rpc
  readonly #identity: Identity
  readonly #network: SimulatedNetwork
  #head: Uint8Array | null = null
  readonly #blocks = new Map<string, Uint8Array>()
  readonly counters = { replays: 0, lies: 0, forgeries: 0 }

  static create(simulation: Simulation, label: string): StaleReplayer {
    // an id among the closest to the topic, as anybody can grind one
    const random = simulation.world.random(`identity ${label}`)
    for (;;) {
      const identity = simulatedIdentity(random.bytes(32))
      simulation.attackers.add(identity.nodeId)
      const place = simulation.replicaIds.indexOf(identity.nodeId)
      if (place >= 0 && place < 2) return new StaleReplayer(simulation, label, identity)
      simulation.attackers.delete(identity.nodeId)
    }
  }

  private constructor(simulation: Simulation, label: string, identity: Identity) {
    this.#simulation = simulation
    this.#identity = identity
    const { hub, world } = simulation
    this.#runtime = new SimulatedRuntime(world, world.random(`process ${label}`))
    this.#network = new SimulatedNetwork({
      hub,
      self: identity.nodeId,
      label,
      stores: true,
      durable: true,
      bootstrap: simulation.holders.slice(0, 3).map(({ nodeId }) => nodeId),
    })
    this.#rpc = new Rpc(this.#network, this.#runtime, { ...DEFAULT_DHT_OPTIONS })
    this.#lie()
  }

  get nodeId(): string {
    return this.#identity.nodeId
  }

  #lie(): void {
    const old = () => {
      this.counters.lies += 1
      return this.#head
    }
    this.#rpc.handle(recordMethods.head, () => ({ head: old() }))
    this.#rpc.handle(recordMethods.offer, (_from, { head }) => ({ head: old() ?? head }))
    this.#rpc.handle(recordMethods.commit, (_from, { head }) => {
      const mine = old()
      return mine === null
        ? { outcome: 'stored' as const, head }
        : { outcome: 'conflict' as const, head: mine }
    })
    this.#rpc.handle(recordMethods.compare, (_from, { records }) => ({ differing: records.map((_, i) => i) }))
    this.#rpc.handle(recordMethods.blocks, (_from, { refs }) => ({
      blocks: refs.slice(0, 8).map(([kind, id]) => this.#blocks.get(blockName({ kind, id })) ?? null),
    }))
    const busy = () => {
      throw new StickyError('BUSY', 'Come again.')
    }
    this.#rpc.handle(topicMethods.publish, busy)
    this.#rpc.handle(topicMethods.subscribe, busy)
    this.#rpc.handle(topicMethods.attach, () => ({ version: 0 }))
    this.#rpc.handle(topicMethods.detach, () => ({}))
  }

  async join(): Promise<void> {
    await this.#network.join()
  }

  /** The whole true state of now, which it held when it was honest. */
  async #remember(source: SimulatedNode): Promise<void> {
    const { store } = source.pubsub.dht
    const record = await store.record(COORDINATOR, this.#simulation.topicKey)
    const head = record.head
    if (head === undefined) return
    const waiting = record.kind.links(head)
    for (let ref = waiting.pop(); ref !== undefined; ref = waiting.pop()) {
      const name = blockName(ref)
      const bytes = this.#blocks.has(name) ? undefined : await record.local(ref)
      if (bytes === undefined) continue
      this.#blocks.set(name, bytes)
      waiting.push(...store.blockKind(ref.kind).links(bytes))
    }
    this.#head = head
  }

  /** A message that looks like one of a holder's, to another holder. Counted when that one refuses it. */
  async #forge(author: SimulatedNode, to: SimulatedNode): Promise<void> {
    const message = await createMessage({
      topicKey: this.#simulation.topicKey,
      identity: { ...author.identity, sign: async () => this.#runtime.randomBytes(64) },
      writer: this.#runtime.randomBytes(8),
      sequence: 1,
      publishedAt: this.#runtime.now(),
      ttlMs: LIMITS.defaultTtlMs,
      data: encode({ token: 'forged' }),
    })
    const request = { topic: this.#simulation.topicKey, messages: [message.envelope], payloads: [] }
    const { results } = await this.#rpc.request(to.nodeId, topicMethods.publish, request)
    if (results[0] === 'BAD_SIGNATURE') this.counters.forgeries += 1
  }

  /** Remembers the state of now, and replays it to the holders for a while. */
  async replay(forMs: number, everyMs: number): Promise<void> {
    const { world, replicaSet, topicKey } = this.#simulation
    const source = replicaSet[0]
    if (source === undefined) return
    const key = topicKey
    await this.#remember(source)
    await world.sleep(2_000)
    const endMs = world.nowMs + forMs
    const random = world.random('forgeries')
    while (world.nowMs < endMs && this.#head !== null) {
      for (const { nodeId } of replicaSet) {
        const offer = { kind: COORDINATOR, key, head: this.#head, source: publicKeyOf(this.nodeId) }
        const commit = { kind: COORDINATOR, key, base: null, head: this.#head, delta: new Uint8Array() }
        this.counters.replays += 2
        this.#rpc.request(nodeId, recordMethods.offer, offer).catch(() => undefined)
        this.#rpc.request(nodeId, recordMethods.commit, commit).catch(() => undefined)
      }
      if (random.chance(FORGED_SHARE))
        this.#forge(random.pick(replicaSet), random.pick(replicaSet)).catch(() => undefined)
      await world.sleep(everyMs)
    }
  }
}
