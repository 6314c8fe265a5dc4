import * as v from 'valibot'
import {
  type Block,
  type BlockReader,
  bytesUpTo,
  type Change,
  decode,
  encode,
  StickyError,
  sha256,
  timestampMs,
  toHex,
} from '../dht/index.ts'
import { decodeRoot, emptyRoot } from './collection.ts'
import { appendMessages, trimMessages } from './collection-builder.ts'
import { advance, decodeCoordinator, emptyCoordinator, nextVersion } from './coordinator.ts'
import { checkData, type VerifiedMessage, type VerifiedMessages, verifyMessage } from './message.ts'
import { LIMITS } from './options.ts'
import type { Retention } from './retention.ts'
import { putStatements } from './subscribers.ts'
import { type VerifiedStatement, verifyStatement } from './subscription-statement.ts'

export { VerifiedMessages } from './message.ts'

/**
 * What one commit adds: signed facts and the moment. Applied to the same head it gives the same bytes at the initiator and
 * at every replica, so nothing else has to travel, and nothing else has to be logged.
 */

const deltaSchema = v.strictObject({
  v: v.literal(1),
  nowMs: timestampMs,
  messages: v.pipe(v.array(bytesUpTo(LIMITS.maxEnvelopeBytes)), v.maxLength(LIMITS.maxDeltaMessages)),
  /** Data too large for its message; each is named by one of the messages. */
  payloads: v.pipe(v.array(bytesUpTo(LIMITS.maxPayloadBytes)), v.maxLength(LIMITS.maxDeltaPayloads)),
  statements: v.pipe(v.array(bytesUpTo(LIMITS.maxStatementBytes)), v.maxLength(LIMITS.maxDeltaMessages)),
})

export interface Delta {
  nowMs: number
  messages: VerifiedMessage[]
  payloads: Uint8Array[]
  statements: VerifiedStatement[]
}

export function encodeDelta(delta: Delta): Uint8Array {
  const { nowMs, messages, payloads, statements } = delta
  const bytes = encode({
    v: 1,
    nowMs,
    messages: messages.map(({ envelope }) => envelope),
    payloads,
    statements: statements.map(({ envelope }) => envelope),
  })
  remember(bytes, delta)
  return bytes
}

const idsIn = new WeakMap<Uint8Array, Uint8Array[]>()
const remember = (bytes: Uint8Array, { messages }: Delta): void => {
  idsIn.set(
    bytes,
    messages.map(({ id }) => id),
  )
}

/** The messages of a delta that this node has made or applied, in its order. */
export const messageIdsIn = (delta: Uint8Array): readonly Uint8Array[] => idsIn.get(delta) ?? []

export interface DeltaContext {
  verified: VerifiedMessages
  /**
   * What claims to be from after this moment is refused, and what was over a grace before it: that is longer ago than two
   * clocks differ. Undefined: the own disk replays it, and it was fresh then.
   */
  newestMs: number | undefined
  retention?: Retention | undefined
}

/** Everything in it verified. Throws what verifyMessage and verifyStatement throw. */
async function openDelta(
  key: Uint8Array,
  bytes: Uint8Array,
  { verified, newestMs }: DeltaContext,
): Promise<Delta> {
  const { nowMs, messages, payloads, statements } = decode(bytes, LIMITS.maxDeltaBytes, deltaSchema)
  if (newestMs !== undefined && nowMs > newestMs)
    throw new StickyError('FROM_THE_FUTURE', 'A commit from the future: it decides what has expired.')
  const delta: Delta = {
    nowMs,
    payloads,
    messages: await Promise.all(
      messages.map((envelope) => verifyMessage(envelope, { topicKey: key, verified, newestMs })),
    ),
    statements: await Promise.all(
      statements.map((envelope) => verifyStatement(envelope, { topicKey: key, newestMs })),
    ),
  }
  // it would be here again, and in a full topic push out what is not over
  const endedMs = (newestMs ?? 0) - LIMITS.graceMs
  if (delta.messages.some(({ body }) => body.expiresAt < endedMs))
    throw new StickyError('EXPIRED', 'A commit of what is over.')
  remember(bytes, delta)
  return delta
}

/** The head after a delta, and the blocks that it needs and the one before did not. */
export async function applyDelta(
  key: Uint8Array,
  own: Uint8Array | undefined,
  bytes: Uint8Array,
  read: BlockReader,
  context: DeltaContext,
): Promise<Change> {
  const delta = await openDelta(key, bytes, context)
  const before = own === undefined ? emptyCoordinator(key, delta.nowMs) : decodeCoordinator(own)
  const nowMs = Math.max(before.lastModified, delta.nowMs)
  const payloads = await payloadBlocks(delta)
  const messages = await applyMessages(
    key,
    before.messages,
    delta.messages,
    nextVersion(before.version),
    nowMs,
    read,
    context.retention,
  )
  const subscribers =
    delta.statements.length === 0
      ? { rootId: before.subscribers, blocks: [] }
      : await putStatements(key, before.subscribers, delta.statements, nowMs, read)
  if (
    own !== undefined &&
    isSame(messages.rootId, before.messages) &&
    isSame(subscribers.rootId, before.subscribers)
  ) {
    return { head: own, blocks: [] }
  }
  const expiresAt = Math.max(
    nowMs,
    ...delta.messages.map(({ body }) => body.expiresAt),
    ...delta.statements.map(({ body }) => body.expiresAt),
  )
  const step = { messages: messages.rootId, subscribers: subscribers.rootId, nowMs, expiresAt }
  const { head, blocks } = await advance(before, step, read)
  return { head, blocks: [...payloads, ...messages.blocks, ...subscribers.blocks, ...blocks] }
}

async function applyMessages(
  key: Uint8Array,
  rootId: Uint8Array | null,
  messages: VerifiedMessage[],
  version: number,
  nowMs: number,
  read: BlockReader,
  retention: Retention | undefined,
): Promise<{ rootId: Uint8Array | null; blocks: Block[] }> {
  if (messages.length === 0 && rootId === null) return { rootId, blocks: [] }
  const root = rootId === null ? emptyRoot(key) : decodeRoot(await read({ kind: 'messages', id: rootId }))
  const changed =
    messages.length === 0
      ? await trimMessages(root, nowMs, read, retention)
      : await appendMessages(root, messages, version, nowMs, read, retention)
  if (changed === undefined) return { rootId, blocks: [] }
  const { collection, blocks } = changed
  return { rootId: collection.rootId, blocks }
}

/** A new message comes with its payload. One that no message names is left out: its message was stored before. */
async function payloadBlocks({ messages, payloads }: Delta): Promise<Block[]> {
  const blocks = await Promise.all(
    payloads.map(async (bytes): Promise<Block> => ({ kind: 'payload', id: await sha256(bytes), bytes })),
  )
  const given = new Map(blocks.map((block) => [toHex(block.id), block]))
  const wanted = messages.flatMap(({ body }) => (body.payload ? [body.payload] : []))
  for (const { id, bytes } of wanted) {
    if (given.get(toHex(id))?.bytes.byteLength !== bytes)
      throw new StickyError('MALFORMED', 'A message without the payload that it names.')
  }
  for (const payload of payloads) checkData(payload)
  const names = new Set(wanted.map(({ id }) => toHex(id)))
  return [...given].filter(([name]) => names.has(name)).map(([, block]) => block)
}

const isSame = (a: Uint8Array | null, b: Uint8Array | null) =>
  a === null || b === null ? a === b : toHex(a) === toHex(b)
