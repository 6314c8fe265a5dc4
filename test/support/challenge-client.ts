import { connect, type Socket } from 'node:net'
import { WebSocket } from 'ws'
import {
  type Challenge,
  type ClientFrame,
  challengeBytes,
  fromBase64url,
  type Identity,
  type ServerFrame,
  toBase64url,
} from '../../src/dht/index.ts'

/** A client of the challenge socket that does what a test tells it, and sees everything that comes back. */
export class ChallengeClient {
  readonly socket: WebSocket
  readonly frames: ServerFrame[] = []
  closed: { code: number; reason: string } | undefined
  #changed: () => void = () => undefined

  private constructor(socket: WebSocket) {
    this.socket = socket
    socket.on('error', () => undefined)
    socket.on('message', (data) => {
      this.frames.push(JSON.parse(String(data)))
      this.#changed()
    })
    socket.on('close', (code, reason) => {
      this.closed = { code, reason: String(reason) }
      this.#changed()
    })
  }

  static async open(port: number, headers: Record<string, string> = {}): Promise<ChallengeClient> {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/auth`, { headers })
    const client = new ChallengeClient(socket)
    await new Promise((resolve, reject) => {
      socket.once('open', resolve)
      socket.once('error', reject)
    })
    return client
  }

  say(frame: ClientFrame): void {
    this.socket.send(JSON.stringify(frame))
  }

  connect({ nodeId, publicKey }: Pick<Identity, 'nodeId' | 'publicKey'>): void {
    this.say({ type: 'CONNECT', nodeId, publicKey: toBase64url(publicKey) })
  }

  async respond(identity: Identity, challenge: Challenge): Promise<void> {
    this.say({ type: 'RESPONSE', signature: toBase64url(await identity.sign(challengeBytes(challenge))) })
  }

  /** CONNECT, and the challenge that comes back as the client understands it. */
  async challenged(identity: Pick<Identity, 'nodeId' | 'publicKey'>): Promise<Challenge> {
    this.connect(identity)
    const frame = await this.frame('CHALLENGE')
    return {
      serverId: frame.serverId,
      audience: new URL(this.socket.url).host,
      nodeId: identity.nodeId,
      nonce: fromBase64url(frame.nonce),
      timestamp: frame.timestamp,
    }
  }

  async frame<T extends ServerFrame['type']>(type: T): Promise<Extract<ServerFrame, { type: T }>> {
    for (;;) {
      const found = this.frames.find((frame) => frame.type === type)
      if (found !== undefined) return found as Extract<ServerFrame, { type: T }>
      if (this.closed)
        throw new Error(`closed ${this.closed.code} without ${type}: ${JSON.stringify(this.frames)}`)
      await new Promise<void>((resolve) => {
        this.#changed = resolve
      })
    }
  }

  async end(): Promise<{ code: number; reason: string; refusal: string | undefined }> {
    while (this.closed === undefined) {
      await new Promise<void>((resolve) => {
        this.#changed = resolve
      })
    }
    const refused = this.frames.find((frame) => frame.type === 'REFUSED')
    return { ...this.closed, refusal: refused?.type === 'REFUSED' ? refused.code : undefined }
  }
}

/** What a client sends to change to websocket. */
export const upgradeTo = (path: string): string =>
  [
    `GET ${path} HTTP/1.1`,
    'Host: 127.0.0.1',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
    '\r\n',
  ].join('\r\n')

/** A client's frame: masked with zeros, of an announced length. */
export function clientFrame(firstByte: number, bytes: number, body: Uint8Array = new Uint8Array()): Buffer {
  const header = Buffer.alloc(14)
  header[0] = firstByte
  header[1] = 0x80 | 127
  header.writeBigUInt64BE(BigInt(bytes), 2)
  return Buffer.concat([header, body])
}

/** Sends raw bytes to a port and gives everything that came back once the other side has closed. */
export function rawExchange(port: number, bytes: string | Uint8Array): Promise<string> {
  return new Promise((resolve) => {
    const socket: Socket = connect(port, '127.0.0.1', () => socket.write(bytes))
    let answer = ''
    socket.on('data', (chunk) => {
      answer += chunk.toString('latin1')
    })
    socket.on('error', () => undefined)
    socket.on('close', () => resolve(answer))
  })
}
