import { equalBytes, sha256 } from './codec.ts'
import { StickyError } from './errors.ts'
import { type NodeId, nodeIdOf } from './identity.ts'
import type { HeadKind } from './kinds.ts'
import { type HeldRecord, headName } from './record.ts'
import type { RecordStore } from './record-store.ts'
import type { Rpc } from './rpc.ts'
import { atMost, type Runtime } from './runtime.ts'
import { syncFrom } from './sync.ts'
import { MAX_REPLY_BLOCK_BYTES, recordMethods } from './wire.ts'

/**
 * What a holder answers. It takes a delta that fast-forwards its own head, fetches what it lacks of a head when it is
 * merely behind, and answers `conflict` with its own head when the two have diverged. It never lets go of what it knows.
 */
export function serveRecords(store: RecordStore, rpc: Rpc): void {
  const catchUp = catchUps(store, rpc)
  const turnFor = offerTurns(store.runtime)
  rpc.handle(recordMethods.append, async (_from, { kind, key, base, id, delta }) => {
    if (delta.byteLength > store.headKind(kind).maxDeltaBytes)
      throw new StickyError('TOO_LARGE', 'A delta above its limit.')
    const record = await store.record(kind, key)
    const outcome = await record.exclusive(() => fastForward(store, record, base, id, delta))
    // what was here already may have come with another delta
    if (outcome !== 'applied') return { outcome }
    // it is on the disk whether or not this node can sign
    const signed = await record.kind.acknowledge(key, delta).catch(() => undefined)
    return { outcome: 'stored' as const, ...(signed === undefined ? {} : { signed }) }
  })

  rpc.handle(recordMethods.commit, async (from, { kind, key, head }) => {
    const headKind = store.headKind(kind)
    if (head.byteLength > headKind.maxBytes) throw new StickyError('TOO_LARGE', 'A head above its limit.')
    await headKind.verify(key, head)
    const record = await store.record(kind, key)
    if (record.hasHad(await sha256(head))) return stored(record)
    if (record.head !== undefined && headKind.compare(record.head, head) === 'diverged')
      return conflict(record)
    await catchUp(record, head, from)
    return record.head !== undefined && contains(record, head) ? stored(record) : conflict(record)
  })

  rpc.handle(recordMethods.head, async (_from, { kind, key }) => ({
    head: (await store.record(kind, key)).head ?? null,
  }))

  rpc.handle(recordMethods.offer, async (_from, { kind, key, head, source }) => {
    const record = await store.record(kind, key)
    const endTurn = await turnFor(record, head)
    try {
      if (!record.hasHad(await sha256(head))) await syncFrom(store, rpc, record, head, sourceOf(source))
    } finally {
      endTurn()
    }
    return { head: record.head as Uint8Array }
  })

  rpc.handle(recordMethods.compare, async (_from, { kind, records }) => {
    const differing: number[] = []
    for (const [i, [key, headId]] of records.entries()) {
      // one that cannot be read now keeps nobody from the others
      const own = (await store.record(kind, key).catch(() => undefined))?.headId
      if (own === undefined || !equalBytes(own, headId)) differing.push(i)
    }
    return { differing }
  })

  rpc.handle(recordMethods.blocks, async (_from, { kind, key, refs }) => {
    const record = await store.record(kind, key)
    const blocks: (Uint8Array | null)[] = []
    let bytes = 0
    for (const [blockKind, id] of refs) {
      const block = store.blockKinds.has(blockKind) ? await record.local({ kind: blockKind, id }) : undefined
      bytes += block?.byteLength ?? 0
      if (blocks.length > 0 && bytes > MAX_REPLY_BLOCK_BYTES) break
      blocks.push(block ?? null)
    }
    return { blocks }
  })
}

interface CatchUp {
  current: Promise<unknown>
  /** After it, to `head`. */
  next?: Promise<unknown>
  head: Uint8Array
}

