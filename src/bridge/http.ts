import express, { type Express, type NextFunction, type Request, type Response } from 'express'
import helmet from 'helmet'
import type { Registry } from 'prom-client'
import { isLocalRequest } from '../dht/index.ts'

export interface HttpOptions {
  metrics: Registry
  /** Whether the client of a request may make one more. */
  mayAsk(request: Request): boolean
  /** The answer of /bootstrap. `host` is the Host the client dialled. */
  bootstrap(host: string): object
  health(): object
  /** The answer of /diagnostics, and by name of /diagnostics/…. */
  diagnostics(): object
  /** Folder of the built web app. Without one only the bridge's own pages are served. */
  webRoot?: string
  /** /metrics and /diagnostics are for this machine unless they are opened here. */
  publicMetrics: boolean
}

export function createHttpApp(options: HttpOptions): Express {
  const { metrics, mayAsk, bootstrap, health, diagnostics, webRoot, publicMetrics } = options
  const app = express()
  app.disable('x-powered-by')
  app.use((request, response, next) => {
    if (mayAsk(request)) return next()
    response
      .status(429)
      .set({ 'Retry-After': '1', 'Cache-Control': 'no-store', 'Access-Control-Allow-Origin': '*' })
      .json({ error: 'RATE_LIMITED', message: 'Too many requests from this address.' })
  })
  app.use(
    helmet({
      contentSecurityPolicy: {
        useDefaults: false,
        directives: {
          defaultSrc: ["'none'"],
          scriptSrc: ["'self'"],
          styleSrc: ["'self'"],
          imgSrc: ["'self'", 'data:', 'blob:'],
          fontSrc: ["'self'"],
          connectSrc: ["'self'", 'ws:', 'wss:'],
          manifestSrc: ["'self'"],
          baseUri: ["'none'"],
          formAction: ["'none'"],
          frameAncestors: ["'none'"],
          // text becomes markup in Lit's templates only, which are the program's own
          requireTrustedTypesFor: ["'script'"],
          trustedTypes: ['lit-html'],
        },
      },
      // the bridge also serves plain http on loopback and in local networks
      strictTransportSecurity: false,
      crossOriginResourcePolicy: { policy: 'cross-origin' },
    }),
  )
  app.get('/health', (_request, response) => {
    response.set('Cache-Control', 'no-store').json(health())
  })
  app.get('/bootstrap', (request, response) => {
    // public information, needed by pages of any origin
    response
      .set({ 'Access-Control-Allow-Origin': '*', 'Cache-Control': 'no-store' })
      .json(bootstrap(request.headers.host ?? ''))
  })
  app.use(['/metrics', '/diagnostics'], (request, response, next) => {
    if (publicMetrics || isLocalRequest(request.socket.remoteAddress, request.headers)) return next()
    response.status(403).json({ error: 'FORBIDDEN', message: 'Metrics are for this machine only.' })
  })
  app.get(['/diagnostics', '/diagnostics/:section'], (request, response, next) => {
    const told = diagnostics()
    const section = request.params.section as string | undefined
    if (section !== undefined && !Object.hasOwn(told, section)) return next()
    const part = section === undefined ? told : { [section]: Reflect.get(told, section) }
    response.set('Cache-Control', 'no-store').json(part)
  })
  app.get('/metrics', async (_request, response) => {
    response.type(metrics.contentType).send(await metrics.metrics())
  })
  if (webRoot !== undefined) serveWebApp(app, webRoot)
  app.use((_request, response) => {
    response.status(404).json({ error: 'NOT_FOUND', message: 'There is nothing here.' })
  })
  app.use((_error: unknown, _request: Request, response: Response, _next: NextFunction) => {
    if (response.headersSent) response.destroy()
    else response.status(400).json({ error: 'MALFORMED', message: 'That request cannot be answered.' })
  })
  return app
}

function serveWebApp(app: Express, webRoot: string): void {
  const hashedName = /\/assets\//
  app.use(
    express.static(webRoot, {
      index: 'index.html',
      setHeaders: (response, path) => {
        response.setHeader(
          'Cache-Control',
          hashedName.test(path) ? 'public, max-age=31536000, immutable' : 'no-cache',
        )
      },
    }),
  )
  app.get('/{*path}', (request, response, next) => {
    if (!request.accepts('html') || /\.\w+$/.test(request.path)) return next()
    // below a root: a hidden folder in the path of this machine, such as npx installs into, is nothing a client asked for
    response.set('Cache-Control', 'no-cache').sendFile('index.html', { root: webRoot })
  })
}
