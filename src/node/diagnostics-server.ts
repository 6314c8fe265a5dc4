import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { isLocalRequest, RateLimiter, StickyError, systemRuntime } from '../dht/index.ts'
import type { Diagnostics } from '../pubsub/index.ts'
import type { HealthReading } from './health.ts'
import { CONTENT_TYPE, prometheusText } from './prometheus.ts'

/** A port of this machine that tells an operator how a node is. It takes nothing, and listens on loopback only. */

export interface DiagnosticsServerOptions {
  /** 0: any free one. */
  port: number
  read(): Promise<Diagnostics>
  /** The latest reading. */
  health(): HealthReading
  /** Requests of all together: at once, and refilled per second. */
  requestBurst?: number
  requestsPerSecond?: number
}

export interface DiagnosticsServer {
  readonly url: string
  close(): Promise<void>
}

const HOST = '127.0.0.1'
const MAX_CONNECTIONS = 32
/** For a whole request, and then for the next one on the same connection. */
const REQUEST_MS = 5_000

/** Rejects with PORT_IN_USE. */
export async function serveDiagnostics(options: DiagnosticsServerOptions): Promise<DiagnosticsServer> {
  const { port, requestBurst: burst = 50, requestsPerSecond: perSecond = 10 } = options
  const limiter = new RateLimiter(systemRuntime)
  const server = createServer(
    {
      requestTimeout: REQUEST_MS,
      headersTimeout: REQUEST_MS,
      keepAliveTimeout: REQUEST_MS,
      maxHeaderSize: 8_192,
    },
    (request, response) => {
      const mayAsk = limiter.take('all', { burst, perSecond })
      answer(request, response, mayAsk, options).catch(() =>
        tell(response, 503, refusal('CLOSED', 'This node cannot tell now.')),
      )
    },
  )
  server.maxConnections = MAX_CONNECTIONS
  await new Promise<void>((resolve, reject) => {
    // also later: a connection that cannot be taken must not end the node
    server.on('error', (cause) =>
      reject(new StickyError('PORT_IN_USE', `The port ${port} for diagnostics cannot be had.`, { cause })),
    )
    server.listen(port, HOST, resolve)
  })
  const address = server.address()
  const own = typeof address === 'object' && address !== null ? address.port : port
  return {
    url: `http://${HOST}:${own}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  mayAsk: boolean,
  node: Pick<DiagnosticsServerOptions, 'read' | 'health'>,
): Promise<void> {
  if (!mayAsk) return tell(response, 429, refusal('RATE_LIMITED', 'Too many requests.'))
  if (!isLocalRequest(request.socket.remoteAddress, request.headers))
    return tell(response, 403, refusal('FORBIDDEN', 'Diagnostics are for this machine only.'))
  if (request.method !== 'GET')
    return tell(response, 405, refusal('FORBIDDEN', 'There is nothing to change.'))
  const path = (request.url ?? '').replace(/\?.*$/, '')
  const section = /^\/diagnostics(?:\/(\w+))?$/.exec(path)
  if (path !== '/health' && path !== '/metrics' && section === null)
    return tell(response, 404, refusal('NOT_FOUND', 'There is nothing here.'))
  const health = node.health()
  // 200 also where it is strained: who restarts it for that makes it worse, for it and for the others
  if (path === '/health') return tell(response, 200, JSON.stringify(health))
  if (section?.[1] === 'health') return tell(response, 200, JSON.stringify(healthSection(health)))
  const told = { ...(await node.read()), health }
  if (path === '/metrics') return tell(response, 200, prometheusText(told), CONTENT_TYPE)
  const part = sectionOf(told, section?.[1])
  if (part === undefined) return tell(response, 404, refusal('NOT_FOUND', 'There is no such section.'))
  tell(response, 200, JSON.stringify(part))
}

/** Told without asking the node, which may be what does not answer. */
const healthSection = (health: HealthReading): object => ({
  asOf: health.asOf,
  bootId: health.bootId,
  health,
})

/** All of it, or one section; undefined where there is none of that name. */
function sectionOf(told: Diagnostics, name: string | undefined): object | undefined {
  if (name === undefined) return told
  if (!Object.hasOwn(told, name)) return undefined
  const { asOf, node } = told
  return { asOf, bootId: node.bootId, [name]: told[name as keyof Diagnostics] }
}

const refusal = (error: string, message: string): string => JSON.stringify({ error, message })

function tell(response: ServerResponse, status: number, body: string, type = 'application/json'): void {
  if (response.headersSent) {
    response.destroy()
    return
  }
  response.writeHead(status, {
    'Content-Type': type,
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    ...(status === 429 ? { 'Retry-After': '1' } : {}),
  })
  response.end(body)
}
