import * as v from 'valibot'
import {
  type Block,
  type BlockReader,
  bytesOf,
  bytesUpTo,
  decode,
  encode,
  equalBytes,
  integer,
  objectId,
  remembered,
  StickyError,
  sha256,
  toHex,
} from '../dht/index.ts'
import { Visits } from './collection.ts'
import { LIMITS } from './options.ts'
import {
  isGone,
  later,
  openStatement,
  type Statement,
  trustStatement,
  type VerifiedStatement,
  verifyStatement,
} from './subscription-statement.ts'

/**
 * Who is subscribed: one signed statement per client, the latest winning, unsubscribes included until they expire, so
 * that a union never resurrects one. Kept as a canonical radix trie over the hash of the client's key: its shape depends
 * on nothing but its content, and a change rewrites one leaf and the branches above it.
 */

const leafSchema = v.strictObject({
  v: v.literal(1),
  topic: bytesOf(32),
  depth: integer(0, LIMITS.maxTrieDepth),
  statements: v.pipe(v.array(bytesUpTo(LIMITS.maxStatementBytes)), v.maxLength(LIMITS.leafStatements)),
})
const branchSchema = v.strictObject({
  v: v.literal(1),
  topic: bytesOf(32),
  depth: integer(0, LIMITS.maxTrieDepth),
  count: integer(LIMITS.leafStatements + 1, 1_000_000),
  children: v.pipe(v.array(v.nullable(objectId)), v.length(16)),
})
const nodeSchema = v.union([leafSchema, branchSchema])
export type TrieNode = v.InferOutput<typeof nodeSchema>
export const decodeTrieNode = remembered((bytes) => decode(bytes, LIMITS.maxSubscriberNodeBytes, nodeSchema))

interface Placed extends Statement {
  place: string
}

const placed = async (envelope: Uint8Array): Promise<Placed> => {
  const statement = openStatement(envelope)
  return { place: await placeOf(statement.body.client), ...statement }
}

/** Where a client's statement stands: the nibbles of this lead to its leaf. */
export const placeOf = async (client: Uint8Array): Promise<string> => toHex(await sha256(client))

type Loaded = { leaf: Placed[] } | { topic: Uint8Array; children: (Uint8Array | null)[] }

/** A node at its place: of this topic (any, when read for a list) and at this depth. */
async function load(
  topicKey: Uint8Array | undefined,
  id: Uint8Array | null,
  depth: number,
  read: BlockReader,
): Promise<Loaded> {
  if (id === null) return { leaf: [] }
  const node = decodeTrieNode(await read({ kind: 'subscribers', id }))
  if (topicKey !== undefined && !equalBytes(node.topic, topicKey))
    throw new StickyError('WRONG_TOPIC', 'Subscribers of another topic.')
  if (node.depth !== depth) throw new StickyError('MALFORMED', 'A part of the subscribers in a wrong place.')
  if ('children' in node) return { topic: node.topic, children: node.children }
  return { leaf: await Promise.all(node.statements.map(placed)) }
}

interface Built {
  id: Uint8Array | null
  count: number
  blocks: Block[]
}

const NOTHING: Built = { id: null, count: 0, blocks: [] }

/** The canonical node of a set of statements below one prefix. */
async function build(topicKey: Uint8Array, depth: number, statements: Placed[]): Promise<Built> {
  if (statements.length === 0) return NOTHING
  if (statements.length <= LIMITS.leafStatements) {
    const sorted = statements.toSorted((a, b) => (a.place < b.place ? -1 : 1))
    return node(
      { v: 1, topic: topicKey, depth, statements: sorted.map(({ envelope }) => envelope) },
      statements.length,
      [],
    )
  }
  const parts: Placed[][] = Array.from({ length: 16 }, () => [])
  for (const statement of statements)
    parts[Number.parseInt(statement.place[depth] as string, 16)]?.push(statement)
  return branch(topicKey, depth, await Promise.all(parts.map((part) => build(topicKey, depth + 1, part))))
}

