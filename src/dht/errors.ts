/**
 * Every rejection of this project is a `StickyError` with a stable code. `retryable` is a property of the code, so
 * nobody matches on message texts; `action` says what a holder does to the sender (duplicates are not punished).
 */

const CODES = {
  // shape and size
  MALFORMED: { retryable: false, action: 'penalise' },
  NOT_CANONICAL: { retryable: false, action: 'penalise' },
  TOO_LARGE: { retryable: false, action: 'penalise' },
  UNKNOWN_VERSION: { retryable: false, action: 'ignore' },
  UNKNOWN_KIND: { retryable: false, action: 'ignore' },
  UNKNOWN_METHOD: { retryable: false, action: 'ignore' },
  // truth
  WRONG_HASH: { retryable: false, action: 'penalise' },
  BAD_SIGNATURE: { retryable: false, action: 'penalise' },
  BAD_KEY: { retryable: false, action: 'penalise' },
  WRONG_TOPIC: { retryable: false, action: 'penalise' },
  WRONG_IDENTITY: { retryable: false, action: 'penalise' },
  // freshness
  EXPIRED: { retryable: false, action: 'ignore' },
  FROM_THE_FUTURE: { retryable: false, action: 'ignore' },
  REPLAYED: { retryable: false, action: 'ignore' },
  // limits
  RATE_LIMITED: { retryable: true, action: 'ignore' },
  BUSY: { retryable: true, action: 'ignore' },
  TOPIC_FULL: { retryable: true, action: 'ignore' },
  // network
  TIMEOUT: { retryable: true, action: 'ignore' },
  UNREACHABLE: { retryable: true, action: 'ignore' },
  LINK_CLOSED: { retryable: true, action: 'ignore' },
  NO_REPLICAS: { retryable: true, action: 'ignore' },
  QUORUM_FAILED: { retryable: true, action: 'ignore' },
  OUTCOME_UNKNOWN: { retryable: true, action: 'ignore' },
  ABORTED: { retryable: false, action: 'ignore' },
  CLOSED: { retryable: false, action: 'ignore' },
  // storage
  NOT_FOUND: { retryable: true, action: 'ignore' },
  STORAGE_FAILED: { retryable: true, action: 'ignore' },
  STORAGE_FULL: { retryable: true, action: 'ignore' },
  STORAGE_LOCKED: { retryable: false, action: 'ignore' },
  CONFLICT: { retryable: true, action: 'ignore' },
  REBUILD_MISMATCH: { retryable: true, action: 'ignore' },
  // topics
  CHANNEL_FAILED: { retryable: true, action: 'ignore' },
  INVALID_TOPIC: { retryable: false, action: 'ignore' },
  INVALID_DATA: { retryable: false, action: 'ignore' },
  KEY_CONFLICT: { retryable: false, action: 'ignore' },
  UNEXPECTED_VERSION: { retryable: false, action: 'ignore' },
  UNDECRYPTABLE: { retryable: false, action: 'ignore' },
  INVALID_INVITE: { retryable: false, action: 'ignore' },
  // identity, admission, setup
  WRONG_PASSPHRASE: { retryable: false, action: 'ignore' },
  IDENTITY_EXISTS: { retryable: false, action: 'ignore' },
  IDENTITY_UNREADABLE: { retryable: false, action: 'ignore' },
  ADMISSION_REFUSED: { retryable: false, action: 'ignore' },
  INVITATION_REQUIRED: { retryable: false, action: 'ignore' },
  INVITATION_INVALID: { retryable: false, action: 'ignore' },
  INVITATION_EXPIRED: { retryable: false, action: 'ignore' },
  INVITATION_USED: { retryable: false, action: 'ignore' },
  UNSUPPORTED_PLATFORM: { retryable: false, action: 'ignore' },
  PORT_IN_USE: { retryable: false, action: 'ignore' },
} as const

export type ErrorCode = keyof typeof CODES

export class StickyError extends Error {
  override readonly name: string = 'StickyError'
  readonly code: ErrorCode
  readonly retryable: boolean
  readonly action: 'ignore' | 'penalise'

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
    this.retryable = CODES[code].retryable
    this.action = CODES[code].action
  }
}

/** ADMISSION_REFUSED, and why: the bridge's own code. */
export class AdmissionRefusedError extends StickyError {
  readonly reason: ErrorCode

  constructor(reason: ErrorCode, message: string, options?: ErrorOptions) {
    super('ADMISSION_REFUSED', message, options)
    this.reason = reason
  }

  /** Whether the bridge may say something else in a moment. */
  get isPassing(): boolean {
    return CODES[this.reason].retryable
  }
}

export const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(CODES, code)

/** Trouble of this machine, whose text names its folders: nobody else is told more than the code. */
export const isOwnTrouble = (code: ErrorCode): boolean => code.startsWith('STORAGE_')

/** The error as a StickyError: unchanged when it is one, wrapped under `fallback` otherwise. */
export function asStickyError(error: unknown, fallback: ErrorCode): StickyError {
  if (error instanceof StickyError) return error
  if (error instanceof Error && error.name === 'AbortError')
    return new StickyError('ABORTED', 'The operation was aborted.', { cause: error })
  return new StickyError(fallback, error instanceof Error ? error.message : String(error), { cause: error })
}

/** Throws ABORTED where the signal's own reason would be thrown otherwise. */
export function requireNotAborted(signal: AbortSignal | undefined, what: string): void {
  if (signal?.aborted) throw new StickyError('ABORTED', `${what} was aborted.`, { cause: signal.reason })
}
