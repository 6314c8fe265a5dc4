import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { identityFromSeed, type Runtime, StickyError, systemRuntime } from '../dht/index.ts'
import { Admission } from './admission.ts'
import { ChallengeSocket } from './challenge-socket.ts'
import { createHttpApp } from './http.ts'
import { createMetrics } from './metrics.ts'
import { type BridgeLimits, DEFAULT_BRIDGE_LIMITS } from './options.ts'
import { isLoopbackName } from './origins.ts'
import { createBridgeLibp2p, type RelayLimits } from './transports.ts'
import { CHALLENGE_PATH, handleUpgrades } from './upgrade.ts'
import { hardenListener, loopbackPortOf } from './websocket-listener.ts'

export interface BridgeOptions {
  /** 32 bytes: the Ed25519 seed the bridge's id comes from. */
  seed: Uint8Array
  /** Default 8080; 0: any free one. */
  port?: number
  /** Default 127.0.0.1. Behind another address browsers need https: see publicUrl. */
  host?: string
  /** How clients reach it when that is not host and port, e.g. https://bridge.example behind a TLS proxy. */
  publicUrl?: string
  webRoot?: string
  /** Origins whose pages may use this bridge beside its own and publicUrl's; `*`: any. */
  allowedOrigins?: string[]
  publicMetrics?: boolean
  limits?: Partial<BridgeLimits>
  relay?: Partial<RelayLimits>
  runtime?: Runtime
}

export interface Bridge extends AsyncDisposable {
  readonly nodeId: string
  /** What is pasted into a browser. */
  readonly url: string
  /** The relay's multiaddr. */
  readonly address: string
  readonly port: number
  isAdmitted(peerId: string): boolean
  /** Peer ids that hold a relay reservation. */
  reservations(): string[]
  close(): Promise<void>
}

/**
 * Starts a bridge: relay, DHT server and challenge behind one public port. It helps peers find each other and owns
 * nothing. Rejects with PORT_IN_USE, UNREACHABLE (that address is not this machine's) or MALFORMED (publicUrl).
 */
export async function startBridge(options: BridgeOptions): Promise<Bridge> {
  const limits = { ...DEFAULT_BRIDGE_LIMITS, ...options.limits }
  const host = options.host ?? '127.0.0.1'
  const identity = await identityFromSeed(options.seed)
  const runtime = options.runtime ?? systemRuntime
  if (options.publicUrl !== undefined) multiaddrOf(options.publicUrl)
  const admission = new Admission(limits.maxAdmitted, limits.admissionMs, () => runtime.monotonicNow())
  const origins = {
    allowedOrigins: options.allowedOrigins ?? [],
    isLoopbackOnly: isLoopbackName(host),
    ...(options.publicUrl === undefined ? {} : { publicUrl: options.publicUrl }),
  }
  const challenge = new ChallengeSocket({ identity, admission, limits, origins, runtime })
  const server = createServer({
    headersTimeout: 10_000,
    requestTimeout: 30_000,
    connectionsCheckingInterval: 5_000, // how often the two above are looked at; 30 s by default
    maxHeaderSize: 16 * 1024,
  })
  const onEarlyRequest: RequestListener = (_request, response) => {
    response.writeHead(503, { 'Retry-After': '1' }).end()
  }
  server.on('request', onEarlyRequest)
  const port = await listen(server, options.port ?? 8080, host)
  const url = options.publicUrl ?? `http://${host.includes(':') ? `[${host}]` : host}:${port}`
  const address = `${multiaddrOf(url)}/p2p/${identity.nodeId}`
  let libp2p: Awaited<ReturnType<typeof createBridgeLibp2p>>
  try {
    libp2p = await createBridgeLibp2p({
      seed: options.seed,
      listenPort: 0,
      announce: [multiaddrOf(url)],
      admit: (peerId) => admission.isAdmitted(peerId),
      ...(options.relay ? { relay: options.relay } : {}),
    })
  } catch (error) {
    server.close()
    throw error
  }
  hardenListener(libp2p, limits.maxPipedMessageBytes)
  const pipes = handleUpgrades(server, {
    libp2pPort: loopbackPortOf(libp2p),
    challenge,
    limits,
    origins,
  })
  const reservations = () => [...relayReservations(libp2p)]
  const numbers = () => ({
    admittedPeers: admission.size,
    challengesAccepted: challenge.counters.accepted,
    challengesPending: challenge.pending,
    refusals: challenge.counters.refused,
    pipes: pipes.count,
    connections: libp2p.getConnections().length,
    reservations: reservations().length,
  })
  const app = createHttpApp({
    metrics: createMetrics(numbers),
    publicMetrics: options.publicMetrics ?? false,
    health: () => ({
      status: 'ok',
      nodeId: identity.nodeId,
      connections: numbers().connections,
      reservations: numbers().reservations,
    }),
    bootstrap: (requestHost) => ({
      serverId: identity.nodeId,
      relay:
        options.publicUrl === undefined && requestHost !== ''
          ? `${multiaddrOf(`http://${requestHost}`)}/p2p/${identity.nodeId}`
          : address,
      challenge: CHALLENGE_PATH,
      version: 1,
    }),
    ...(options.webRoot ? { webRoot: options.webRoot } : {}),
  })
  server.off('request', onEarlyRequest).on('request', app)
  let closing: Promise<void> | undefined
  const close = () => {
    closing ??= (async () => {
      // no new connections from here on, while requests under way finish
      const closed = closeServer(server, limits.drainMs)
      challenge.close()
      await libp2p.stop()
      pipes.closeAll()
      await closed
    })()
    return closing
  }
  return {
    nodeId: identity.nodeId,
    url,
    address,
    port,
    isAdmitted: (peerId) => admission.isAdmitted(peerId),
    reservations,
    close,
    [Symbol.asyncDispose]: close,
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
    return inUse(`Port ${port} is in use. Stop what runs there, or choose another one: PORT=${port + 1}`)
  if (code === 'EACCES') return inUse(`Port ${port} may not be opened by this user. Choose one above 1023.`)
  if (code === 'ERR_SOCKET_BAD_PORT') return inUse(`${port} is not a port. Choose one from 1024 to 65535.`)
  return new StickyError('UNREACHABLE', `This machine cannot listen on ${host} port ${port}.`, {
    cause: error,
  })
}

/** /ip4/127.0.0.1/tcp/8080/ws of http://127.0.0.1:8080; /dns/…/wss behind TLS. Throws MALFORMED. */
export function multiaddrOf(url: string): string {
  let parsed: URL
  try {
    parsed = new URL(url)
  } catch (error) {
    throw new StickyError('MALFORMED', `Not a URL: ${url}`, { cause: error })
  }
  const { hostname, protocol } = parsed
  const isTls = protocol === 'https:' || protocol === 'wss:'
  const port = parsed.port || (isTls ? '443' : '80')
  const bare = hostname.replace(/^\[|\]$/g, '')
  const kind = /^\d+\.\d+\.\d+\.\d+$/.test(bare) ? 'ip4' : bare.includes(':') ? 'ip6' : 'dns'
  return `/${kind}/${bare}/tcp/${port}/${isTls ? 'wss' : 'ws'}`
}

function relayReservations(libp2p: Awaited<ReturnType<typeof createBridgeLibp2p>>): string[] {
  const relay = (
    libp2p.services as unknown as { relay: { reservations: { keys(): Iterable<{ toString(): string }> } } }
  ).relay
  return [...relay.reservations.keys()].map(String)
}

function closeServer(server: Server, drainMs: number): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    server.closeIdleConnections()
    setTimeout(() => server.closeAllConnections(), drainMs).unref()
  })
}
