import type { NodeId } from '../dht/index.ts'
import { LIMITS } from './options.ts'

/** What waits for one subscriber of one topic while a push to it is under way. */
export interface WaitingQueue {
  readonly peer: NodeId
  waiting: [version: number, envelope: Uint8Array][]
  waitingBytes: number
}

/** Bounds what waits: for each subscriber of a topic, and for each peer over all its topics. */
export class WaitingPushes {
  readonly #maxBytesPerPeer: number
  /** Of peers for whom something waits. */
  readonly #bytesOf = new Map<NodeId, number>()

  constructor(maxBytesPerPeer: number) {
    this.#maxBytesPerPeer = maxBytesPerPeer
  }

  /** False where that is more than may wait: then nothing does, and the subscriber has to come and read. */
  add(queue: WaitingQueue, entries: WaitingQueue['waiting']): boolean {
    for (const entry of entries) {
      queue.waiting.push(entry)
      this.#change(queue, entry[1].byteLength)
    }
    const isTooMuch =
      queue.waiting.length > LIMITS.maxPushMessages ||
      queue.waitingBytes > LIMITS.maxPushBytes ||
      (this.#bytesOf.get(queue.peer) ?? 0) > this.#maxBytesPerPeer
    if (isTooMuch) this.take(queue)
    return !isTooMuch
  }

  /** Also of who is a subscriber no longer. */
  take(queue: WaitingQueue): WaitingQueue['waiting'] {
    const { waiting } = queue
    this.#change(queue, -queue.waitingBytes)
    queue.waiting = []
    return waiting
  }

  #change(queue: WaitingQueue, bytes: number): void {
    queue.waitingBytes += bytes
    const ofPeer = (this.#bytesOf.get(queue.peer) ?? 0) + bytes
    if (ofPeer > 0) this.#bytesOf.set(queue.peer, ofPeer)
    else this.#bytesOf.delete(queue.peer)
  }
}
