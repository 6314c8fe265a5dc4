import { type Block, type BlockReader, encode, type Identity, sha256 } from '../../../src/dht/index.ts'
import {
  type Entry,
  emptyRoot,
  entriesAfter,
  entryOf,
  loadMessages,
  type MessagesRoot,
} from '../../../src/pubsub/collection.ts'
import { CollectionBuilder } from '../../../src/pubsub/collection-builder.ts'
import { type Coordinator, emptyCoordinator } from '../../../src/pubsub/coordinator.ts'
import { applyDelta, encodeDelta, VerifiedMessages } from '../../../src/pubsub/delta.ts'
import { createMessage, type VerifiedMessage } from '../../../src/pubsub/message.ts'
import { LIMITS } from '../../../src/pubsub/options.ts'
import type { Random } from '../random.ts'

/** What a forger makes out of the true state of a topic: heads, what they name, and deltas. All are well-formed bytes. */

export interface Truth {
  topicKey: Uint8Array
  head: Uint8Array
  coordinator: Coordinator
  read: BlockReader
  nowMs: number
  identity: Identity
  /** Of a publisher that publishes in this topic, and whose key the forger does not have. */
  victim: Uint8Array
  random: Random
  /** A new message that the forger may publish, as everybody may. On record, so that it may be delivered. */
  own(change?: Partial<MessageInit>): Promise<VerifiedMessage>
  /** One that nobody may ever be shown: the checker does not know it. */
  unknown(change?: Partial<MessageInit>): Promise<VerifiedMessage>
}

export interface MessageInit {
  topicKey: Uint8Array
  publishedAt: number
  ttlMs: number
  /** Whose name is on it; the signature is the forger's. */
  publicKey: Uint8Array
}

export interface Forgery {
  head: Uint8Array
  blocks: Block[]
  /** With it the head looks like the true one and one commit more. */
  delta?: Uint8Array
}

const HOUR_MS = 3_600_000

/** The highest version that a holder with this clock takes. */
const utmostVersion = (nowMs: number): number => nowMs + LIMITS.maxAheadMs - LIMITS.versionEpochMs

const changed = (truth: Truth, change: Partial<Coordinator>): Uint8Array =>
  encode({ ...truth.coordinator, ...change })

const newVersion = (truth: Truth, version: number): Forgery => ({
  head: changed(truth, { version }),
  blocks: [],
})

const ended = (truth: Truth, expiresAt: number): Forgery => ({
  head: changed(truth, { version: truth.coordinator.version + 1, expiresAt }),
  blocks: [],
})

export async function signed(
  init: MessageInit & { identity: Identity; random: Random; data: Uint8Array },
): Promise<VerifiedMessage> {
  const { topicKey, identity, publicKey, publishedAt, ttlMs, random, data } = init
  const name = { ...identity, publicKey }
  const writer = random.bytes(8) // of its own for each: numbers without a hole
  return createMessage({ topicKey, identity: name, writer, sequence: 1, publishedAt, ttlMs, data })
}

async function trueEntries({ coordinator, read }: Truth): Promise<Entry[]> {
  const entries: Entry[] = []
  if (coordinator.messages === null) return entries
  for await (const entry of entriesAfter(await loadMessages(coordinator.messages, read), 0, read))
    entries.push(entry)
  return entries
}

/** A head whose messages are these and no others. `claims`: it says that the true state went before. */
async function headOver(
  truth: Truth,
  entries: Entry[],
  { version = truth.coordinator.version + 1, claims = true, root = {} as Partial<MessagesRoot> } = {},
): Promise<Forgery> {
  const { coordinator, read, topicKey } = truth
  const builder = await CollectionBuilder.from(emptyRoot(topicKey), read)
  for (const entry of entries) await builder.append(entry, true)
  const { collection, blocks } = await builder.finish()
  const bytes = encode({ ...collection.root, ...root })
  const id = await sha256(bytes)
  const before = claims && coordinator.messages !== null ? [coordinator.messages] : []
  const expiresAt = Math.max(coordinator.expiresAt, ...entries.map((entry) => entry.expiresAt))
  const messageHistory = [...before, ...coordinator.messageHistory].slice(0, LIMITS.keptHistory)
  const subscriberHistory = coordinator.subscriberHistory.slice(0, LIMITS.keptHistory)
  return {
    head: changed(truth, { version, messages: id, messageHistory, subscriberHistory, expiresAt }),
    blocks: [...blocks, { kind: 'messages', id, bytes }],
  }
}

