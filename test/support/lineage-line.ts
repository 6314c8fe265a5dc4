import { expect } from 'vitest'
import { toHex } from '../../src/dht/codec.ts'
import type { BlockReader, Change } from '../../src/dht/kinds.ts'
import { collectionPages, loadMessages } from '../../src/pubsub/collection.ts'
import { type Coordinator, decodeCoordinator } from '../../src/pubsub/coordinator.ts'
import { encodeDelta } from '../../src/pubsub/delta.ts'
import type { VerifiedMessage } from '../../src/pubsub/message.ts'
import { LIMITS } from '../../src/pubsub/options.ts'
import { decodeTrieNode } from '../../src/pubsub/subscribers.ts'
import { createStatement, type VerifiedStatement } from '../../src/pubsub/subscription-statement.ts'
import { client, topicKey, type World } from './lineage.ts'

/**
 * A replica beside a plain record of everything it ever took, so that what a join contains is compared with what went in
 * and not with what the code under test says of itself.
 */

export const LONG_MS = 48 * 3_600_000

export const hexOf = (bytes: Uint8Array | null | undefined): string => (bytes ? toHex(bytes) : 'none')

export class Line {
  readonly world: World
  /** Also the name of its writer. */
  readonly index: number
  head: Uint8Array
  /** Expiry of every message it took, by id. */
  readonly messages: Map<string, number>
  /** Every statement it took, by its bytes. */
  readonly statements: Map<string, VerifiedStatement>
  #sequence = 0

  constructor(world: World, index: number, from?: Line) {
    this.world = world
    this.index = index
    this.head = from?.head ?? new Uint8Array()
    this.messages = new Map(from?.messages)
    this.statements = new Map(from?.statements)
  }

  get isEmpty(): boolean {
    return this.head.byteLength === 0
  }

  get coordinator(): Coordinator {
    return decodeCoordinator(this.head)
  }

  /** As one commit at the world's present moment. */
  async commit(
    messages: VerifiedMessage[],
    statements: VerifiedStatement[] = [],
    read: BlockReader = this.world.read,
  ): Promise<void> {
    const { world } = this
    for (const message of messages) world.verified.add(message)
    const payloads = world.payloadsOf(messages)
    const delta = encodeDelta({ nowMs: world.nowMs, messages, payloads, statements })
    const own = this.isEmpty ? undefined : this.head
    this.head = world.keep(await world.kind.apply(topicKey, own, delta, read, 'peer'))
    for (const { id, body } of messages) this.messages.set(toHex(id), body.expiresAt)
    for (const statement of statements) this.statements.set(toHex(statement.envelope), statement)
  }

  /** Its own next messages, not committed yet. */
  async write(count: number, ttlMs = LONG_MS, data?: Uint8Array): Promise<VerifiedMessage[]> {
    const from = this.#sequence + 1
    this.#sequence += count
    const options = { publisher: this.index % 4, writer: this.index + 1, ttlMs, ...(data ? { data } : {}) }
    return this.world.messages(from, count, options)
  }

  async publish(count: number, ttlMs = LONG_MS): Promise<void> {
    for (let left = count; left > 0; left -= 256)
      await this.commit(await this.write(Math.min(left, 256), ttlMs))
  }

  /** What the two become, without changing either. */
  joined(other: Line, head: Uint8Array): Line {
    const line = new Line(this.world, this.index, this)
    line.head = head
    for (const [id, expiresAt] of other.messages)
      line.messages.set(id, Math.max(expiresAt, line.messages.get(id) ?? 0))
    for (const [bytes, statement] of other.statements) line.statements.set(bytes, statement)
    return line
  }

  async join(other: Line, read: BlockReader = this.world.read): Promise<Line> {
    if (other.isEmpty) return this
    if (this.isEmpty) return this.joined(other, other.head)
    const change = await this.world.kind.join(topicKey, this.head, other.head, read)
    return this.joined(other, this.world.keep(change))
  }
}

const made = new Map<string, Promise<VerifiedStatement>>()

/** A statement of client `n`; the same bytes whenever it is asked for again. */
export function statementAt(
  n: number,
  kind: 'subscribe' | 'unsubscribe',
  issuedAt: number,
  info = 0,
): Promise<VerifiedStatement> {
  const name = `${n}/${kind}/${issuedAt}/${info}`
  const create = async () =>
    createStatement({
      topicKey,
      identity: await client(n),
      kind,
      issuedAt,
      expiresAt: issuedAt + LIMITS.subscriptionTtlMs,
      info: new Uint8Array(info),
    })
  const statement = made.get(name) ?? create()
  made.set(name, statement)
  return statement
}

/** A node that has lost some blocks. */
export const without =
  (world: World, isLost: (kind: string, id: string) => boolean): BlockReader =>
  async (ref) => {
    if (isLost(ref.kind, toHex(ref.id))) return world.read({ kind: ref.kind, id: new Uint8Array(32) })
    return world.read(ref)
  }

export const isMessageGone = (expiresAt: number, nowMs: number) => expiresAt + LIMITS.graceMs < nowMs
const isStatementGone = ({ body }: VerifiedStatement, nowMs: number) =>
  body.expiresAt + LIMITS.maxSkewMs < nowMs

/** Text that sorts as the protocol ranks the statements of one client. */
const rank = ({ body, envelope }: VerifiedStatement) =>
  `${String(body.issuedAt).padStart(16, '0')}/${body.kind === 'unsubscribe' ? 1 : 0}/${toHex(envelope)}`

