import {
  type Block,
  type BlockReader,
  type Change,
  compareBytes,
  equalBytes,
  StickyError,
  toHex,
} from '../dht/index.ts'
import { decodeRoot, emptyRoot, latestExpiry, loadSpine, type MessagesRoot } from './collection.ts'
import { type Side, uniteMessages } from './collection-union.ts'
import { type Coordinator, decodeCoordinator, prune } from './coordinator.ts'
import { LIMITS } from './options.ts'
import type { Retention } from './retention.ts'
import { standsForUnion, uniteSubscribers } from './subscribers.ts'

/**
 * The join of two heads of a topic. Pure and commutative: whoever joins the same pair makes the same bytes. Gives one of
 * the two itself when it already contains the other, so joining again changes nothing and replicas come to rest.
 */
export async function join(
  key: Uint8Array,
  a: Uint8Array,
  b: Uint8Array,
  read: BlockReader,
  retention?: Retention,
): Promise<Change> {
  const order = compareBytes(a, b)
  if (order === 0) return { head: a, blocks: [] }
  const [first, second] = order < 0 ? [a, b] : [b, a]
  return joinOrdered(key, first, second, read, retention)
}

async function joinOrdered(
  key: Uint8Array,
  firstBytes: Uint8Array,
  secondBytes: Uint8Array,
  read: BlockReader,
  retention: Retention | undefined,
): Promise<Change> {
  const first = decodeCoordinator(firstBytes)
  const second = decodeCoordinator(secondBytes)
  const nowMs = Math.max(first.lastModified, second.lastModified)
  const [sideA, sideB] = [await sideOf(key, first, second, read), await sideOf(key, second, first, read)]
  const messages = await uniteMessages(sideA, sideB, nowMs, read, retention)
  const subscribers = await uniteSubscribers(key, first.subscribers, second.subscribers, nowMs, read)
  const stands = (own: Coordinator) => standsForUnion(key, own.subscribers, subscribers.rootId, nowMs, read)
  // who names an earlier end would have the other side's messages forgotten, or take back a longer life
  const lasts = (own: Coordinator, other: Coordinator) => own.expiresAt >= other.expiresAt
  const firstMay =
    messages.aDominates &&
    lasts(first, second) &&
    (first.version >= second.version || sideB.numberIgnored) &&
    (await stands(first))
  const secondMay =
    messages.bDominates &&
    lasts(second, first) &&
    (second.version >= first.version || sideA.numberIgnored) &&
    (await stands(second))
  if (secondMay) return { head: secondBytes, blocks: [] } // the larger bytes where both may stand
  if (firstMay) return { head: firstBytes, blocks: [] }
  const version = mergedVersion(first.version, second.version)
  const united = await messages.build(version)
  const fresh = new Map(united.blocks.map((block) => [toHex(block.id), block.bytes]))
  const readFresh: BlockReader = async (ref) => fresh.get(toHex(ref.id)) ?? read(ref)
  const { root, rootId } = united.collection
  const isEmpty = root.count === 0 && first.messages === null && second.messages === null
  const { head, blocks } = await prune({
    ...lineage([first, sideA], [second, sideB], isEmpty ? null : rootId, subscribers.rootId),
    version,
    expiresAt: Math.max(
      first.expiresAt,
      second.expiresAt,
      latestExpiry(root, await loadSpine(root, readFresh)),
    ),
  })
  const messageBlocks: Block[] = isEmpty ? [] : united.blocks
  return { head, blocks: [...messageBlocks, ...subscribers.blocks, ...blocks] }
}

async function sideOf(
  key: Uint8Array,
  own: Coordinator,
  other: Coordinator,
  read: BlockReader,
): Promise<Side> {
  const root: MessagesRoot =
    own.messages === null
      ? emptyRoot(own.topic)
      : decodeRoot(await read({ kind: 'messages', id: own.messages }))
  if (!equalBytes(root.topic, key)) throw new StickyError('WRONG_TOPIC', 'Messages of another topic.')
  return { root, version: own.version, numberIgnored: own.version > other.version + LIMITS.maxVersionJump }
}

/** One above both; an implausibly high number is ignored. */
function mergedVersion(a: number, b: number): number {
  const [low, high] = a < b ? [a, b] : [b, a]
  return Math.min((high > low + LIMITS.maxVersionJump ? low : high) + 1, LIMITS.maxVersion)
}

/**
 * Both sides' ids become history, unless they are the current ones; alternating, so that pruning keeps the newest of both.
 * Not those of a side whose number is ignored: who saw one of them at a number that the merge is below would take what the
 * merge adds for something that it had seen, as soon as the numbers have risen again.
 */
function lineage(
  [first, sideA]: [Coordinator, Side],
  [second, sideB]: [Coordinator, Side],
  messages: Uint8Array | null,
  subscribers: Uint8Array | null,
): Coordinator {
  const idsOf = (side: Side, current: Uint8Array | null, history: Uint8Array[]) =>
    side.numberIgnored ? [] : current === null ? history : [current, ...history]
  const previousOf = (side: Side, { previous }: Coordinator) => (side.numberIgnored ? [] : previous)
  return {
    ...first,
    messages,
    subscribers,
    messageHistory: interleave(
      idsOf(sideA, first.messages, first.messageHistory),
      idsOf(sideB, second.messages, second.messageHistory),
      messages,
    ),
    subscriberHistory: interleave(
      idsOf(sideA, first.subscribers, first.subscriberHistory),
      idsOf(sideB, second.subscribers, second.subscriberHistory),
      subscribers,
    ),
    previous: interleave(previousOf(sideA, first), previousOf(sideB, second), null),
    createdAt: Math.min(first.createdAt, second.createdAt),
    lastModified: Math.max(first.lastModified, second.lastModified),
  }
}

/** Enough for the coordinator and one snapshot behind it. */
const MAX_HISTORY = 64

function interleave(a: Uint8Array[], b: Uint8Array[], without: Uint8Array | null): Uint8Array[] {
  const seen = new Set<string>(without === null ? [] : [toHex(without)])
  const out: Uint8Array[] = []
  for (let i = 0; i < Math.max(a.length, b.length) && out.length < MAX_HISTORY; i++) {
    for (const id of [a[i], b[i]]) {
      if (id === undefined || seen.has(toHex(id))) continue
      seen.add(toHex(id))
      out.push(id)
    }
  }
  return out.slice(0, MAX_HISTORY)
}
