import type * as v from 'valibot'
import {
  asStickyError,
  type CodeCounts,
  countCode,
  type Dht,
  type ErrorCode,
  type HeldRecord,
  publicKeyOf,
  StickyError,
  sha256,
  toHex,
  totalOf,
} from '../dht/index.ts'
import type { CommitResult, Committer } from './commit.ts'
import { decodeCoordinator } from './coordinator.ts'
import { encodeDelta, messageIdsIn, type VerifiedMessages } from './delta.ts'
import { requireExpected, UnexpectedVersionError } from './expected-version.ts'
import { checkData, checkFreshness, type VerifiedMessage, verifyMessage } from './message.ts'
import { LIMITS, type PubSubOptions } from './options.ts'
import type { Recovery } from './recovery.ts'
import type { StoredIds } from './stored-ids.ts'
import { checkStatementFreshness, type VerifiedStatement, verifyStatement } from './subscription-statement.ts'
import { type Signed, topicMethods } from './wire.ts'

/**
 * Whichever holder a publisher reaches first acts for that operation. It checks what arrives and commits in groups:
 * everything that came while the last commit of the topic was under way goes into the next one.
 */

interface Waiter {
  messages: VerifiedMessage[]
  payloads: Uint8Array[]
  statements: VerifiedStatement[]
  bytes: number
  queuedAtMs: number
  /** Of one message: it is committed alone, and only where nothing was added after this version. */
  expect: number | undefined
  resolve(result: CommitResult): void
  reject(error: unknown): void
}

/** What one request brings. */
interface Committed {
  messages?: VerifiedMessage[]
  payloads?: Uint8Array[]
  statements?: VerifiedStatement[]
  expect?: number | undefined
}

interface TopicQueue {
  waiting: Waiter[]
  running: boolean
}

export class Initiator {
  readonly #dht: Dht
  readonly #committer: Committer
  readonly #recovery: Recovery
  readonly #options: PubSubOptions
  readonly #verified: VerifiedMessages
  readonly #topics = new Map<string, TopicQueue>()
  readonly #storedIds: StoredIds
  /** What waits for its commit, or is in it. */
  readonly #open = new Set<Waiter>()
  /** Of messages: received = refusals + stored + failures + `openMessages`, at every moment. */
  readonly counters = {
    received: 0,
    refusals: {} as CodeCounts,
    get refused() {
      return totalOf(this.refusals)
    },
    stored: 0,
    failures: {} as CodeCounts,
    groups: 0,
    groupedMessages: 0,
  }

