import { asStickyError, type Dht, requireNotAborted, StickyError, sha256 } from '../dht/index.ts'
import type { PublishOptions, PublishReceipt } from './api.ts'
import { checkTtl, verifyMessage } from './message.ts'
import { LIMITS, type PubSubOptions } from './options.ts'
import type { Outbox } from './outbox.ts'
import type { Publisher } from './publish.ts'
import type { Sent } from './publish-request.ts'
import { duplicateOf, nameOfKey, requireSame, type SavedKey, storedKey } from './remembered-keys.ts'

/**
 * `publish` under an idempotency key. The signed message is remembered under the key before it is sent, so that whatever
 * becomes of this process, a later publish under the key sends the same bytes and there is one message.
 */

export interface KeyedPublishInit {
  dht: Dht
  options: PubSubOptions
  publisher: Publisher
  outbox: Outbox
}

interface Given {
  topicKey: Uint8Array
  key: string
  data: Uint8Array
  ttlMs: number
  expect: PublishOptions['expect']
}

/** What a publish under a key is about. */
interface Keyed extends Given {
  name: string
  hash: Uint8Array
}

/** What there is to wait for: the outcome, or that of an earlier call, which may fail where this one does not. */
interface Found {
  outcome?: PublishReceipt | Promise<PublishReceipt>
  earlier?: Promise<PublishReceipt>
}

export class KeyedPublisher {
  readonly #init: KeyedPublishInit

  constructor(init: KeyedPublishInit) {
    this.#init = init
  }

  async publish(
    topicKey: Uint8Array,
    data: Uint8Array,
    key: string,
    options: PublishOptions,
  ): Promise<PublishReceipt> {
    const { signal, ttlMs = LIMITS.defaultTtlMs, deadlineMs = this.#init.options.publishDeadlineMs } = options
    checkTtl(ttlMs)
    requireNotAborted(signal, 'The publish')
    return new Deadline(this.#init.dht, deadlineMs, signal).run((deadline) =>
      this.#publish({ topicKey, key, data, ttlMs, expect: options.expect }, deadline),
    )
  }

  async #publish(given: Given, deadline: Deadline): Promise<PublishReceipt> {
    for (;;) {
      // at once: what is published after this call, also without a key, has its turn after it
      const found = await this.#init.publisher.inOrder(given.topicKey, () => this.#inTurn(given, deadline))
      if (found.outcome) return found.outcome
      const receipt = found.earlier && (await deadline.maySucceed(found.earlier).catch(() => undefined))
      if (receipt) return asDuplicate(receipt)
    }
  }

  /** Waits for no outcome: others wait for their turn. */
  async #inTurn(given: Given, deadline: Deadline): Promise<Found> {
    const { outbox, dht } = this.#init
    const [name, hash] = await Promise.all([
      nameOfKey(given.topicKey, given.key),
      sha256(given.data),
      outbox.ready(),
    ])
    deadline.requireOpen() // it may have waited for an earlier call, whose signal and deadline are not this one's
    const running = outbox.keys.running(name)
    if (running) {
      requireSame(running.hash, hash)
      return { earlier: running.outcome }
    }
    const waiting = outbox.outcomeOf(name, hash)
    if (waiting) return { outcome: deadline.maySucceed(waiting).then(asDuplicate) }
    const kept = outbox.keys.get(name, hash, dht.runtime.now())
    const stored = kept && duplicateOf(kept)
    if (stored) return { outcome: stored }
    const handedOver = Promise.withResolvers<void>()
    const outcome = this.#send({ ...given, name, hash }, kept, deadline, handedOver.resolve)
    outbox.keys.setRunning(name, { hash, outcome }) // in the same moment: else it could be enqueued meanwhile
    await Promise.race([handedOver.promise, outcome])
    return { outcome }
  }

  /** `kept`: the message of an earlier call, of unknown outcome. */
  async #send(
    keyed: Keyed,
    kept: SavedKey | undefined,
    deadline: Deadline,
    onHandedOver: () => void,
  ): Promise<PublishReceipt> {
    const { publisher, outbox, dht } = this.#init
    const { name, hash, topicKey, expect } = keyed
    const sent = await this.#remember(keyed, kept)
    let receipts: Promise<PublishReceipt>[]
    try {
      deadline.requireOpen()
      receipts = publisher.send(topicKey, [sent], { ...deadline.handOver(), ...(expect && { expect }) })
    } catch (error) {
      publisher.abandon(topicKey, sent)
      if (kept === undefined) await this.#forget(name)
      throw error
    }
    onHandedOver()
    try {
      const stored = (await receipts[0]) as PublishReceipt
      const saved = storedKey(hash, dht.runtime.now(), sent.message.body.expiresAt, stored)
      await outbox.writeKeys(outbox.keys.put(name, saved)).catch(() => undefined) // else the same bytes are sent again
      return stored
    } catch (cause) {
      const error = asStickyError(cause, 'UNREACHABLE')
      if (error.code === 'OUTCOME_UNKNOWN') throw error
      if (kept !== undefined) throw unconfirmed(error) // an earlier publish may have stored it
      await this.#forget(name)
      throw error
    }
  }

  /** The message, numbered and signed once, on disk before it is sent. */
  async #remember({ topicKey, name, data, hash, ttlMs }: Keyed, kept: SavedKey | undefined): Promise<Sent> {
    const { publisher, outbox, dht } = this.#init
    if (kept?.outcome.status === 'unknown') {
      const message = await verifyMessage(kept.outcome.envelope, { topicKey }).catch((error: unknown) => {
        throw unconfirmed(asStickyError(error, 'MALFORMED')) // the disk has damaged what may have been stored
      })
      return { message, payload: message.body.payload === undefined ? undefined : data }
    }
    const sent = await publisher.prepare(topicKey, data, ttlMs)
    const { envelope, body } = sent.message
    const outcome = { status: 'unknown' as const, envelope }
    const saved = { hash, atMs: dht.runtime.now(), expiresAt: body.expiresAt, outcome }
    try {
      await outbox.writeKeys(outbox.keys.put(name, saved))
      return sent
    } catch (error) {
      publisher.abandon(topicKey, sent)
      outbox.keys.drop(name)
      throw error
    }
  }

  /** It will never appear; when the disk refuses, a later publish under the key sends these bytes. */
  async #forget(name: string): Promise<void> {
    const { outbox } = this.#init
    await outbox.writeKeys(outbox.keys.drop(name)).catch(() => undefined)
  }
}

