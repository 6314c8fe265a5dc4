import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { type RawData, type ServerOptions, type WebSocket, WebSocketServer } from 'ws'
import {
  acceptedBytes,
  type ErrorCode,
  type Identity,
  MAX_CHALLENGE_FRAME_BYTES,
  RateLimiter,
  type Runtime,
  type ServerFrame,
  toBase64url,
} from '../dht/index.ts'
import { AddressCounter } from '../node/program.ts'
import type { Admission } from './admission.ts'
import type { BridgeLimits } from './options.ts'
import { isOwnHost, type OriginRules } from './origins.ts'
import type { Policy } from './policy.ts'
import {
  closeCodeOf,
  parseClientFrame,
  type Session,
  type SessionContext,
  step,
  verifyResponse,
} from './session.ts'

export interface ChallengeSocketOptions {
  identity: Identity
  admission: Admission
  limits: BridgeLimits
  origins: OriginRules
  policy: Policy
  runtime: Runtime
}

/** The challenge at the public port: sockets around the session of session.ts, with the bounds that come before it. */
export class ChallengeSocket {
  readonly server: WebSocketServer
  readonly #origins: OriginRules
  readonly #policy: Policy
  readonly #runtime: Runtime
  readonly #identity: Identity
  readonly #admission: Admission
  readonly #limits: BridgeLimits
  readonly #limiter: RateLimiter
  readonly #sockets = new AddressCounter()
  readonly #pending = new AddressCounter()
  readonly counters = { accepted: 0, refused: new Map<ErrorCode, number>() }

  constructor({ identity, admission, limits, origins, policy, runtime }: ChallengeSocketOptions) {
    this.#origins = origins
    this.#policy = policy
    this.#runtime = runtime
    this.#identity = identity
    this.#admission = admission
    this.#limits = limits
    this.#limiter = new RateLimiter(runtime)
    this.server = new WebSocketServer({
      noServer: true,
      maxPayload: MAX_CHALLENGE_FRAME_BYTES,
      perMessageDeflate: false,
      closeTimeout: limits.challengeCloseMs,
    } as ServerOptions) // closeTimeout is newer than the types
  }

  /** Takes over an upgrade of the client whose limits are those of `address`. */
  accept(request: IncomingMessage, socket: Duplex, head: Buffer, address: string): void {
    this.server.handleUpgrade(request, socket, head, (webSocket) =>
      this.#onSocket(webSocket, request, address),
    )
  }

  /** Whether another socket may be opened at all: above this even a refusal in words costs too much. */
  hasRoomFor(address: string): boolean {
    const { maxChallengeSockets, maxChallengeSocketsPerAddress } = this.#limits
    return (
      this.#sockets.total < maxChallengeSockets && this.#sockets.of(address) < maxChallengeSocketsPerAddress
    )
  }

  get pending(): number {
    return this.#pending.total
  }

  #onSocket(socket: WebSocket, request: IncomingMessage, address: string): void {
    socket.on('close', this.#sockets.add(address))
    socket.on('error', () => undefined) // ws closes the socket itself; a conversation also counts it
    const {
      challengesPerSecond: perSecond,
      challengeBurst: burst,
      maxPending,
      maxPendingPerAddress,
    } = this.#limits
    if (!this.#limiter.take(address, { perSecond, burst }))
      return this.#refuse(socket, 'RATE_LIMITED', 'Too many challenges from this address.')
    if (this.#pending.total >= maxPending || this.#pending.of(address) >= maxPendingPerAddress)
      return this.#refuse(socket, 'BUSY', 'Too many challenges under way.')
    const { host = '' } = request.headers
    if (!isOwnHost(host, this.#origins))
      return this.#refuse(socket, 'WRONG_IDENTITY', 'This bridge does not go by the name that was dialled.')
    socket.on('close', this.#pending.add(address))
    this.#converse(socket, host, address)
  }

  #converse(socket: WebSocket, audience: string, address: string): void {
    const context: SessionContext = {
      serverId: this.#identity.nodeId,
      audience,
      challengeMs: this.#limits.challengeMs,
      now: () => this.#runtime.now(),
      monotonicNow: () => this.#runtime.monotonicNow(),
      nonce: () => this.#runtime.randomBytes(32),
    }
    let session: Session = { state: 'connecting' }
    const advance = (event: Parameters<typeof step>[1]) => {
      const before = session
      session = step(session, event, context)
      if (session === before) return
      this.#act(socket, session, address)
        .then((next) => next && advance(next))
        .catch(() => socket.terminate())
    }
    const deadline = this.#runtime.setTimer(() => advance({ type: 'deadline' }), this.#limits.authDeadlineMs)
    socket.on('close', () => deadline.clear())
    socket.on('error', (error: NodeJS.ErrnoException) => {
      const isTooLarge = error.code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH'
      advance(isTooLarge ? { type: 'too-large' } : { type: 'malformed', message: 'Not websocket frames.' })
    })
    socket.on('message', (data: RawData, isBinary) => advance(parseClientFrame(toBytes(data), isBinary)))
  }

  /** What entering a state does; gives the event that follows by itself. */
  async #act(
    socket: WebSocket,
    session: Session,
    address: string,
  ): Promise<Parameters<typeof step>[1] | undefined> {
    if (session.state === 'challenged') {
      const { nonce, timestamp, serverId } = session.challenge
      send(socket, { type: 'CHALLENGE', nonce: toBase64url(nonce), timestamp, serverId })
    } else if (session.state === 'verifying') {
      const isValid = await verifyResponse(session).catch(() => false)
      const judgement = isValid ? await this.#policy.judge(session.challenge, session.invitation) : {}
      return { type: 'verified', isValid, ...judgement }
    } else if (session.state === 'accepted') {
      const { challenge, lifeMs } = session
      const serverSignature = toBase64url(await this.#identity.sign(acceptedBytes(challenge)))
      if (!this.#admission.admit(challenge.nodeId, address, lifeMs)) {
        this.#refuse(socket, 'BUSY', 'As many peers are connected as this bridge may admit.')
        return undefined
      }
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
