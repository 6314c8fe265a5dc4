import {
  Cleanups,
  Dht,
  type DhtOptions,
  type Identity,
  idOfCid,
  MeasuredStorage,
  type PeerNetwork,
  type Runtime,
  requireNotAborted,
  StageTimers,
  StickyError,
  type Storage,
  systemRuntime,
} from '../dht/index.ts'
import type {
  ChannelState,
  CoordinatorView,
  Data,
  EnqueueOptions,
  FullHistory,
  HistoryPage,
  HistoryPageOptions,
  MessageCollectionView,
  OutboxError,
  PublishOptions,
  PublishReceipt,
  PubSub,
  Receipt,
  ReplicaView,
  SubscribeOptions,
  Subscriber,
  Subscription,
} from './api.ts'
import { tellClosing } from './closing.ts'
import { loadMessages } from './collection.ts'
import { askDelivered } from './delivered.ts'
import { VerifiedMessages } from './delta.ts'
import { type Diagnostics, readDiagnostics } from './diagnostics.ts'
import { checkExpect } from './expected-version.ts'
import { HistoryReader, type Loaded } from './history.ts'
import { type Holding, STORING } from './holding.ts'
import { KeyedPublisher } from './keyed-publish.ts'
import { createKinds } from './kinds.ts'
import { emptyFullHistory, fullHistory, mergeHeads } from './lineage.ts'
import { loadTopic } from './load-topic.ts'
import { OpenSubscriptions } from './open-subscriptions.ts'
import { COORDINATOR, DEFAULT_PUBSUB_OPTIONS, LIMITS, type PubSubOptions } from './options.ts'
import { Outbox } from './outbox.ts'
import { PositionsKept } from './positions-kept.ts'
import { PresenceClient } from './presence-client.ts'
import { Publisher } from './publish.ts'
import { encodeData } from './publish-data.ts'
import { readCurrent } from './read-current.ts'
import { Recovery } from './recovery.ts'
import { Resync } from './resync.ts'
import { RETENTION, type Retention } from './retention.ts'
import { Sequences } from './sequence.ts'
import { Statements } from './statements.ts'
import { listSubscribers } from './subscribers.ts'
import { topicKeyOf } from './topic-key.ts'
import { toCollectionView, toCoordinatorView, toReplicaView, toSubscriber } from './view.ts'

export interface PubSubInit {
  network: PeerNetwork
  storage: Storage
  identity: Identity
  runtime?: Runtime
  dhtOptions?: Partial<DhtOptions>
  options?: Partial<PubSubOptions>
  /** The protocol's, the same at every node; another one is for tests. */
  retention?: Retention
}

/** Topics by name over one node that stores nothing for others: for pages that shall not load what storing takes. */
export class ClientPubSub implements PubSub {
  readonly dht: Dht
  readonly #options: PubSubOptions
  readonly #storage: MeasuredStorage
  readonly #sequences: Sequences
  readonly #positions: PositionsKept
  readonly #recovery: Recovery
  readonly #publisher: Publisher
  readonly #outbox: Outbox
  readonly #keyed: KeyedPublisher
  readonly #resync: Resync
  /** Where this node stores. */
  readonly #holding: Holding | undefined
  readonly #presence: PresenceClient
  readonly #verified: VerifiedMessages
  readonly #history: HistoryReader
  readonly #subscriptions: OpenSubscriptions
  readonly #startedAtMs: number
  #closing: Promise<void> | undefined

