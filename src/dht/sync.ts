import { StickyError } from './errors.ts'
import type { NodeId } from './identity.ts'
import type { BlockKind, BlockRef } from './kinds.ts'
import { blockName, type HeldRecord } from './record.ts'
import type { RecordStore } from './record-store.ts'
import type { Rpc } from './rpc.ts'
import type { Runtime } from './runtime.ts'
import type { StorageOp } from './storage.ts'
import { MAX_REFS_PER_REQUEST, MAX_REPLY_BLOCK_BYTES, recordMethods } from './wire.ts'

/**
 * Fetches every block a head reaches and this holder lacks. The one mechanism behind late replicas, merges, hand-over,
 * repair and anti-entropy. Blocks are verified one by one and go to the disk as they come: they are named by their
 * content, so an interrupted transfer leaves nothing wrong behind, and the next one goes on from there.
 */

/** Requests under way at once in one synchronisation. */
const PARALLEL_REQUESTS = 4

async function fetchReachable(
  store: RecordStore,
  rpc: Rpc,
  record: HeldRecord,
  head: Uint8Array,
  source: NodeId,
  endMs: number,
): Promise<void> {
  const { maxSyncBlocks, maxSyncBytes } = store.options
  const seen = await reachedByOwnHead(store, record)
  const known = seen.size
  let fetchedBytes = 0
  const waiting = [...record.kind.links(head)]
  const waitAgain = (refs: BlockRef[]) => {
    for (const ref of refs) seen.delete(blockName(ref))
    waiting.push(...refs)
  }
  while (waiting.length > 0) {
    if (store.runtime.monotonicNow() > endMs)
      throw new StickyError('TIMEOUT', `${source} takes too long to show what its head reaches.`)
    const batches: BlockRef[][] = []
    while (waiting.length > 0 && batches.length < PARALLEL_REQUESTS) {
      // just before they are asked for: other holders may be fetched from meanwhile, each in an order of its own
      const missing = await missingOf(store, record, takeAnywhere(waiting, store.runtime), seen)
      waitAgain(missing.splice(MAX_REFS_PER_REQUEST))
      if (missing.length > 0) batches.push(missing)
    }
    const results = await Promise.all(batches.map((refs) => fetchBlocks(store, rpc, record, refs, source)))
    for (const { links, unanswered, bytes } of results) {
      fetchedBytes += bytes
      waitAgain(unanswered)
      waiting.push(...links)
    }
    if (seen.size - known + waiting.length > maxSyncBlocks || fetchedBytes > maxSyncBytes) {
      throw new StickyError(
        'TOO_LARGE',
        `${source} offered a record of more than ${maxSyncBlocks} blocks or ${maxSyncBytes} bytes.`,
      )
    }
  }
}

/** As many as one request asks for, from any place. */
function takeAnywhere(refs: BlockRef[], runtime: Runtime): BlockRef[] {
  const spare = refs.length - MAX_REFS_PER_REQUEST
  const start = spare > 0 ? Math.floor(runtime.random() * (spare + 1)) : 0
  return refs.splice(start, MAX_REFS_PER_REQUEST)
}

/**
 * Names of the blocks near the top of the own head that are on disk: everything below them is there too. Two heads of a
 * record have most of these in common, so that a synchronisation need not walk the whole record to find the little that
 * is new.
 */
async function reachedByOwnHead(store: RecordStore, record: HeldRecord): Promise<Seen> {
  const names: Seen = new Map()
  let level = record.head === undefined ? [] : record.kind.links(record.head)
  for (let depth = 0; depth < OWN_LEVELS && level.length > 0; depth++) {
    for (const ref of level) if (record.unsaved(ref) === undefined) names.set(blockName(ref), ref.byteLength)
    const below: BlockRef[] = []
    for (const ref of level) {
      const kind = store.blockKind(ref.kind)
      if (kind.isLeaf || depth === OWN_LEVELS - 1) continue
      const bytes = await record.local(ref)
      if (bytes === undefined)
        names.delete(blockName(ref)) // corrupted here: it is fetched like any other
      else below.push(...kind.links(bytes))
    }
    level = below
  }
  return names
}

/** By name, with the length that it was linked to with: the same in every link, or one of them lies. */
type Seen = Map<string, number | undefined>

/** From a head over its roots to what they list. */
const OWN_LEVELS = 3

/**
 * The refs not seen yet that are not here; where one is here, what it links to is looked at in its place. One that is only
 * in memory goes to the disk: the fetched blocks that link to it are there, and below a saved block all are saved.
 */
