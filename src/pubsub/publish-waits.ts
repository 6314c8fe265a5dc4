import { countCode, type Runtime, StickyError } from '../dht/index.ts'
import type { PublishOptions, PublishReceipt } from './api.ts'
import { type newPublishCounters, tooLate } from './publish-outcome.ts'

/**
 * The callers of `publish` who have not heard yet. Each hears once: what became of its message, or that its deadline,
 * its signal or the end of this node came first.
 */

/** A caller who waits, from its call on: its deadline counts though the own disk takes its time over the number. */
export interface Wait {
  /** Who numbered its message; undefined until then. */
  writer: Uint8Array | undefined
  /** Requests with the message that may have stored it for all that is known: under way, or never answered. */
  unanswered: number
  /** Its deadline. */
  readonly endMs: number
  settled: boolean
  /** Resolves when it is. */
  readonly over: Promise<void>
  resolve(receipt: PublishReceipt): void
  reject(error: StickyError): void
  /** Rejects: with `error` itself only where no request can have stored the message. */
  giveUp(error: StickyError): void
}

export interface PublishWaitsInit {
  runtime: Runtime
  /** Where a caller names none. */
  deadlineMs: number
  /** Each wait is counted when it begins, and once when it ends. */
  counters: Pick<ReturnType<typeof newPublishCounters>, 'begun' | 'stored' | 'failures'>
  /** A message that was numbered may never appear. */
  onRejected(topicKey: Uint8Array, writer: Uint8Array): void
}

export class PublishWaits {
  readonly #init: PublishWaitsInit
  /** Not settled yet, by the topic's name. */
  readonly #open = new Map<string, Set<Wait>>()
  #isClosed = false

  constructor(init: PublishWaitsInit) {
    this.#init = init
  }

  get count(): number {
    return [...this.#open.values()].reduce((sum, open) => sum + open.size, 0)
  }

  /** Of one topic. */
  countOf(name: string): number {
    return this.#open.get(name)?.size ?? 0
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** The caller's deadline and signal end its wait, whatever the disk and the network do. */
  begin(
    name: string,
    topicKey: Uint8Array,
    { deadlineMs = this.#init.deadlineMs, signal }: PublishOptions,
    writer?: Uint8Array,
  ): { wait: Wait; receipt: Promise<PublishReceipt> } {
    const { runtime, counters, onRejected } = this.#init
    const { promise: receipt, resolve, reject } = Promise.withResolvers<PublishReceipt>()
    const over = Promise.withResolvers<void>()
    const open = this.#open.get(name) ?? new Set()
    this.#open.set(name, open)
    const done = () => {
      wait.settled = true
      over.resolve()
      open.delete(wait)
      if (open.size === 0) this.#open.delete(name)
      timer.clear()
      signal?.removeEventListener('abort', onAbort)
    }
    const wait: Wait = {
      writer,
      unanswered: 0,
      endMs: runtime.monotonicNow() + deadlineMs,
      settled: false,
      over: over.promise,
      resolve: (stored) => {
        if (wait.settled) return
        done()
        counters.stored += 1
        resolve(stored)
      },
      reject: (error) => {
        if (wait.settled) return
        done()
        if (wait.writer !== undefined) onRejected(topicKey, wait.writer)
        countCode(counters.failures, error.code)
        reject(error)
      },
      giveUp: (error) => wait.reject(wait.unanswered === 0 ? error : outcomeUnknown(error)),
    }
    const onAbort = () => wait.giveUp(new StickyError('ABORTED', 'The publish was aborted.'))
    const timer = runtime.setTimer(() => wait.giveUp(tooLate(wait)), deadlineMs)
    signal?.addEventListener('abort', onAbort, { once: true })
    open.add(wait)
    counters.begun += 1
    if (this.#isClosed) wait.giveUp(closed())
    return { wait, receipt }
  }

  /** Ends every wait, and each that begins after this. */
  close(): void {
    this.#isClosed = true
    for (const wait of [...this.#open.values()].flatMap((open) => [...open])) wait.giveUp(closed())
  }
}

const closed = () => new StickyError('CLOSED', 'This node is closed.')

const outcomeUnknown = (cause: StickyError): StickyError => {
  const reason = `It was sent, but nobody confirmed it (${cause.message}) It may or may not appear.`
  return new StickyError('OUTCOME_UNKNOWN', reason, { cause })
}