  constructor(init: PubSubInit, storing?: typeof STORING) {
    const { identity, runtime = systemRuntime, retention = RETENTION } = init
    if (storing === undefined && init.network.stores)
      throw new Error('What stores for others needs a StickyPubSub.')
    this.#options = { ...DEFAULT_PUBSUB_OPTIONS, ...init.options }
    this.#startedAtMs = runtime.monotonicNow()
    const stages = new StageTimers(runtime)
    this.#storage = new MeasuredStorage(init.storage, stages)
    this.#verified = new VerifiedMessages(this.#options.maxVerifiedMessages, stages)
    this.dht = new Dht({
      network: init.network,
      storage: this.#storage,
      runtime,
      stages,
      ...createKinds({ identity, verified: this.#verified, now: () => runtime.now(), retention }),
      ...(init.dhtOptions ? { options: init.dhtOptions } : {}),
      ...(storing ? { holdRecords: storing.holdRecords } : {}),
    })
    this.#sequences = new Sequences(this.#storage, identity.publicKey, runtime, this.#options)
    this.#positions = new PositionsKept(this.#storage, runtime)
    this.#recovery = new Recovery(this.dht, this.#options)
    this.#publisher = new Publisher(this.dht, identity, this.#sequences, this.#options)
    if (storing !== undefined && init.network.stores) {
      this.#holding = storing.hold({
        dht: this.dht,
        recovery: this.#recovery,
        options: this.#options,
        verified: this.#verified,
      })
    }
    this.#presence = new PresenceClient(this.dht, identity, this.#options)
    this.#outbox = this.#createOutbox(init)
    const shared = { dht: this.dht, options: this.#options, publisher: this.#publisher, outbox: this.#outbox }
    this.#keyed = new KeyedPublisher(shared)
    this.#resync = new Resync({
      ...shared,
      presence: this.#presence,
      subscriptions: () => this.#subscriptions.list(),
    })
    this.#history = new HistoryReader((topic, signal) => this.#load(topic, signal))
    this.#subscriptions = new OpenSubscriptions({
      dht: this.dht,
      options: this.#options,
      presence: this.#presence,
      verified: this.#verified,
      statements: new Statements(this.dht, identity, this.#options),
      retention,
    })
  }

  get nodeId(): string {
    return this.dht.self
  }

  async publish(topic: string, data: Data, options: PublishOptions = {}): Promise<PublishReceipt> {
    this.#requireOpen()
    const bytes = encodeData(data) // first: the application may change it once it has its promise
    const topicKey = await topicKeyOf(topic)
    this.#recovery.requireUsable(topicKey)
    checkExpect(options.expect)
    if (options.key !== undefined) return this.#keyed.publish(topicKey, bytes, options.key, options)
    return this.#publisher.publish(topicKey, bytes, options)
  }

  async enqueue(topic: string, data: Data, options: EnqueueOptions = {}): Promise<Receipt> {
    this.#requireOpen()
    const bytes = encodeData(data) // first, as above
    return this.#outbox.enqueue(topic, await topicKeyOf(topic), bytes, options)
  }

  async outbox(topic?: string): Promise<Receipt[]> {
    this.#requireOpen()
    return this.#outbox.list(topic === undefined ? undefined : await topicKeyOf(topic))
  }

  onReceipt(listener: (receipt: Receipt) => void, topic?: string): () => void {
    return this.#outbox.onReceipt(listener, topic)
  }

  async delivered(topic: string, ids: string[]): Promise<number[]> {
    this.#requireOpen()
    const to = await askDelivered(this.dht, await topicKeyOf(topic), ids.map(idOfCid))
    return to.map(({ size }) => Math.min(size, LIMITS.maxSubscribers))
  }

  onOutboxError(listener: (error: OutboxError) => void): () => void {
    return this.#outbox.onError(listener)
  }

  drainOutbox(): void {
    this.#outbox.drain()
  }

  resync(reason: string): Promise<void> {
    return this.#resync.run(reason)
  }

  async subscribe(topic: string, options: SubscribeOptions = {}): Promise<Subscription> {
    this.#requireOpen()
    const subscription = this.#subscriptions.open(topic, await topicKeyOf(topic), options)
    await subscription.start()
    requireNotAborted(options.signal, 'The subscription')
    return subscription
  }

  async history(topic: string, options: HistoryPageOptions = {}): Promise<HistoryPage> {
    this.#requireOpen()
    const { signal, ...query } = options
    const topicKey = await topicKeyOf(topic)
    return this.#history.page({ ...query, topic, topicKey, nowMs: this.dht.runtime.now() }, signal)
  }

  async subscribers(topic: string, options: { signal?: AbortSignal } = {}): Promise<Subscriber[]> {
    return readCurrent(async () => {
      const loaded = await this.#load(topic, options.signal)
      if (!loaded?.coordinator.subscribers) return []
      const read = loaded.reader(options.signal)
      const now = this.dht.runtime.now()
      return (await listSubscribers(loaded.coordinator.subscribers, now, read)).map(toSubscriber)
    })
  }

  async loadCoordinator(topic: string): Promise<CoordinatorView | undefined> {
    const loaded = await this.#load(topic)
    if (loaded === undefined) return undefined
    return toCoordinatorView(loaded.head)
  }

  async loadMessageCollection(topic: string): Promise<MessageCollectionView | undefined> {
    return readCurrent(async () => {
      const loaded = await this.#load(topic)
      if (!loaded?.coordinator.messages) return undefined
      const read = loaded.reader()
      return toCollectionView(await loadMessages(loaded.coordinator.messages, read), read)
    })
  }

  loadSubscriberCollection(topic: string): Promise<Subscriber[]> {
    return this.subscribers(topic)
  }

  async loadFullHistory(topic: string, maxDepth: number = LIMITS.maxHistoryDepth): Promise<FullHistory> {
    return readCurrent(async () => {
      const loaded = await this.#load(topic)
      return loaded === undefined ? emptyFullHistory() : fullHistory(loaded, maxDepth)
    })
  }

  async mergeCoordinators(topic: string, a: Uint8Array, b: Uint8Array): Promise<CoordinatorView> {
    this.#requireOpen()
    return toCoordinatorView(await mergeHeads(this.dht, await topicKeyOf(topic), a, b))
  }

  async replicas(topic: string): Promise<ReplicaView[]> {
    const answers = await this.dht.replicas.heads(COORDINATOR, await topicKeyOf(topic))
    return Promise.all(answers.map(toReplicaView))
  }

  /** State of a topic at this node only; a topic this node never had trouble with is ACTIVE. */
  async channelState(topic: string): Promise<ChannelState> {
    return this.#recovery.state(await topicKeyOf(topic))
  }

  getChannelState(topic: string): Promise<ChannelState> {
    return this.channelState(topic)
  }

  async recover(topic: string): Promise<void> {
    await this.#recovery.recover(await topicKeyOf(topic))
  }

  /** Also while the node closes, until its subscriptions are closed: that is when their readers keep their places. */
  keepPosition(topic: string, reader: string, position: string): Promise<void> {
    return this.#positions.keep(topic, reader, position)
  }

  async keptPosition(topic: string, reader: string): Promise<string | undefined> {
    this.#requireOpen()
    return this.#positions.kept(topic, reader)
  }

  /** Sizes and counts of everything bounded, for metrics and diagnostics. */
  counters() {
    return {
      rpc: this.dht.rpc.counters,
      publisher: this.#publisher.counters,
      commits: this.#holding?.committer.counters,
      initiator: this.#holding?.initiator.counters,
      delivery: this.#holding?.delivery.counters,
      presence: this.#holding?.presenceHolder.counters,
      merges: this.dht.store.counters.merges,
      lostHeads: this.dht.store.counters.lostHeads,
      antiEntropy: this.dht.antiEntropyCounters,
      loadedRecords: this.dht.store.loadedCount,
      attachedTopics: this.#holding?.delivery.attachedTopics ?? 0,
      waitingConfirms: this.#holding?.witness.waiting ?? 0,
      attachedSubscribers: this.#holding?.delivery.attachedSubscribers ?? 0,
      presenceTopics: this.#holding?.presenceHolder.topics ?? 0,
      presenceEntries: this.#holding?.presenceHolder.entries ?? 0,
      outbox: this.#outbox.size,
      outboxHeld: this.#outbox.held,
      outboxed: this.#outbox.counters,
      rememberedKeys: this.#outbox.keys.size,
      numberedTopics: this.#sequences.size,
      deliveredWatched: this.#outbox.deliveredWatched,
      resync: this.#resync.counters,
      waitingPublishes: this.#publisher.waitingCount,
      queuedTopics: this.#publisher.queuedTopics + (this.#holding?.initiator.queuedTopics ?? 0),
      openMessages: this.#holding?.initiator.openMessages ?? 0,
      pushesInFlight: this.#holding?.delivery.pushesInFlight ?? 0,
      pendingRequests: this.dht.rpc.pendingCount,
      serving: this.dht.rpc.servingCount,
      storage: this.#storage.counters,
      pendingWrites: this.#storage.pendingWrites,
      verifiedMessages: this.#verified.size,
      connectedPeers: this.dht.rpc.connectedPeers.length,
      subscriptions: this.#subscriptions.list().length,
      subscribed: this.#subscriptions.counters,
      downPeers: this.dht.replicas.downCount,
    }
  }

  async diagnostics(): Promise<Diagnostics> {
    this.#requireOpen()
    return readDiagnostics({
      dht: this.dht,
      options: this.#options,
      counters: this.counters(),
      persistent: this.#storage.persistent,
      startedAtMs: this.#startedAtMs,
      subscriptions: this.#subscriptions.list(),
      waiting: this.#holding?.delivery.waiting,
    })
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** Every step, also after one that fails, e.g. because the disk is full: nothing goes on serving or stays locked. */
  #close(): Promise<void> {
    const steps = new Cleanups() // last added, first run
    steps.add(() => this.#storage.close())
    steps.add(() => this.dht.close())
    steps.add(() => this.#sequences.close())
    steps.add(() => this.#outbox.close())
    steps.add(() => this.#positions.close())
    steps.add(() => this.#holding?.delivery.close())
    steps.add(() => this.#holding?.presenceHolder.close())
    steps.add(() => this.#holding?.witness.close())
    steps.add(() => this.#recovery.close())
    steps.add(() => this.#publisher.close())
    steps.add(() => this.#presence.close())
    const open = this.#subscriptions.list()
    // together: each may wait for replicas to which it says that it leaves
    steps.add(() => Promise.all(open.map((subscription) => subscription.close())))
    steps.add(() => this.#outbox.stop())
    steps.add(() => this.#resync.close())
    steps.add(() => tellClosing(this))
    return steps.close()
  }

  #createOutbox({ identity }: PubSubInit): Outbox {
    return new Outbox({
      dht: this.dht,
      storage: this.#storage,
      publisherKey: identity.publicKey,
      publisher: this.#publisher,
      options: this.#options,
      requireUsable: (topicKey) => this.#recovery.requireUsable(topicKey),
    })
  }

  #requireOpen(): void {
    if (this.#closing !== undefined) throw new StickyError('CLOSED', 'This node is closed.')
  }

  async #load(topic: string, signal?: AbortSignal): Promise<Loaded | undefined> {
    this.#requireOpen()
    const { retryMs } = this.#options
    const options = { retryMs, startedAtMs: this.#startedAtMs }
    return loadTopic(this.dht, await topicKeyOf(topic), options, signal)
  }
}

/** The face of the library: topics by name over one node, which does its part for others where its network stores. */
export class StickyPubSub extends ClientPubSub {
  constructor(init: PubSubInit) {
    super(init, STORING)
  }
}
