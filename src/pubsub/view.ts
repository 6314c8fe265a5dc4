import {
  type BlockReader,
  cidOf,
  decodeAny,
  type HeadAnswer,
  idOfCid,
  nodeIdOf,
  StickyError,
  sha256,
  toHex,
} from '../dht/index.ts'
import type { CoordinatorView, Data, Message, MessageCollectionView, ReplicaView, Subscriber } from './api.ts'
import { collectionPages, type MessageCollection } from './collection.ts'
import { decodeCoordinator } from './coordinator.ts'
import type { VerifiedMessage } from './message.ts'
import { LIMITS } from './options.ts'
import type { VerifiedStatement } from './subscription-statement.ts'

/** Protocol objects as applications see them: CIDs and node ids instead of bytes, decoded data. */

export async function toMessage(
  message: VerifiedMessage,
  context: { topic: string; addedInVersion: number; historic: boolean },
  read: BlockReader,
): Promise<Message> {
  const { publisher, writer, sequence, publishedAt, expiresAt, data, payload } = message.body
  const bytes = data ?? (payload && (await read({ kind: 'payload', id: payload.id })))
  if (bytes === undefined) throw new StickyError('MALFORMED', 'A message without data.')
  return {
    id: message.cid,
    topic: context.topic,
    publisher: nodeIdOf(publisher),
    writer: toHex(writer),
    sequence,
    publishedAt,
    expiresAt,
    data: decodeAny(bytes, LIMITS.maxPayloadBytes) as Data,
    addedInVersion: context.addedInVersion,
    historic: context.historic,
  }
}

export async function toCoordinatorView(head: Uint8Array): Promise<CoordinatorView> {
  const coordinator = decodeCoordinator(head)
  return {
    id: cidOf(await sha256(head)),
    version: coordinator.version,
    state: coordinator.state,
    ...(coordinator.messages ? { messages: cidOf(coordinator.messages) } : {}),
    ...(coordinator.subscribers ? { subscribers: cidOf(coordinator.subscribers) } : {}),
    messageHistory: coordinator.messageHistory.map(cidOf),
    subscriberHistory: coordinator.subscriberHistory.map(cidOf),
    previous: coordinator.previous.map(cidOf),
    createdAt: coordinator.createdAt,
    lastModified: coordinator.lastModified,
    bytes: head.byteLength,
    encoded: head,
  }
}

export async function toReplicaView({ peer, durable, head, error }: HeadAnswer): Promise<ReplicaView> {
  if (error !== undefined) return { nodeId: peer, durable, error: error.code }
  if (head === undefined) return { nodeId: peer, durable }
  return {
    nodeId: peer,
    durable,
    headId: cidOf(await sha256(head)),
    version: decodeCoordinator(head).version,
    head,
  }
}

export const toSubscriber = ({ nodeId, body }: VerifiedStatement): Subscriber => ({
  nodeId,
  info: new TextDecoder().decode(body.info),
  since: body.issuedAt,
  expiresAt: body.expiresAt,
})

export async function toCollectionView(
  collection: MessageCollection,
  read: BlockReader,
): Promise<MessageCollectionView> {
  const pages = await collectionPages(collection, read)
  return {
    id: cidOf(collection.rootId),
    count: collection.root.count,
    pages: pages.map(({ id, count, firstVersion, lastVersion, expiresAt }) => ({
      id: cidOf(id),
      count,
      firstVersion,
      lastVersion,
      expiresAt,
    })),
    tail: collection.root.tail.map(([id, addedInVersion]) => ({ id: cidOf(id), addedInVersion })),
  }
}

/** A place in a collection: the version and id of the message there. */
export interface Cursor {
  version: number
  id: Uint8Array
}

/** For `before` and `after` of a page of history. Opaque to applications. */
export const encodeCursor = ({ version, id }: Cursor): string => `${version}.${cidOf(id)}`

export function decodeCursor(text: string): Cursor {
  const match = /^(\d{1,13})\.([a-z0-9]{50,70})$/.exec(text)
  if (match === null) throw new StickyError('MALFORMED', 'Not a place in the history of a topic.')
  return { version: Number(match[1]), id: idOfCid(match[2] as string) }
}