async function branch(topicKey: Uint8Array, depth: number, children: Built[]): Promise<Built> {
  const count = children.reduce((sum, child) => sum + child.count, 0)
  return node(
    { v: 1, topic: topicKey, depth, count, children: children.map(({ id }) => id) },
    count,
    children.flatMap(({ blocks }) => blocks),
  )
}

async function node(value: TrieNode, count: number, blocks: Block[]): Promise<Built> {
  const bytes = encode(value)
  const id = await sha256(bytes)
  return { id, count, blocks: [...blocks, { kind: 'subscribers', id, bytes }] }
}

interface Below {
  /** Any, when read for a list. */
  topicKey: Uint8Array | undefined
  nowMs: number
  read: BlockReader
  visits: Visits
}

/** All statements below the root of a trie, expired ones left out. */
const statementsOf = (
  topicKey: Uint8Array | undefined,
  id: Uint8Array | null,
  nowMs: number,
  read: BlockReader,
): Promise<Placed[]> => statementsBelow({ topicKey, nowMs, read, visits: new Visits() }, id, '')

/** `path`: the nibbles that lead here, with which the places of all clients below begin. */
async function statementsBelow(below: Below, id: Uint8Array | null, path: string): Promise<Placed[]> {
  if (id !== null) below.visits.enter(id)
  const loaded = await load(below.topicKey, id, path.length, below.read)
  if ('leaf' in loaded) {
    if (loaded.leaf.some(({ place }) => !place.startsWith(path)))
      throw new StickyError('MALFORMED', 'A subscriber in another’s place.')
    return loaded.leaf.filter((statement) => !isGone(statement, below.nowMs))
  }
  const inside = { ...below, topicKey: loaded.topic }
  const parts = await Promise.all(
    loaded.children.map((child, nibble) => statementsBelow(inside, child, path + nibble.toString(16))),
  )
  return parts.flat()
}

const countOf = async (id: Uint8Array | null, read: BlockReader): Promise<number> => {
  if (id === null) return 0
  const loaded = decodeTrieNode(await read({ kind: 'subscribers', id }))
  return 'children' in loaded ? loaded.count : loaded.statements.length
}

/** Puts statements below a node; a branch that shrinks to a leaf's size becomes one. */
async function put(
  topicKey: Uint8Array,
  id: Uint8Array | null,
  depth: number,
  added: Placed[],
  nowMs: number,
  read: BlockReader,
): Promise<Built> {
  if (added.length === 0) return { id, count: await countOf(id, read), blocks: [] }
  const loaded = await load(topicKey, id, depth, read)
  if ('leaf' in loaded) return build(topicKey, depth, latest([...loaded.leaf, ...added], nowMs))
  const children = await Promise.all(
    loaded.children.map((child, nibble) => {
      const mine = added.filter(({ place }) => Number.parseInt(place[depth] as string, 16) === nibble)
      return put(topicKey, child, depth + 1, mine, nowMs, read)
    }),
  )
  const count = children.reduce((sum, child) => sum + child.count, 0)
  if (count > LIMITS.leafStatements) return branch(topicKey, depth, children)
  const fresh = new Map(
    children.flatMap(({ blocks }) => blocks).map((block) => [toHex(block.id), block.bytes]),
  )
  const readNew: BlockReader = async (ref) => fresh.get(toHex(ref.id)) ?? read(ref)
  const path = (added[0] as Placed).place.slice(0, depth)
  const below = { topicKey, nowMs, read: readNew, visits: new Visits() }
  const all = await Promise.all(
    children.map((child, nibble) => statementsBelow(below, child.id, path + nibble.toString(16))),
  )
  return build(topicKey, depth, all.flat())
}

function latest(statements: Placed[], nowMs: number): Placed[] {
  const byPlace = new Map<string, Placed>()
  for (const statement of statements) {
    if (isGone(statement, nowMs)) continue
    const known = byPlace.get(statement.place)
    byPlace.set(statement.place, known === undefined ? statement : later(known, statement))
  }
  return [...byPlace.values()]
}

