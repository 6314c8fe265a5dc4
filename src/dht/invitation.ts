import * as v from 'valibot'
import { type Challenge, challengeParts, fromBase64url, toBase64url } from './challenge-bytes.ts'
import { bytesOf, bytesUpTo, decode, encode, framed, integer, timestampMs } from './codec.ts'
import { type ErrorCode, StickyError } from './errors.ts'
import {
  type Identity,
  identityFromSeed,
  type NodeId,
  nodeIdOf,
  publicKeyOf,
  verifySignature,
} from './identity.ts'
import { type Runtime, systemRuntime } from './runtime.ts'

/**
 * Invitations to a bridge that admits no strangers. The issuer signs a claim: which bridge, until when, how often, and the
 * public half of a key made for this invitation. The text that is handed on holds the claim and that key's seed; at the
 * bridge only the claim is shown, and the challenge is signed with the seed. So whoever listens, or a false bridge, gets
 * nothing that opens the door a second time.
 */

export const INVITATION_VERSION = 1
/** Of the text; a bridge also refuses a longer grant before it decodes it. */
export const MAX_INVITATION_CHARACTERS = 1_024
export const MAX_INVITATION_USES = 1_000
/** An issuer's clock may be ahead of the bridge's by so much. */
const MAX_SKEW_MS = 5 * 60_000

const claimSchema = v.strictObject({
  v: v.literal(INVITATION_VERSION),
  /** Public key of who signed it. */
  issuer: bytesOf(32),
  /** Public key of the bridge that it is for. */
  audience: bytesOf(32),
  /** Public key of the invitation itself. */
  key: bytesOf(32),
  issuedAt: timestampMs,
  expiresAt: timestampMs,
  /** How many node ids may come in by it; 0: any number. */
  uses: integer(0, MAX_INVITATION_USES),
})
export type InvitationClaim = v.InferOutput<typeof claimSchema>

const textSchema = v.strictObject({
  claim: bytesUpTo(MAX_INVITATION_CHARACTERS),
  signature: bytesOf(64),
  seed: bytesOf(32),
})
const grantSchema = v.omit(textSchema, ['seed'])

/** What is shown to the bridge: the signed claim, and the invitation's signature over this one challenge. Base64url. */
export interface PresentedInvitation {
  grant: string
  proof: string
}

const claimBytes = (claim: Uint8Array): Uint8Array => framed('sticky-pubsub/invitation/1', claim)
/** What the invitation's own key signs at the door. */
export const invitedBytes = (challenge: Challenge): Uint8Array =>
  framed('sticky-pubsub/invited/1', ...challengeParts(challenge))

export interface IssueInvitation {
  issuer: Identity
  /** Node id of the bridge that it is for. */
  audience: NodeId
  ttlMs: number
  /** 0: any number. */
  uses: number
  runtime?: Runtime
}

/** Makes an invitation, as a text. Rejects with WRONG_IDENTITY when `audience` is no node id. */
export async function issueInvitation(options: IssueInvitation): Promise<string> {
  const { issuer, audience, ttlMs, uses, runtime = systemRuntime } = options
  const seed = runtime.randomBytes(32)
  const issuedAt = runtime.now()
  const claim = encode({
    v: INVITATION_VERSION,
    issuer: issuer.publicKey,
    audience: publicKeyOf(audience),
    key: (await identityFromSeed(seed)).publicKey,
    issuedAt,
    expiresAt: issuedAt + ttlMs,
    uses,
  })
  return toBase64url(encode({ claim, signature: await issuer.sign(claimBytes(claim)), seed }))
}

const refusal = (code: ErrorCode, message: string, cause?: unknown): StickyError =>
  new StickyError(code, message, cause === undefined ? undefined : { cause })
const unreadable = (cause?: unknown) =>
  refusal('INVITATION_INVALID', 'The invitation cannot be read. Copy it again, whole.', cause)

function bytesOfText(text: string): Uint8Array {
  if (text.length > MAX_INVITATION_CHARACTERS) throw unreadable()
  try {
    const bytes = fromBase64url(text)
    if (toBase64url(bytes) === text) return bytes
  } catch (error) {
    throw unreadable(error)
  }
  throw unreadable()
}

function readClaim(bytes: Uint8Array): InvitationClaim {
  let version: number
  try {
    version = decode(bytes, MAX_INVITATION_CHARACTERS, v.looseObject({ v: v.number() })).v
    if (version === INVITATION_VERSION) return decode(bytes, MAX_INVITATION_CHARACTERS, claimSchema)
  } catch (error) {
    throw unreadable(error)
  }
  throw refusal('INVITATION_INVALID', `The invitation is of version ${version}, which is not known here.`)
}

function readParts<S extends v.GenericSchema>(text: string, schema: S): v.InferOutput<S> {
  const bytes = bytesOfText(text)
  try {
    return decode(bytes, MAX_INVITATION_CHARACTERS, schema)
  } catch (error) {
    throw unreadable(error)
  }
}

/** The claim of an invitation's text, unverified: for who holds it. Throws INVITATION_INVALID. */
export const readInvitation = (text: string): InvitationClaim => readClaim(readParts(text, textSchema).claim)

/** Answers a challenge with an invitation. Rejects with INVITATION_INVALID or INVITATION_EXPIRED before anything is shown. */
export async function presentInvitation(
  text: string,
  challenge: Challenge,
  now: number,
): Promise<PresentedInvitation> {
  const { claim, signature, seed } = readParts(text, textSchema)
  checkTerms(readClaim(claim), challenge.serverId, now)
  const key = await identityFromSeed(seed)
  return {
    grant: toBase64url(encode({ claim, signature })),
    proof: toBase64url(await key.sign(invitedBytes(challenge))),
  }
}

function checkTerms({ audience, issuedAt, expiresAt }: InvitationClaim, serverId: NodeId, now: number): void {
  if (nodeIdOf(audience) !== serverId)
    throw refusal('INVITATION_INVALID', 'The invitation is for another bridge.')
  if (expiresAt <= now) throw refusal('INVITATION_EXPIRED', 'The invitation has expired.')
  if (issuedAt > now + MAX_SKEW_MS)
    throw refusal('INVITATION_INVALID', 'The invitation is from the future: a clock is wrong.')
}

/**
 * The bridge's check, cheapest first: shape, size, terms, issuer, then the two signatures. Rejects with INVITATION_INVALID
 * or INVITATION_EXPIRED. How often it was used is counted elsewhere.
 */
export async function verifyInvitation(
  { grant, proof }: PresentedInvitation,
  challenge: Challenge,
  { issuers, now }: { issuers: ReadonlySet<NodeId>; now: number },
): Promise<InvitationClaim> {
  const { claim: bytes, signature } = readParts(grant, grantSchema)
  const claim = readClaim(bytes)
  checkTerms(claim, challenge.serverId, now)
  if (!issuers.has(nodeIdOf(claim.issuer)))
    throw refusal('INVITATION_INVALID', 'The invitation is by nobody whose invitations count here.')
  if (!(await verifySignature(claim.issuer, claimBytes(bytes), signature)))
    throw refusal('INVITATION_INVALID', 'The invitation was not signed by its issuer, or was changed.')
  if (!(await verifySignature(claim.key, invitedBytes(challenge), fromBase64url(proof))))
    throw refusal('INVITATION_INVALID', 'Only a part of the invitation is held here.')
  return claim
}