/** The last word of every client, as far as it is not gone: by the bytes of the statement. */
export function lastWords(line: Line, nowMs: number): Map<string, VerifiedStatement> {
  const byClient = new Map<string, VerifiedStatement>()
  for (const statement of line.statements.values()) {
    const known = byClient.get(statement.nodeId)
    if (known === undefined || rank(known) < rank(statement)) byClient.set(statement.nodeId, statement)
  }
  const words = [...byClient.values()].filter((statement) => !isStatementGone(statement, nowMs))
  return new Map(words.map((statement) => [toHex(statement.envelope), statement]))
}

/** The bytes of every statement in the trie, whatever has expired. */
export async function storedStatements(world: World, root: Uint8Array | null): Promise<string[]> {
  if (root === null) return []
  const node = decodeTrieNode(await world.read({ kind: 'subscribers', id: root }))
  if (!('children' in node)) return node.statements.map(toHex)
  return (await Promise.all(node.children.map((child) => storedStatements(world, child)))).flat()
}

/** It has everything that went in and is not gone, each once, and nothing that did not go in. */
export async function expectContent(line: Line, nowMs = line.coordinator.lastModified): Promise<void> {
  const { world } = line
  const ids = (await world.entries(line.head)).map(({ id }) => toHex(id))
  expect(new Set(ids).size).toBe(ids.length)
  expect(ids.filter((id) => !line.messages.has(id))).toEqual([])
  const live = [...line.messages].filter(([, expiresAt]) => !isMessageGone(expiresAt, nowMs))
  const has = new Set(ids)
  expect(live.filter(([id]) => !has.has(id))).toEqual([])
  const stored = await storedStatements(world, line.coordinator.subscribers)
  const known = stored.map((bytes) => line.statements.get(bytes))
  expect(known.every((statement) => statement !== undefined)).toBe(true)
  const words = lastWords(line, nowMs)
  const unexpired = stored.filter((_, i) => !isStatementGone(known[i] as VerifiedStatement, nowMs))
  expect(unexpired.toSorted()).toEqual([...words.keys()].toSorted())
  const subscribed = [...words.values()].filter(
    ({ body }) => body.kind === 'subscribe' && body.expiresAt > nowMs,
  )
  expect(await world.subscribers(line.head, nowMs)).toEqual(new Set(subscribed.map(({ nodeId }) => nodeId)))
}

/** A head that neither side had is built without what is gone, but for pages that both had sealed alike. */
export async function expectNothingGone(joined: Line, sides: [Line, Line]): Promise<void> {
  if (sides.some(({ head }) => hexOf(head) === hexOf(joined.head))) return
  const { world, coordinator } = joined
  const pagesOf = async ({ coordinator: { messages } }: Line) =>
    messages === null ? [] : collectionPages(await loadMessages(messages, world.read), world.read)
  const [a, b] = await Promise.all(
    sides.map(async (side) => (await pagesOf(side)).map(({ id }) => hexOf(id))),
  )
  const both = new Set(a?.filter((id) => b?.includes(id)))
  const shared = (await pagesOf(joined)).filter(({ id }) => both.has(hexOf(id)))
  const untouched = shared.reduce((sum, { count }) => sum + count, 0)
  const entries = await world.entries(joined.head)
  const gone = entries
    .slice(untouched)
    .filter(({ expiresAt }) => isMessageGone(expiresAt, coordinator.lastModified))
  expect(gone).toEqual([])
  const [mine, theirs] = sides.map((side) => hexOf(side.coordinator.subscribers))
  if (mine === theirs) return
  const stored = await storedStatements(world, coordinator.subscribers)
  const words = lastWords(joined, coordinator.lastModified)
  expect(stored.filter((bytes) => !words.has(bytes))).toEqual([])
}

const blockNames = ({ blocks }: Change) => blocks.map(({ kind, id }) => `${kind}/${toHex(id)}`).sort()

/** The two joined, by a join that is commutative byte for byte, idempotent and inflationary, the version included. */
export async function joinByLaw(a: Line, b: Line): Promise<Line> {
  const { world } = a
  const there = await world.kind.join(topicKey, a.head, b.head, world.read)
  const back = await world.kind.join(topicKey, b.head, a.head, world.read)
  expect(hexOf(back.head)).toBe(hexOf(there.head))
  expect(blockNames(back)).toEqual(blockNames(there))
  const joined = a.joined(b, world.keep(there))
  for (const head of [a.head, b.head, joined.head])
    expect(hexOf(await world.join(head, joined.head))).toBe(hexOf(joined.head))
  const [low, high] = [a, b].map(({ coordinator }) => coordinator.version).sort((x, y) => x - y) as [
    number,
    number,
  ]
  const known = high > low + LIMITS.maxVersionJump ? low : high
  expect(joined.coordinator.version).toBeGreaterThanOrEqual(known)
  return joined
}

/** Every pair by law, the same content whichever two are joined first, and that content what went in. */
export async function expectLaws(lines: Line[]): Promise<void> {
  for (const [i, a] of lines.entries()) {
    expect(hexOf((await a.join(a)).head)).toBe(hexOf(a.head))
    for (const b of lines.slice(i + 1)) {
      const joined = await joinByLaw(a, b)
      await expectContent(joined)
      await expectNothingGone(joined, [a, b])
    }
  }
  const [a, b, c] = lines
  if (a === undefined || b === undefined || c === undefined) return
  const nowMs = Math.max(...lines.map(({ coordinator }) => coordinator.lastModified))
  await expectContent(await (await a.join(b)).join(c), nowMs)
  await expectContent(await a.join(await b.join(c)), nowMs)
}
