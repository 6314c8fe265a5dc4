import * as v from 'valibot'
import {
  acceptedBytes,
  type Challenge,
  challengeBytes,
  fromBase64url,
  toBase64url,
} from './challenge-bytes.ts'
import { AdmissionRefusedError, asStickyError, isErrorCode, StickyError } from './errors.ts'
import { type Identity, publicKeyOf, verifySignature } from './identity.ts'
import { MAX_INVITATION_CHARACTERS, presentInvitation } from './invitation.ts'
import { isTimeout, systemRuntime } from './runtime.ts'

/**
 * The bridge's challenge, both sides' bytes and the client's steps. JSON text frames, bytes as base64url:
 *
 *   client  CONNECT             { nodeId, publicKey }
 *   bridge  CHALLENGE           { nonce, timestamp, serverId }
 *   client  RESPONSE            { signature, invitation? }    over challengeBytes()
 *   bridge  CONNECTION_ACCEPTED { nodeId, verified, serverSignature }   over acceptedBytes(), or REFUSED { code, message }
 *
 * The signed bytes name the bridge and the address that was dialled, so that a signature obtained by one bridge is worth
 * nothing at another.
 */

export const MAX_CHALLENGE_FRAME_BYTES = 4_096

const text = (max: number) => v.pipe(v.string(), v.maxLength(max))
const nodeId = text(100)
const base64url = (bytes: number) =>
  v.pipe(
    v.string(),
    v.regex(/^[A-Za-z0-9_-]*$/),
    v.length(Math.ceil((bytes * 4) / 3)),
    // the last character may carry bits that decoding drops: without this, the same bytes have several texts
    v.check((value) => toBase64url(fromBase64url(value)) === value, 'not canonical'),
  )

/** What a client may say. */
export const clientFrame = v.variant('type', [
  v.strictObject({ type: v.literal('CONNECT'), nodeId, publicKey: base64url(32) }),
  v.strictObject({
    type: v.literal('RESPONSE'),
    signature: base64url(64),
    invitation: v.optional(v.strictObject({ grant: text(MAX_INVITATION_CHARACTERS), proof: base64url(64) })),
  }),
])
export type ClientFrame = v.InferOutput<typeof clientFrame>

/** What a bridge may answer. */
export const serverFrame = v.variant('type', [
  v.strictObject({
    type: v.literal('CHALLENGE'),
    nonce: base64url(32),
    timestamp: v.pipe(v.number(), v.safeInteger()),
    serverId: nodeId,
  }),
  v.strictObject({
    type: v.literal('CONNECTION_ACCEPTED'),
    nodeId,
    verified: v.literal(true),
    serverSignature: base64url(64),
  }),
  v.strictObject({ type: v.literal('REFUSED'), code: text(40), message: text(300) }),
])
export type ServerFrame = v.InferOutput<typeof serverFrame>

/**
 * How far the bridge's clock may be from this one. Without it, a recorded acceptance could be played back for ever by
 * somebody who sits at the bridge's address.
 */
export const MAX_CHALLENGE_SKEW_MS = 5 * 60_000

export interface PassChallengeOptions {
  /** ws:// or wss:// address of the challenge socket. */
  url: string
  identity: Identity
  /** The bridge that is meant; another one is refused. */
  expectedServerId?: string
  /** The text of an invitation, for a bridge that admits no strangers. */
  invitation?: string
  signal: AbortSignal
  WebSocket?: typeof WebSocket
  /** Wall clock, ms since the Unix epoch. */
  now?: () => number
}

/**
 * Proves the identity to a bridge. Rejects with ADMISSION_REFUSED, WRONG_IDENTITY, EXPIRED or FROM_THE_FUTURE (the two
 * clocks differ), MALFORMED, UNREACHABLE or ABORTED.
 */
export function passChallenge(options: PassChallengeOptions): Promise<Admitted> {
  const { url, identity, signal, WebSocket: Socket = globalThis.WebSocket } = options
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(abortOf(signal, url))
    const socket = openSocket(Socket, url)
    const answer = answering(options)
    let done = false
    const finish = (result: StickyError | Admitted) => {
      if (done) return
      done = true
      signal.removeEventListener('abort', onAbort)
      socket.close()
      if (result instanceof StickyError) reject(result)
      else resolve(result)
    }
    const onAbort = () => finish(abortOf(signal, url))
    signal.addEventListener('abort', onAbort, { once: true })
    const send = (frame: ClientFrame) => socket.send(JSON.stringify(frame))

    socket.addEventListener('open', () =>
      send({ type: 'CONNECT', nodeId: identity.nodeId, publicKey: toBase64url(identity.publicKey) }),
    )
    // one frame at a time, and the end of the socket only after them: the last frame is often followed by the close at once
    let processing = Promise.resolve()
    socket.addEventListener('message', ({ data }) => {
      processing = processing
        .then(() => answer(parseServerFrame(data)))
        .then((result) => ('type' in result ? send(result) : finish(result)))
        .catch((error: unknown) => finish(asStickyError(error, 'MALFORMED')))
    })
    socket.addEventListener('error', () =>
      finish(new StickyError('UNREACHABLE', `No challenge socket answers at ${url}.`)),
    )
    socket.addEventListener('close', () => {
      void processing.then(() =>
        finish(new StickyError('UNREACHABLE', `${url} closed before the challenge was over.`)),
      )
    })
  })
}

