/** Every number of this room, with its unit in the name and its reason beside it. */

/** What the protocol allows: the same at every node, because a holder refuses what is beyond. */
export const LIMITS = {
  maxTopicNameLength: 256,
  /** Data up to here rides inside its message (requirement E1); larger data is a block of its own. */
  maxInlineBytes: 10 * 1024,
  /** One payload block must fit into one frame beside its message. */
  maxPayloadBytes: 128 * 1024,
  /** Inline data, and what a body and its signature add. */
  maxEnvelopeBytes: 11 * 1024,
  maxInfoBytes: 128,
  maxStatementBytes: 512,
  defaultTtlMs: 24 * 3_600_000,
  maxTtlMs: 30 * 24 * 3_600_000,
  /** A clock may be off by this much (threat 18); two of them by twice as much. */
  maxSkewMs: 5 * 60_000,
  /** Objects are kept this long after the latest expiry inside (requirement A3). */
  graceMs: 3_600_000,
  /**
   * No holder stores what claims to be from further ahead, in whatever way it comes. More than two clocks that are each
   * off by `maxSkewMs` differ, so that honest holders never refuse each other; less than the grace, so that a head from
   * ahead lets go of nothing that is live.
   */
  maxAheadMs: 30 * 60_000,
  subscriptionTtlMs: 30 * 60_000,
  maxSubscribers: 1_000,
  /** A page is sealed at so many messages or bytes (design §3). */
  pageEntries: 64,
  pageBytes: 128 * 1024,
  maxPageBytes: 160 * 1024,
  fanOut: 64,
  /**
   * Full pages that a topic never loses while they are its newest: 50,048 messages, or 97.75 MiB of large ones. A page has
   * 64 messages or 128 KiB, so one number bounds both.
   */
  keptPages: 782,
  /**
   * Pages that are kept above these before the oldest are trimmed, 4,096 messages. Replicas that have gone apart trim at
   * different commits: while neither is further ahead than this, what they share is still all that has to be kept.
   */
  trimSlackPages: 64,
  maxRootBytes: 16 * 1024,
  maxSpineBytes: 64 * 1024,
  /** Levels above the pages: 64^5 pages of 64 messages. */
  maxSpineLevels: 5,
  leafStatements: 64,
  maxSubscriberNodeBytes: 48 * 1024,
  maxTrieDepth: 64,
  maxCoordinatorBytes: 1_024,
  /** Ids kept in each history when a coordinator is pruned. */
  keptHistory: 4,
  maxSnapshotBytes: 8 * 1024,
  /** Of both histories together: 200 of 34 bytes, and the rest of the object. */
  maxSnapshotIds: 200,
  maxParents: 4,
  maxVersion: 2 ** 40,
  /**
   * 2025-01-01. No version is higher than the milliseconds since then: commits are rarer, so a forged one leaves room
   * for all the honest ones that follow, and nobody can bring a topic to the end of its numbers.
   */
  versionEpochMs: 1_735_689_600_000,
  /** A version this far above the other's is accepted for its contents and ignored for its number. */
  maxVersionJump: 1_000_000,
  /**
   * A version seen this far above a holder's own was one that a merge has let go of since. Half of the jump: holders have
   * counted on by the time a reader looks, so who asked for the whole distance could wait for ever.
   */
  forgedLead: 500_000,
  maxDeltaBytes: 224 * 1024,
  maxDeltaMessages: 512,
  maxDeltaPayloads: 16,
  maxPushBytes: 160 * 1024,
  maxPushMessages: 200,
  maxHistoryLimit: 256,
  maxHistoryDepth: 64,
  /** A position in a text: the most of what follows, with the largest numbers there are. */
  maxPositionBytes: 64 * 1024,
  /** Writers in a position; beyond, the longest silent is left out. */
  maxPositionWriters: 1_024,
  /** Of these, of one publisher: as many as a reader remembers of it. */
  maxPositionWritersPerPublisher: 100,
  /** Of one writer, and of all together; beyond, what was missing longest is not expected any more. */
  maxPositionHolesPerWriter: 16,
  maxPositionHoles: 1_024,
  /**
   * Messages in a row, and commits, that are all older than `{ since }`: behind so many the reader does not look for newer
   * ones. A merge brings in what is old under one version, and a publisher that was away brings it one by one.
   */
  sinceScanMessages: 512,
  sinceScanVersions: 8,
  /** How many recent messages an initiator looks through for one that is sent a second time. */
  maxDuplicateScan: 1_024,
  /** Replicas whose signed word for a commit goes to its publisher; nobody has a set of more. */
  maxSignedBy: 64,
  /** How long a replica waits, at most, for a commit that a publisher asks after. */
  maxConfirmWaitMs: 10_000,
  /** What a member of a topic says of itself. All of it is at every member, so it is small. */
  maxPresenceStateBytes: 256,
  maxPresenceBytes: 512,
  /** A member says at least this often that it is here (requirement F6). */
  presenceHeartbeatMs: 15_000,
  /** Of whom nothing new was heard for so long has gone. Less than the 30 s of F6 by what a push takes. */
  presenceExpiryMs: 29_000,
  /** Longer than what was sent before a leave can be under way: it must not bring back who left. */
  presenceTombstoneMs: 60_000,
  /** Changes of one topic are sent on at most four times a second. */
  presencePushMs: 250,
  /** Members in one answer, which must fit into a frame. */
  maxRosterEntries: 512,
  /** Of an idempotency key. */
  maxKeyBytes: 128,
} as const

