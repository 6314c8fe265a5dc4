import * as v from 'valibot'
import {
  asStickyError,
  encode,
  type LinkEvents,
  MAX_FRAME_BYTES,
  method,
  type NodeId,
  StickyError,
} from '../../../src/dht/index.ts'
import { encodeFrame, recordMethods } from '../../../src/dht/wire.ts'
import { LIMITS } from '../../../src/pubsub/options.ts'
import { createStatement } from '../../../src/pubsub/subscription-statement.ts'
import { topicMethods } from '../../../src/pubsub/wire.ts'
import { simulatedIdentity } from '../identity.ts'
import type { Simulation } from '../simulation.ts'
import { Attacker } from './attacker.ts'
import { type Body, bodiesOf, METHOD_NAMES, type Pool } from './flood-bodies.ts'

/**
 * A client that sends as much as it can: requests of every kind with bodies of every sort, subscriptions of identities
 * made for it, frames that are none, links opened and dropped. What is pushed to it, it never acknowledges.
 */
export class Flooder extends Attacker {
  readonly #pool: Pool

  static create(simulation: Simulation, label: string): Flooder {
    const identity = simulatedIdentity(simulation.world.random(`identity ${label}`).bytes(32))
    return new Flooder(simulation, label, identity)
  }

  private constructor(simulation: Simulation, label: string, identity: ReturnType<typeof simulatedIdentity>) {
    super(simulation, { label, identity, stores: false })
    this.#pool = {
      topicKey: simulation.topicKey,
      random: this.random,
      self: this.publicKey,
      heads: [],
      envelopes: [],
      statement: new Uint8Array(),
    }
    this.rpc.handle(topicMethods.push, (_from, { entries }) => {
      this.count('unacknowledged')
      for (const [, envelope] of entries) keep(this.#pool.envelopes, envelope)
      return new Promise(() => undefined)
    })
  }

  /** Everything at once, to all holders of the topic, for a while. */
  async flood(forMs: number, perSecond: number, identities: number): Promise<void> {
    const { world } = this.simulation
    this.#pool.statement = await this.#statementOf(this.identity)
    for (const nodeId of this.#targets) this.#attach(nodeId)
    const endMs = world.nowMs + forMs
    const stepMs = 10
    const subscribing = this.#subscribeMany(forMs, identities)
    while (world.nowMs < endMs) {
      for (let n = 0; n < (perSecond * stepMs) / 1_000; n++) this.#request()
      if (this.random.chance(0.1)) void this.#dropLink(this.random.pick(this.#targets))
      await world.sleep(stepMs)
    }
    await subscribing
  }

  get #targets(): NodeId[] {
    return this.simulation.replicaSet.map(({ nodeId }) => nodeId)
  }

  #request(): void {
    const name = this.random.pick(METHOD_NAMES)
    const [sort, make] = this.random.pick(Object.entries(bodiesOf(name)))
    this.count(sort)
    this.count(name)
    this.#ask(this.random.pick(this.#targets), name, make(this.#pool))
  }

  /** Without a look at what it sends and what it gets. */
  #ask(to: NodeId, name: string, body: Body): void {
    const any = method(name, { perSecond: 0, burst: 0 }, v.unknown(), v.unknown())
    this.rpc.request(to, any, body).then(
      (answer) => {
        this.count('answered')
        const { head } = answer as { head?: Uint8Array | null }
        if (head instanceof Uint8Array) keep(this.#pool.heads, head)
      },
      (error: unknown) => this.count(`refused ${asStickyError(error, 'UNREACHABLE').code}`),
    )
  }

  #attach(to: NodeId): void {
    const request = { topic: this.simulation.topicKey, statement: this.#pool.statement }
    this.rpc.request(to, topicMethods.attach, request).catch(() => undefined)
  }

  #statementOf(identity: ReturnType<typeof simulatedIdentity>): Promise<Uint8Array> {
    const issuedAt = this.runtime.now()
    return createStatement({
      topicKey: this.simulation.topicKey,
      identity,
      kind: 'subscribe',
      issuedAt,
      expiresAt: issuedAt + LIMITS.subscriptionTtlMs,
      info: this.random.bytes(LIMITS.maxInfoBytes),
    }).then(({ envelope }) => envelope)
  }

  /** Identities that exist for this alone, spread over the time, at one holder as long as it takes them. */
  async #subscribeMany(forMs: number, identities: number): Promise<void> {
    const { world, topicKey: topic } = this.simulation
    let place = 0
    for (let i = 0; i < identities; i++) {
      const statement = await this.#statementOf(simulatedIdentity(this.random.bytes(32)))
      const to = this.#targets[place % this.#targets.length] as NodeId
      this.rpc.request(to, topicMethods.subscribe, { topic, statement }, { timeoutMs: 10_000 }).then(
        () => this.count('subscribed'),
        (error: unknown) => {
          if (asStickyError(error, 'UNREACHABLE').code === 'RATE_LIMITED') place += 1
        },
      )
      await world.sleep(forMs / identities)
    }
  }

  /** A link of its own, what is no frame of the protocol, and gone again. */
  async #dropLink(to: NodeId): Promise<void> {
    const nothing: LinkEvents = { onFrame: () => undefined, onClose: () => undefined }
    try {
      const link = await this.network.openLink(to, nothing, { signal: new AbortController().signal })
      this.count('droppedLinks')
      link.send(this.random.pick(this.#frames()))
      if (this.random.chance(0.7)) link.close()
    } catch (error) {
      if (!(error instanceof StickyError)) throw error
    }
  }

  #frames(): Uint8Array[] {
    const hello = { version: 1, session: this.random.bytes(16), stores: true, durable: true }
    return [
      this.random.bytes(this.random.int(0, 300)),
      encode({ hello: 'world' }),
      encodeFrame(['hello', hello]),
      encodeFrame(['hello', { ...hello, version: 2 }]),
      encodeFrame(['request', 1, recordMethods.head.name, { kind: 'coordinator', key: new Uint8Array(32) }]),
      encodeFrame(['reply', this.random.int(0, 100), { outcome: 'stored', head: new Uint8Array() }]),
      ...(this.random.chance(0.05) ? [new Uint8Array(MAX_FRAME_BYTES + 1)] : []),
    ]
  }
}

const MAX_KEPT = 200

function keep(all: Uint8Array[], one: Uint8Array): void {
  all.push(one)
  if (all.length > MAX_KEPT) all.shift()
}
