import { sha256, toHex } from '../../src/dht/codec.ts'
import { StickyError } from '../../src/dht/errors.ts'
import { type Identity, identityFromSeed } from '../../src/dht/identity.ts'
import type { BlockKind, BlockReader, BlockRef, Change, HeadKind } from '../../src/dht/kinds.ts'
import { type Entry, entriesAfter, loadMessages } from '../../src/pubsub/collection.ts'
import { decodeCoordinator } from '../../src/pubsub/coordinator.ts'
import { encodeDelta } from '../../src/pubsub/delta.ts'
import { createKinds } from '../../src/pubsub/kinds.ts'
import {
  createMessage,
  openMessage,
  type VerifiedMessage,
  VerifiedMessages,
} from '../../src/pubsub/message.ts'
import { LIMITS } from '../../src/pubsub/options.ts'
import type { Retention } from '../../src/pubsub/retention.ts'
import { listSubscribers } from '../../src/pubsub/subscribers.ts'
import { createStatement, type VerifiedStatement } from '../../src/pubsub/subscription-statement.ts'
import { topicKeyOf } from '../../src/pubsub/topic-key.ts'

/** Lineages of a topic over an in-memory block map: the pure floor of pubsub without any node. */

export const START_MS = 1_800_000_000_000
export const topicKey = await topicKeyOf('laws')
export const publishers: Identity[] = await Promise.all(
  [1, 2, 3, 4].map((seed) => identityFromSeed(new Uint8Array(32).fill(seed))),
)
const clientCache = new Map<number, Promise<Identity>>()
export function client(n: number): Promise<Identity> {
  const seed = new Uint8Array(32).fill(9)
  new DataView(seed.buffer).setUint32(0, n)
  const made = clientCache.get(n) ?? identityFromSeed(seed)
  clientCache.set(n, made)
  return made
}

/** Every block that any lineage made, as holders that synchronised would have it, with a count of what was read. */
export class World {
  readonly blocks = new Map<string, Uint8Array>()
  readonly reads: BlockRef[] = []
  /** Data that is too large for an envelope, by its id. */
  readonly payloads = new Map<string, Uint8Array>()
  readonly verified = new VerifiedMessages(100_000)
  readonly kind: HeadKind
  readonly blockKinds: Map<string, BlockKind>
  nowMs = START_MS

  /** `retention`: another than the protocol's, so that a topic is full of less. */
  constructor(retention?: Retention) {
    const kinds = createKinds({ verified: this.verified, now: () => this.nowMs, retention })
    this.kind = kinds.headKinds[0] as HeadKind
    this.blockKinds = new Map(kinds.blockKinds.map((kind) => [kind.name, kind]))
  }

  readonly read: BlockReader = async (ref) => {
    this.reads.push(ref)
    const bytes = this.blocks.get(`${ref.kind}/${toHex(ref.id)}`)
    if (bytes === undefined) throw new StickyError('NOT_FOUND', `No ${ref.kind} block ${toHex(ref.id)}.`)
    return bytes
  }

  keep({ head, blocks }: Change): Uint8Array {
    for (const { kind, id, bytes } of blocks) this.blocks.set(`${kind}/${toHex(id)}`, bytes)
    return head
  }

  async apply(
    own: Uint8Array | undefined,
    messages: VerifiedMessage[],
    statements: VerifiedStatement[] = [],
    payloads = this.payloadsOf(messages),
  ): Promise<Uint8Array> {
    for (const message of messages) this.verified.add(message)
    const delta = encodeDelta({ nowMs: this.nowMs, messages, payloads, statements })
    return this.keep(await this.kind.apply(topicKey, own, delta, this.read, 'peer'))
  }

  payloadsOf(messages: VerifiedMessage[]): Uint8Array[] {
    const named = messages.flatMap(({ body }) => (body.payload ? [toHex(body.payload.id)] : []))
    return named.flatMap((id) => this.payloads.get(id) ?? [])
  }

  async join(a: Uint8Array, b: Uint8Array): Promise<Uint8Array> {
    return this.keep(await this.kind.join(topicKey, a, b, this.read))
  }

  /** Verifies the head and every block it reaches, as a holder that fetched them would. Gives their names. */
  async verifyAll(head: Uint8Array): Promise<Set<string>> {
    const { links } = await this.kind.verify(topicKey, head)
    const seen = new Set<string>()
    const waiting = [...links]
    for (let ref = waiting.pop(); ref !== undefined; ref = waiting.pop()) {
      const name = `${ref.kind}/${toHex(ref.id)}`
      if (seen.has(name)) continue
      seen.add(name)
      const bytes = await this.read(ref)
      const kind = this.blockKinds.get(ref.kind) as BlockKind
      waiting.push(...(await kind.verify(ref.id, bytes)).links)
    }
    return seen
  }

