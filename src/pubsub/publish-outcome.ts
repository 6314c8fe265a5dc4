import { type CodeCounts, type ErrorCode, isErrorCode, StickyError, toHex, totalOf } from '../dht/index.ts'
import type { PublishReceipt } from './api.ts'
import { UnexpectedVersionError } from './expected-version.ts'
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

/** `version`: the one in the answer. */
export function refusal(
  code: string | undefined,
  version: number,
  expected: number | undefined,
): StickyError {
  if (code === 'UNEXPECTED_VERSION') return new UnexpectedVersionError(version, expected)
  if (code === 'OUTCOME_UNKNOWN')
    return new StickyError(code, 'It was sent, and what became of it is not known. It may or may not appear.')
  return new StickyError(
    code !== undefined && isErrorCode(code) ? code : 'MALFORMED',
    `The replica refused the message: ${code}.`,
  )
}

/**
 * Whether one replica's word is enough. That the topic has moved on is: another replica may not know it yet, and would
 * take the message. Only who has not come so far as the version is believed no more than in other things.
 */
export const isFinal = (error: StickyError, expected: number | undefined): boolean =>
  expected !== undefined &&
  (error.code === 'OUTCOME_UNKNOWN' || (error instanceof UnexpectedVersionError && error.version >= expected))

/** `writer`: who numbered the message, where that was done. */
export const tooLate = ({ writer }: { writer: Uint8Array | undefined }): StickyError =>
  writer === undefined
    ? new StickyError(
        'STORAGE_FAILED',
        'The disk of this node took longer than the deadline over the number.',
      )
    : new StickyError('QUORUM_FAILED', 'No replica could be reached before the deadline.')

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
