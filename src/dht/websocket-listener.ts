import type { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import type { WebSocketServer } from 'ws'
import { StickyError } from './errors.ts'
import type { DhtLibp2p } from './libp2p-services.ts'
import { endOnAbort } from './websocket-abort.ts'

/** What is needed of libp2p's websocket listeners, and libp2p does not offer. */

interface Listener {
  wsServer: WebSocketServer
  getAddrs(): { toString(): string }[]
}

function listenersOf(libp2p: DhtLibp2p): Listener[] {
  const { components } = libp2p as unknown as {
    components: { transportManager: { getListeners(): Partial<Listener>[] } }
  }
  return components.transportManager
    .getListeners()
    .filter((listener): listener is Listener => listener.wsServer !== undefined)
}

/** Its free loopback port: the announced addresses do not tell it. */
export function loopbackPortOf(libp2p: DhtLibp2p): number {
  const port = listenersOf(libp2p)
    .flatMap((listener) => listener.getAddrs())
    .map((address) => /\/tcp\/(\d+)/.exec(String(address))?.[1])
    .find(Boolean)
  if (port === undefined)
    throw new StickyError('UNSUPPORTED_PLATFORM', 'libp2p did not open its loopback port.')
  return Number(port)
}

export interface ListenerLimits {
  /** libp2p sends noise frames of at most 64 KiB. */
  maxMessageBytes: number
  /** A socket may be silent for so long before it is a websocket; libp2p watches over what comes after. */
  handshakeTimeoutMs: number
  /** A client that is refused may take so long to answer the close of its socket. ws gives it 30 s. */
  closeTimeoutMs: number
}

export const DEFAULT_LISTENER_LIMITS: ListenerLimits = {
  maxMessageBytes: 1024 * 1024,
  handshakeTimeoutMs: 10_000,
  closeTimeoutMs: 1_000,
}

interface HandlesUpgrades {
  server: EventEmitter
  wsServer: WebSocketServer
  close(): Promise<void>
}

/**
 * The websocket transport of `factory`, with listeners that anybody may talk to. @libp2p/websockets 10.1.21 sets no error
 * handler on the sockets it accepts, so that one bad frame of anybody ends the process; ws takes messages of 100 MiB
 * before anybody has proved a key; and a socket that says nothing is kept for ever, and keeps the listener from closing.
 * Done where listeners are made: a node's is open long before libp2p has started, and is made again when it starts again.
 */
export function hardenedListeners<C, T extends { createListener(init: never): object }>(
  factory: (components: C) => T,
  options: Partial<ListenerLimits> = {},
): (components: C) => T {
  const limits = { ...DEFAULT_LISTENER_LIMITS, ...options }
  return (components) => {
    const transport = factory(components)
    const createListener = transport.createListener.bind(transport)
    transport.createListener = (init: never) => {
      const listener = createListener(init) as HandlesUpgrades
      endBadFrames(listener.wsServer, limits)
      endSilentSockets(listener, limits.handshakeTimeoutMs)
      return listener
    }
    return transport
  }
}

function endBadFrames(
  wsServer: WebSocketServer,
  { maxMessageBytes: maxPayload, closeTimeoutMs: closeTimeout }: ListenerLimits,
): void {
  Object.assign(wsServer.options, { maxPayload, closeTimeout }) // read at each handshake; closeTimeout is newer than the types
  const handleUpgrade = wsServer.handleUpgrade.bind(wsServer)
  wsServer.handleUpgrade = (request, socket, head, done) =>
    handleUpgrade(request, socket, head, (webSocket, upgraded) => {
      webSocket.on('error', () => webSocket.terminate())
      done(endOnAbort(webSocket), upgraded)
    })
}

function endSilentSockets(listener: HandlesUpgrades, handshakeTimeoutMs: number): void {
  const sockets = new Set<Socket>()
  listener.server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    // ws takes the timeout off once the handshake is done
    socket.setTimeout(handshakeTimeoutMs, () => socket.destroy())
  })
  const close = listener.close.bind(listener)
  listener.close = () => {
    const closed = close()
    for (const socket of sockets) socket.destroy()
    return closed
  }
}
