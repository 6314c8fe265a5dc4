import type { ErrorCode, NodeId } from '../dht/index.ts'
import type { Diagnostics } from './diagnostics.ts'

/**
 * What applications see. Types only; pubsub.ts and subscription.ts implement them. Times are in ms since 1970, and durations
 * in ms; whatever rejects does so with a `StickyError`.
 */

/** What DAG-CBOR carries: JSON values (any finite number, no bigint) and Uint8Array, at most 64 levels deep. */
export type Data = null | boolean | number | string | Uint8Array | Data[] | { [key: string]: Data }

export interface Message<T = Data> {
  /** CID of the signed body. */
  id: string
  topic: string
  publisher: NodeId
  /** One run of a publisher (16 hex digits); `sequence` is gapless from 1 per publisher and writer. */
  writer: string
  sequence: number
  publishedAt: number
  expiresAt: number
  data: T
  /** Version of the commit that added it; changes when partitions merge. */
  addedInVersion: number
  /** True when it was published before this subscription joined. */
  historic: boolean
}

/** `since`: ms, published at or after it. `from`: a position, see `Subscription.position`. */
export type HistoryRequest = 'all' | 'none' | { last: number } | { since: number } | { from: string }

export interface SubscribeOptions {
  /** Which messages from before the join are delivered. Default 'all'. */
  history?: HistoryRequest
  /** Same as history: 'all' (true) or 'none' (false). */
  receiveHistory?: boolean
  /** Only what was added after this version. */
  lastSeenVersion?: number
  onMessage?: (message: Message) => void
  /** At most 128 bytes that everyone who looks at the subscribers sees, e.g. a display name. */
  info?: string
  /** Up to 256 bytes (as DAG-CBOR) that everyone who watches the topic sees while this subscription is open. */
  presence?: Data
  signal?: AbortSignal
}

/** Somebody who is here now, by its own word. */
export interface PresenceMember {
  nodeId: NodeId
  state: Data
  /** When it began to be here, by its own clock. */
  since: number
}

/**
 * Synced: everything that is stored arrives. Degraded: no replica reachable now, retrying. Offline: the same, and no peer
 * is connected at all.
 */
export type SyncStatus = 'joining' | 'catching-up' | 'synced' | 'degraded' | 'offline' | 'closed'

export interface Gap {
  publisher: NodeId
  writer: string
  fromSequence: number
  toSequence: number
  /**
   * expired: it expired before it could be delivered, or is not in the history any more when the reader joined or came
   * back, and may have expired. trimmed: the topic had become too long before it could be delivered. withheld: no replica
   * has had it for a while.
   */
  reason: 'expired' | 'trimmed' | 'withheld'
}

export interface SubscriptionEvents {
  message: Message
  /**
   * All history asked for has been delivered; what follows is live. `count`: how many historic messages came. `recovered`:
   * false when it was asked for from a position, and a gap was told before this, or the topic has trimmed what came behind
   * the position.
   */
  'history-end': { version: number; count: number; recovered: boolean }
  gap: Gap
  sync: SyncStatus
  /** Everybody who is here: where there is somebody when one begins to listen, and after each change; at most four times a second. */
  presence: PresenceMember[]
  error: Error
}

/** Iterating gives each message once, historic first, in each writer's order; ends when closed. Throws BUSY where too much is unread. */
export interface Subscription extends AsyncIterable<Message>, AsyncDisposable {
  readonly topic: string
  readonly status: SyncStatus
  readonly lastSeenVersion: number
  /**
   * All that this subscriber has been given, as an opaque text: `{ from: position }` goes on there. Made when it is asked
   * for. What an iteration has not come to yet is not in it; nor is what came after an iteration was left, while nobody
   * else listens.
   */
  readonly position: string
  /** While joining or catching up: how many messages are still to be read, where that is known. */
  readonly remaining: number | undefined
  /**
   * Who is here, as far as is known here; this node is among them once a replica has said so. Watching begins with the
   * option `presence`, a listener to the event `presence` or the first look at this list.
   */
  readonly present: PresenceMember[]
  /**
   * Changes what others see of this node in the topic; undefined: no longer there. Resolves when a replica has it, or when
   * none could be reached; it is sent again by itself. Rejects with CLOSED, INVALID_DATA or TOO_LARGE.
   */
  setPresence(state: Data | undefined): Promise<void>
  /** Events since the last `on` are not replayed; subscribe to events in the same tick as `subscribe()` resolves. */
  on<E extends keyof SubscriptionEvents>(
    event: E,
    listener: (value: SubscriptionEvents[E]) => void,
  ): () => void
  /** Which it does by itself, halfway. Rejects where no replica takes it. */
  renew(): Promise<void>
  /**
   * Leaves the topic with a signed statement; rejects when that cannot be delivered, and is closed all the same. While this
   * node has another one to the topic open, it stays in it, and this one is only closed.
   */
  unsubscribe(): Promise<void>
  /** Closes without leaving: the statement lives on until it expires. Whose presence was shown leaves that at once. */
  close(): Promise<void>
}

