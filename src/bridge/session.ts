import * as v from 'valibot'
import {
  type Challenge,
  type ClientFrame,
  challengeBytes,
  clientFrame,
  type ErrorCode,
  equalBytes,
  fromBase64url,
  MAX_CHALLENGE_FRAME_BYTES,
  type PresentedInvitation,
  publicKeyOf,
  verifySignature,
} from '../dht/index.ts'

/**
 * One challenge socket, as a value and a pure step: connecting -> challenged -> accepted, or refused from anywhere. Every
 * cell of (state, event) exists; whatever does not belong to a state refuses.
 */

export type Session =
  | { state: 'connecting' }
  | { state: 'challenged'; challenge: Challenge; issuedAtMs: number }
  | { state: 'verifying'; challenge: Challenge; signature: Uint8Array; invitation?: PresentedInvitation }
  | { state: 'accepted'; challenge: Challenge; lifeMs?: number }
  | { state: 'refused'; code: ErrorCode; message: string }

export type SessionEvent =
  | { type: 'frame'; frame: ClientFrame }
  | { type: 'malformed'; message: string }
  | { type: 'too-large' }
  | Verdict
  | { type: 'deadline' }

/** On the signature, and, where that is right, on who signed. */
export interface Verdict {
  type: 'verified'
  isValid: boolean
  /** A rule of the bridge against this node. */
  refusal?: { code: ErrorCode; message: string }
  /** How long the node is admitted, where that is less than usual. */
  lifeMs?: number
}

export interface SessionContext {
  serverId: string
  /** The Host that the client dialled. */
  audience: string
  challengeMs: number
  now(): number
  monotonicNow(): number
  nonce(): Uint8Array
}

const refused = (code: ErrorCode, message: string): Session => ({ state: 'refused', code, message })

export function step(session: Session, event: SessionEvent, context: SessionContext): Session {
  if (session.state === 'accepted' || session.state === 'refused') return session
  if (event.type === 'deadline') return refused('TIMEOUT', 'The challenge was not finished in time.')
  if (event.type === 'malformed') return refused('MALFORMED', event.message)
  if (event.type === 'too-large')
    return refused('TOO_LARGE', `A frame is at most ${MAX_CHALLENGE_FRAME_BYTES} bytes.`)
  if (session.state === 'verifying') {
    if (event.type !== 'verified') return refused('MALFORMED', 'Nothing may follow the response.')
    if (!event.isValid) return refused('BAD_SIGNATURE', 'The signature is not the key’s over this challenge.')
    if (event.refusal) return refused(event.refusal.code, event.refusal.message)
    const { lifeMs } = event
    return { state: 'accepted', challenge: session.challenge, ...(lifeMs === undefined ? {} : { lifeMs }) }
  }
  if (event.type === 'verified') return refused('MALFORMED', 'Out of order.')
  if (session.state === 'connecting') return onConnect(event.frame, context)
  return onResponse(session, event.frame, context)
}

function onConnect(frame: ClientFrame, context: SessionContext): Session {
  if (frame.type !== 'CONNECT') return refused('MALFORMED', 'The first frame must be CONNECT.')
  if (!isKeyOf(frame.publicKey, frame.nodeId))
    return refused('WRONG_IDENTITY', 'The node id is not that of the public key.')
  const { serverId, audience } = context
  const challenge = {
    serverId,
    audience,
    nodeId: frame.nodeId,
    nonce: context.nonce(),
    timestamp: context.now(),
  }
  return { state: 'challenged', challenge, issuedAtMs: context.monotonicNow() }
}

function isKeyOf(publicKey: string, nodeId: string): boolean {
  try {
    return equalBytes(fromBase64url(publicKey), publicKeyOf(nodeId))
  } catch {
    return false
  }
}

function onResponse(
  session: Extract<Session, { state: 'challenged' }>,
  frame: ClientFrame,
  context: SessionContext,
): Session {
  if (frame.type !== 'RESPONSE') return refused('MALFORMED', 'A challenge is answered with RESPONSE.')
  if (context.monotonicNow() - session.issuedAtMs > context.challengeMs)
    return refused('EXPIRED', 'The challenge is too old.')
  const { invitation } = frame
  return {
    state: 'verifying',
    challenge: session.challenge,
    signature: fromBase64url(frame.signature),
    ...(invitation === undefined ? {} : { invitation }),
  }
}

export const verifyResponse = ({
  challenge,
  signature,
}: Extract<Session, { state: 'verifying' }>): Promise<boolean> =>
  verifySignature(publicKeyOf(challenge.nodeId), challengeBytes(challenge), signature)

/** One text frame of a client as an event; what does not parse is an event too. */
export function parseClientFrame(data: Uint8Array, isBinary: boolean): SessionEvent {
  if (data.byteLength > MAX_CHALLENGE_FRAME_BYTES) return { type: 'too-large' }
  if (isBinary) return { type: 'malformed', message: 'Frames are texts.' }
  try {
    return {
      type: 'frame',
      frame: v.parse(clientFrame, JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(data))),
    }
  } catch {
    return { type: 'malformed', message: 'Not a challenge frame.' }
  }
}

/**
 * Close codes of the socket: 4400 + a number per reason, stable for clients that read nothing else. A frame that is too
 * large is refused before it is read, and without a word, by the websocket protocol's own code.
 */
export function closeCodeOf(code: ErrorCode): number {
  const codes: Partial<Record<ErrorCode, number>> = {
    MALFORMED: 4400,
    BAD_SIGNATURE: 4401,
    WRONG_IDENTITY: 4403,
    TIMEOUT: 4408,
    EXPIRED: 4410,
    INVITATION_REQUIRED: 4420,
    INVITATION_INVALID: 4421,
    INVITATION_EXPIRED: 4422,
    INVITATION_USED: 4423,
    TOO_LARGE: 1009,
    RATE_LIMITED: 4429,
    BUSY: 4503,
  }
  return codes[code] ?? 4400
}
