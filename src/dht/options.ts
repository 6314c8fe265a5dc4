/** Every number of this room, with its unit in the name and its reason beside it. */
export interface DhtOptions {
  /** Holders of a record. 8: design §4. */
  replication: number
  /** Of these, the closest disk-backed ones come first. 3: a majority of nothing but tabs would lose a topic. */
  minDurable: number
  /** One request to one peer. 2,500 ms: shorter ones cooled healthy peers at 600 ms round trip (lesson L-D2). */
  requestTimeoutMs: number
  /** Opening a link, dial and handshakes included. */
  linkTimeoutMs: number
  /** A peer that could not be reached is left out of replica sets for this long, doubling to the maximum. */
  downMs: number
  maxDownMs: number
  /** A replica set is looked up again after this long, or when peers come and go. */
  replicaSetTtlMs: number
  maxCachedReplicaSets: number
  /** Replicas compare heads this often (with jitter), and soon after the topology changed. */
  antiEntropyMs: number
  /** Unreachable blocks and expired records leave the disk this often. */
  sweepMs: number
  /** Once this share of the blocks on disk has been removed, the disk is asked to give their space back. */
  compactAfterShare: number
  /** Records kept in memory; the others are read again when they are asked for. */
  maxLoadedRecords: number
  /** A record's log is folded into a checkpoint after so many commits or bytes. */
  checkpointCommits: number
  checkpointBytes: number
  /** Superseded blocks a holder still serves to a peer that is reading an older head, in commits. */
  keptOldCommits: number
  /** Blocks one synchronisation may fetch: bounds what a hostile head can make a holder download. */
  maxSyncBlocks: number
  maxSyncBytes: number
  /** And how long it may take: what came by then is kept, and the next one goes on from there. */
  maxSyncMs: number
  /** A reader waits this long for a holder to join what others have; who needs longer goes on without it. */
  readRepairMs: number
  /** How long one round of comparing goes on with one peer. */
  maxPeerRoundMs: number
  /** Requests of one peer in work at once, so many of each load (wire.ts); more are answered BUSY. */
  maxInflightPerPeer: number
  /** Requests in a row without an answer before a link counts as dead (lesson L-C3). */
  unansweredBeforeRedial: number
  /**
   * A node that knows no other holder so long after its start counts as the only one: what its disk has lost nobody has.
   * Before that it may come to know them at any moment.
   */
  aloneMs: number
  /**
   * A holder that could not be reached for so long counts as gone: what this disk has lost it has not either. 1 h: a
   * partition may last, and what this disk has besides would go; but a record that misses a block cannot be used meanwhile.
   */
  goneMs: number
  /** A read goes on this long after a majority has answered, for those who are slower. */
  stragglerMs: number
  /** Links kept per peer (both sides may open one at the same moment). */
  maxLinksPerPeer: number
}

export const DEFAULT_DHT_OPTIONS: DhtOptions = {
  replication: 8,
  minDurable: 3,
  requestTimeoutMs: 2_500,
  linkTimeoutMs: 5_000,
  downMs: 2_000,
  maxDownMs: 60_000,
  replicaSetTtlMs: 60_000,
  maxCachedReplicaSets: 4_096,
  antiEntropyMs: 30_000,
  sweepMs: 600_000,
  compactAfterShare: 1 / 8,
  maxLoadedRecords: 2_048,
  checkpointCommits: 64,
  checkpointBytes: 256 * 1024,
  keptOldCommits: 16,
  maxSyncBlocks: 20_000,
  maxSyncBytes: 256 * 1024 * 1024,
  maxSyncMs: 60_000,
  readRepairMs: 5_000,
  maxPeerRoundMs: 120_000,
  maxInflightPerPeer: 256,
  unansweredBeforeRedial: 3,
  aloneMs: 60_000,
  goneMs: 3_600_000,
  stragglerMs: 250,
  maxLinksPerPeer: 3,
}
