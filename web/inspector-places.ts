import type { NodeStatus, ReplicaView } from './chat-node.ts'
import type { Inspection } from './inspector-data.ts'

/** The nodes around a topic, and where they lie on the ring of the key space. Pure. */

export const RING = { width: 360, height: 244, radius: 100 } as const
/** Inside of the ring, as the closest replica may lie at almost the same place. */
const TOPIC_RADIUS = RING.radius - 18
const LABEL_DISTANCE = 18
const LABEL_HEIGHT = 14
const MAX_PEERS_DRAWN = 50
/** More would lie over each other; the replicas, the topic and this node come first. */
const MAX_LABELS = 24

export interface NodeRow {
  nodeId: string
  isSelf: boolean
  /** Whether it keeps the topic, and how. */
  replica: 'durable' | 'fleeting' | undefined
  /** Of its head; absent where it has none. */
  version: number | undefined
  error: string | undefined
  link: 'self' | 'webrtc' | 'direct' | 'relayed' | 'none'
  place: Uint8Array
  /** How many leading bits its place shares with the topic's: the more, the closer. */
  commonBits: number
}

export function commonBits(a: Uint8Array, b: Uint8Array): number {
  for (const [index, byte] of a.entries()) {
    const difference = byte ^ (b[index] ?? 0)
    if (difference !== 0) return index * 8 + Math.clz32(difference) - 24
  }
  return a.length * 8
}

/** Smaller: closer to the topic in the DHT's metric. */
function compareDistance(a: Uint8Array, b: Uint8Array, target: Uint8Array): number {
  for (const [index, byte] of target.entries()) {
    const difference = ((a[index] ?? 0) ^ byte) - ((b[index] ?? 0) ^ byte)
    if (difference !== 0) return difference
  }
  return 0
}

/** The closest to the topic first. Who has no place in the key space is left out. */
export function nodeRows(
  { places, replicas, topicPlace }: Pick<Inspection, 'places' | 'replicas' | 'topicPlace'>,
  self: string,
  peers: NodeStatus['peers'],
): NodeRow[] {
  const links = new Map(peers.map((peer) => [peer.nodeId, peer]))
  const held = new Map(replicas.map((replica) => [replica.nodeId, replica]))
  const nodeIds = new Set([self, ...held.keys(), ...links.keys()])
  const rows: NodeRow[] = []
  for (const nodeId of nodeIds) {
    const place = places.get(nodeId)
    if (place === undefined) continue
    const replica = held.get(nodeId)
    rows.push({
      nodeId,
      isSelf: nodeId === self,
      replica: kindOf(replica),
      version: replica?.version,
      error: replica?.error,
      link: nodeId === self ? 'self' : linkOf(links.get(nodeId)),
      place,
      commonBits: commonBits(place, topicPlace),
    })
  }
  return rows.toSorted((a, b) => compareDistance(a.place, b.place, topicPlace))
}

const kindOf = (replica: ReplicaView | undefined): NodeRow['replica'] =>
  replica === undefined ? undefined : replica.durable ? 'durable' : 'fleeting'

const linkOf = (peer: NodeStatus['peers'][number] | undefined): NodeRow['link'] => {
  if (peer === undefined) return 'none'
  if (!peer.direct) return 'relayed'
  return peer.webrtc ? 'webrtc' : 'direct'
}

export interface Point {
  x: number
  y: number
}

export interface RingMark extends Point {
  key: string
  kind: 'topic' | 'self' | 'replica' | 'peer'
  row: NodeRow | undefined
  label: (Point & { anchor: 'start' | 'end' }) | undefined
}

/** From 0 to 1, clockwise from the top: a place as a fraction of the key space. */
export const fractionOf = (place: Uint8Array): number =>
  ((place[0] ?? 0) * 65_536 + (place[1] ?? 0) * 256 + (place[2] ?? 0)) / 2 ** 24

export function onRing(place: Uint8Array, radius: number = RING.radius): Point {
  const angle = fractionOf(place) * 2 * Math.PI
  return {
    x: RING.width / 2 + radius * Math.sin(angle),
    y: RING.height / 2 - radius * Math.cos(angle),
  }
}

/** Where each mark lies, and its words: beside the ring, none over another. */
export function layRing(topicPlace: Uint8Array, rows: NodeRow[]): RingMark[] {
  const others = rows.filter(({ isSelf, replica }) => !isSelf && replica === undefined)
  const drawn = new Set(others.slice(0, MAX_PEERS_DRAWN))
  const nodes = rows.filter((row) => row.isSelf || row.replica !== undefined || drawn.has(row))
  const marks: RingMark[] = [
    { key: 'topic', kind: 'topic', row: undefined, label: undefined, ...onRing(topicPlace, TOPIC_RADIUS) },
    ...nodes.map((row) => ({
      key: row.nodeId,
      kind: row.isSelf
        ? ('self' as const)
        : row.replica === undefined
          ? ('peer' as const)
          : ('replica' as const),
      row,
      label: undefined,
      ...onRing(row.place),
    })),
  ]
  const order = { topic: 0, self: 1, replica: 2, peer: 3 }
  const labelled = marks.toSorted((a, b) => order[a.kind] - order[b.kind]).slice(0, MAX_LABELS)
  const isRight = ({ x }: Point) => x >= RING.width / 2
  layLabels(labelled.filter(isRight), 'start')
  layLabels(
    labelled.filter((mark) => !isRight(mark)),
    'end',
  )
  return marks
}

/** On one side, from top to bottom, each as near to its mark as the one above leaves room for. */
function layLabels(marks: RingMark[], anchor: 'start' | 'end'): void {
  const sorted = marks.toSorted((a, b) => a.y - b.y)
  const lowest = RING.height - LABEL_HEIGHT / 2
  const rows = Math.floor(RING.height / LABEL_HEIGHT)
  const side = anchor === 'start' ? 1 : -1
  let nextY = LABEL_HEIGHT / 2
  for (const [index, mark] of sorted.slice(0, rows).entries()) {
    const after = Math.min(sorted.length, rows) - 1 - index
    const y = Math.max(nextY, Math.min(mark.y, lowest - after * LABEL_HEIGHT))
    mark.label = { x: RING.width / 2 + side * labelDistance(y), y, anchor }
    nextY = y + LABEL_HEIGHT
  }
}

/** So far from the middle that words at this height stay outside of the ring. */
function labelDistance(y: number): number {
  const outside = RING.radius + LABEL_DISTANCE
  const high = Math.min(Math.abs(y - RING.height / 2), outside)
  return Math.max(24, Math.sqrt(outside ** 2 - high ** 2))
}
