import * as v from 'valibot'
import {
  type Block,
  type BlockReader,
  bytesOf,
  decode,
  encode,
  integer,
  objectId,
  remembered,
  StickyError,
  sha256,
  timestampMs,
  toHex,
} from '../dht/index.ts'
import { LIMITS } from './options.ts'

/** History ids that no longer fit into the coordinator, newest first, and the snapshots that went before. */
const ids = (max: number) => v.pipe(v.array(objectId), v.maxLength(max))
const snapshotSchema = v.strictObject({
  v: v.literal(1),
  topic: bytesOf(32),
  version: integer(0, LIMITS.maxVersion),
  messageHistory: ids(LIMITS.maxSnapshotIds),
  subscriberHistory: ids(LIMITS.maxSnapshotIds),
  /** Both lineages' after a merge. */
  previous: ids(2 * LIMITS.maxParents),
  createdAt: timestampMs,
  expiresAt: timestampMs,
})
export type Snapshot = v.InferOutput<typeof snapshotSchema>

export const decodeSnapshot = remembered((bytes) => decode(bytes, LIMITS.maxSnapshotBytes, snapshotSchema))

export async function snapshotBlock(snapshot: Snapshot): Promise<Block> {
  const bytes = encode(snapshot)
  return { kind: 'snapshot', id: await sha256(bytes), bytes }
}

/** The snapshot, undefined when no holder has it any more. `optional`: no other holder than the reader's own is asked. */
export async function loadSnapshot(
  id: Uint8Array,
  read: BlockReader,
  optional = false,
): Promise<Snapshot | undefined> {
  try {
    return decodeSnapshot(await read({ kind: 'snapshot', id, ...(optional ? { optional } : {}) }))
  } catch (error) {
    if (error instanceof StickyError && error.code === 'NOT_FOUND') return undefined
    throw error
  }
}

export interface Level {
  snapshots: { id: Uint8Array; snapshot: Snapshot }[]
  missing: number
}

export interface WalkOptions {
  maxDepth: number
  /** See `loadSnapshot`. */
  optional: boolean
}

/**
 * The snapshots behind a head, level by level, each once: those of a level are read together, because a topic that has
 * merged often has many. At most `LIMITS.maxHistoryDepth` levels and snapshots.
 */
export async function* snapshotsBehind(
  previous: Uint8Array[],
  read: BlockReader,
  { maxDepth, optional }: WalkOptions,
): AsyncGenerator<Level> {
  const seen = new Set<string>()
  let ids = previous
  for (let depth = 0; depth < Math.min(maxDepth, LIMITS.maxHistoryDepth) && ids.length > 0; depth++) {
    const fresh: Uint8Array[] = []
    for (const id of ids) {
      if (seen.has(toHex(id)) || seen.size >= LIMITS.maxHistoryDepth) continue
      seen.add(toHex(id))
      fresh.push(id)
    }
    if (fresh.length === 0) return
    const loaded = await Promise.all(
      fresh.map(async (id) => ({ id, snapshot: await loadSnapshot(id, read, optional) })),
    )
    const snapshots = loaded.flatMap(({ id, snapshot }) => (snapshot === undefined ? [] : [{ id, snapshot }]))
    yield { snapshots, missing: loaded.length - snapshots.length }
    ids = snapshots.flatMap(({ snapshot }) => snapshot.previous)
  }
}

/** `older` with newer ids in front, in its place; undefined when it is full. */
export function extendSnapshot(older: Snapshot, newer: Snapshot): Snapshot | undefined {
  const messageHistory = [...newer.messageHistory, ...older.messageHistory]
  const subscriberHistory = [...newer.subscriberHistory, ...older.subscriberHistory]
  if (messageHistory.length + subscriberHistory.length > LIMITS.maxSnapshotIds) return undefined
  return {
    ...older,
    version: newer.version,
    messageHistory,
    subscriberHistory,
    expiresAt: Math.max(older.expiresAt, newer.expiresAt),
  }
}
