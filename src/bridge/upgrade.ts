import { type IncomingMessage, type Server, STATUS_CODES } from 'node:http'
import { connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { ChallengeSocket } from './challenge-socket.ts'
import type { BridgeLimits } from './options.ts'

/**
 * One public port: on an upgrade the challenge path goes to the challenge socket, and everything else is piped raw to
 * libp2p's websocket listener on loopback, whose own handshake and admission gate decide.
 */

export const CHALLENGE_PATH = '/auth'

export interface UpgradeOptions {
  libp2pPort: number
  challenge: ChallengeSocket
  limits: BridgeLimits
  /** Origins whose pages may open a challenge; empty: any (admission is by key, and there are no cookies to steal). */
  allowedOrigins: string[]
}

export interface Pipes {
  readonly count: number
  closeAll(): void
}

export function handleUpgrades(
  server: Server,
  { libp2pPort, challenge, limits, allowedOrigins }: UpgradeOptions,
): Pipes {
  const pipes = new Set<Duplex>()
  const byAddress = new Map<string, number>()
  server.on('upgrade', (request, socket, head) => {
    socket.on('error', () => socket.destroy())
    const { origin } = request.headers
    if (origin !== undefined && allowedOrigins.length > 0 && !allowedOrigins.includes(origin))
      return reject(socket, 403)
    if (request.url?.split('?')[0] === CHALLENGE_PATH) {
      challenge.server.handleUpgrade(request, socket, head, (ws) =>
        challenge.server.emit('connection', ws, request),
      )
      return
    }
    const address = (socket as Socket).remoteAddress ?? 'unknown'
    const ofAddress = byAddress.get(address) ?? 0
    if (pipes.size >= limits.maxPipes || ofAddress >= limits.maxPipesPerAddress) return reject(socket, 503)
    pipes.add(socket)
    byAddress.set(address, ofAddress + 1)
    socket.on('close', () => {
      pipes.delete(socket)
      const left = (byAddress.get(address) ?? 1) - 1
      if (left > 0) byAddress.set(address, left)
      else byAddress.delete(address)
    })
    pipe(request, socket as Socket, head, libp2pPort)
  })
  return {
    get count() {
      return pipes.size
    },
    closeAll() {
      for (const socket of pipes) socket.destroy()
    },
  }
}

function pipe(request: IncomingMessage, client: Socket, head: Buffer, port: number): void {
  const upstream = connect(port, '127.0.0.1')
  const end = () => {
    client.destroy()
    upstream.destroy()
  }
  client.setNoDelay(true)
  upstream.setNoDelay(true)
  upstream.on('error', end).on('close', end)
  client.on('close', end)
  upstream.on('connect', () => {
    const lines = [`${request.method} ${request.url} HTTP/${request.httpVersion}`]
    for (let i = 0; i < request.rawHeaders.length; i += 2)
      lines.push(`${request.rawHeaders[i]}: ${request.rawHeaders[i + 1]}`)
    upstream.write(`${lines.join('\r\n')}\r\n\r\n`)
    if (head.byteLength > 0) upstream.write(head)
    client.pipe(upstream)
    upstream.pipe(client)
  })
}

function reject(socket: Duplex, status: number): void {
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
}
