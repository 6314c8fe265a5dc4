import { type Dht, type NodeId, StickyError, type Timer, toHex } from '../dht/index.ts'
import { COORDINATOR, type PubSubOptions } from './options.ts'
import type { StoredIds } from './stored-ids.ts'
import { topicMethods } from './wire.ts'

/**
 * The replica's word to a publisher that what it published is on this disk, so that it need not believe the initiator
 * alone. Who asks before the commit is here waits for it.
 */

/** By id, in hex. */
type Stored = ReadonlyMap<string, number>

interface Waiter {
  from: NodeId
  ids: string[]
  timer: Timer
  answer(stored: Stored): void
}

interface AwaitedTopic {
  key: Uint8Array
  waiters: Set<Waiter>
  isChecking: boolean
  /** It has moved on since the check began. */
  isOutdated: boolean
}

export class Witness {
  readonly #dht: Dht
  readonly #options: PubSubOptions
  readonly #storedIds: StoredIds
  readonly #topics = new Map<string, AwaitedTopic>()
  readonly #waitingOf = new Map<NodeId, number>()
  readonly #stop: () => void

  constructor(dht: Dht, options: PubSubOptions, storedIds: StoredIds) {
    this.#dht = dht
    this.#options = options
    this.#storedIds = storedIds
    dht.rpc.handle(topicMethods.confirm, (from, { topic, ids, waitMs }) =>
      this.#confirm(from, topic, ids.map(toHex), waitMs),
    )
    this.#stop = dht.store.onAdvance(({ kind, key }) => {
      const topic = kind === COORDINATOR ? this.#topics.get(toHex(key)) : undefined
      if (topic !== undefined) void this.#check(topic)
    })
  }

  async #confirm(
    from: NodeId,
    key: Uint8Array,
    ids: string[],
    waitMs: number,
  ): Promise<{ stored: boolean[] }> {
    const now = await this.#stored(key)
    if (waitMs === 0 || ids.every((id) => now.has(id))) return { stored: ids.map((id) => now.has(id)) }
    if ((this.#waitingOf.get(from) ?? 0) >= this.#options.maxWaitingConfirmsPerPeer)
      throw new StickyError('BUSY', 'This node waits for enough on behalf of its peer.')
    return new Promise((resolve) => this.#wait(from, key, ids, waitMs, (stored) => resolve({ stored })))
  }

  #wait(
    from: NodeId,
    key: Uint8Array,
    ids: string[],
    waitMs: number,
    resolve: (stored: boolean[]) => void,
  ): void {
    const name = toHex(key)
    const topic = this.#topics.get(name) ?? { key, waiters: new Set(), isChecking: false, isOutdated: false }
    const done = (stored: boolean[]) => {
      if (!topic.waiters.delete(waiter)) return
      waiter.timer.clear()
      if (topic.waiters.size === 0) this.#topics.delete(name)
      const others = (this.#waitingOf.get(from) ?? 1) - 1
      if (others === 0) this.#waitingOf.delete(from)
      else this.#waitingOf.set(from, others)
      resolve(stored)
    }
    let known = ids.map(() => false)
    const waiter: Waiter = {
      from,
      ids,
      timer: this.#dht.runtime.setTimer(() => done(known), waitMs),
      answer(stored) {
        known = ids.map((id) => stored.has(id))
        if (known.every(Boolean)) done(known)
      },
    }
    this.#topics.set(name, topic)
    this.#waitingOf.set(from, (this.#waitingOf.get(from) ?? 0) + 1)
    topic.waiters.add(waiter)
    void this.#check(topic) // it may have moved on since it was looked at
  }

  async #check(topic: AwaitedTopic): Promise<void> {
    topic.isOutdated = true
    if (topic.isChecking) return
    topic.isChecking = true
    while (topic.isOutdated && topic.waiters.size > 0) {
      topic.isOutdated = false
      // what cannot be read now is not there for all that this node knows
      const stored = await this.#stored(topic.key).catch(() => new Map<string, number>())
      for (const waiter of [...topic.waiters]) waiter.answer(stored)
    }
    topic.isChecking = false
  }

  /** Between two changes of the record: a join is in memory before it is on the disk. */
  async #stored(key: Uint8Array): Promise<Stored> {
    const record = await this.#dht.store.record(COORDINATOR, key)
    return record.exclusive(() => this.#storedIds.of(record))
  }

  /** Requests that wait for a commit. */
  get waiting(): number {
    return [...this.#waitingOf.values()].reduce((sum, count) => sum + count, 0)
  }

  close(): void {
    this.#stop()
    for (const { waiters } of this.#topics.values()) for (const { timer } of waiters) timer.clear()
    this.#topics.clear()
    this.#waitingOf.clear()
  }
}
