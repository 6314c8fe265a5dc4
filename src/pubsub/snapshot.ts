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

/** The snapshot, undefined when no holder has it any more. */
export async function loadSnapshot(id: Uint8Array, read: BlockReader): Promise<Snapshot | undefined> {
  try {
    return decodeSnapshot(await read({ kind: 'snapshot', id }))
  } catch (error) {
    if (error instanceof StickyError && error.code === 'NOT_FOUND') return undefined
    throw error
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