/** Throws TOPIC_FULL when a new client would pass the limit; renewals and unsubscribes always fit. */
export async function putStatements(
  topicKey: Uint8Array,
  rootId: Uint8Array | null,
  statements: VerifiedStatement[],
  nowMs: number,
  read: BlockReader,
): Promise<{ rootId: Uint8Array | null; blocks: Block[] }> {
  const added = await Promise.all(statements.map(({ envelope }) => placed(envelope)))
  const built = await put(topicKey, rootId, 0, added, nowMs, read)
  if (built.count > LIMITS.maxSubscribers && built.count > (await countOf(rootId, read))) {
    throw new StickyError('TOPIC_FULL', `A topic has at most ${LIMITS.maxSubscribers} subscribers.`)
  }
  return { rootId: built.id, blocks: built.blocks }
}

/**
 * Of all that either side has, also where a made-up head brings as many as a synchronisation fetches: whatever keys or times
 * a limit went by, identities made for it would push out honest ones; and to refuse what is too much kept replicas apart.
 */
export async function uniteSubscribers(
  topicKey: Uint8Array,
  a: Uint8Array | null,
  b: Uint8Array | null,
  nowMs: number,
  read: BlockReader,
): Promise<{ rootId: Uint8Array | null; blocks: Block[] }> {
  if (a !== null && b !== null && equalBytes(a, b)) return { rootId: a, blocks: [] }
  const [ofA, ofB] = await Promise.all([
    statementsOf(topicKey, a, nowMs, read),
    statementsOf(topicKey, b, nowMs, read),
  ])
  const built = await build(topicKey, 0, latest([...ofA, ...ofB], nowMs))
  return { rootId: built.id, blocks: built.blocks }
}

/**
 * May `own` stand for its union with another? It may still hold what has expired since it was made: a union without
 * those says nothing new, and must not look like a change. Only the canonical trie of its content stands.
 */
export async function standsForUnion(
  topicKey: Uint8Array,
  own: Uint8Array | null,
  union: Uint8Array | null,
  nowMs: number,
  read: BlockReader,
): Promise<boolean> {
  if (isSame(own, union)) return true
  if (own === null) return false
  const all = await statementsOf(topicKey, own, 0, read)
  const [whole, unexpired] = [latest(all, 0), latest(all, nowMs)]
  if (whole.length === unexpired.length) return false
  return (
    isSame((await build(topicKey, 0, whole)).id, own) &&
    isSame((await build(topicKey, 0, unexpired)).id, union)
  )
}

/** For subscribers that are taken over whole: throws unless they are the canonical trie of their content. */
export async function checkSubscribers(
  topicKey: Uint8Array,
  rootId: Uint8Array,
  read: BlockReader,
): Promise<void> {
  const all = await statementsOf(topicKey, rootId, 0, read)
  if (!isSame((await build(topicKey, 0, latest(all, 0))).id, rootId))
    throw new StickyError('MALFORMED', 'Subscribers in another order than their own.')
}

const isSame = (a: Uint8Array | null, b: Uint8Array | null) =>
  a === null || b === null ? a === b : equalBytes(a, b)

/** Those subscribed now. The blocks are verified, so their statements are. */
export async function listSubscribers(
  rootId: Uint8Array,
  nowMs: number,
  read: BlockReader,
): Promise<VerifiedStatement[]> {
  const statements = await statementsOf(undefined, rootId, nowMs, read)
  return statements
    .filter(({ body }) => body.kind === 'subscribe' && body.expiresAt > nowMs)
    .map(trustStatement)
}

/** Every statement inside verified. Throws when one is not, or stands in the wrong place. */
export async function verifyTrieNode(
  bytes: Uint8Array,
  newestMs?: number,
): Promise<{ children: Uint8Array[]; expiresAtMs: number }> {
  const decoded = decodeTrieNode(bytes)
  if ('children' in decoded)
    return { children: decoded.children.filter((child) => child !== null), expiresAtMs: 0 }
  const statements = await Promise.all(
    decoded.statements.map((envelope) => verifyStatement(envelope, { topicKey: decoded.topic, newestMs })),
  )
  return { children: [], expiresAtMs: Math.max(0, ...statements.map(({ body }) => body.expiresAt)) }
}