export interface PublishOptions {
  /** Time to live, default 24 h, at most 30 days. */
  ttlMs?: number
  /** Caller's deadline, default 12 s. */
  deadlineMs?: number
  /**
   * Up to 128 bytes: a second publish of this node under the same key in the topic gives the first one's receipt with
   * `duplicate: true`, also after a restart. Other data under it are refused with KEY_CONFLICT.
   */
  key?: string
  /**
   * Only where nothing was said after this version of the topic, 0 where nothing may have been said at all: else refused
   * with UNEXPECTED_VERSION. No lock: of two publishers in the same moment both may succeed.
   */
  expect?: { version: number }
  signal?: AbortSignal
}

export interface PublishReceipt {
  status: 'stored'
  id: string
  sequence: number
  writer: string
  /** When it was numbered and signed; readers see the same `publishedAt`. */
  publishedAt: number
  version: number
  /** How many replicas have it on disk (or in memory, for memory-only nodes), and how many of them are durable. */
  replicas: number
  durableReplicas: number
  /** It was stored by an earlier call under the same key. */
  duplicate: boolean
}

export interface EnqueueOptions {
  /** Default: one made by chance, named in the receipt. */
  key?: string
  /** Time to live from now on, waiting included; default 24 h, at most 30 days. */
  ttlMs?: number
  /** Also receipts of state `delivered` for some time after it was stored, while this process lives. */
  delivered?: boolean
}

export type ReceiptState = 'queued' | 'sending' | 'stored' | 'delivered' | 'failed'

/** Where a message of the outbox stands. */
export interface Receipt {
  key: string
  topic: string
  data: Data
  state: ReceiptState
  queuedAt: number
  /** How often it was sent, or is being sent; being offline is no attempt. */
  attempts: number
  expiresAt: number
  /** With state `stored`, and `delivered`. */
  stored?: PublishReceipt
  /** With state `delivered`: to how many nodes of other subscribers, by the word of replicas. */
  delivered?: number
  /** Why it failed, or why it waits to be sent again. OUTCOME_UNKNOWN when it may appear all the same. */
  error?: { code: ErrorCode; message: string }
}

/** An entry of the outbox that cannot be read from this node's disk. It is set aside; the others go on. */
export interface OutboxError {
  code: ErrorCode
  message: string
}

export interface HistoryOptions {
  /** At most so many messages. */
  limit?: number
  /** Only messages older than this place: `before` of a page, or `cursorOf(message)`. */
  before?: string
  /** Only messages newer than this place; '' is the beginning of the topic. */
  after?: string
  /** Newest first. */
  reverse?: boolean
  signal?: AbortSignal
}

/**
 * A page is next to `after` where that is given, else next to `before`, else at the end of the topic. Where both are, it
 * is the end that `reverse` begins with. `limit`: default 50, at most 256.
 */
export type HistoryPageOptions = HistoryOptions

export interface HistoryPage {
  /** In commit order, oldest first unless `reverse` was asked for. */
  messages: Message[]
  /** Pass as `before` for the page of older messages, which may be empty; absent where there are none for certain. */
  before?: string
  /** Pass as `after` for the page of newer messages, which may be empty; absent where there are none for certain. */
  after?: string
  /**
   * Where the message of the given place is now that a merge has put it elsewhere, with others around it. Those of its
   * `addedInVersion` on its other side may not have been there before; `historyOf` gives these too.
   */
  moved?: string
}

export interface Subscriber {
  nodeId: NodeId
  info: string
  since: number
  expiresAt: number
}

export type ChannelState = 'ACTIVE' | 'RECOVERING' | 'FAILED'

export interface CoordinatorView {
  id: string
  version: number
  state: string
  messages?: string
  subscribers?: string
  messageHistory: string[]
  subscriberHistory: string[]
  previous: string[]
  createdAt: number
  lastModified: number
  bytes: number
  /** The object itself, as the replicas hold it: what `mergeCoordinators` takes. */
  encoded: Uint8Array
}

/** Ids of collections and snapshots, newest first. */
export interface FullHistory {
  messages: string[]
  subscribers: string[]
  snapshots: string[]
  /** Snapshots that no replica has any more. */
  missing: number
}

export interface ReplicaView {
  nodeId: NodeId
  durable: boolean
  /** Absent: the replica has no record of the topic. */
  headId?: string
  version?: number
  /** Its coordinator, encoded. */
  head?: Uint8Array
  /** Absent when it answered. */
  error?: string
}

export interface MessageCollectionView {
  id: string
  count: number
  pages: { id: string; count: number; firstVersion: number; lastVersion: number; expiresAt: number }[]
  tail: { id: string; addedInVersion: number }[]
}

