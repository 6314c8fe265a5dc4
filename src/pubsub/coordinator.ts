import * as v from 'valibot'
import {
  type Block,
  type BlockReader,
  bytesOf,
  decode,
  encode,
  equalBytes,
  integer,
  objectId,
  type Relation,
  remembered,
  timestampMs,
} from '../dht/index.ts'
import { LIMITS } from './options.ts'
import { extendSnapshot, loadSnapshot, type Snapshot, snapshotBlock } from './snapshot.ts'

/**
 * The only mutable object of a topic, at most 1 KiB: which collections are current, which ones went before, and a
 * version. The version orders and tells a reader that something changed; it carries no authority.
 */

const history = v.pipe(v.array(objectId), v.maxLength(32))
const coordinatorSchema = v.strictObject({
  v: v.literal(1),
  topic: bytesOf(32),
  version: integer(0, LIMITS.maxVersion),
  state: v.literal('active'),
  messages: v.nullable(objectId),
  subscribers: v.nullable(objectId),
  /** Newest first, the current ones not included. */
  messageHistory: history,
  subscriberHistory: history,
  /** Snapshots with older history; two after a merge of lineages. */
  previous: v.pipe(v.array(objectId), v.maxLength(LIMITS.maxParents)),
  createdAt: timestampMs,
  lastModified: timestampMs,
  /** Latest expiry of anything inside. */
  expiresAt: timestampMs,
})
export type Coordinator = v.InferOutput<typeof coordinatorSchema>

export const decodeCoordinator = remembered((bytes) =>
  decode(bytes, LIMITS.maxCoordinatorBytes, coordinatorSchema),
)

export const emptyCoordinator = (topicKey: Uint8Array, nowMs: number): Coordinator => ({
  v: 1,
  topic: topicKey,
  version: 0,
  state: 'active',
  messages: null,
  subscribers: null,
  messageHistory: [],
  subscriberHistory: [],
  previous: [],
  createdAt: nowMs,
  lastModified: nowMs,
  expiresAt: nowMs,
})

export interface Step {
  messages: Uint8Array | null
  subscribers: Uint8Array | null
  nowMs: number
  expiresAt: number
}

/** At the end of its range the version stands still: it is advisory, and merges go by content. */
export const nextVersion = (version: number): number => Math.min(version + 1, LIMITS.maxVersion)

/** The coordinator after one commit: what it replaced is the newest of the history. */
export async function advance(
  before: Coordinator,
  step: Step,
  read: BlockReader,
): Promise<{ head: Uint8Array; blocks: Block[] }> {
  const after: Coordinator = {
    ...before,
    version: nextVersion(before.version),
    messages: step.messages,
    subscribers: step.subscribers,
    messageHistory: pushed(before.messageHistory, before.messages, step.messages),
    subscriberHistory: pushed(before.subscriberHistory, before.subscribers, step.subscribers),
    lastModified: Math.max(before.lastModified, step.nowMs),
    expiresAt: Math.max(before.expiresAt, step.expiresAt),
  }
  return prune(after, read)
}

const same = (a: Uint8Array | null, b: Uint8Array | null) =>
  a === null || b === null ? a === b : equalBytes(a, b)

const pushed = (ids: Uint8Array[], replaced: Uint8Array | null, current: Uint8Array | null): Uint8Array[] =>
  replaced === null || same(replaced, current) ? ids : [replaced, ...ids]

/**
 * Encodes it; past 1 KiB the newest ids stay and the rest goes to a snapshot. The newest snapshot is extended until it is
 * full, and the coordinator names the last few itself: a holder fetches and keeps those, not a chain as long as the topic
 * is old. A snapshot that this node has lost is dropped from the list; merges then go by union, and nothing is lost.
 * Without `read` a new snapshot is begun in any case: a merge must not depend on what one of two nodes has lost.
 */
export async function prune(
  coordinator: Coordinator,
  read?: BlockReader,
): Promise<{ head: Uint8Array; blocks: Block[] }> {
  const head = encode(coordinator)
  const { keptHistory, maxParents } = LIMITS
  const { topic, version, messageHistory, subscriberHistory, previous, lastModified, expiresAt } = coordinator
  if (head.byteLength <= LIMITS.maxCoordinatorBytes && previous.length <= maxParents) {
    decodeCoordinator.remember(head, coordinator)
    return { head, blocks: [] }
  }
  const [newestId, ...older] = previous
  const newest =
    newestId === undefined || read === undefined ? undefined : await loadSnapshot(newestId, read, true)
  const known = newest === undefined && read !== undefined ? older : previous
  const moved: Snapshot = {
    v: 1,
    topic,
    version,
    messageHistory: messageHistory.slice(keptHistory),
    subscriberHistory: subscriberHistory.slice(keptHistory),
    previous: known.slice(0, 2 * maxParents),
    createdAt: lastModified,
    expiresAt: Math.max(expiresAt, lastModified + LIMITS.graceMs),
  }
  const extended = newest === undefined ? undefined : extendSnapshot(newest, moved)
  const snapshot = await snapshotBlock(extended ?? moved)
  const pruned: Coordinator = {
    ...coordinator,
    messageHistory: messageHistory.slice(0, keptHistory),
    subscriberHistory: subscriberHistory.slice(0, keptHistory),
    previous: [snapshot.id, ...(extended === undefined ? known : older)].slice(0, maxParents),
  }
  return { head: encode(pruned), blocks: [snapshot] }
}

const isAncestor = (id: Uint8Array | null, current: Uint8Array | null, history: Uint8Array[]): boolean =>
  id === null || same(id, current) || history.some((old) => equalBytes(old, id))

const isBehind = (own: Coordinator, other: Coordinator): boolean =>
  other.version > own.version &&
  isAncestor(own.messages, other.messages, other.messageHistory) &&
  isAncestor(own.subscribers, other.subscribers, other.subscriberHistory)

/** From the histories alone: an ancestor whose ids were pruned away counts as diverged, which only costs a merge. */
export function compare(ownBytes: Uint8Array, otherBytes: Uint8Array): Relation {
  if (equalBytes(ownBytes, otherBytes)) return 'same'
  const own = decodeCoordinator(ownBytes)
  const other = decodeCoordinator(otherBytes)
  if (isBehind(own, other)) return 'behind'
  return isBehind(other, own) ? 'ahead' : 'diverged'
}
