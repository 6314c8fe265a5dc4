import * as v from 'valibot'
import { type Block, bytesOf, decode, encode, integer, objectId, sha256, timestampMs } from '../dht/index.ts'
import { LIMITS } from './options.ts'

/** History ids that no longer fit into the coordinator, linked to what went before them. */
const ids = (max: number) => v.pipe(v.array(objectId), v.maxLength(max))
const snapshotSchema = v.strictObject({
  v: v.literal(1),
  topic: bytesOf(32),
  version: integer(0, LIMITS.maxVersion),
  messageHistory: ids(64),
  subscriberHistory: ids(64),
  previous: ids(LIMITS.maxParents),
  createdAt: timestampMs,
  expiresAt: timestampMs,
})
export type Snapshot = v.InferOutput<typeof snapshotSchema>

export const decodeSnapshot = (bytes: Uint8Array) => decode(bytes, LIMITS.maxSnapshotBytes, snapshotSchema)

export async function snapshotBlock(snapshot: Snapshot): Promise<Block> {
  const bytes = encode(snapshot)
  return { kind: 'snapshot', id: await sha256(bytes), bytes }
}