/** The true messages and these. */
async function withMore(truth: Truth, messages: VerifiedMessage[], version?: number): Promise<Forgery> {
  const stamp = version ?? truth.coordinator.version + 1
  const more = messages.map((message) => entryOf(message, stamp))
  return headOver(truth, [...(await trueEntries(truth)), ...more], { version: stamp })
}

/** A delta and the head that it truly gives. */
async function commitOf(truth: Truth, messages: VerifiedMessage[], nowMs = truth.nowMs): Promise<Forgery> {
  const delta = encodeDelta({ nowMs, messages, payloads: [], statements: [] })
  // it needs no proof of what it made itself
  const verified = new VerifiedMessages(messages.length)
  for (const message of messages) verified.add(message)
  const context = { verified, newestMs: undefined }
  const { head, blocks } = await applyDelta(truth.topicKey, truth.head, delta, truth.read, context)
  return { head, blocks, delta }
}

const restamped = async (truth: Truth, stampOf: (i: number, all: number) => number, version?: number) => {
  const entries = await trueEntries(truth)
  const stamped = entries.map((entry, i) => ({ ...entry, addedInVersion: stampOf(i, entries.length) }))
  return headOver(truth, stamped, version === undefined ? {} : { version })
}

async function fork(truth: Truth, version?: number): Promise<Forgery> {
  const { random } = truth
  const kept = (await trueEntries(truth)).filter(() => random.chance(0.5))
  const stamp = version ?? truth.coordinator.version
  const added = await Promise.all(Array.from({ length: random.int(0, 2) }, () => truth.own()))
  const entries = [...kept, ...added.map((message) => entryOf(message, stamp))]
  return headOver(truth, entries, { version: stamp, claims: random.chance(0.5) })
}

const FULL_PAGE = LIMITS.pageEntries

