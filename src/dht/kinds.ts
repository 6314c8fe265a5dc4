/**
 * What another room tells the record store about its objects. Verification, size limits, links, merge and expiry at a
 * holder are then one code path, and the store knows nothing of topics.
 */

/** A link from an object to a block. */
export interface BlockRef {
  kind: string
  /** 32-byte object id. */
  id: Uint8Array
  /** What who links to it says. A holder takes nothing that links to a block of another length. */
  byteLength?: number
  /** Kept and copied where it can be had; nobody fails for want of it. */
  optional?: boolean
}

export interface BlockInfo {
  links: BlockRef[]
  /** After this moment (wall clock) a holder may delete the block. */
  expiresAtMs: number
}

/** Immutable objects, named by a hash that `verify` checks. */
export interface BlockKind {
  readonly name: string
  readonly maxBytes: number
  /** True: `links` need not be followed to know what the store must keep (there are none, or only leaves). */
  readonly isLeaf: boolean
  /** Throws TOO_LARGE, MALFORMED, WRONG_HASH, BAD_SIGNATURE …; resolves only for bytes that may be stored. */
  verify(id: Uint8Array, bytes: Uint8Array): Promise<BlockInfo>
  /**
   * The hash, and what it does not cover that a disk can corrupt: what is read from the own disk was verified when it was
   * written. Never throws.
   */
  matches(id: Uint8Array, bytes: Uint8Array): Promise<boolean>
  /** The links of bytes that were verified before. */
  links(bytes: Uint8Array): BlockRef[]
}

export interface Block {
  kind: string
  id: Uint8Array
  bytes: Uint8Array
}

/** Reads blocks of one record: new ones first, then the holder's disk. Throws NOT_FOUND. */
export type BlockReader = (ref: BlockRef) => Promise<Uint8Array>

/** A new head of a record and the blocks it needs that the old one did not have. */
export interface Change {
  head: Uint8Array
  blocks: Block[]
}

export type Relation = 'same' | 'behind' | 'ahead' | 'diverged'

/** The mutable object of a record: small, joined, never simply replaced. */
export interface HeadKind {
  readonly name: string
  readonly maxBytes: number
  /** Largest delta a commit may carry. */
  readonly maxDeltaBytes: number
  /** Throws unless these bytes may be a head of `key`; gives the blocks it needs and when it may be forgotten. */
  verify(key: Uint8Array, head: Uint8Array): Promise<BlockInfo>
  /** The links of a head that was verified before. */
  links(head: Uint8Array): BlockRef[]
  /** Blocks that the head does not need, which whoever has them keeps at this moment (wall clock) all the same. */
  kept(head: Uint8Array, read: BlockReader, nowMs: number): Promise<BlockRef[]>
  /** Cheap, from the heads' own histories: is `own` an ancestor of `other` ('behind'), its descendant, or neither known? */
  compare(own: Uint8Array, other: Uint8Array): Relation
  /**
   * The head after `delta`, byte for byte what its author computed. Verifies every new fact. `own` undefined: an empty
   * record. What the own disk replays was fresh when it came; only what comes from elsewhere is checked against the clock.
   */
  apply(
    key: Uint8Array,
    own: Uint8Array | undefined,
    delta: Uint8Array,
    read: BlockReader,
    origin: 'peer' | 'disk',
  ): Promise<Change>
  /** What this node signs of a delta that it has applied and its disk has, if anything; not more than MAX_SIGNED_BYTES. */
  acknowledge(key: Uint8Array, delta: Uint8Array): Promise<Uint8Array | undefined>
  /**
   * Throws WRONG_TOPIC when what a verified head names belongs to another record, MALFORMED when no honest holder writes
   * it. For a holder's first head of a key.
   */
  checkLinked(key: Uint8Array, head: Uint8Array, read: BlockReader): Promise<void>
  /** The join of both. Pure, deterministic and commutative; gives `own` or `other` itself when that already is the join. */
  join(key: Uint8Array, own: Uint8Array, other: Uint8Array, read: BlockReader): Promise<Change>
}
