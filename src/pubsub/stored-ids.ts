import { equalBytes, type HeldRecord, toHex } from '../dht/index.ts'
import { entriesBackward, loadMessages } from './collection.ts'
import { decodeCoordinator } from './coordinator.ts'
import type { VerifiedMessage } from './message.ts'
import { LIMITS } from './options.ts'

/**
 * Which of the last messages a topic has already: a message that is sent a second time, because its first answer was
 * lost, is not kept twice. Read from the collection when somebody else has changed it, remembered as long as nobody has.
 */
export class StoredIds {
  /** By topic, the longest unused first. */
  readonly #topics = new Map<string, { headId: Uint8Array; ids: Set<string> }>()

  /** Those that are not among the last `LIMITS.maxDuplicateScan`, each once. Called while nobody else changes the record. */
  async lacking(record: HeldRecord, messages: VerifiedMessage[]): Promise<VerifiedMessage[]> {
    const ids = await this.#idsOf(record)
    const lacking = new Map(messages.map((message) => [toHex(message.id), message]))
    for (const id of lacking.keys()) if (ids.has(id)) lacking.delete(id)
    return [...lacking.values()]
  }

  /** After a commit of this node alone led from the head that `lacking` saw to the one the record has now. */
  added(record: HeldRecord, messages: VerifiedMessage[]): void {
    const topic = this.#topics.get(toHex(record.key))
    if (topic === undefined || record.headId === undefined) return
    topic.headId = record.headId
    for (const { id } of messages) topic.ids.add(toHex(id))
    for (const id of topic.ids) {
      if (topic.ids.size <= LIMITS.maxDuplicateScan) break
      topic.ids.delete(id)
    }
  }

  async #idsOf(record: HeldRecord): Promise<Set<string>> {
    const name = toHex(record.key)
    const known = this.#topics.get(name)
    this.#topics.delete(name)
    const isCurrent =
      known !== undefined && record.headId !== undefined && equalBytes(known.headId, record.headId)
    const ids = isCurrent ? known.ids : await readIds(record)
    if (record.headId !== undefined) this.#topics.set(name, { headId: record.headId, ids })
    if (this.#topics.size > MAX_TOPICS) this.#topics.delete(this.#topics.keys().next().value as string)
    return ids
  }
}

const MAX_TOPICS = 256

async function readIds(record: HeldRecord): Promise<Set<string>> {
  const root = record.head && decodeCoordinator(record.head).messages
  if (!root) return new Set()
  const collection = await loadMessages(root, record.read)
  const entries = await entriesBackward(collection, undefined, LIMITS.maxDuplicateScan, record.read)
  return new Set(entries.map(({ id }) => toHex(id)))
}