/** Name of the record kind that pubsub hands to the record store. */
export const COORDINATOR = 'coordinator'

/** What one node may choose. */
export interface PubSubOptions {
  /** A publish's deadline when the caller names none (lesson L-A5). */
  publishDeadlineMs: number
  /** One attempt at one initiator, commit included. */
  publishAttemptMs: number
  /** What waits so long for its commit is sent back as BUSY: less than the attempt, so that its publisher hears of it. */
  maxQueuedMs: number
  /** So often in a row a publisher comes back to a replica that is busy, if there is time, before it turns to another one. */
  maxBusyReturns: number
  /** How long a publisher waits, after an initiator's answer, for other replicas to say that they have it too. */
  confirmMs: number
  /** What is published to a topic in this time is one question to a replica that no publish waited for. */
  gatherMs: number
  /** A replica that lacks what a majority has is given it after this long: mostly it has just come, and is being told. */
  offerAfterMs: number
  /** A replica that said nothing to a publisher is not waited for again for this long. */
  silentMs: number
  /** Requests of one peer that wait here for a commit; beyond, it is told to ask again. Each holds up to 8 KiB. */
  maxWaitingConfirmsPerPeer: number
  /** How long an initiator goes on merging and sending one group. */
  commitDeadlineMs: number
  /** Backoff between attempts, doubling to the maximum (requirement A5). */
  retryMs: number
  maxRetryMs: number
  /** Publishes waiting in one topic; more are refused as BUSY. */
  maxQueuedPerTopic: number
  /** Merges in a row without a commit before a topic is RECOVERING (requirement A8). */
  maxFailedMerges: number
  recoveryRetryMs: number
  /** The safety net under pushes (requirement A10). 0: none; that a replica pushes no more may then show at a renewal only. */
  checkIntervalMs: number
  /** How long what was pushed is taken for all that there is, before a check reads it at another replica too. */
  confirmPushesMs: number
  /** Longest wait between two attempts to reach a replica. */
  maxCheckMs: number
  /** How long a replica that was of no use to a publisher or subscriber comes last for it. */
  avoidMs: number
  /** How long `subscribe` without the whole history waits for a replica to say where it begins. */
  beginMs: number
  /**
   * How long a subscriber that knows no other replica, and holds nothing of the topic, waits for one before it begins with
   * what there is here: nothing. 0: not at all.
   */
  awaitPeersMs: number
  /** Half the life of a subscription. */
  renewMs: number
  /**
   * How long a message that overtook another waits for it before the gap is reported. With the longest wait for the
   * periodic check before it (1.5 × `checkIntervalMs`, and a tenth of it to be asked with others) and for the look at what
   * has waited (1.5 s) less than 15 s, within which everything shall have settled.
   */
  gapPatienceMs: number
  /** Pushes in a row without acknowledgement before a replica lets go of a subscriber, which then attaches anew. */
  maxPushFailures: number
  maxAttachedTopics: number
  /** Of these, for one peer. */
  maxAttachedTopicsPerPeer: number
  /** Waiting for pushes to one peer, all its topics together; beyond, it is told to come and read. */
  maxWaitingBytesPerPeer: number
  /** Messages an async iteration may be behind before it ends with BUSY. */
  maxUnreadMessages: number
  /**
   * What waits to be sent, in all topics; more is refused as BUSY. What waits to be told as failed takes the room that is left. Bytes: data, and 1 KiB for the
   * rest of each.
   */
  maxOutboxEntries: number
  maxOutboxBytes: number
  /** Times that a message of the outbox is sent, each for `publishDeadlineMs` at most, before it has failed. */
  outboxAttempts: number
  /** Backoff between these, doubling to the maximum. */
  outboxRetryMs: number
  maxOutboxRetryMs: number
  /** A node without peers looks for some this often while its outbox has something for them. */
  offlineCheckMs: number
  /** To have a message of the outbox at this node alone is not to have stored it: a tab is soon gone. */
  outboxAwaitsPeers: boolean
  /**
   * Whoever asked for it is told to how many a message was delivered: replicas are asked this long after it was stored, and
   * so often in all, the pause doubling.
   */
  deliveredAskMs: number
  deliveredRounds: number
  /** Messages about which they are asked at one time; beyond, no more is told of the oldest. */
  maxDeliveredWatched: number
  /** Topics of the outbox that are sent to at once: each may look up replicas. */
  maxOutboxTopicsAtOnce: number
  /** Receipts of what was stored that nobody listened for; the oldest are dropped beyond. */
  maxUntoldReceipts: number
  /** Keys of publishes that were stored, or may have been; the oldest are forgotten beyond. */
  maxRememberedKeys: number
  maxRememberedKeyBytes: number
  /** How long a key is remembered, if its message does not live longer. */
  rememberedKeyMs: number
  /** Topics in which this node knows how far its numbers have come; beyond, it begins anew in the one longest silent. */
  maxNumberedTopics: number
  /** When `resync` answers at the latest, and how many subscriptions it attaches at once. */
  resyncMs: number
  maxResyncsAtOnce: number
  /** Messages remembered as verified, so that one node does not check a signature twice. */
  maxVerifiedMessages: number
  /** Topics whose members this node keeps, as a replica. */
  maxPresenceTopics: number
  /** Members of all of them together, those who left a minute ago included: up to 1 KiB each. */
  maxPresenceEntries: number
  /** Of these, for one peer. */
  maxPresenceEntriesPerPeer: number
  /** Signatures of members that a subscriber checks in one topic: so many at once, and a second. */
  maxPresenceChecks: number
  presenceChecksPerSecond: number
}

