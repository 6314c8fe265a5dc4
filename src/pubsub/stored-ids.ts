import { equalBytes, type HeldRecord, type Runtime, toHex } from '../dht/index.ts'
import { type Entry, entriesAfter, entriesBackward, loadMessages } from './collection.ts'
import { decodeCoordinator } from './coordinator.ts'
import type { VerifiedMessage } from './message.ts'
import { LIMITS } from './options.ts'

/**
 * Which of the last messages a topic has already: an initiator does not keep twice what is sent a second time because its
 * first answer was lost, and a replica can say what it has. The last `LIMITS.maxDuplicateScan` are read when a topic is
 * asked for, what it adds from then on is remembered: by number alone, a busy topic would have gone past a message before
 * its publisher asks after it, and it would be said to lack what it has. For what was published a while ago more are read:
 * its publisher may have been told nothing, and send it again after hours. That one is then kept twice does no harm but for
 * being shown twice by a history, so there are bounds.
 */

interface Known {
  record: HeldRecord
  /** Of the record: what it has lost since is not there, though it was. */
  losses: number
  /** Of the record: what was added by then may be anywhere in the head of now. */
  lineageBreaks: number
  head: Uint8Array
  headId: Uint8Array
  version: number
  /** With the version that added each when it was read: a merge may have raised it since. The oldest first. */
  ids: Map<string, number>
  /** As many as are remembered at most were read. */
  reachesFar: boolean
}

export class StoredIds {
  readonly #runtime: Runtime
  #farLookAtMs = Number.NEGATIVE_INFINITY
  /** By topic, the longest unused first. */
  readonly #topics = new Map<string, Known>()
  #idCount = 0

  constructor(runtime: Runtime) {
    this.#runtime = runtime
  }

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
    const lacking = new Map(messages.map((message) => [toHex(message.id), message]))
    const leaveOut = (ids: ReadonlyMap<string, number>) => {
      for (const id of lacking.keys()) if (ids.has(id)) lacking.delete(id)
    }
    leaveOut(await this.of(record))
    const lateMs = this.#runtime.now() - LATE_MS
    const isLate = [...lacking.values()].some(({ body }) => body.publishedAt < lateMs)
    if (isLate) leaveOut(await this.#farOf(record))
    return [...lacking.values()]
  }

  /** As `of`, and further back where that was not looked at lately. */
  async #farOf(record: HeldRecord): Promise<ReadonlyMap<string, number>> {
    const name = toHex(record.key)
    const known = this.#topics.get(name)
    const now = this.#runtime.monotonicNow()
    if (known === undefined || known.reachesFar || now - this.#farLookAtMs < FAR_LOOK_PAUSE_MS)
      return known?.ids ?? new Map()
    this.#farLookAtMs = now
    const ids = await readFar(known)
    this.#forget(name)
    this.#remember(name, { ...known, ids, reachesFar: true })
    return ids
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
/** Read at once of what has come since the last look, which at full pace is at each commit: a tenth of a second. */
const MAX_READ_ON = 4_096
/** So old is what its publisher sends again, or the publisher's clock is wrong. */
const LATE_MS = 10_000
/** A look at all that may be remembered takes up to a second, and whoever likes can send what is late. */
const FAR_LOOK_PAUSE_MS = 10_000

/**
 * From what was known on, where each head since has followed from the one before: what that adds is above it. Else the last
 * ones too: a merge that ignores a forged number stamps what it adds below what was known. So too where more has come than
 * a commit can wait for.
 */
async function readOn(
  record: HeldRecord,
  head: Uint8Array,
  headId: Uint8Array,
  known: Known | undefined,
): Promise<Known> {
  const { read, losses, lineageBreaks } = record
  const { version, messages } = decodeCoordinator(head)
  const ids = known?.ids ?? new Map<string, number>()
  const current = { record, losses, lineageBreaks, head, headId, version, ids }
  if (messages === null) return { ...current, reachesFar: false }
  const collection = await loadMessages(messages, read)
  let isWhole = known?.lineageBreaks === lineageBreaks
  if (known !== undefined) {
    let left = MAX_READ_ON
    for await (const entry of entriesAfter(collection, known.version, read)) {
      if (--left < 0) isWhole = false
      if (left < 0) break
      note(ids, entry)
    }
  }
  if (!isWhole)
    for (const entry of await entriesBackward(collection, undefined, LIMITS.maxDuplicateScan, read))
      note(ids, entry)
  return { ...current, reachesFar: isWhole && known?.reachesFar === true }
}

function note(ids: Map<string, number>, { id, addedInVersion }: Entry): void {
  ids.set(toHex(id), addedInVersion)
  if (ids.size > MAX_IDS_OF_TOPIC) ids.delete(ids.keys().next().value as string)
}

async function readFar({ record, head }: Known): Promise<Map<string, number>> {
  const ids = new Map<string, number>()
  const { messages } = decodeCoordinator(head)
  if (messages === null) return ids
  const collection = await loadMessages(messages, record.read)
  for (const entry of await entriesBackward(collection, undefined, MAX_IDS_OF_TOPIC, record.read))
    note(ids, entry)
  return ids
}
