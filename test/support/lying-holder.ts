import {
  type BlockRef,
  type Change,
  DEFAULT_DHT_OPTIONS,
  delay,
  encode,
  equalBytes,
  type Identity,
  identityFromSeed,
  type NodeId,
  StickyError,
  sha256,
  systemRuntime,
} from '../../src/dht/index.ts'
import { Rpc } from '../../src/dht/rpc.ts'
import { recordMethods } from '../../src/dht/wire.ts'
import { applyDelta, encodeDelta, VerifiedMessages } from '../../src/pubsub/delta.ts'
import { createMessage, openMessage, type VerifiedMessage } from '../../src/pubsub/message.ts'
import { LIMITS } from '../../src/pubsub/options.ts'
import { signStored } from '../../src/pubsub/stored-statement.ts'
import { type Signed, topicMethods } from '../../src/pubsub/wire.ts'
import type { MemoryNet } from './memory-nodes.ts'

/** Two of them do not fit into one answer. */
const LARGE_BYTES = LIMITS.maxPayloadBytes - 100

/**
 * A topic with nothing in it but messages of a stranger: valid in every respect, and not what there is. With so many that
 * are `large` it takes as many answers to show it.
 */
async function falseState(topicKey: Uint8Array, { small = 0, large = 0 }: Shown): Promise<Change> {
  const nowMs = Date.now()
  const identity = await identityFromSeed(new Uint8Array(32))
  const common = {
    ...{ topicKey, identity, writer: new Uint8Array(8) },
    ...{ publishedAt: nowMs - 1_000, ttlMs: 60_000 },
  }
  const said = Array.from({ length: small }, (_, i) =>
    createMessage({ ...common, sequence: i + 1, data: encode('nothing has been said here') }),
  )
  let shown: Change = { head: new Uint8Array(), blocks: [] }
  const add = async (messages: VerifiedMessage[], payloads: Uint8Array[]) => {
    const delta = encodeDelta({ nowMs, messages, payloads, statements: [] })
    const context = { verified: new VerifiedMessages(1), newestMs: undefined }
    const before = shown.blocks.length === 0 ? undefined : shown.head
    const read = async ({ id }: BlockRef) =>
      shown.blocks.find((block) => equalBytes(block.id, id))?.bytes as Uint8Array
    const { head, blocks } = await applyDelta(topicKey, before, delta, read, context)
    shown = { head, blocks: [...shown.blocks, ...blocks] }
  }
  if (small > 0) await add(await Promise.all(said), [])
  for (let i = 0; i < large; i++) {
    const data = encode(new Uint8Array(LARGE_BYTES).fill(i))
    const payload = { id: await sha256(data), bytes: data.byteLength }
    await add([await createMessage({ ...common, sequence: small + i + 1, payload })], [data])
  }
  return shown
}

export interface Shown {
  small?: number
  large?: number
}

/** A holder that says yes to everything, keeps nothing and shows a false state: close to a topic by a ground id. */
export class LyingHolder {
  readonly nodeId: NodeId
  readonly rpc: Rpc
  readonly counters = { publishes: 0, attached: 0, confirms: 0, blocks: 0, offers: 0 }
  /** What it says when a publisher asks whether it has a message. */
  hasEverything = true
  /** Who signs that the message is stored, and under whose name; undefined: nobody. */
  signs: { identity: Identity; as: Uint8Array }[] | undefined
  /** Says that it is busy, after so long; undefined: it never is. */
  busyAfterMs: number | undefined
  /** Shows the false state to who commits, and never answers who wants it merged. */
  hasDiverged = false
  /** The version at which the topic is, for who expects one; undefined: it takes the message. */
  saysVersion: number | undefined
  /** To so many a message was delivered, each time others; of a key of so many bytes. */
  deliveredTo = { count: 0, keyBytes: 8 }
  /** Never answers who asks for a block of what it shows. */
  keepsWaiting = false
  /** Gives no more at once of what it shows than it has to, each time after so long. */
  blocksAfterMs: number | undefined

  readonly identity: Identity

