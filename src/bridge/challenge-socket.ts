import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { type RawData, type WebSocket, WebSocketServer } from 'ws'
import {
  acceptedBytes,
  type ErrorCode,
  type Identity,
  MAX_CHALLENGE_FRAME_BYTES,
  RateLimiter,
  type ServerFrame,
  systemRuntime,
  toBase64url,
} from '../dht/index.ts'
import type { Admission } from './admission.ts'
import type { BridgeLimits } from './options.ts'
import {
  closeCodeOf,
  parseClientFrame,
  type Session,
  type SessionContext,
  step,
  verifyResponse,
} from './session.ts'

/** The challenge at the public port: sockets around the session of session.ts, with the bounds that come before it. */
export class ChallengeSocket {
  readonly server = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_CHALLENGE_FRAME_BYTES,
    perMessageDeflate: false,
  })
  readonly #identity: Identity
  readonly #admission: Admission
  readonly #limits: BridgeLimits
  readonly #limiter: RateLimiter
  readonly #pendingByAddress = new Map<string, number>()
  #pending = 0
  readonly counters = { accepted: 0, refused: new Map<ErrorCode, number>() }

  constructor(identity: Identity, admission: Admission, limits: BridgeLimits) {
    this.#identity = identity
    this.#admission = admission
    this.#limits = limits
    this.#limiter = new RateLimiter(systemRuntime)
    this.server.on('connection', (socket, request) => this.#onSocket(socket, request))
  }

  get pending(): number {
    return this.#pending
  }

  #onSocket(socket: WebSocket, request: IncomingMessage): void {
    const address = request.socket.remoteAddress ?? 'unknown'
    socket.on('error', () => socket.terminate())
    const {
      challengesPerSecond: perSecond,
      challengeBurst: burst,
      maxPending,
      maxPendingPerAddress,
    } = this.#limits
    if (!this.#limiter.take(address, { perSecond, burst }))
      return this.#refuse(socket, 'RATE_LIMITED', 'Too many challenges from this address.')
    const ofAddress = this.#pendingByAddress.get(address) ?? 0
    if (this.#pending >= maxPending || ofAddress >= maxPendingPerAddress)
      return this.#refuse(socket, 'BUSY', 'Too many challenges under way.')
    this.#pending += 1
    this.#pendingByAddress.set(address, ofAddress + 1)
    socket.on('close', () => {
      this.#pending -= 1
      const left = (this.#pendingByAddress.get(address) ?? 1) - 1
      if (left > 0) this.#pendingByAddress.set(address, left)
      else this.#pendingByAddress.delete(address)
    })
    this.#converse(socket, request.headers.host ?? '')
  }

  #converse(socket: WebSocket, audience: string): void {
    const context: SessionContext = {
      serverId: this.#identity.nodeId,
      audience,
      challengeMs: this.#limits.challengeMs,
      now: () => Date.now(),
      monotonicNow: () => performance.now(),
      nonce: () => new Uint8Array(randomBytes(32)),
    }
    let session: Session = { state: 'connecting' }
    const advance = (event: Parameters<typeof step>[1]) => {
      const before = session
      session = step(session, event, context)
      if (session !== before) void this.#act(socket, session).then((next) => next && advance(next))
    }
    const deadline = setTimeout(() => advance({ type: 'deadline' }), this.#limits.authDeadlineMs)
    socket.on('close', () => clearTimeout(deadline))
    socket.on('message', (data: RawData, isBinary) => advance(parseClientFrame(toBytes(data), isBinary)))
  }

  /** What entering a state does; gives the event that follows by itself. */
  async #act(socket: WebSocket, session: Session): Promise<Parameters<typeof step>[1] | undefined> {
    if (session.state === 'challenged') {
      const { nonce, timestamp, serverId } = session.challenge
      send(socket, { type: 'CHALLENGE', nonce: toBase64url(nonce), timestamp, serverId })
    } else if (session.state === 'verifying') {
      return { type: 'verified', isValid: await verifyResponse(session).catch(() => false) }
    } else if (session.state === 'accepted') {
      const { challenge } = session
      const serverSignature = toBase64url(await this.#identity.sign(acceptedBytes(challenge)))
      this.#admission.admit(challenge.nodeId)
      this.counters.accepted += 1
      send(socket, { type: 'CONNECTION_ACCEPTED', nodeId: challenge.nodeId, verified: true, serverSignature })
      socket.close(1000)
    } else if (session.state === 'refused') {
      this.#refuse(socket, session.code, session.message)
    }
    return undefined
  }

  #refuse(socket: WebSocket, code: ErrorCode, message: string): void {
    this.counters.refused.set(code, (this.counters.refused.get(code) ?? 0) + 1)
    send(socket, { type: 'REFUSED', code, message })
    socket.close(closeCodeOf(code), code)
  }

  close(): void {
    for (const socket of this.server.clients) socket.terminate()
    this.server.close()
  }
}

const send = (socket: WebSocket, frame: ServerFrame): void => {
  if (socket.readyState === socket.OPEN) socket.send(JSON.stringify(frame))
}

function toBytes(data: RawData): Uint8Array {
  if (Array.isArray(data)) return Buffer.concat(data)
  return data instanceof ArrayBuffer ? new Uint8Array(data) : data
}