const asDuplicate = (receipt: PublishReceipt): PublishReceipt => ({ ...receipt, duplicate: true })

/** The caller's deadline and signal, until the publisher takes them over. */
class Deadline {
  readonly #dht: Dht
  readonly #endMs: number
  readonly #signal: AbortSignal | undefined
  #isOver = false
  #isHandedOver = false
  #mayBeStored = false

  constructor(dht: Dht, deadlineMs: number, signal: AbortSignal | undefined) {
    this.#dht = dht
    this.#endMs = dht.runtime.monotonicNow() + deadlineMs
    this.#signal = signal
  }

  async run(work: (deadline: Deadline) => Promise<PublishReceipt>): Promise<PublishReceipt> {
    const early = Promise.withResolvers<never>()
    const end = (error: StickyError) => {
      if (this.#isHandedOver) return
      this.#isOver = true
      early.reject(this.#mayBeStored ? unconfirmed(error) : error)
    }
    const onAbort = () => end(new StickyError('ABORTED', 'The publish was aborted.'))
    const timer = this.#dht.runtime.setTimer(() => end(late(this.#mayBeStored)), this.#leftMs)
    this.#signal?.addEventListener('abort', onAbort, { once: true })
    try {
      return await Promise.race([work(this), early.promise])
    } finally {
      timer.clear()
      this.#signal?.removeEventListener('abort', onAbort)
    }
  }

  /** Throws where the caller has been told that it is over: nothing may be sent then. */
  requireOpen(): void {
    if (this.#isOver) throw new StickyError('ABORTED', 'The publish was given up.')
  }

  /** Somebody else sends it: it may be stored though this caller waits no longer. */
  maySucceed<T>(outcome: Promise<T>): Promise<T> {
    this.#mayBeStored = true
    return outcome
  }

  handOver(): PublishOptions {
    this.#isHandedOver = true
    return { deadlineMs: this.#leftMs, ...(this.#signal ? { signal: this.#signal } : {}) }
  }

  get #leftMs(): number {
    return Math.max(1, this.#endMs - this.#dht.runtime.monotonicNow())
  }
}

const late = (isSentElsewhere: boolean): StickyError =>
  isSentElsewhere
    ? new StickyError('QUORUM_FAILED', 'An earlier call under this key has no answer yet.')
    : new StickyError(
        'STORAGE_FAILED',
        'The disk of this node took longer than the deadline over the number.',
      )

const unconfirmed = (error: StickyError): StickyError =>
  new StickyError('OUTCOME_UNKNOWN', `It is sent under this key, but not confirmed (${error.message})`, {
    cause: error,
  })
