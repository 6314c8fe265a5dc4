import {
  type NodeId,
  nodeIdOfPeerId,
  type PeerProfile,
  peerIdBytesOf,
  profileOf,
  StickyError,
} from '../dht/index.ts'
import { bytesOfField, encodeFields, fieldsOf, numberOfField } from './light-protobuf.ts'

/** What a light node says to libp2p's own protocols and hears from them: bytes in, bounded values out. Pure. */

export const IDENTIFY_PROTOCOL = '/ipfs/id/1.0.0'

/** Six times what a kad-dht answers of 20 nodes with ten addresses each. */
export const MAX_MESSAGE_BYTES = 128 * 1024
/** What kad-dht answers with: more only help who makes them up. */
const MAX_PEERS = 20
const MAX_ADDRESSES = 16
/** The longest address of a websocket has a name of 253 characters and a node id. */
const MAX_ADDRESS_BYTES = 400
const MAX_PROTOCOLS = 64

const utf8 = (text: string) => new TextEncoder().encode(text)
const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes)

/** kad-dht: a message of this type with these peers. */
const FIND_NODE = { type: 1, key: 2, closer: 8, findNode: 4, peerId: 1, peerAddress: 2 } as const

export const findNodeRequest = (key: Uint8Array): Uint8Array =>
  encodeFields([
    { number: FIND_NODE.type, value: FIND_NODE.findNode },
    { number: FIND_NODE.key, value: key },
  ])

export interface NamedPeer {
  nodeId: NodeId
  /** Multiaddrs in their binary form, as they came. */
  addresses: Uint8Array[]
}

/** The peers of an answer, at most MAX_PEERS, those with another kind of id left out. Throws MALFORMED. */
export function readFindNode(answer: Uint8Array): NamedPeer[] {
  const fields = fieldsOf(answer)
  if (numberOfField(fields, FIND_NODE.type) !== FIND_NODE.findNode)
    throw new StickyError('MALFORMED', 'A peer answered another question than it was asked.')
  const peers = bytesOfField(fields, FIND_NODE.closer, MAX_PEERS).map((bytes): NamedPeer | undefined => {
    const peer = fieldsOf(bytes)
    const [id] = bytesOfField(peer, FIND_NODE.peerId, 1)
    const nodeId = id && nodeIdOfPeerId(id)
    const addresses = bytesOfField(peer, FIND_NODE.peerAddress, MAX_ADDRESSES).filter(isShort)
    return nodeId === undefined ? undefined : { nodeId, addresses }
  })
  return peers.filter((peer) => peer !== undefined)
}

const isShort = ({ byteLength }: Uint8Array): boolean => byteLength <= MAX_ADDRESS_BYTES

/** Circuit relay v2: connect me with that peer. */
const HOP = { type: 1, peer: 2, status: 5, connect: 1, statusType: 2, ok: 100, peerId: 1 } as const

export const hopConnect = (peer: NodeId): Uint8Array =>
  encodeFields([
    { number: HOP.type, value: HOP.connect },
    { number: HOP.peer, value: encodeFields([{ number: HOP.peerId, value: peerIdBytesOf(peer) }]) },
  ])

/** Throws UNREACHABLE unless the relay has connected. */
export function requireHopOk(answer: Uint8Array): void {
  const fields = fieldsOf(answer)
  const status = numberOfField(fields, HOP.status)
  if (numberOfField(fields, HOP.type) !== HOP.statusType || status !== HOP.ok)
    throw new StickyError('UNREACHABLE', `The relay has no way to that peer (status ${status}).`)
}

/** libp2p's identify: what a node says of itself. */
const IDENTIFY = { publicKey: 1, protocol: 3, protocolVersion: 5, agent: 6 } as const

/** `publicKey` as libp2p encodes keys. */
export const identifyAnswer = (publicKey: Uint8Array, protocols: readonly string[]): Uint8Array =>
  encodeFields([
    { number: IDENTIFY.publicKey, value: publicKey },
    ...protocols.map((protocol) => ({ number: IDENTIFY.protocol, value: utf8(protocol) })),
    { number: IDENTIFY.protocolVersion, value: utf8('ipfs/0.1.0') },
    { number: IDENTIFY.agent, value: utf8('sticky-pubsub-light') },
  ])

/** What role a peer has, by the protocols that it says it speaks. Throws MALFORMED. */
export function readProfile(answer: Uint8Array): PeerProfile {
  return profileOf(bytesOfField(fieldsOf(answer), IDENTIFY.protocol, MAX_PROTOCOLS).map(textOf))
}
