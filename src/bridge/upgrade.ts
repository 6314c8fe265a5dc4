import { type IncomingMessage, type Server, STATUS_CODES } from 'node:http'
import { connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { RateLimiter, type Runtime } from '../dht/index.ts'
import { AddressCounter } from '../node/program.ts'
import type { ChallengeSocket } from './challenge-socket.ts'
import { clientGroup } from './client-address.ts'
import type { BridgeLimits } from './options.ts'
import { isAllowedOrigin, type OriginRules } from './origins.ts'

/**
 * One public port: on an upgrade the challenge path goes to the challenge socket, and everything else is piped raw to
 * libp2p's websocket listener on loopback, whose own handshake and admission gate decide.
 */

export const CHALLENGE_PATH = '/auth'

export interface UpgradeOptions {
  libp2pPort: number
  challenge: ChallengeSocket
  limits: BridgeLimits
  origins: OriginRules
  trustedProxies: ReadonlySet<string>
  runtime: Runtime
}

export interface Pipes {
  readonly count: number
  /** The address group of the client behind a loopback port: libp2p sees only that. */
  clientOf(loopbackPort: number): string | undefined
  closeAll(): void
}

export function handleUpgrades(
  server: Server,
  { libp2pPort, challenge, limits, origins, trustedProxies, runtime }: UpgradeOptions,
): Pipes {
  const pipes = new Set<Duplex>()
  const counter = new AddressCounter()
  const limiter = new RateLimiter(runtime)
  const clients = new Map<number, string>()
  let isClosed = false
  server.on('upgrade', (request, socket, head) => {
    socket.on('error', () => socket.destroy())
    const address = clientGroup(request, trustedProxies)
    // a connection from before the end may still ask; a socket that is let in then would keep the server open
    if (isClosed) return reject(socket, 503)
    if (!isAllowedOrigin(request.headers, origins)) return reject(socket, 403)
    if (request.url?.split('?')[0] === CHALLENGE_PATH) {
      if (!challenge.hasRoomFor(address)) return reject(socket, 503)
      return challenge.accept(request, socket, head, address)
    }
    if (counter.total >= limits.maxPipes || counter.of(address) >= limits.maxPipesPerAddress)
      return reject(socket, 503)
    const { pipesPerSecond: perSecond, pipeBurst: burst } = limits
    if (!limiter.take(address, { perSecond, burst })) return reject(socket, 429)
    pipes.add(socket)
    socket.on('close', counter.add(address)).on('close', () => pipes.delete(socket))
    const upstream = pipe(request, socket as Socket, head, libp2pPort)
    upstream.once('connect', () => {
      const port = upstream.localPort as number
      clients.set(port, address)
      upstream.once('close', () => clients.delete(port))
    })
  })
  return {
    get count() {
      return pipes.size
    },
    clientOf: (loopbackPort) => clients.get(loopbackPort),
    closeAll() {
      isClosed = true
      for (const socket of pipes) socket.destroy()
    },
  }
}

function pipe(request: IncomingMessage, client: Socket, head: Buffer, port: number): Socket {
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
    upstream.write(`${lines.join('\r\n')}\r\n\r\n`, 'latin1') // as node:http decoded it
    if (head.byteLength > 0) upstream.write(head)
    client.pipe(upstream)
    upstream.pipe(client)
  })
  return upstream
}

/** Answers and lets go: nothing else ends the socket of a client that neither reads nor closes. */
function reject(socket: Duplex, status: number): void {
  socket.once('finish', () => socket.destroy())
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
}