/**
 * Who is behind a holder that commits one head after the other is sent each of them, and would fetch and join each. So it
 * fetches from one holder once at a time, and then the newest: that contains the others.
 */
function catchUps(store: RecordStore, rpc: Rpc) {
  const running = new Map<string, CatchUp>()
  const begin = (name: string, record: HeldRecord, head: Uint8Array, source: NodeId): Promise<unknown> => {
    const one: CatchUp = { current: syncFrom(store, rpc, record, head, source), head }
    running.set(name, one)
    const ended = () => one.next === undefined && running.delete(name)
    one.current.then(ended, ended)
    return one.current
  }
  /** Resolves once the head, or one that came from there after it, is joined. */
  return (record: HeldRecord, head: Uint8Array, source: NodeId): Promise<unknown> => {
    const name = `${headName(record.kind.name, record.key)} ${source}`
    const one = running.get(name)
    if (one === undefined) return begin(name, record, head, source)
    // sent to one that had to be asked twice, it may come after its successors
    if (isIn(record.kind, head, one.head)) return one.next ?? one.current
    one.head = head
    const next = () => begin(name, record, one.head, source)
    one.next ??= one.current.then(next, next)
    return one.next
  }
}

/**
 * A newcomer is offered a record by each of its holders at once, and would fetch all of it from each. So an offer waits for
 * the one before it, but not for long, as that may come from a liar; and what has diverged does not wait to be merged.
 */
function offerTurns(runtime: Runtime) {
  const last = new Map<string, Promise<void>>()
  /** Resolves once it is this offer's turn, with what ends that. */
  return async (record: HeldRecord, head: Uint8Array): Promise<() => void> => {
    if (record.head !== undefined && record.kind.compare(record.head, head) !== 'behind')
      return () => undefined
    const name = headName(record.kind.name, record.key)
    const before = last.get(name)
    const { promise: turn, resolve } = Promise.withResolvers<void>()
    last.set(name, turn)
    if (before !== undefined) await atMost(runtime, MAX_WAIT_FOR_TURN_MS, before)
    const timer = runtime.setTimer(resolve, MAX_TURN_MS)
    return () => {
      timer.clear()
      resolve()
      if (last.get(name) === turn) last.delete(name)
    }
  }
}

/** After so long the next one begins beside it. */
const MAX_TURN_MS = 2_000
/** Of many that are not honest. */
const MAX_WAIT_FOR_TURN_MS = 6_000

const sourceOf = (publicKey: Uint8Array): NodeId => nodeIdOf(publicKey)
const stored = (record: HeldRecord) => ({ outcome: 'stored' as const, head: record.head as Uint8Array })
const conflict = (record: HeldRecord) => ({ outcome: 'conflict' as const, head: record.head as Uint8Array })

/** After a join the own head is the offered one or a descendant of it. */
const contains = (record: HeldRecord, head: Uint8Array): boolean =>
  isIn(record.kind, head, record.head as Uint8Array)

/** As far as the heads say themselves. */
function isIn(kind: HeadKind, head: Uint8Array, other: Uint8Array): boolean {
  const relation = kind.compare(head, other)
  return relation === 'same' || relation === 'behind'
}

/** The common case: the base is the own head, so the delta alone gives the new one, which has this id. */
async function fastForward(
  store: RecordStore,
  record: HeldRecord,
  base: Uint8Array | null,
  id: Uint8Array,
  delta: Uint8Array,
): Promise<'applied' | 'stored' | 'other'> {
  const { headId } = record
  if (record.hasHad(id)) return 'stored' // asked twice, or late
  const isBase = base === null ? headId === undefined : headId !== undefined && equalBytes(headId, base)
  if (!isBase) return 'other'
  const change = await store.apply(record, delta)
  // rebuilt otherwise than its author did: the blocks are fetched instead
  if (!equalBytes(await sha256(change.head), id)) return 'other'
  await record.kind.verify(record.key, change.head)
  await store.applyPrepared(record, delta, change)
  return 'applied'
}