  async entries(head: Uint8Array, after = -1): Promise<Entry[]> {
    const { messages } = decodeCoordinator(head)
    if (messages === null) return []
    const entries: Entry[] = []
    for await (const entry of entriesAfter(await loadMessages(messages, this.read), after, this.read))
      entries.push(entry)
    return entries
  }

  /** Ids of the messages that every holder must still have at `nowMs`. */
  async live(head: Uint8Array, nowMs: number, after = -1): Promise<Set<string>> {
    const entries = await this.entries(head, after)
    return new Set(
      entries.filter(({ expiresAt }) => expiresAt + LIMITS.graceMs >= nowMs).map(({ id }) => toHex(id)),
    )
  }

  async subscribers(head: Uint8Array, nowMs: number): Promise<Set<string>> {
    const { subscribers } = decodeCoordinator(head)
    if (subscribers === null) return new Set()
    return new Set((await listSubscribers(subscribers, nowMs, this.read)).map(({ nodeId }) => nodeId))
  }

  async message(sequence: number, options: MessageOptions = {}): Promise<VerifiedMessage> {
    const {
      publisher = 0,
      writer = 0,
      ttlMs = LIMITS.defaultTtlMs,
      data = new Uint8Array([0x01]),
      lapsed = false,
    } = options
    const isLarge = data.byteLength > LIMITS.maxInlineBytes
    const id = isLarge ? await sha256(data) : undefined
    if (id !== undefined) this.payloads.set(toHex(id), data)
    return createMessage({
      topicKey,
      identity: publishers[publisher] as Identity,
      writer: new Uint8Array(8).fill(writer),
      sequence,
      lapsed,
      publishedAt: this.nowMs,
      ttlMs,
      ...(id === undefined ? { data } : { payload: { id, bytes: data.byteLength } }),
    })
  }

  async messages(from: number, count: number, options: MessageOptions = {}): Promise<VerifiedMessage[]> {
    return Promise.all(Array.from({ length: count }, (_, i) => this.message(from + i, options)))
  }

  async statement(n: number, kind: 'subscribe' | 'unsubscribe' = 'subscribe'): Promise<VerifiedStatement> {
    return createStatement({
      topicKey,
      identity: await client(n),
      kind,
      issuedAt: this.nowMs,
      expiresAt: this.nowMs + LIMITS.subscriptionTtlMs,
      info: new Uint8Array(),
    })
  }
}

export interface MessageOptions {
  publisher?: number
  writer?: number
  ttlMs?: number
  data?: Uint8Array
  lapsed?: boolean
}

/** One replica's own sequence of heads. */
export class Branch {
  readonly world: World
  readonly index: number
  head: Uint8Array | undefined
  #sequence = 0
  /** Version, and what a reader of this branch at that version has seen. */
  readonly seen: { version: number; ids: Set<string> }[] = []

  constructor(world: World, index: number, from?: Branch) {
    this.world = world
    this.index = index
    this.head = from?.head
    if (from !== undefined) this.seen.push(...from.seen)
  }

  async publish(count: number, ttlMs: number): Promise<void> {
    const options = { publisher: this.index % publishers.length, writer: this.index + 1, ttlMs }
    const messages = await this.world.messages(this.#sequence + 1, count, options)
    this.#sequence += count
    await this.#set(await this.world.apply(this.head, messages))
  }

  async subscribe(n: number, kind: 'subscribe' | 'unsubscribe'): Promise<void> {
    await this.#set(await this.world.apply(this.head, [], [await this.world.statement(n, kind)]))
  }

  async take(other: Uint8Array | undefined): Promise<void> {
    if (other === undefined) return
    await this.#set(this.head === undefined ? other : await this.world.join(this.head, other))
  }

  async #set(head: Uint8Array): Promise<void> {
    this.head = head
    const ids = new Set((await this.world.entries(head)).map(({ id }) => toHex(id)))
    this.seen.push({ version: decodeCoordinator(head).version, ids })
  }
}

/** The sequence numbers of entries, per writer, for comparing orders. */
export async function sequences(entries: Entry[]): Promise<number[]> {
  return Promise.all(entries.map(async ({ envelope }) => (await openMessage(envelope)).body.sequence))
}
