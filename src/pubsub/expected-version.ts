import { equalBytes, type HeldRecord, StickyError } from '../dht/index.ts'
import {
  type Entry,
  entriesAfter,
  loadMessages,
  loadSpine,
  type MessageCollection,
  spineRefs,
} from './collection.ts'
import { decodeCoordinator } from './coordinator.ts'
import { LIMITS } from './options.ts'

/**
 * A publish that is only meant where nothing was said since (`expect`). A version counts every commit, those of
 * subscriptions and merges too; so what is asked is whether a message was added after it.
 */

/** UNEXPECTED_VERSION, and the version at which the topic is: nothing was stored. */
export class UnexpectedVersionError extends StickyError {
  override readonly name = 'UnexpectedVersionError'
  readonly version: number

  constructor(version: number, expected?: number) {
    const isBehind = expected !== undefined && version < expected
    const what = isBehind ? `has not come to version ${expected}` : 'has moved on'
    super('UNEXPECTED_VERSION', `The topic ${what}: it is at version ${version}.`)
    this.version = version
  }
}

/** Throws INVALID_DATA. */
export function checkExpect(expect: { version: number } | undefined): void {
  const { version } = expect ?? { version: 0 }
  if (!Number.isSafeInteger(version) || version < 0 || version > LIMITS.maxVersion)
    throw new StickyError(
      'INVALID_DATA',
      'The version that is expected is a whole number, 0 in an empty topic.',
    )
}

/**
 * Throws where the record has messages after a version, or has not come so far. The message itself may be there, from an
 * earlier attempt or before a merge, if it is the first and nothing came with it; behind others it is OUTCOME_UNKNOWN.
 * Called while nobody else changes the record.
 */
export async function requireExpected(
  record: HeldRecord,
  expected: number,
  id: Uint8Array,
  isStored: boolean,
): Promise<void> {
  const { version, messages } = record.head ? decodeCoordinator(record.head) : { version: 0, messages: null }
  if (messages !== null) {
    const collection = await loadMessages(messages, record.read)
    if ((await lastVersion(collection, record)) > expected) {
      if (!isStored) throw new UnexpectedVersionError(version, expected)
      if (await isFirst(collection, record, expected, id)) return
      throw new StickyError('OUTCOME_UNKNOWN', 'It was sent, and others said something at the same time.')
    }
  }
  if (expected > version) throw new UnexpectedVersionError(version, expected)
}

async function lastVersion({ root }: MessageCollection, { read }: HeldRecord): Promise<number> {
  const last = root.tail.at(-1)
  return last ? last[1] : (spineRefs(await loadSpine(root, read)).at(-1)?.ref.lastVersion ?? 0)
}

async function isFirst(
  collection: MessageCollection,
  { read }: HeldRecord,
  expected: number,
  id: Uint8Array,
): Promise<boolean> {
  let first: Entry | undefined
  for await (const entry of entriesAfter(collection, expected, read)) {
    if (first !== undefined) return entry.addedInVersion > first.addedInVersion
    if (!equalBytes(entry.id, id)) return false
    first = entry
  }
  return first !== undefined
}
