import { type Dht, type NodeId, nodeIdOf, publicKeyOf, StickyError, toHex } from '../dht/index.ts'
import { type Entry, entriesAfter, loadMessages } from './collection.ts'
import { decodeCoordinator } from './coordinator.ts'
import type { Delivery } from './delivery.ts'
import { openMessage } from './message.ts'
import { COORDINATOR, LIMITS } from './options.ts'
import type { StoredIds } from './stored-ids.ts'
import { MAX_MESSAGES_PER_REQUEST, SHORT_KEY_BYTES, topicMethods } from './wire.ts'

/**
 * To whom a message was delivered: each replica knows which of its subscribers have acknowledged the push that held it,
 * and tells who published the message. Subscribers are named, so that one that two replicas push to counts once.
 */

export class DeliveredAnswers {
  readonly #dht: Dht
  readonly #delivery: Delivery
  readonly #storedIds: StoredIds

  constructor(dht: Dht, delivery: Delivery, storedIds: StoredIds) {
    this.#dht = dht
    this.#delivery = delivery
    this.#storedIds = storedIds
    dht.rpc.handle(topicMethods.delivered, (from, { topic, ids }) => this.#answer(from, topic, ids))
  }

  async #answer(
    from: NodeId,
    key: Uint8Array,
    ids: Uint8Array[],
  ): Promise<{ to: [Uint8Array, Uint8Array][] }> {
    if (this.#delivery.acknowledged(key).every(({ peer }) => peer === from)) return { to: [] }
    const record = await this.#dht.store.record(COORDINATOR, key)
    // who has acknowledged what belongs to the head of that moment; no commit waits for the rest
    const { messages, oldest, acknowledged } = await record.exclusive(async () => {
      // no more is looked through, so an old one must not hide the others
      const stored = await this.#storedIds.of(record)
      const from = [...stored.values()].at(-LIMITS.maxDuplicateScan) ?? 0
      const versions = ids.map((id) => stored.get(toHex(id)) ?? Number.POSITIVE_INFINITY)
      return {
        messages: record.head ? decodeCoordinator(record.head).messages : null,
        oldest: Math.min(...versions.filter((version) => version >= from)),
        acknowledged: this.#delivery.acknowledged(key),
      }
    })
    if (messages === null || oldest === Number.POSITIVE_INFINITY) return { to: [] }
    const collection = await loadMessages(messages, record.read)
    const entries = entriesAfter(collection, oldest - 1, record.read)
    const versions = await versionsOf(entries, from, new Set(ids.map(toHex)))
    const to: [Uint8Array, Uint8Array][] = []
    for (const { peer, after, upTo } of acknowledged) {
      if (peer === from) continue // what a publisher reads of its own says nothing
      const isDelivered = ids.map((id) => {
        const version = versions.get(toHex(id))
        return version !== undefined && version > after && version <= upTo
      })
      if (isDelivered.includes(true)) to.push([shortKeyOf(peer), toBits(isDelivered)])
    }
    return { to }
  }
}

/** The versions that these messages have here, of those that this publisher has published. */
async function versionsOf(
  entries: AsyncIterable<Entry>,
  publisher: NodeId,
  ids: Set<string>,
): Promise<Map<string, number>> {
  const found = new Map<string, number>()
  let left = LIMITS.maxDuplicateScan
  for await (const { id, envelope, addedInVersion } of entries) {
    const name = toHex(id)
    if (ids.delete(name)) {
      const { body } = await openMessage(envelope)
      if (nodeIdOf(body.publisher) === publisher) found.set(name, addedInVersion)
    }
    if (ids.size === 0 || --left === 0) break
  }
  return found
}

/** What all replicas that answer know of some messages of this node's: to whom each was delivered, by shortened key. */
export async function askDelivered(
  dht: Dht,
  topicKey: Uint8Array,
  ids: Uint8Array[],
): Promise<Set<string>[]> {
  if (ids.length === 0) return []
  if (ids.length > MAX_MESSAGES_PER_REQUEST)
    throw new StickyError(
      'TOO_LARGE',
      `At most ${MAX_MESSAGES_PER_REQUEST} messages are asked about at once.`,
    )
  const set = await dht.replicas.set(topicKey)
  if (set.length === 0) throw new StickyError('NO_REPLICAS', 'No node that stores topics can be reached.')
  const answers = await Promise.allSettled(
    set.map(({ nodeId }) => dht.rpc.request(nodeId, topicMethods.delivered, { topic: topicKey, ids })),
  )
  const [first] = answers
  if (first?.status === 'rejected' && answers.every(({ status }) => status === 'rejected')) throw first.reason
  const to = ids.map(() => new Set<string>())
  for (const answer of answers) {
    if (answer.status === 'rejected') continue
    for (const [key, bits] of answer.value.to)
      for (const [i, found] of to.entries()) if (hasBit(bits, i)) found.add(toHex(key))
  }
  return to
}

const shortKeyOf = (peer: NodeId): Uint8Array => publicKeyOf(peer).slice(0, SHORT_KEY_BYTES)

/** The lowest bit of the first byte comes first; no zeros at the end. */
function toBits(flags: boolean[]): Uint8Array {
  const bits = new Uint8Array((flags.lastIndexOf(true) >> 3) + 1)
  for (const [i, isSet] of flags.entries()) if (isSet) bits[i >> 3] = (bits[i >> 3] ?? 0) | (1 << (i & 7))
  return bits
}

const hasBit = (bits: Uint8Array, i: number): boolean => ((bits[i >> 3] ?? 0) & (1 << (i & 7))) !== 0
