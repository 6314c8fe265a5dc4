import type { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
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
  /** Until a socket is a websocket; libp2p watches over what comes after. */
  handshakeTimeoutMs: number
  /** A client that is refused may take so long to answer the close of its socket. ws gives it 30 s. */
  closeTimeoutMs: number
}

export const DEFAULT_LISTENER_LIMITS: ListenerLimits = {
  maxMessageBytes: 1024 * 1024,
  handshakeTimeoutMs: 10_000,
  closeTimeoutMs: 1_000,
}

/** Sees each server that accepts sockets, before it does. */
type Watch = (server: EventEmitter) => void

interface HandlesUpgrades {
  server: EventEmitter
  wsServer: WebSocketServer
  close(): Promise<void>
}

/**
 * The websocket transport of `factory`, with listeners that anybody may talk to. @libp2p/websockets 10.1.21 sets no error
 * handler on the sockets it accepts, so that one bad frame of anybody ends the process; ws takes messages of 100 MiB
 * before anybody has proved a key; a socket that says nothing is kept for ever, and keeps the listener from closing; and
 * nobody handles the errors of a server once it listens.
 * Done where listeners are made: a node's is open long before libp2p has started, and is made again when it starts again.
 */
export function hardenedListeners<C, T extends { createListener(init: never): object }>(
  factory: (components: C) => T,
  options: Partial<ListenerLimits> = {},
  watch: Watch = () => undefined,
): (components: C) => T {
  const limits = { ...DEFAULT_LISTENER_LIMITS, ...options }
  return (components) => {
    const transport = factory(components)
    const createListener = transport.createListener.bind(transport)
    transport.createListener = (init: never) => {
      const listener = createListener(init) as HandlesUpgrades
      // a connection that could not be accepted, for want of file descriptors say, is that client's loss only
      listener.server.on('error', () => undefined)
      watch(listener.server)
      endBadFrames(listener.wsServer, limits, endLateSockets(listener, limits.handshakeTimeoutMs))
      return listener
    }
    return transport
  }
}

function endBadFrames(
  wsServer: WebSocketServer,
  { maxMessageBytes: maxPayload, closeTimeoutMs: closeTimeout }: ListenerLimits,
  onWebSocket: (socket: Duplex) => void,
): void {
  Object.assign(wsServer.options, { maxPayload, closeTimeout }) // read at each handshake; closeTimeout is newer than the types
  const handleUpgrade = wsServer.handleUpgrade.bind(wsServer)
  wsServer.handleUpgrade = (request, socket, head, done) =>
    handleUpgrade(request, socket, head, (webSocket, upgraded) => {
      onWebSocket(socket)
      webSocket.on('error', () => webSocket.terminate())
      done(endOnAbort(webSocket), upgraded)
    })
}

/** Gives what is to be told of a socket that has become a websocket. */
function endLateSockets(listener: HandlesUpgrades, handshakeTimeoutMs: number): (socket: Duplex) => void {
  const sockets = new Set<Socket>()
  const deadlines = new WeakMap<Duplex, NodeJS.Timeout>()
  listener.server.on('connection', (socket: Socket) => {
    // not of its silence: who sends a byte now and then would keep it for ever
    const deadline = setTimeout(() => socket.destroy(), handshakeTimeoutMs)
    deadlines.set(socket, deadline)
    sockets.add(socket)
    socket.once('close', () => {
      clearTimeout(deadline)
      sockets.delete(socket)
    })
  })
  const close = listener.close.bind(listener)
  listener.close = () => {
    const closed = close()
    for (const socket of sockets) socket.destroy()
    return closed
  }
  return (socket) => clearTimeout(deadlines.get(socket))
}