export interface PubSub {
  readonly nodeId: NodeId
  /** Resolves stored; rejects with a StickyError: OUTCOME_UNKNOWN when it may or may not appear, else it never will. */
  publish(topic: string, data: Data, options?: PublishOptions): Promise<PublishReceipt>
  /**
   * Resolves once the message is durable at this node, online or not. It is sent as soon as that can be done, after those
   * enqueued before it in the topic. Rejects, and keeps nothing, with BUSY when the outbox is full, STORAGE_FULL when the
   * disk is, KEY_CONFLICT when the key has other data, STORAGE_FAILED, INVALID_TOPIC, INVALID_DATA, TOO_LARGE or CLOSED;
   * in a page also with WRONG_IDENTITY, or OUTCOME_UNKNOWN when the tab that leads is gone: then it may have been kept.
   */
  enqueue(topic: string, data: Data, options?: EnqueueOptions): Promise<Receipt>
  /** What waits or is being sent, oldest first. */
  outbox(topic?: string): Promise<Receipt[]>
  /** Each change of each. A final one (`stored`, `failed`) leaves the outbox and is told once: to the first listener, when there was none; with `topic`, to the first that listens to it. `delivered` may follow. */
  onReceipt(listener: (receipt: Receipt) => void, topic?: string): () => void
  /**
   * To how many nodes of other subscribers replicas have delivered each of these messages of this node, by their `id`, so
   * far: of up to 128 of the last 1,024 in the topic. 0 also for what they do not know, or somebody else has published.
   * Rejects with TOO_LARGE (more ids), MALFORMED (no id), NO_REPLICAS, or as the first replica did where all have failed.
   */
  delivered(topic: string, ids: string[]): Promise<number[]>
  /** What of the outbox on the disk could not be read, or not be written. Gives the function that ends it. */
  onOutboxError(listener: (error: OutboxError) => void): () => void
  /** Now: backoffs are cut short, e.g. after a reconnect. */
  drainOutbox(): void
  /**
   * Resolves although nobody can be reached: see `status`. With 'none' or `{ last }` it waits for a replica, 12 s at most.
   * Rejects with INVALID_TOPIC, INVALID_DATA, TOO_LARGE, ABORTED or CLOSED; in a page also with BUSY: too many.
   */
  subscribe(topic: string, options?: SubscribeOptions): Promise<Subscription>
  /**
   * One page of history, the newest unless a place is named. `historyOf` goes through all of them. Rejects with
   * INVALID_TOPIC, MALFORMED (no place), NO_REPLICAS, ABORTED or CLOSED.
   */
  history(topic: string, options?: HistoryPageOptions): Promise<HistoryPage>
  /** Those whose subscription has not ended. Rejects with INVALID_TOPIC, NO_REPLICAS, as a replica did, ABORTED or CLOSED. */
  subscribers(topic: string, options?: { signal?: AbortSignal }): Promise<Subscriber[]>

  // Low level. Undefined, or empty, where there is no such topic; what is read of it rejects with NO_REPLICAS where nobody
  // could be asked. `replicas` gives none then, as for a moment after a start
  loadCoordinator(topic: string): Promise<CoordinatorView | undefined>
  loadMessageCollection(topic: string): Promise<MessageCollectionView | undefined>
  loadSubscriberCollection(topic: string): Promise<Subscriber[]>
  /** Coordinator first, then the snapshots behind it, newest first. */
  loadFullHistory(topic: string, maxDepth?: number): Promise<FullHistory>
  /** What two coordinators of a topic join to: pure, the same bytes at every node, stored nowhere. */
  mergeCoordinators(topic: string, a: Uint8Array, b: Uint8Array): Promise<CoordinatorView>
  replicas(topic: string): Promise<ReplicaView[]>
  channelState(topic: string): Promise<ChannelState>
  /** The same as channelState. */
  getChannelState(topic: string): Promise<ChannelState>
  /** Reads all replicas again. Rejects with ChannelFailedError when nothing could be loaded. */
  recover(topic: string): Promise<void>
  /**
   * After a sleep or a reconnect: every subscription attaches anew and reads what it missed, and the outbox is drained.
   * Calls during a run are answered by it, and one more follows at most. Ends after 15 s at the latest, what is not done
   * by then goes on. Never rejects but in a page, with CLOSED or BUSY.
   */
  resync(reason: string): Promise<void>
  /**
   * Keeps a text under the name of a reader of the topic on this node's disk, most often its position. 1,024 are kept; for
   * a new one the one that was kept longest ago goes. Rejects with INVALID_TOPIC, INVALID_DATA (the reader's name),
   * TOO_LARGE (above 131,072 characters), STORAGE_FULL, STORAGE_FAILED or CLOSED.
   */
  keepPosition(topic: string, reader: string, position: string): Promise<void>
  /** Undefined where none is kept, or no longer. */
  keptPosition(topic: string, reader: string): Promise<string | undefined>
  /** What the node counts, keeps and is connected with; of the leading tab where tabs share a node. */
  diagnostics(): Promise<Diagnostics>
  /** Of a node its own `close` calls this. What is called later rejects with CLOSED, but what is known without asking. */
  close(): Promise<void>
}