async function missingOf(
  store: RecordStore,
  record: HeldRecord,
  refs: BlockRef[],
  seen: Seen,
): Promise<BlockRef[]> {
  const missing: BlockRef[] = []
  const operations: StorageOp[] = []
  const waiting = [...refs]
  for (let ref = waiting.shift(); ref !== undefined; ref = waiting.shift()) {
    const name = blockName(ref)
    if (seen.has(name)) {
      if (seen.get(name) !== ref.byteLength) throw wrongLength(ref)
      continue
    }
    seen.set(name, ref.byteLength)
    const kind = store.blockKind(ref.kind)
    const unsaved = record.unsaved(ref)
    if (unsaved !== undefined) operations.push({ type: 'put', key: name, value: unsaved })
    const isKept = store.storage.want(name)
    const bytes = unsaved ?? (isKept ? await record.local(ref) : undefined)
    requireLength(ref, bytes)
    if (bytes === undefined) missing.push(ref)
    else if (!kind.isLeaf) waiting.push(...kind.links(bytes))
  }
  if (operations.length > 0) await store.storage.write(operations)
  return missing
}

const wrongLength = ({ kind }: BlockRef) =>
  new StickyError('MALFORMED', `A ${kind} block that is not as long as a link to it says.`)

function requireLength(ref: BlockRef, bytes: Uint8Array | undefined): void {
  if (bytes !== undefined && ref.byteLength !== undefined && bytes.byteLength !== ref.byteLength)
    throw wrongLength(ref)
}

interface Fetched {
  links: BlockRef[]
  /** Left out because the reply frame was full. */
  unanswered: BlockRef[]
  bytes: number
}

async function fetchBlocks(
  store: RecordStore,
  rpc: Rpc,
  record: HeldRecord,
  refs: BlockRef[],
  source: NodeId,
): Promise<Fetched> {
  const { kind, key } = record
  const blocks = await requestBlocks(rpc, store.blockKinds, kind.name, key, refs, source)
  const operations: StorageOp[] = []
  const links: BlockRef[] = []
  await Promise.all(
    blocks.map(async (bytes, i) => {
      const ref = refs[i] as BlockRef
      if (bytes === null && ref.optional) return // it is not fetched from others either: nobody needs it
      if (bytes === null)
        throw new StickyError('NOT_FOUND', `${source} no longer has a ${ref.kind} block of its head.`)
      requireLength(ref, bytes)
      const info = await store.blockKind(ref.kind).verify(ref.id, bytes)
      links.push(...info.links)
      operations.push({ type: 'put', key: blockName(ref), value: bytes })
    }),
  )
  await store.storage.write(operations)
  const bytes = blocks.reduce((sum, block) => sum + (block?.byteLength ?? 0), 0)
  return { links, unanswered: refs.slice(blocks.length), bytes }
}

/**
 * One request for blocks; the answer may be shorter than what was asked, where the next block might not have fitted. Who
 * gave a single one at a time, each just before the request times out, could hold up a reader for as long as he liked.
 */
export async function requestBlocks(
  rpc: Rpc,
  blockKinds: ReadonlyMap<string, BlockKind>,
  kind: string,
  key: Uint8Array,
  refs: BlockRef[],
  source: NodeId,
  signal?: AbortSignal,
): Promise<(Uint8Array | null)[]> {
  const wire = refs.map(({ kind, id }): [string, Uint8Array] => [kind, id])
  const { blocks } = await rpc.request(
    source,
    recordMethods.blocks,
    { kind, key, refs: wire },
    signal ? { signal } : {},
  )
  if (blocks.length > refs.length)
    throw new StickyError('MALFORMED', `${source} answered with more blocks than asked.`)
  const next = refs[blocks.length]
  const room = MAX_REPLY_BLOCK_BYTES - blocks.reduce((sum, block) => sum + (block?.byteLength ?? 0), 0)
  if (next !== undefined && room >= (blockKinds.get(next.kind)?.maxBytes ?? 0))
    throw new StickyError('MALFORMED', `${source} left out blocks for which there was room.`)
  return blocks
}

/** How often a moving head is followed: its older blocks may go while they are being fetched. */
const MAX_HEADS_FOLLOWED = 4

/**
 * Brings `head`, held by `source`, into the record: fetches what is missing, then joins. True when the record changed.
 * Follows the source when its head moves on meanwhile.
 */
export async function syncFrom(
  store: RecordStore,
  rpc: Rpc,
  record: HeldRecord,
  head: Uint8Array,
  source: NodeId,
  withinMs: number = store.options.maxSyncMs,
): Promise<boolean> {
  const endMs = store.runtime.monotonicNow() + withinMs
  let current = head
  for (let attempt = 1; ; attempt++) {
    const { expiresAtMs } = await record.kind.verify(record.key, current)
    // who has let go of it is not given it back by those whose sweep comes later: it would never leave all of them
    if (record.head === undefined && expiresAtMs < store.runtime.now())
      throw new StickyError('EXPIRED', 'A record of which everything has expired.')
    try {
      await fetchReachable(store, rpc, record, current, source, endMs)
      const joined = current
      return await record.exclusive(() => store.joinLocal(record, joined))
    } catch (error) {
      if (!(error instanceof StickyError) || error.code !== 'NOT_FOUND' || attempt === MAX_HEADS_FOLLOWED)
        throw error
      const answer = await rpc.request(source, recordMethods.head, {
        kind: record.kind.name,
        key: record.key,
      })
      if (answer.head === null) throw error
      current = answer.head
    }
  }
}
