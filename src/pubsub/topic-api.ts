import type { Runtime, StickyError } from '../dht/index.ts'
import type {
  Data,
  Gap,
  HistoryRequest,
  Message,
  PresenceMember,
  Receipt,
  SubscriptionEvents,
  SyncStatus,
} from './api.ts'
import type { TopicSecret } from './secret.ts'
import type { StandardSchemaV1 } from './standard-schema.ts'

/** What applications see of `openTopic`. Types only; topic.ts implements them. */

export interface TopicOptions<T> {
  /** What is published and read has to fit it. Any validator of https://standardschema.dev. Without one T is not checked. */
  schema?: StandardSchemaV1<unknown, T>
  /** Default 'resume': from where this reader left off, and everything the first time. */
  history?: HistoryRequest | 'resume'
  /** Under which name 'resume' keeps its place on this node, default 'default'. */
  reader?: string
  /** Default time to live of what is published here. */
  ttlMs?: number
  /** Announced while messages are read, so not while `maxUnread` wait; without it this node only sees who is there. */
  presence?: Data
  /** As of `subscribe`: everybody sees it. Not in an encrypted topic. */
  info?: string
  /** End-to-end encryption. */
  secret?: TopicSecret
  /** Closes the topic. */
  signal?: AbortSignal
  /** How often the place is kept at most, default 1 s; and at the end. */
  keepPositionMs?: number
  /** Messages that wait for a slow reader, default 4,096; the rest stays in the network until it has caught up. */
  maxUnread?: number
  runtime?: Runtime
}

/** `topic` is the name that was given to `openTopic`. */
export type TopicMessage<T = Data> = Message<T>

/** A message that does not open with the secret (UNDECRYPTABLE) or does not fit the schema (INVALID_DATA), without its data. */
export interface InvalidMessage extends Omit<Message, 'data'> {
  error: StickyError
}

export interface TopicReceipt<T = Data> extends Omit<Receipt, 'data'> {
  /** Absent for what waits in the outbox of this topic and does not fit its schema. */
  data?: T
}

export interface TopicPublishOptions {
  key?: string
  ttlMs?: number
  /** Also receipts of state `delivered`, as for `enqueue`. */
  delivered?: boolean
  /**
   * Not by the outbox, but at once, as `publish` of PubSub does: resolves when it is stored, and rejects, e.g. with
   * UNEXPECTED_VERSION where something was said after this version. Not with `delivered`.
   */
  expect?: { version: number }
}

export interface TopicEvents<T = Data> {
  message: TopicMessage<T>
  /** Behind the last historic message. `count`: how many were given. */
  'history-end': SubscriptionEvents['history-end']
  gap: Gap
  sync: SyncStatus
  presence: PresenceMember[]
  /** Each change of each publish of this node to this topic, also of those from before a restart. */
  receipt: TopicReceipt<T>
  invalid: InvalidMessage
  error: Error
}

export interface TopicHistoryOptions {
  limit?: number
  before?: string
  after?: string
  reverse?: boolean
  signal?: AbortSignal
}

/**
 * Messages, with gaps and the end of history in their place between them, wait until somebody reads: a listener of
 * 'message', or an iteration. All who read one topic object get each message together, when the slowest is ready.
 */
export interface Topic<T = Data> extends AsyncIterable<TopicMessage<T>>, AsyncDisposable {
  readonly name: string
  /** What the network calls it, for `channelState`, `replicas` and the like: another name where it is encrypted. */
  readonly networkName: string
  readonly status: SyncStatus
  /** Messages still to be read while 'joining' or 'catching-up', where known. */
  readonly remaining: number | undefined
  /** All that has been taken by who reads here: pass it as `history: { from }`. */
  readonly position: string
  readonly present: PresenceMember[]
  /**
   * Resolves once it is on this node's disk, online or not; 'receipt' tells the rest. Rejects as `enqueue` does, and with
   * INVALID_DATA where it does not fit the schema. With `expect` it resolves and rejects as `publish` of PubSub does.
   */
  publish(data: T, options?: TopicPublishOptions): Promise<TopicReceipt<T>>
  /** What waits here or is being sent, oldest first. */
  outbox(): Promise<TopicReceipt<T>[]>
  history(options?: TopicHistoryOptions): AsyncIterable<TopicMessage<T>>
  setPresence(state: Data | undefined): Promise<void>
  on<E extends keyof TopicEvents<T>>(event: E, listener: (value: TopicEvents<T>[E]) => void): () => void
  /** Leaves the topic, and closes. The place is kept with `history: 'resume'`. */
  unsubscribe(): Promise<void>
  /** Keeps the place, with `history: 'resume'`, and stops reading, without leaving. */
  close(): Promise<void>
}
