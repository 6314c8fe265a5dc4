import { asStickyError, encode, nodeIdOf, publicKeyOf, StickyError, sha256 } from '../../../src/dht/index.ts'
import { blockName } from '../../../src/dht/record.ts'
import { recordMethods } from '../../../src/dht/wire.ts'
import { decodeCoordinator } from '../../../src/pubsub/coordinator.ts'
import { COORDINATOR } from '../../../src/pubsub/options.ts'
import { topicMethods } from '../../../src/pubsub/wire.ts'
import type { SimulatedNode } from '../node.ts'
import { checksumOf, type Simulation } from '../simulation.ts'
import { Attacker, groundIdentity, isAmongClosestTwo } from './attacker.ts'
import { FORGERIES, type Forgery, type MessageInit, mayBeTaken, signed, type Truth } from './forgeries.ts'

/**
 * A holder that makes things up: heads, collections, messages and deltas of every kind that its own tools can write, sent
 * to the other holders unasked and given to everybody who asks. What it may publish by right it publishes as well.
 */
export class Forger extends Attacker {
  #shown: Shown[] = []
  #messages = 0

  static create(simulation: Simulation, label: string): Forger {
    const identity = groundIdentity(simulation, label, isAmongClosestTwo(simulation))
    const attacker = new Forger(simulation, { label, identity, stores: true })
    attacker.#answer()
    return attacker
  }

  #answer(): void {
    const { rpc, random } = this
    const forged = () => {
      this.count('lies')
      return this.#shown.length === 0 ? null : random.pick(this.#shown).head
    }
    rpc.handle(recordMethods.head, () => ({ head: forged() }))
    rpc.handle(recordMethods.offer, (_from, { head }) => ({ head: forged() ?? head }))
    rpc.handle(recordMethods.append, () => ({ outcome: 'other' as const }))
    rpc.handle(recordMethods.commit, (_from, { head }) => {
      return { outcome: 'conflict' as const, head: forged() ?? head }
    })
    rpc.handle(recordMethods.compare, (_from, { records }) => ({ differing: records.map((_, i) => i) }))
    rpc.handle(recordMethods.blocks, (_from, { refs }) => ({
      blocks: refs.map(([kind, id]) => this.#block(blockName({ kind, id }))),
    }))
    rpc.handle(topicMethods.publish, (_from, { messages }) => {
      this.count('refusals')
      if (random.chance(0.5)) return this.busy()
      const results = messages.map(() => random.pick(['BAD_SIGNATURE', 'EXPIRED', 'no code at all']))
      return { version: 1, replicas: 0, durableReplicas: 0, results }
    })
    rpc.handle(topicMethods.subscribe, () => {
      throw new StickyError(random.pick(['TOPIC_FULL', 'BUSY', 'EXPIRED']), 'No.')
    })
    rpc.handle(topicMethods.attach, () => ({ version: 2 ** 40 }))
    rpc.handle(topicMethods.detach, () => ({}))
  }

  /** Now and then another block than the one that was asked for. */
  #block(name: string): Uint8Array | null {
    const bytes = this.blocks.get(name)
    if (bytes === undefined || !this.random.chance(0.02)) return bytes ?? null
    this.count('wrongBlocks')
    return this.random.pick([...this.blocks.values()])
  }

  /** Forges in turns of every kind, for a while. */
  async forge(forMs: number, everyMs: number): Promise<void> {
    const { world, replicaSet } = this.simulation
    const kinds = Object.entries(FORGERIES).flatMap(([family, makes]) =>
      Object.entries(makes).map(([name, make]) => ({ family, make, isRefused: !mayBeTaken(family, name) })),
    )
    const endMs = world.nowMs + forMs
    let turn: typeof kinds = []
    while (world.nowMs < endMs) {
      if (turn.length === 0) turn = this.random.sample(kinds, kinds.length)
      const { family, make, isRefused } = turn.pop() as (typeof kinds)[number]
      const truth = await this.#truth(this.random.pick(replicaSet))
      if (truth !== undefined) this.#send(truth, family, { ...(await make(truth)), isRefused })
      await world.sleep(everyMs)
    }
    // from now on nothing that could be joined: where there is nothing new, nobody may write any more
    this.#shown = this.#shown.filter((forgery) => forgery.isRefused)
  }

  async #truth(source: SimulatedNode): Promise<Truth | undefined> {
    const { simulation, identity, random } = this
    const head = await this.remember(source)
    if (head === undefined) return undefined
    const { topicKey } = simulation
    return {
      topicKey,
      head,
      coordinator: decodeCoordinator(head),
      nowMs: this.runtime.now(),
      identity,
      victim: publicKeyOf(random.pick(simulation.clients).nodeId),
      random,
      read: async (ref) => {
        const bytes = this.blocks.get(blockName(ref))
        if (bytes === undefined) throw new StickyError('NOT_FOUND', 'Not remembered.')
        return bytes
      },
      own: (change) => this.#message(change, true),
      unknown: (change) => this.#message(change, false),
    }
  }

  #message(change: Partial<MessageInit> = {}, isOnRecord: boolean) {
    const { simulation, identity, random } = this
    this.#messages += 1
    const token = `${isOnRecord ? 'own' : 'forged'}.${this.#messages}`
    const data = { token, pad: random.bytes(random.int(0, 300)) }
    const publishedAt = this.runtime.now()
    const init = { topicKey: simulation.topicKey, publishedAt, ttlMs: 24 * 3_600_000, ...change }
    const publicKey = change.publicKey ?? identity.publicKey
    if (isOnRecord) {
      // what it signed may appear, everywhere or nowhere; nobody was promised anything
      const publisher = nodeIdOf(publicKey)
      const ttlMs = init.publishedAt + init.ttlMs - publishedAt
      const checksum = checksumOf(data)
      simulation.history.add({ type: 'attempt', token, publisher, data: checksum, ttlMs, deadlineMs: 0 })
      simulation.history.add({ type: 'unknown', token, code: 'FORGED' })
    }
    return signed({ ...init, publicKey, identity, random, data: encode(data) })
  }

  /** To all holders at once, as an offer and as a commit, and a push to whoever listens to it. */
  #send(truth: Truth, family: string, forgery: Shown): void {
    this.count(family)
    for (const block of forgery.blocks) this.blocks.set(blockName(block), block.bytes)
    this.#shown.push(forgery)
    if (this.#shown.length > MAX_SHOWN) this.#shown.shift()
    for (const { nodeId } of this.simulation.replicaSet) void this.#sendTo(nodeId, truth, forgery)
  }

  async #sendTo(nodeId: string, truth: Truth, { head, delta }: Forgery): Promise<void> {
    const { topicKey: key } = this.simulation
    const base = delta === undefined && this.random.chance(0.5) ? null : await sha256(truth.head)
    const append = { kind: COORDINATOR, key, base, id: await sha256(head), delta: delta ?? new Uint8Array() }
    const commit = { kind: COORDINATOR, key, head }
    const offer = { kind: COORDINATOR, key, head, source: this.publicKey }
    const note = (error: unknown) => this.count(`refused ${asStickyError(error, 'UNREACHABLE').code}`)
    await Promise.all([
      this.rpc.request(nodeId, recordMethods.append, append).catch(note),
      this.rpc.request(nodeId, recordMethods.commit, commit).catch(note),
      this.rpc.request(nodeId, recordMethods.offer, offer).catch(note),
    ])
  }
}

interface Shown extends Forgery {
  isRefused: boolean
}

/** Heads that it answers with. */
const MAX_SHOWN = 12
