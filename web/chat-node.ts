import type { PubSub } from '../src/browser/index.ts'

/** All that the chat knows of the network. The fixture of the interface tests implements it in memory. */

export type {
  ChannelState,
  Data,
  Gap,
  HistoryPage,
  Message,
  PublishReceipt,
  Subscriber,
  Subscription,
  SubscriptionEvents,
  SyncStatus,
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
}

export type ChatPubSub = Pick<
  PubSub,
  'publish' | 'subscribe' | 'history' | 'subscribers' | 'channelState' | 'recover'
>

export interface ChatNode {
  readonly nodeId: string
  readonly pubsub: ChatPubSub
  status(): NodeStatus
  onStatus(listener: (status: NodeStatus) => void): () => void
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
  const { createBrowserNode } = await import('../src/browser/index.ts')
  return createBrowserNode({ bridgeUrl, onStatus })
}
