import type * as v from 'valibot'
import { encode, toHex } from '../../src/dht/codec.ts'
import { identityFromSeed } from '../../src/dht/identity.ts'
import type { Frame } from '../../src/dht/wire.ts'
import { encodeFrame, WIRE_VERSION } from '../../src/dht/wire.ts'
import { decodeCoordinator } from '../../src/pubsub/coordinator.ts'
import { encodeDelta } from '../../src/pubsub/delta.ts'
import { createPresence } from '../../src/pubsub/presence-statement.ts'
import { topicKeyOf } from '../../src/pubsub/topic-key.ts'
import { START_MS, topicKey, World } from './lineage.ts'

/** Everything that travels or is named by its hash, made from fixed keys at a fixed time. */

const filled = (length: number, byte: number) => new Uint8Array(length).fill(byte)

const roster = {
  epoch: filled(8, 5),
  since: 3,
  counter: 5,
  latest: 6,
  entries: [filled(8, 7)],
  gone: [filled(32, 4)],
}

/** A request and a reply of every method, by name. */
export const bodies: Record<string, { request: unknown; reply: unknown }> = {
  'record/append': {
    request: {
      kind: 'coordinator',
      key: filled(32, 1),
      base: filled(32, 2),
      id: filled(32, 3),
      delta: filled(6, 4),
    },
    reply: { outcome: 'stored', signed: filled(9, 6) },
  },
  'record/commit': {
    request: { kind: 'coordinator', key: filled(32, 1), head: filled(5, 3) },
    reply: { outcome: 'stored', head: filled(5, 3) },
  },
  'record/head': { request: { kind: 'coordinator', key: filled(32, 1) }, reply: { head: null } },
  'record/offer': {
    request: { kind: 'coordinator', key: filled(32, 1), head: filled(5, 3), source: filled(32, 5) },
    reply: { head: filled(5, 3) },
  },
  'record/compare': {
    request: { kind: 'coordinator', records: [[filled(32, 1), filled(32, 2)]] },
    reply: { differing: [0] },
  },
  'record/blocks': {
    request: { kind: 'coordinator', key: filled(32, 1), refs: [['page', filled(32, 6)]] },
    reply: { blocks: [filled(7, 8), null] },
  },
  'topic/publish': {
    request: { topic: filled(32, 1), messages: [filled(9, 9)], payloads: [] },
    reply: {
      ...{ version: 1, replicas: 3, durableReplicas: 2, results: [null, 'EXPIRED'] },
      signed: { ids: [filled(32, 6)], by: [[filled(32, 7), filled(9, 6)]] },
    },
  },
  'topic/confirm': {
    request: { topic: filled(32, 1), ids: [filled(32, 6)], waitMs: 6_000 },
    reply: { stored: [true] },
  },
  'topic/delivered': {
    request: { topic: filled(32, 1), ids: [filled(32, 6), filled(32, 7)] },
    reply: { to: [[filled(8, 5), filled(1, 3)]] },
  },
  'topic/subscribe': { request: { topic: filled(32, 1), statement: filled(8, 7) }, reply: { version: 2 } },
  'topic/attach': { request: { topic: filled(32, 1), statement: filled(8, 7) }, reply: { version: 2 } },
  'topic/detach': { request: { topic: filled(32, 1) }, reply: {} },
  'topic/push': {
    request: {
      topic: filled(32, 1),
      previous: 1,
      version: 2,
      messages: filled(32, 2),
      entries: [[2, filled(9, 9)]],
    },
    reply: {},
  },
  'topic/presence': { request: { topic: filled(32, 1), statement: filled(8, 7) }, reply: {} },
  'topic/roster': {
    request: { topic: filled(32, 1), epoch: filled(8, 5), since: 3, listed: 2 },
    reply: roster,
  },
  'topic/present': { request: { topic: filled(32, 1), ...roster }, reply: {} },
}

/** Hex of one frame of each type, and of a request and a reply of each method. */
export function frameVectors(): Record<string, string> {
  const hello = { version: WIRE_VERSION, session: filled(16, 0xaa), stores: true, durable: false }
  const frames: [string, Frame][] = [
    ['hello', ['hello', hello]],
    ['error', ['error', 7, 'TOPIC_FULL', 'Full.']],
  ]
  const expecting = { topic: filled(32, 1), messages: [filled(9, 9)], payloads: [], expect: 7 }
  frames.push(['request topic/publish, expecting', ['request', 1, 'topic/publish', expecting]])
  for (const [method, { request, reply }] of Object.entries(bodies)) {
    frames.push([`request ${method}`, ['request', 0xffff_ffff, method, request]])
    frames.push([`reply ${method}`, ['reply', 0, reply]])
  }
  return Object.fromEntries(frames.map(([name, frame]) => [name, toHex(encodeFrame(frame))]))
}

