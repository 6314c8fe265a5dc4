import { equalBytes, type HeldRecord, toHex } from '../dht/index.ts'
import { entriesAfter, entriesBackward, loadMessages } from './collection.ts'
import { decodeCoordinator } from './coordinator.ts'
import type { VerifiedMessage } from './message.ts'
import { LIMITS } from './options.ts'

/**
 * Which of the last messages a topic has already: an initiator does not keep twice what is sent a second time because its
 * first answer was lost, and a replica can say what it has. The last `LIMITS.maxDuplicateScan` are read when a topic is
 * asked for, what it adds from then on is remembered: by number alone, a busy topic would have gone past a message before
 * its publisher asks after it, and it would be said to lack what it has.
 */

interface Known {
  record: HeldRecord
  /** Of the record: what it has lost since is not there, though it was. */
  losses: number
  headId: Uint8Array
  version: number
  /** With the version that added each when it was read: a merge may have raised it since. The oldest first. */
  ids: Map<string, number>
}

export class StoredIds {
  /** By topic, the longest unused first. */
  readonly #topics = new Map<string, Known>()
  #idCount = 0

  /** In hex. Called while nobody else changes the record. */
  async of(record: HeldRecord): Promise<ReadonlyMap<string, number>> {
    const name = toHex(record.key)
    const known = this.#topics.get(name)
    this.#forget(name)
    if (record.head === undefined || record.headId === undefined) return new Map()
    const isSame = known?.record === record && known.losses === record.losses
    const isCurrent = isSame && equalBytes(known.headId, record.headId)
    const current = isCurrent
      ? known
      : await readOn(record, record.head, record.headId, isSame ? known : undefined)
    this.#remember(name, current)
    return current.ids
  }

  /** Those that are not there yet, each once. Called while nobody else changes the record. */
  async lacking(record: HeldRecord, messages: VerifiedMessage[]): Promise<VerifiedMessage[]> {
    const ids = await this.of(record)
    const lacking = new Map(messages.map((message) => [toHex(message.id), message]))
    for (const id of lacking.keys()) if (ids.has(id)) lacking.delete(id)
    return [...lacking.values()]
  }

  #remember(name: string, known: Known): void {
    this.#topics.set(name, known)
    this.#idCount += known.ids.size
    for (const other of this.#topics.keys()) {
      if (other === name || (this.#topics.size <= MAX_TOPICS && this.#idCount <= MAX_IDS)) break
      this.#forget(other)
    }
  }

  #forget(name: string): void {
    this.#idCount -= this.#topics.get(name)?.ids.size ?? 0
    this.#topics.delete(name)
  }
}

const MAX_TOPICS = 256
/** Of one topic: half a minute of what ten processes on two cores can publish into it. About 130 bytes each. */
const MAX_IDS_OF_TOPIC = 32_768
/** Of all topics together, those longest unused going first. */
const MAX_IDS = 65_536

/** From what was known on, since whatever a topic adds is above it; where nothing was, or a forged number has gone, the last ones. */
async function readOn(
  record: HeldRecord,
  head: Uint8Array,
  headId: Uint8Array,
  known: Known | undefined,
): Promise<Known> {
  const { read, losses } = record
  const { version, messages } = decodeCoordinator(head)
  const ids = known?.ids ?? new Map<string, number>()
  if (messages !== null) {
    const collection = await loadMessages(messages, read)
    const added =
      known === undefined || version < known.version
        ? await entriesBackward(collection, undefined, LIMITS.maxDuplicateScan, read)
        : entriesAfter(collection, known.version, read)
    for await (const { id, addedInVersion } of added) {
      ids.set(toHex(id), addedInVersion)
      if (ids.size > MAX_IDS_OF_TOPIC) ids.delete(ids.keys().next().value as string)
    }
  }
  return { record, losses, headId, version, ids }
}
