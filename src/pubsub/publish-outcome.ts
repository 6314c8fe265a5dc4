import { type CodeCounts, type ErrorCode, isErrorCode, StickyError, toHex, totalOf } from '../dht/index.ts'
import type { PublishReceipt } from './api.ts'
import type { VerifiedMessage } from './message.ts'

/** What an answer, or its absence, says of a message that was sent. */

/** Neither says what became of a request that was sent. */
export const MAYBE_STORED: ReadonlySet<ErrorCode> = new Set(['CLOSED', 'ABORTED'])

/** Failures of a request that come before anything is stored anywhere. */
export const NOTHING_STORED: ReadonlySet<ErrorCode> = new Set([
  'UNREACHABLE',
  'RATE_LIMITED',
  'BUSY',
  'NO_REPLICAS',
  'CHANNEL_FAILED',
])

export const receiptOf = (
  message: VerifiedMessage,
  answer: { version: number; replicas: number; durableReplicas: number },
): PublishReceipt => ({
  status: 'stored',
  id: message.cid,
  sequence: message.body.sequence,
  writer: toHex(message.body.writer),
  publishedAt: message.body.publishedAt,
  version: answer.version,
  replicas: answer.replicas,
  durableReplicas: answer.durableReplicas,
  duplicate: false,
})

export const refusal = (code: string | undefined): StickyError =>
  new StickyError(
    code !== undefined && isErrorCode(code) ? code : 'MALFORMED',
    `The replica refused the message: ${code}.`,
  )

export const newPublishCounters = () => ({
  begun: 0,
  stored: 0,
  failures: {} as CodeCounts,
  get failed() {
    return totalOf(this.failures) - this.unknown
  },
  get unknown() {
    return this.failures.OUTCOME_UNKNOWN ?? 0
  },
  requests: 0,
  unconfirmed: 0,
  offered: 0,
})
