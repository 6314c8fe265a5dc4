import { equalBytes, type HeldRecord, toHex } from '../dht/index.ts'
import { type Entry, entriesAfter, entriesBackward, loadMessages } from './collection.ts'
import { type Coordinator, decodeCoordinator } from './coordinator.ts'
import type { VerifiedMessage } from './message.ts'
import { LIMITS } from './options.ts'

/**
 * Which of the last messages a topic has already, `LIMITS.maxDuplicateScan` of them: an initiator does not keep twice what
 * is sent a second time because its first answer was lost, and a replica can say what it has. Remembered per topic; when
 * the topic has moved on, what it added is read.
 */

interface Known {
  headId: Uint8Array
  version: number
  messages: Uint8Array | null
  /** With the version that added each when it was read: a merge may have raised it since. */
  ids: Map<string, number>
}

export class StoredIds {
  /** By topic, the longest unused first. */
  readonly #topics = new Map<string, Known>()

  /** In hex. Called while nobody else changes the record. */
  async of(record: HeldRecord): Promise<ReadonlyMap<string, number>> {
    const name = toHex(record.key)
    const known = this.#topics.get(name)
    this.#topics.delete(name)
    if (record.head === undefined || record.headId === undefined) return new Map()
    const isCurrent = known !== undefined && equalBytes(known.headId, record.headId)
    const current = isCurrent ? known : await readOn(record, record.head, record.headId, known)
    this.#topics.set(name, current)
    if (this.#topics.size > MAX_TOPICS) this.#topics.delete(this.#topics.keys().next().value as string)
    return current.ids
  }

  /** Those that are not there yet, each once. Called while nobody else changes the record. */
  async lacking(record: HeldRecord, messages: VerifiedMessage[]): Promise<VerifiedMessage[]> {
    const ids = await this.of(record)
    const lacking = new Map(messages.map((message) => [toHex(message.id), message]))
    for (const id of lacking.keys()) if (ids.has(id)) lacking.delete(id)
    return [...lacking.values()]
  }
}

const MAX_TOPICS = 256

/** From what was known on where that is an ancestor of the head, as after nearly every commit; else everything. */
async function readOn(
  { read }: HeldRecord,
  head: Uint8Array,
  headId: Uint8Array,
  known: Known | undefined,
): Promise<Known> {
  const coordinator = decodeCoordinator(head)
  const { version, messages } = coordinator
  if (messages === null) return { headId, version, messages, ids: new Map() }
  const collection = await loadMessages(messages, read)
  if (known === undefined || !isAncestor(known.messages, coordinator)) {
    const entries = await entriesBackward(collection, undefined, LIMITS.maxDuplicateScan, read)
    return { headId, version, messages, ids: new Map(entries.map(toPair)) }
  }
  const { ids } = known
  for await (const entry of entriesAfter(collection, known.version, read)) ids.set(...toPair(entry))
  for (const id of ids.keys()) {
    if (ids.size <= LIMITS.maxDuplicateScan) break
    ids.delete(id)
  }
  return { headId, version, messages, ids }
}

const toPair = ({ id, addedInVersion }: Entry): [string, number] => [toHex(id), addedInVersion]

const isAncestor = (
  messages: Uint8Array | null,
  { messages: current, messageHistory }: Coordinator,
): boolean =>
  messages !== null && [current, ...messageHistory].some((id) => id !== null && equalBytes(id, messages))