  private constructor(identity: Identity, rpc: Rpc, shown: Change) {
    this.identity = identity
    this.nodeId = identity.nodeId
    this.rpc = rpc
    const { counters } = this
    rpc.handle(topicMethods.publish, async (_from, { topic, messages }) => {
      counters.publishes += 1
      if (this.busyAfterMs !== undefined) {
        await delay(systemRuntime, this.busyAfterMs)
        throw new StickyError('BUSY', 'More than it takes.')
      }
      const { saysVersion: version } = this
      if (version !== undefined)
        return { version, replicas: 0, durableReplicas: 0, results: ['UNEXPECTED_VERSION'] }
      const signed = await this.#signed(topic, messages)
      return {
        ...{ version: 1, replicas: 5, durableReplicas: 5, results: messages.map(() => null) },
        ...(signed && { signed }),
      }
    })
    rpc.handle(topicMethods.confirm, (_from, { ids }) => {
      counters.confirms += 1
      return { stored: ids.map(() => this.hasEverything) }
    })
    rpc.handle(topicMethods.delivered, (_from, { ids }) => {
      const { count, keyBytes } = this.deliveredTo
      const all = new Uint8Array(Math.ceil(ids.length / 8)).fill(255)
      const key = () => crypto.getRandomValues(new Uint8Array(keyBytes))
      return { to: Array.from({ length: count }, () => [key(), all] as [Uint8Array, Uint8Array]) }
    })
    rpc.handle(topicMethods.subscribe, () => ({ version: 1 }))
    rpc.handle(topicMethods.attach, () => {
      counters.attached += 1
      return { version: 0 }
    })
    rpc.handle(topicMethods.detach, () => ({}))
    rpc.handle(recordMethods.head, () => ({ head: shown.head }))
    rpc.handle(recordMethods.offer, async () => {
      counters.offers += 1
      if (this.hasDiverged) await new Promise(() => undefined)
      return { head: shown.head }
    })
    rpc.handle(recordMethods.append, () => ({
      outcome: this.hasDiverged ? ('other' as const) : ('stored' as const),
    }))
    rpc.handle(recordMethods.commit, (_from, { head }) =>
      this.hasDiverged
        ? { outcome: 'conflict' as const, head: shown.head }
        : { outcome: 'stored' as const, head },
    )
    rpc.handle(recordMethods.compare, () => ({ differing: [] }))
    rpc.handle(recordMethods.blocks, async (_from, { refs }) => {
      counters.blocks += 1
      if (this.keepsWaiting) await new Promise(() => undefined)
      if (this.blocksAfterMs !== undefined) await delay(systemRuntime, this.blocksAfterMs)
      const wanted = refs.map(
        ([, id]) => shown.blocks.find((block) => equalBytes(block.id, id))?.bytes ?? null,
      )
      const first = wanted.findIndex((bytes) => (bytes?.byteLength ?? 0) > LARGE_BYTES)
      return { blocks: first < 0 ? wanted : wanted.slice(0, first + 1) }
    })
  }

  async #signed(topicKey: Uint8Array, messages: Uint8Array[]): Promise<Signed | undefined> {
    if (this.signs === undefined) return undefined
    const ids = await Promise.all(messages.map(async (envelope) => (await openMessage(envelope)).id))
    const by = this.signs.map(async ({ identity, as }): Promise<[Uint8Array, Uint8Array]> => {
      return [as, await signStored({ topicKey, ids }, identity, Date.now())]
    })
    return { ids, by: await Promise.all(by) }
  }

  /** So many of them, all closer to the key than everybody who is there. */
  static async join(
    net: MemoryNet,
    key: Uint8Array,
    count: number,
    shows: Shown = { small: 1 },
  ): Promise<LyingHolder[]> {
    const honest = new Set(net.hub.peers.keys())
    const shown = await falseState(key, shows)
    const liars: LyingHolder[] = []
    while (liars.length < count) {
      const identity = await identityFromSeed(crypto.getRandomValues(new Uint8Array(32)))
      const { nodeId } = identity
      const network = net.hub.join(nodeId, { stores: true, durable: true })
      const signal = new AbortController().signal
      const closest = await network.closestPeers(key, { count: liars.length + 1, minDurable: 0, signal })
      if (closest.some((peer) => honest.has(peer.nodeId))) net.hub.crash(nodeId)
      else
        liars.push(
          new LyingHolder(identity, new Rpc(network, systemRuntime, { ...DEFAULT_DHT_OPTIONS }), shown),
        )
    }
    return liars
  }
}