/** Hex of the objects of one topic's life: a commit, more of them, a lineage beside it, and the merge of both. */
export async function objectVectors(): Promise<Record<string, string>> {
  const world = new World()
  const identity = await identityFromSeed(filled(32, 1))
  const out: Record<string, Uint8Array> = { topicKey: await topicKeyOf('Café') }
  const first = await world.messages(1, 2, { data: encode({ text: 'hello', n: [1, 2.5, null] }) })
  const statement = await world.statement(1)
  out.signature = await identity.sign(filled(3, 0))
  out.messageId = first[0]?.id as Uint8Array
  out.message = first[0]?.envelope as Uint8Array
  out.messageAfterLapse = (await world.message(3, { lapsed: true })).envelope
  out.statement = statement.envelope
  const stay = { topicKey, identity, since: START_MS, at: START_MS + 15_000 }
  out.presence = (await createPresence({ ...stay, state: encode({ name: 'Ana' }) })).envelope
  out.presenceLeave = (await createPresence({ ...stay, state: undefined })).envelope
  out.delta = encodeDelta({ nowMs: START_MS, messages: first, payloads: [], statements: [statement] })
  const trunk = await world.apply(undefined, first, [statement])
  out.coordinator = trunk
  const { messages, subscribers } = decodeCoordinator(trunk)
  const block = (kind: string, id: Uint8Array | null) => world.read({ kind, id: id as Uint8Array })
  out.messagesRoot = await block('messages', messages)
  out.subscribersLeaf = await block('subscribers', subscribers)
  out.page = encode({ v: 1, topic: topicKey, entries: first.map(({ envelope }) => [1, envelope]) })
  const { left, right } = await branches(world, trunk)
  out.coordinatorOfMany = left
  const { previous, messages: root } = decodeCoordinator(left)
  out.snapshot = await block('snapshot', previous[0] as Uint8Array)
  out.messagesRootOfMany = await block('messages', root)
  out.coordinatorOfMerge = await world.join(left, right)
  return Object.fromEntries(Object.entries(out).map(([name, bytes]) => [name, toHex(bytes)]))
}

/** Two lineages after `trunk`: one with sealed pages and a snapshot, one with a few messages of its own. */
async function branches(world: World, trunk: Uint8Array) {
  let left = trunk
  for (let commit = 0; commit < 50; commit++) {
    world.nowMs += 1_000
    left = await world.apply(left, await world.messages(3 + commit * 4, 4))
  }
  let right = trunk
  for (let commit = 0; commit < 3; commit++) {
    world.nowMs += 1_000
    const messages = await world.messages(1 + commit, 1, { publisher: 1, writer: 1 })
    right = await world.apply(right, messages, [await world.statement(2 + commit)])
  }
  return { left, right }
}

/** A schema as plain data: what it takes, with its limits, and nothing of how it is made. */
export function structureOf(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(structureOf)
  if (schema === null || typeof schema !== 'object') return plain(schema)
  if (!('~run' in schema))
    return Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, structureOf(value)]))
  const { type, message, requirement, literal, options, entries, items, item, wrapped, key, value, pipe } =
    schema as Record<string, unknown>
  const parts = { message, requirement, literal, options, entries, items, item, wrapped, key, value }
  const own = Object.entries(parts).filter(([, part]) => part !== undefined && typeof part !== 'function')
  const inner = Object.fromEntries(own.map(([name, part]) => [name, structureOf(part)]))
  // the first of a pipe is the schema itself, without the rest
  const rest = Array.isArray(pipe) ? { and: pipe.slice(1).map(structureOf) } : {}
  return { type, ...inner, ...rest }
}

const plain = (value: unknown): unknown =>
  typeof value === 'function' || value === undefined
    ? null
    : typeof value === 'bigint'
      ? String(value)
      : value

export type AnyMethod = { name: string; quota: unknown; request: v.GenericSchema; response: v.GenericSchema }