  constructor(
    dht: Dht,
    committer: Committer,
    recovery: Recovery,
    options: PubSubOptions,
    verified: VerifiedMessages,
    storedIds: StoredIds,
  ) {
    this.#dht = dht
    this.#committer = committer
    this.#recovery = recovery
    this.#options = options
    this.#verified = verified
    this.#storedIds = storedIds
    dht.rpc.handle(topicMethods.publish, (_from, request) => this.#publish(request))
    dht.rpc.handle(topicMethods.subscribe, async (_from, { topic, statement }) => {
      const verified = await verifyStatement(statement, { topicKey: topic })
      checkStatementFreshness(verified, dht.runtime.now())
      const { head } = await this.#enqueue(topic, { statements: [verified] })
      return { version: decodeCoordinator(head).version }
    })
  }

  async #publish(request: v.InferOutput<typeof topicMethods.publish.request>) {
    const { topic, messages, payloads, expect } = request
    if (expect !== undefined && messages.length > 1)
      throw new StickyError('MALFORMED', 'What expects a version is one message.')
    this.#recovery.requireUsable(topic)
    const results: (ErrorCode | null)[] = messages.map(() => null)
    const accepted: VerifiedMessage[] = []
    const given = new Set(
      await Promise.all(payloads.map(async (bytes) => payloadName(await sha256(bytes), bytes.byteLength))),
    )
    for (const payload of payloads) checkData(payload)
    const checked = await Promise.allSettled(messages.map((envelope) => this.#check(topic, envelope, given)))
    this.counters.received += messages.length
    for (const [i, result] of checked.entries()) {
      if (result.status === 'fulfilled') {
        accepted.push(result.value)
        continue
      }
      const { code } = asStickyError(result.reason, 'MALFORMED')
      results[i] = code
      countCode(this.counters.refusals, code)
    }
    if (accepted.length === 0) return { version: 0, replicas: 0, durableReplicas: 0, results }
    try {
      const result = await this.#enqueue(topic, { messages: accepted, payloads, expect })
      const { replicas, durableReplicas, head } = result
      const { version } = decodeCoordinator(head)
      return { version, replicas, durableReplicas, results, ...signedOf(result, accepted.length) }
    } catch (error) {
      if (expect === undefined) throw error
      return toRefusal(error)
    }
  }

  /** Whatever would make a commit fail is refused here: the others of its group are not to blame. */
  async #check(topicKey: Uint8Array, envelope: Uint8Array, given: Set<string>): Promise<VerifiedMessage> {
    const message = await verifyMessage(envelope, { topicKey, stages: this.#dht.stages })
    checkFreshness(message, this.#dht.runtime.now())
    const { payload } = message.body
    if (payload !== undefined && !given.has(payloadName(payload.id, payload.bytes)))
      throw new StickyError('MALFORMED', 'A message without the payload that it names.')
    this.#verified.add(message)
    return message
  }

  #enqueue(
    topicKey: Uint8Array,
    { messages = [], payloads = [], statements = [], expect }: Committed,
  ): Promise<CommitResult> {
    const name = toHex(topicKey)
    const queue = this.#topics.get(name) ?? { waiting: [], running: false }
    if (queue.waiting.length >= this.#options.maxQueuedPerTopic) {
      countCode(this.counters.refusals, 'BUSY', messages.length)
      throw tooMuch()
    }
    const all = [...messages.map((m) => m.envelope), ...payloads, ...statements.map((s) => s.envelope)]
    const bytes = all.reduce((sum, part) => sum + part.byteLength + 8, 0)
    this.#topics.set(name, queue)
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        ...{ messages, payloads, statements, bytes, expect },
        queuedAtMs: this.#dht.runtime.monotonicNow(),
        resolve: (result) => {
          this.#open.delete(waiter)
          this.counters.stored += messages.length
          resolve(result)
        },
        reject: (error) => {
          this.#open.delete(waiter)
          countCode(this.counters.failures, asStickyError(error, 'STORAGE_FAILED').code, messages.length)
          reject(error)
        },
      }
      this.#open.add(waiter)
      queue.waiting.push(waiter)
      if (!queue.running) void this.#run(name, topicKey, queue)
    })
  }

