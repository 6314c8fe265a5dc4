import type {
  Data,
  Invite,
  PubSub,
  StorageState,
  Topic,
  TopicOptions,
  TopicSecret,
} from '../src/browser/index.ts'

/** All that the chat knows of the network. The fixture of the interface tests implements it in memory. */

export type {
  ChannelState,
  CoordinatorView,
  Data,
  FullHistory,
  Gap,
  HistoryRequest,
  Message,
  PresenceMember,
  ReplicaView,
  StorageState,
  SyncStatus,
  Topic,
  TopicReceipt,
} from '../src/browser/index.ts'

export interface PeerLink {
  nodeId: string
  /** False: through a relay. */
  direct: boolean
  webrtc: boolean
}

export interface NodeStatus {
  state: 'connecting' | 'online' | 'degraded' | 'offline'
  peers: PeerLink[]
  /** A link to the bridge is up. */
  bridge: boolean
  /** Why the bridge could not be reached, or does not let this node in. */
  problem?: { code: string; message: string }
  /** Why the last write to this browser's storage failed. */
  storageProblem?: { code: string; message: string }
}

export type ChatPubSub = Pick<
  PubSub,
  | 'channelState'
  | 'recover'
  | 'keepPosition'
  | 'keptPosition'
  | 'outbox'
  | 'replicas'
  | 'loadCoordinator'
  | 'loadFullHistory'
  | 'mergeCoordinators'
> & {
  /** What this node has counted, where it tells: numbers by name, in groups. */
  counters?(): object | Promise<object>
}

/** Where things lie in the key space, 32 bytes each. */
export interface Keyspace {
  placeOfTopic(name: string): Promise<Uint8Array>
  placeOfNode(nodeId: string): Promise<Uint8Array>
}

export interface ChatNode {
  readonly nodeId: string
  readonly pubsub: ChatPubSub
  readonly keyspace: Keyspace
  openTopic(name: string, options: TopicOptions<Data>): Promise<Topic>
  inviteTo(name: string, secret: TopicSecret): Promise<string>
  readInvite(text: string): Promise<Invite>
  status(): NodeStatus
  onStatus(listener: (status: NodeStatus) => void): () => void
  storage(): Promise<StorageState>
  exportIdentity(passphrase: string): Promise<string>
  importIdentity(text: string, passphrase: string): Promise<void>
  close(): Promise<void>
}

/**
 * The real node. Imported on demand: the page is drawn and the name can be typed while the network code loads.
 * `onStatus` hears of the time before the node exists, when there is nothing to ask yet.
 */
export async function connectChatNode(
  bridgeUrl: string,
  onStatus: (status: NodeStatus) => void,
): Promise<ChatNode> {
  const { createBrowserNode, inviteTo, openTopic, placeOfKey, placeOfNode, readInvite, topicKeyOf } =
    await import('../src/browser/index.ts')
  const node = await createBrowserNode({ bridgeUrl, onStatus })
  const placeOfTopic = async (name: string) => placeOfKey(await topicKeyOf(name))
  return Object.assign(node, {
    keyspace: { placeOfTopic, placeOfNode },
    openTopic: (name: string, options: TopicOptions<Data>) => openTopic(node.pubsub, name, options),
    inviteTo,
    readInvite,
  })
}