/** By the bridge that proved to be this one. */
interface Admitted {
  serverId: string
}

/** What to say to each frame of one bridge, until it has admitted this node. Throws where it is not the one that was meant. */
function answering({
  url,
  identity,
  expectedServerId,
  invitation,
  now = systemRuntime.now,
}: PassChallengeOptions): (frame: ServerFrame) => Promise<ClientFrame | Admitted> {
  let challenge: Challenge | undefined
  return async (frame) => {
    if (frame.type === 'REFUSED') {
      const code = isErrorCode(frame.code) ? frame.code : 'ADMISSION_REFUSED'
      throw new AdmissionRefusedError(code, `The bridge refused this node: ${frame.message} (${code})`)
    }
    if (frame.type === 'CHALLENGE') {
      if (challenge !== undefined) throw new StickyError('MALFORMED', 'The bridge sent a second challenge.')
      if (expectedServerId !== undefined && frame.serverId !== expectedServerId)
        throw new StickyError('WRONG_IDENTITY', 'Another bridge answered than the one that was meant.')
      const { serverId, timestamp } = frame
      checkFreshness(timestamp, now())
      challenge = {
        serverId,
        timestamp,
        audience: new URL(url).host,
        nodeId: identity.nodeId,
        nonce: fromBase64url(frame.nonce),
      }
      return {
        type: 'RESPONSE',
        signature: toBase64url(await identity.sign(challengeBytes(challenge))),
        ...(invitation === undefined ? {} : { invitation: await present(invitation, challenge, now()) }),
      }
    }
    if (challenge === undefined)
      throw new StickyError('MALFORMED', 'The bridge accepted without a challenge.')
    const { serverId } = challenge
    const signature = fromBase64url(frame.serverSignature)
    if (!(await verifySignature(publicKeyOf(serverId), acceptedBytes(challenge), signature)))
      throw new StickyError('WRONG_IDENTITY', 'The bridge could not prove that it is the one that was meant.')
    return { serverId }
  }
}

/** An invitation that cannot help is a refusal, whoever of the two sees it first. */
async function present(invitation: string, challenge: Challenge, now: number) {
  try {
    return await presentInvitation(invitation, challenge, now)
  } catch (error) {
    const { code, message } = asStickyError(error, 'INVITATION_INVALID')
    throw new AdmissionRefusedError(code, message, { cause: error })
  }
}

function openSocket(Socket: typeof WebSocket, url: string): WebSocket {
  try {
    return new Socket(url)
  } catch (error) {
    // not a websocket address, or one that a secure page may not open
    throw new StickyError('UNREACHABLE', `No challenge socket can be opened at ${url}.`, { cause: error })
  }
}

function abortOf(signal: AbortSignal, url: string): StickyError {
  const { reason } = signal
  return isTimeout(signal)
    ? new StickyError('UNREACHABLE', `${url} did not finish the challenge in time.`, { cause: reason })
    : new StickyError('ABORTED', 'The challenge was aborted.', { cause: reason })
}

function checkFreshness(timestamp: number, now: number): void {
  const aheadMs = timestamp - now
  if (Math.abs(aheadMs) <= MAX_CHALLENGE_SKEW_MS) return
  const minutes = Math.round(Math.abs(aheadMs) / 60_000)
  throw new StickyError(
    aheadMs > 0 ? 'FROM_THE_FUTURE' : 'EXPIRED',
    `The bridge's clock is ${minutes} minutes ${aheadMs > 0 ? 'ahead of' : 'behind'} this one. Set the wrong one right.`,
  )
}

/** A frame that does not parse becomes a refusal, so that it is handled like any other. */
function parseServerFrame(data: unknown): ServerFrame {
  try {
    if (typeof data !== 'string' || data.length > MAX_CHALLENGE_FRAME_BYTES) throw new Error('size or type')
    return v.parse(serverFrame, JSON.parse(data))
  } catch {
    return { type: 'REFUSED', code: 'MALFORMED', message: 'It sent what is not a challenge frame.' }
  }
}