  async #run(name: string, topicKey: Uint8Array, queue: TopicQueue): Promise<void> {
    queue.running = true
    for (;;) {
      this.#refuseLate(queue)
      if (queue.waiting.length === 0) break
      await this.#commitGroup(topicKey, takeGroup(queue.waiting))
    }
    queue.running = false
    this.#topics.delete(name)
  }

  /** Who has waited for so long would hear nothing in time, and turn to another replica, which would be in the way of this one. */
  #refuseLate({ waiting }: TopicQueue): void {
    const oldestMs = this.#dht.runtime.monotonicNow() - this.#options.maxQueuedMs
    for (const waiter of waiting.splice(0)) {
      const isLate = waiter.queuedAtMs < oldestMs && waiter.statements.length === 0
      if (!isLate) waiting.push(waiter)
      else waiter.reject(tooMuch())
    }
  }

  async #commitGroup(topicKey: Uint8Array, group: Waiter[]): Promise<void> {
    const messages = group.flatMap((waiter) => waiter.messages)
    const payloads = group.flatMap((waiter) => waiter.payloads)
    const statements = group.flatMap((waiter) => waiter.statements)
    this.counters.groups += 1
    this.counters.groupedMessages += messages.length
    const [{ expect }] = group as [Waiter]
    const check =
      expect === undefined
        ? undefined
        : (record: HeldRecord) => this.#requireExpected(record, expect, messages)
    const propose = async (record: HeldRecord) => {
      if (check !== undefined) await check(record)
      const lacking = await this.#dht.stages.watch('dedupe', () => this.#storedIds.lacking(record, messages))
      return encodeDelta({ nowMs: this.#dht.runtime.now(), messages: lacking, payloads, statements })
    }
    try {
      const deadlineMs = this.#dht.runtime.monotonicNow() + this.#options.commitDeadlineMs
      const result = await this.#dht.stages.watch('commit', () =>
        this.#committer.commit(topicKey, propose, deadlineMs, check),
      )
      for (const waiter of group) waiter.resolve(result)
    } catch (error) {
      // Refused before anything was sent, e.g. one subscription too many: the others of the group are not to blame.
      const isRefusal = !['OUTCOME_UNKNOWN', 'NO_REPLICAS'].includes(
        asStickyError(error, 'STORAGE_FAILED').code,
      )
      if (isRefusal && group.length > 1) await this.#commitApart(topicKey, group)
      else for (const waiter of group) waiter.reject(error)
    }
  }

  async #requireExpected(record: HeldRecord, expected: number, [message]: VerifiedMessage[]): Promise<void> {
    if (message === undefined) return
    const isStored = (await this.#storedIds.of(record)).has(toHex(message.id))
    await requireExpected(record, expected, message.id, isStored)
  }

  /** What is refused is a subscription, in a topic that is full: each gets an answer of its own, the messages one. */
  async #commitApart(topicKey: Uint8Array, group: Waiter[]): Promise<void> {
    const publishing = group.filter(({ statements }) => statements.length === 0)
    const isMixed = publishing.length > 0 && publishing.length < group.length
    const together = isMixed ? publishing : []
    if (isMixed) await this.#commitGroup(topicKey, publishing)
    for (const waiter of group) if (!together.includes(waiter)) await this.#commitGroup(topicKey, [waiter])
  }

  /** Received, and neither stored nor failed yet. */
  get openMessages(): number {
    let count = 0
    for (const { messages } of this.#open) count += messages.length
    return count
  }

  get queuedTopics(): number {
    return this.#topics.size
  }
}

const tooMuch = () => new StickyError('BUSY', 'This topic has more waiting than this node takes.')

/** The answer to who expects a version: the refusals that it has to tell apart. Throws the others. */
function toRefusal(error: unknown) {
  const { code } = asStickyError(error, 'STORAGE_FAILED')
  if (code !== 'UNEXPECTED_VERSION' && code !== 'OUTCOME_UNKNOWN') throw error
  const version = error instanceof UnexpectedVersionError ? error.version : 0
  return { version, replicas: 0, durableReplicas: 0, results: [code] }
}

/** What the replicas have signed of it, for the publisher of so many of its messages. */
function signedOf({ delta, signed }: CommitResult, count: number): { signed?: Signed } {
  const ids = delta === undefined ? [] : [...messageIdsIn(delta)]
  if (ids.length === 0 || signed.length === 0 || ids.length > count * MAX_IDS_FOR_EACH) return {}
  const by = signed.slice(0, LIMITS.maxSignedBy)
  return { signed: { ids, by: by.map(({ peer, signed: bytes }) => [publicKeyOf(peer), bytes]) } }
}

const payloadName = (id: Uint8Array, bytes: number): string => `${toHex(id)}/${bytes}`

/** As many waiters, in order, as one delta carries; one at least. */
function takeGroup(waiting: Waiter[]): Waiter[] {
  const { maxDeltaBytes, maxDeltaMessages, maxDeltaPayloads } = LIMITS
  const total = { bytes: 0, messages: 0, payloads: 0, statements: 0 }
  let count = 0
  for (const waiter of waiting) {
    total.bytes += waiter.bytes
    total.messages += waiter.messages.length
    total.payloads += waiter.payloads.length
    total.statements += waiter.statements.length
    const fits =
      total.bytes <= maxDeltaBytes - DELTA_FRAME_BYTES &&
      total.messages <= maxDeltaMessages &&
      total.payloads <= maxDeltaPayloads &&
      total.statements <= maxDeltaMessages
    const isAlone = waiter.expect !== undefined
    if (count > 0 && (isAlone || !fits)) break
    count += 1
    if (isAlone) break
  }
  return waiting.splice(0, count)
}

/** Where more of others' messages were in a commit, their ids are more bytes than the publisher's questions would be. */
const MAX_IDS_FOR_EACH = 32

/** What a delta takes beside its parts. */
const DELTA_FRAME_BYTES = 1_024