/** By family; one of a run that never made some family proves nothing of it. */
export const FORGERIES: Record<string, Record<string, (truth: Truth) => Forgery | Promise<Forgery>>> = {
  versions: {
    last: (truth) => newVersion(truth, 2 ** 40),
    safeInteger: (truth) => newVersion(truth, 2 ** 53 - 1),
    negative: (truth) => newVersion(truth, -1),
    fraction: (truth) => newVersion(truth, 1.5),
    utmost: (truth) => newVersion(truth, utmostVersion(truth.nowMs)),
    leap: (truth) => newVersion(truth, truth.coordinator.version + LIMITS.maxVersionJump - 1),
    utmostCommit: async (truth) => withMore(truth, [await truth.own()], utmostVersion(truth.nowMs)),
    lastCommit: async (truth) => withMore(truth, [await truth.unknown()], 2 ** 40),
  },
  ends: {
    over: (truth) => ended(truth, 0),
    soon: (truth) => ended(truth, truth.nowMs + 60_000),
    never: (truth) => ended(truth, Number.MAX_SAFE_INTEGER),
    late: (truth) => ended(truth, truth.nowMs + LIMITS.maxTtlMs),
  },
  phantoms: {
    messages: (truth) => ({ head: phantom(truth, { messages: truth.random.bytes(32) }), blocks: [] }),
    subscribers: (truth) => ({ head: phantom(truth, { subscribers: truth.random.bytes(32) }), blocks: [] }),
    snapshots: (truth) => ({ head: phantom(truth, { previous: [truth.random.bytes(32)] }), blocks: [] }),
    spine: async (truth) =>
      headOver(truth, await trueEntries(truth), { root: { spine: truth.random.bytes(32) } }),
  },
  messages: {
    wrongSignature: async (truth) => withMore(truth, [await truth.unknown({ publicKey: truth.victim })]),
    wrongSignatureInPage: async (truth) => {
      const page = await Promise.all(
        Array.from({ length: FULL_PAGE }, () => truth.unknown({ publicKey: truth.victim })),
      )
      return headOver(
        truth,
        page.map((message) => entryOf(message, truth.coordinator.version + 1)),
      )
    },
    otherTopic: async (truth) => withMore(truth, [await truth.unknown({ topicKey: truth.random.bytes(32) })]),
    otherTopicRoot: async (truth) =>
      headOver(truth, await trueEntries(truth), { root: { topic: truth.random.bytes(32) } }),
    otherTopicHead: (truth) => ({ head: changed(truth, { topic: truth.random.bytes(32) }), blocks: [] }),
    expired: async (truth) =>
      withMore(truth, [await truth.own({ publishedAt: truth.nowMs - HOUR_MS, ttlMs: HOUR_MS - 60_000 })]),
    fromTheFuture: async (truth) =>
      withMore(truth, [await truth.unknown({ publishedAt: truth.nowMs + HOUR_MS })]),
  },
  stamps: {
    none: (truth) => restamped(truth, () => 0),
    low: (truth) => restamped(truth, () => 1),
    high: (truth) => restamped(truth, () => utmostVersion(truth.nowMs), utmostVersion(truth.nowMs)),
    beyond: (truth) => restamped(truth, () => LIMITS.maxVersion),
    falling: (truth) => restamped(truth, (i, all) => all - i),
    miscounted: async (truth) => headOver(truth, await trueEntries(truth), { root: { count: 0 } }),
  },
  deltas: {
    fromTheFuture: async (truth) => commitOf(truth, [await truth.unknown()], truth.nowMs + HOUR_MS),
    futureMessage: async (truth) =>
      commitOf(truth, [await truth.unknown({ publishedAt: truth.nowMs + HOUR_MS })]),
    wrongSignature: async (truth) => commitOf(truth, [await truth.unknown({ publicKey: truth.victim })]),
    otherTopic: async (truth) => {
      const messages = [await truth.unknown({ topicKey: truth.random.bytes(32) })]
      const delta = encodeDelta({ nowMs: truth.nowMs, messages, payloads: [], statements: [] })
      return { ...newVersion(truth, truth.coordinator.version + 1), delta }
    },
    // the delta is good, and the head is not what it gives
    otherHead: async (truth) => {
      const { delta } = await commitOf(truth, [await truth.unknown({ publicKey: truth.victim })])
      return { ...(await fork(truth)), ...(delta ? { delta } : {}) }
    },
  },
  forks: {
    sibling: (truth) => fork(truth),
    next: (truth) => fork(truth, truth.coordinator.version + 1),
    leap: (truth) => fork(truth, truth.coordinator.version + LIMITS.maxVersionJump - 1),
    utmost: (truth) => fork(truth, utmostVersion(truth.nowMs)),
    added: async (truth) => withMore(truth, [await truth.own()]),
    committed: async (truth) => commitOf(truth, [await truth.own()]),
    empty: (truth) => ({
      head: encode({
        ...emptyCoordinator(truth.topicKey, truth.nowMs),
        version: truth.coordinator.version + 1,
      }),
      blocks: [],
    }),
  },
}

/** What a holder may take for what is true in it. Everything else it must refuse, however often it is shown. */
export const mayBeTaken = (family: string, name: string): boolean =>
  TAKEN_FAMILIES.includes(family) || TAKEN.includes(`${family}.${name}`)

const TAKEN_FAMILIES = ['stamps', 'forks']
const TAKEN = ['versions.utmost', 'versions.leap', 'versions.utmostCommit', 'messages.expired'].concat(
  ['deltas.otherTopic', 'deltas.otherHead'], // in these the delta is wrong, and the head is not
  ['ends.over', 'ends.soon', 'ends.late'], // all is true but for the end, of which the later one stands
)

const phantom = (truth: Truth, change: Partial<Coordinator>): Uint8Array =>
  changed(truth, {
    version: truth.coordinator.version + 1,
    messageHistory: truth.coordinator.messages === null ? [] : [truth.coordinator.messages],
    subscriberHistory: truth.coordinator.subscribers === null ? [] : [truth.coordinator.subscribers],
    ...change,
  })