export const DEFAULT_PUBSUB_OPTIONS: PubSubOptions = {
  publishDeadlineMs: 12_000,
  publishAttemptMs: 6_000,
  maxQueuedMs: 3_000,
  maxBusyReturns: 4,
  confirmMs: 600,
  gatherMs: 1_000,
  offerAfterMs: 3_000,
  silentMs: 5_000,
  maxWaitingConfirmsPerPeer: 64,
  commitDeadlineMs: 10_000,
  retryMs: 100,
  maxRetryMs: 30_000,
  maxQueuedPerTopic: 20_000,
  maxFailedMerges: 10,
  recoveryRetryMs: 30_000,
  checkIntervalMs: 5_000,
  confirmPushesMs: 60_000,
  maxCheckMs: 5_000,
  avoidMs: 30_000,
  beginMs: 12_000,
  awaitPeersMs: 0,
  renewMs: 15 * 60_000,
  gapPatienceMs: 5_000,
  maxPushFailures: 3,
  maxAttachedTopics: 10_000,
  maxAttachedTopicsPerPeer: 1_000,
  maxWaitingBytesPerPeer: 1024 * 1024,
  maxUnreadMessages: 65_536,
  maxOutboxEntries: 1_000,
  maxOutboxBytes: 16 * 1024 * 1024,
  outboxAttempts: 5,
  outboxRetryMs: 2_000,
  maxOutboxRetryMs: 60_000,
  offlineCheckMs: 5_000,
  outboxAwaitsPeers: false,
  deliveredAskMs: 500,
  deliveredRounds: 5,
  maxDeliveredWatched: 256,
  maxOutboxTopicsAtOnce: 16,
  maxUntoldReceipts: 256,
  maxRememberedKeys: 4_096,
  maxRememberedKeyBytes: 4 * 1024 * 1024,
  rememberedKeyMs: 24 * 3_600_000,
  maxNumberedTopics: 4_096,
  resyncMs: 15_000,
  maxResyncsAtOnce: 16,
  maxVerifiedMessages: 4_096,
  maxPresenceTopics: 10_000,
  maxPresenceEntries: 32_768,
  maxPresenceEntriesPerPeer: 256,
  maxPresenceChecks: 3_000,
  presenceChecksPerSecond: 200,
}
