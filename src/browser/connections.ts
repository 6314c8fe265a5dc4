import {
  compareBytes,
  type DhtLibp2p,
  distanceBetween,
  LINK_PROTOCOL,
  NEEDED_VALUE,
  sha256,
} from '../dht/index.ts'

/**
 * Which peers a tab stays connected to when there are more than it can have: the relays, the replicas of its topics, its
 * neighbours in the key space, and of the others some from everywhere. libp2p's own pruner spares every connection with an
 * application's stream on it, which here are all.
 */

export interface Candidate {
  nodeId: string
  /** Where it lies in the key space. */
  position: Uint8Array
  /** A relay, without which nobody finds this tab. */
  isRelay: boolean
  /** How much somebody wants it: the sum of its tags in the peer store, those of replicas among them. */
  value: number
  /** Frames go over it. */
  isInUse: boolean
  isDirect: boolean
  openedAtMs: number
}

/** Two in five are neighbours: a look-up for a key near this tab ends with them, and records are handed over among them. */
const NEIGHBOUR_SHARE = 0.4

/** The node ids to keep, at most `max` of them; everybody when there are no more. */
export function choose(candidates: Candidate[], self: Uint8Array, max: number): Set<string> {
  const kept = new Set<string>()
  const keep = (chosen: Candidate[], upTo = max) => {
    for (const { nodeId } of chosen) if (kept.size < upTo) kept.add(nodeId)
  }
  keep(candidates.filter(({ isRelay }) => isRelay))
  keep(candidates.filter(({ value }) => value >= NEEDED_VALUE).toSorted((a, b) => b.value - a.value))
  const rest = () => candidates.filter(({ nodeId }) => !kept.has(nodeId))
  const nearest = rest().toSorted((a, b) =>
    compareBytes(distanceBetween(a.position, self), distanceBetween(b.position, self)),
  )
  keep(nearest.slice(0, Math.floor(max * NEIGHBOUR_SHARE)))
  keep(inTurn(rest(), self))
  return kept
}

/** One of each bucket, then a second one of each, and so on; the widest bucket first, and the best of each first. */
function inTurn(candidates: Candidate[], self: Uint8Array): Candidate[] {
  const buckets = new Map<number, Candidate[]>()
  for (const candidate of candidates.toSorted(byWorth)) {
    const bucket = sharedBits(candidate.position, self)
    buckets.set(bucket, [...(buckets.get(bucket) ?? []), candidate])
  }
  const queues = [...buckets].toSorted(([a], [b]) => a - b).map(([, queue]) => queue)
  const turns = Math.max(0, ...queues.map(({ length }) => length))
  return Array.from({ length: turns }, (_, turn) => queues.flatMap((queue) => queue[turn] ?? [])).flat()
}

const byWorth = (a: Candidate, b: Candidate): number =>
  Number(b.isInUse) - Number(a.isInUse) ||
  Number(b.isDirect) - Number(a.isDirect) ||
  a.openedAtMs - b.openedAtMs

/** The length of the prefix that two positions have in common: the number of the bucket. */
function sharedBits(a: Uint8Array, b: Uint8Array): number {
  const distance = distanceBetween(a, b)
  const byte = distance.findIndex((value) => value !== 0)
  return byte < 0 ? distance.length * 8 : byte * 8 + Math.clz32(distance[byte] as number) - 24
}

/** What a phone can have open without harm to battery and memory, and what a desktop can. */
const MAX_PHONE_CONNECTIONS = 20
const MAX_DESKTOP_CONNECTIONS = 50

export const defaultMaxConnections = (): number =>
  isPhone() ? MAX_PHONE_CONNECTIONS : MAX_DESKTOP_CONNECTIONS

/** The browser says so, or where it does not, the finger is the only pointer. */
function isPhone(): boolean {
  const { userAgentData } = globalThis.navigator as { userAgentData?: { mobile?: boolean } }
  return userAgentData?.mobile ?? globalThis.matchMedia?.('(pointer: coarse)').matches ?? false
}

/** Of ten places one stays free: at the bound itself libp2p refuses newcomers, the best of neighbours too. */
const FREE_SHARE = 0.1
/** A new connection may do what it was opened for before it is judged, and many at once are judged together. */
const JUDGE_AFTER_MS = 1_000

/** Closes what is too much, for as long as the node runs. */
export function keepBounded(libp2p: DhtLibp2p, max: number, relayIds: ReadonlySet<string>): void {
  const target = Math.max(1, Math.floor(max * (1 - FREE_SHARE)))
  let timer: ReturnType<typeof setTimeout> | undefined
  const judge = async () => {
    timer = undefined
    if (libp2p.getPeers().length <= target) return
    const [self, candidates] = await Promise.all([
      positionOf(libp2p.peerId),
      Promise.all(libp2p.getPeers().map((peerId) => candidate(libp2p, peerId, relayIds))),
    ])
    const kept = choose(candidates, self, target)
    for (const connection of libp2p.getConnections())
      if (!kept.has(connection.remotePeer.toString()))
        connection.close().catch((error: Error) => connection.abort(error))
  }
  libp2p.addEventListener('peer:connect', () => {
    timer ??= setTimeout(() => void judge(), JUDGE_AFTER_MS)
  })
  libp2p.addEventListener('stop', () => clearTimeout(timer))
}

type PeerId = DhtLibp2p['peerId']

const positionOf = (peerId: PeerId): Promise<Uint8Array> => sha256(peerId.toMultihash().bytes)

async function candidate(
  libp2p: DhtLibp2p,
  peerId: PeerId,
  relayIds: ReadonlySet<string>,
): Promise<Candidate> {
  const connections = libp2p.getConnections(peerId)
  const known = await libp2p.peerStore.get(peerId).catch(() => undefined)
  const nodeId = peerId.toString()
  return {
    nodeId,
    position: await positionOf(peerId),
    isRelay: relayIds.has(nodeId),
    value: [...(known?.tags.values() ?? [])].reduce((sum, { value }) => sum + value, 0),
    isInUse: connections.some(({ streams }) => streams.some(({ protocol }) => protocol === LINK_PROTOCOL)),
    isDirect: connections.some(({ limits }) => limits === undefined),
    openedAtMs: Math.min(...connections.map(({ timeline }) => timeline.open)),
  }
}
