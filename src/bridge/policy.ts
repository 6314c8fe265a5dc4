import {
  asStickyError,
  type Challenge,
  type ErrorCode,
  isOwnTrouble,
  type NodeId,
  type PresentedInvitation,
  RateLimiter,
  type Runtime,
  verifyInvitation,
} from '../dht/index.ts'
import type { InvitationUses } from './invitation-uses.ts'
import type { BridgeLimits } from './options.ts'

/**
 * Whom the bridge admits of those who have proved their key. Limits by identity are here, behind the signature, because
 * before it anybody could use up somebody else's.
 */

/** Only who holds an invitation is admitted. */
export interface InviteOnly {
  /** Node ids whose invitations count. */
  issuers: ReadonlySet<NodeId>
  uses: InvitationUses
}

export interface PolicyOptions {
  limits: BridgeLimits
  runtime: Runtime
  inviteOnly?: InviteOnly
}

/** Undefined fields: admitted, for the usual time. */
export interface Judgement {
  refusal?: { code: ErrorCode; message: string }
  lifeMs?: number
}

export class Policy {
  readonly #options: PolicyOptions
  readonly #limiter: RateLimiter

  constructor(options: PolicyOptions) {
    this.#options = options
    this.#limiter = new RateLimiter(options.runtime)
  }

  /** Of a node whose signature over `challenge` was right. */
  async judge(challenge: Challenge, invitation: PresentedInvitation | undefined): Promise<Judgement> {
    const { identityChallengesPerSecond: perSecond, identityChallengeBurst: burst } = this.#options.limits
    if (!this.#limiter.take(challenge.nodeId, { perSecond, burst }))
      return refused('RATE_LIMITED', 'Too many challenges of this node.')
    const { inviteOnly } = this.#options
    return inviteOnly === undefined ? {} : this.#judgeInvitation(inviteOnly, challenge, invitation)
  }

  async #judgeInvitation(
    { issuers, uses }: InviteOnly,
    challenge: Challenge,
    invitation: PresentedInvitation | undefined,
  ): Promise<Judgement> {
    if (invitation === undefined)
      return refused('INVITATION_REQUIRED', 'This bridge admits only who shows an invitation.')
    const now = this.#options.runtime.now()
    try {
      const claim = await verifyInvitation(invitation, challenge, { issuers, now })
      await uses.take(claim, challenge.nodeId)
      return { lifeMs: claim.expiresAt - now }
    } catch (error) {
      const { code, message } = asStickyError(error, 'STORAGE_FAILED')
      return refused(code, isOwnTrouble(code) ? 'The bridge could not write down who was invited.' : message)
    }
  }
}

const refused = (code: ErrorCode, message: string): Judgement => ({ refusal: { code, message } })
