import {
  type BlockInfo,
  type BlockKind,
  type BlockReader,
  type BlockRef,
  equalBytes,
  type HeadKind,
  type Identity,
  StickyError,
  sha256,
} from '../dht/index.ts'
import { decodeIndex, decodePage, decodeRoot, decodeSpine } from './collection.ts'
import { checkMessages } from './collection-union.ts'
import { compare, decodeCoordinator } from './coordinator.ts'
import { applyDelta, messageIdsIn } from './delta.ts'
import { join } from './merge.ts'
import { checkData, expiryOf, payloadOf, type VerifiedMessages, verifyMessage } from './message.ts'
import { COORDINATOR, LIMITS } from './options.ts'
import type { Retention } from './retention.ts'
import { decodeSnapshot, snapshotsBehind } from './snapshot.ts'
import { signStored } from './stored-statement.ts'
import { checkSubscribers, decodeTrieNode, verifyTrieNode } from './subscribers.ts'

/** What pubsub tells the record store about its objects: size, truth, links, expiry, and how heads join. */

type Decoded = { links: BlockRef[]; expiresAtMs: number }

const ref = (kind: string, id: Uint8Array): BlockRef => ({ kind, id })
/** A missing snapshot costs a longer merge, never a message. */
const snapshotRef = (id: Uint8Array): BlockRef => ({ kind: 'snapshot', id, optional: true })
const latest = (times: number[]) => Math.max(0, ...times)

/** A kind named by the hash of its bytes. */
function hashed(
  name: string,
  maxBytes: number,
  decodeBytes: (bytes: Uint8Array) => Decoded,
  check?: (bytes: Uint8Array) => Promise<void>,
): BlockKind {
  const matches = async (id: Uint8Array, bytes: Uint8Array) => equalBytes(await sha256(bytes), id)
  return {
    name,
    maxBytes,
    isLeaf: false,
    matches,
    links: (bytes) => decodeBytes(bytes).links,
    async verify(id, bytes): Promise<BlockInfo> {
      if (bytes.byteLength > maxBytes)
        throw new StickyError('TOO_LARGE', `A ${name} block of ${bytes.byteLength} bytes.`)
      if (!(await matches(id, bytes)))
        throw new StickyError('WRONG_HASH', `A ${name} block that is not what its id names.`)
      const { links, expiresAtMs } = decodeBytes(bytes)
      await check?.(bytes)
      return { links, expiresAtMs: expiresAtMs + LIMITS.graceMs }
    },
  }
}

/** Links to the payload blocks of messages; the bytes were verified, or are about to be. */
const payloadLinks = (envelopes: Uint8Array[]): BlockRef[] =>
  envelopes.flatMap((envelope) => {
    const payload = payloadOf(envelope)
    return payload === undefined ? [] : [{ ...ref('payload', payload.id), byteLength: payload.bytes }]
  })

function page(verified: VerifiedMessages, newestMs: () => number): BlockKind {
  return hashed(
    'page',
    LIMITS.maxPageBytes,
    (bytes) => {
      const envelopes = decodePage(bytes).entries.map(([, envelope]) => envelope)
      return { links: payloadLinks(envelopes), expiresAtMs: latest(envelopes.map(expiryOf)) }
    },
    async (bytes) => {
      const { topic, entries } = decodePage(bytes)
      const context = { topicKey: topic, verified, newestMs: newestMs() }
      await Promise.all(entries.map(([, envelope]) => verifyMessage(envelope, context)))
    },
  )
}

/** Named by its message id, the hash of the signed body, not by the hash of its bytes. */
function message(verified: VerifiedMessages, newestMs: () => number): BlockKind {
  return {
    name: 'message',
    maxBytes: LIMITS.maxEnvelopeBytes,
    isLeaf: false,
    links: (bytes) => payloadLinks([bytes]),
    // the id does not cover the signature, and a disk can corrupt that too
    matches: (id, bytes) =>
      verifyMessage(bytes, { verified }).then(
        (intact) => equalBytes(intact.id, id),
        () => false,
      ),
    async verify(id, bytes) {
      const opened = await verifyMessage(bytes, { verified, newestMs: newestMs() })
      if (!equalBytes(opened.id, id))
        throw new StickyError('WRONG_HASH', 'A message that is not the one its id names.')
      return { links: payloadLinks([bytes]), expiresAtMs: opened.body.expiresAt + LIMITS.graceMs }
    },
  }
}

const spine = hashed('spine', LIMITS.maxSpineBytes, (bytes) => {
  const { levels } = decodeSpine(bytes)
  const links = levels.flatMap((refs, level) => refs.map(({ id }) => ref(level === 0 ? 'page' : 'index', id)))
  return { links, expiresAtMs: latest(levels.flat().map(({ expiresAt }) => expiresAt)) }
})

const index = hashed('index', LIMITS.maxSpineBytes, (bytes) => {
  const { refs, level } = decodeIndex(bytes)
  const child = level === 1 ? 'page' : 'index'
  return {
    links: refs.map(({ id }) => ref(child, id)),
    expiresAtMs: latest(refs.map(({ expiresAt }) => expiresAt)),
  }
})

