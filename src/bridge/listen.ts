import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { StickyError } from '../dht/index.ts'
import { capConnections } from '../node/program.ts'

/** The bridge's public port: opened before the rest, so that a port in use is told at once, and closed first. */

export interface PublicPort {
  server: Server
  port: number
  /** Until then requests are answered 503. */
  serve(app: RequestListener): void
  /** Takes nobody new; requests under way have `drainMs` to finish. */
  close(drainMs: number): Promise<void>
}

export interface ConnectionLimits {
  maxConnections: number
  maxConnectionsPerAddress: number
  answerIdleMs: number
  /** Their connections are those of many clients. */
  trustedProxies: ReadonlySet<string>
}

/** Rejects with PORT_IN_USE, or UNREACHABLE when that address is not this machine's. */
export async function openPort(port: number, host: string, limits: ConnectionLimits): Promise<PublicPort> {
  const server = createServer({
    headersTimeout: 10_000,
    requestTimeout: 30_000,
    connectionsCheckingInterval: 5_000, // how often the two above are looked at; 30 s by default
    maxHeaderSize: 16 * 1024,
  })
  server.setTimeout(limits.answerIdleMs) // node:http ends it with the upgrade of a socket
  capConnections({ ...limits, isOfMany: (address) => limits.trustedProxies.has(address) })(server)
  const onEarlyRequest: RequestListener = (_request, response) => {
    response.writeHead(503, { 'Retry-After': '1' }).end()
  }
  server.on('request', onEarlyRequest)
  return {
    port: await listen(server, port, host),
    server,
    serve: (app) => {
      server.off('request', onEarlyRequest).on('request', app)
    },
    close: (drainMs) => closeServer(server, drainMs),
  }
}

function listen(server: Server, port: number, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException) => reject(listenError(error, port, host))
    server.once('error', onError)
    try {
      server.listen(port, host, () => {
        server.off('error', onError)
        // a connection that could not be accepted, for want of file descriptors say, is that client's loss only
        server.on('error', () => undefined)
        resolve((server.address() as AddressInfo).port)
      })
    } catch (error) {
      onError(error as NodeJS.ErrnoException)
    }
  })
}

function listenError(error: NodeJS.ErrnoException, port: number, host: string): StickyError {
  const { code } = error
  const inUse = (sentence: string) => new StickyError('PORT_IN_USE', sentence, { cause: error })
  if (code === 'EADDRINUSE')
    return inUse(`Port ${port} is in use. Stop what runs there, or choose another one with --port or $PORT.`)
  if (code === 'EACCES') return inUse(`Port ${port} may not be opened by this user. Choose one above 1023.`)
  if (code === 'ERR_SOCKET_BAD_PORT') return inUse(`${port} is not a port. Choose one from 1024 to 65535.`)
  return new StickyError('UNREACHABLE', `This machine cannot listen on ${host} port ${port}.`, {
    cause: error,
  })
}

function closeServer(server: Server, drainMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => server.closeAllConnections(), drainMs)
    server.close(() => {
      clearTimeout(timer)
      resolve()
    })
    server.closeIdleConnections()
  })
}