const root = hashed('messages', LIMITS.maxRootBytes, (bytes) => {
  const { spine, tail } = decodeRoot(bytes)
  const links = tail.map(([id]) => ref('message', id))
  if (spine !== null) links.push(ref('spine', spine))
  return { links, expiresAtMs: latest(tail.map((entry) => entry[3])) }
})

const subscribers = (newestMs: () => number): BlockKind =>
  hashed(
    'subscribers',
    LIMITS.maxSubscriberNodeBytes,
    (bytes) => {
      const node = decodeTrieNode(bytes)
      const children = 'children' in node ? node.children.filter((child) => child !== null) : []
      return { links: children.map((id) => ref('subscribers', id)), expiresAtMs: 0 }
    },
    async (bytes) => {
      await verifyTrieNode(bytes, newestMs())
    },
  )

const snapshot = hashed('snapshot', LIMITS.maxSnapshotBytes, (bytes) => {
  // The coordinator names the last few itself; the ones before those are there as long as somebody keeps them.
  return { links: [], expiresAtMs: decodeSnapshot(bytes).expiresAt }
})

const payload: BlockKind = {
  ...hashed(
    'payload',
    LIMITS.maxPayloadBytes,
    () => ({ links: [], expiresAtMs: 0 }),
    async (bytes) => checkData(bytes),
  ),
  isLeaf: true,
}

async function checkLinked(key: Uint8Array, head: Uint8Array, read: BlockReader): Promise<void> {
  const { version, messages, subscribers: clients } = decodeCoordinator(head)
  if (messages !== null) {
    const root = decodeRoot(await read(ref('messages', messages)))
    if (!equalBytes(root.topic, key)) throw new StickyError('WRONG_TOPIC', 'Messages of another topic.')
    await checkMessages(root, version, read)
  }
  if (clients !== null) await checkSubscribers(key, clients, read)
}

export interface KindsInit {
  /** Signs what it has stored; whoever only reads needs none. */
  identity?: Identity
  /** Spares a second look at signatures that were checked. */
  verified: VerifiedMessages
  /** Bounds the future. */
  now: () => number
  /** The protocol's, but in a test. */
  retention?: Retention | undefined
}

/** The kinds of one node. */
export function createKinds({ identity, verified, now, retention }: KindsInit): {
  headKinds: HeadKind[]
  blockKinds: BlockKind[]
} {
  const newestMs = () => now() + LIMITS.maxAheadMs
  const coordinator: HeadKind = {
    name: COORDINATOR,
    maxBytes: LIMITS.maxCoordinatorBytes,
    maxDeltaBytes: LIMITS.maxDeltaBytes,
    compare,
    join: (key, a, b, read) => join(key, a, b, read, retention),
    apply: (key, own, delta, read, origin) =>
      applyDelta(key, own, delta, read, {
        verified,
        newestMs: origin === 'peer' ? newestMs() : undefined,
        retention,
      }),
    async acknowledge(topicKey, delta) {
      const ids = messageIdsIn(delta)
      return ids.length === 0 || identity === undefined
        ? undefined
        : signStored({ topicKey, ids }, identity, now())
    },
    links: coordinatorLinks,
    kept: snapshotsThatLive,
    checkLinked,
    async verify(key, head) {
      const { topic, version, lastModified, expiresAt } = decodeCoordinator(head)
      if (!equalBytes(topic, key)) throw new StickyError('WRONG_TOPIC', 'A coordinator of another topic.')
      // It decides what has expired: ahead by less than the grace, it can drop nothing live.
      if (lastModified > newestMs() || version > newestMs() - LIMITS.versionEpochMs)
        throw new StickyError('FROM_THE_FUTURE', 'A coordinator from the future.')
      if (expiresAt > newestMs() + LIMITS.maxTtlMs)
        throw new StickyError('FROM_THE_FUTURE', 'A coordinator that outlasts every message.')
      return { links: coordinatorLinks(head), expiresAtMs: expiresAt + LIMITS.graceMs }
    },
  }
  return {
    headKinds: [coordinator],
    blockKinds: [
      message(verified, newestMs),
      page(verified, newestMs),
      spine,
      index,
      root,
      subscribers(newestMs),
      snapshot,
      payload,
    ],
  }
}

/** A head names a few, and readers that come back look further (requirement A7). */
async function snapshotsThatLive(head: Uint8Array, read: BlockReader, nowMs: number): Promise<BlockRef[]> {
  const walk = { maxDepth: LIMITS.maxHistoryDepth, optional: true }
  const levels = await Array.fromAsync(snapshotsBehind(decodeCoordinator(head).previous, read, walk))
  return levels
    .flatMap(({ snapshots }) => snapshots)
    .filter(({ snapshot }) => snapshot.expiresAt >= nowMs)
    .map(({ id }) => snapshotRef(id))
}

function coordinatorLinks(head: Uint8Array): BlockRef[] {
  const { messages, subscribers: clients, previous } = decodeCoordinator(head)
  const links = previous.map(snapshotRef)
  if (messages !== null) links.push(ref('messages', messages))
  if (clients !== null) links.push(ref('subscribers', clients))
  return links
}
