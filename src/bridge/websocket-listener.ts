import type { WebSocketServer } from 'ws'
import { type DhtLibp2p, StickyError } from '../dht/index.ts'

/** What this room needs of libp2p's websocket listener, and libp2p does not offer. */

interface Listener {
  wsServer: WebSocketServer
  getAddrs(): { toString(): string }[]
}

function listenerOf(libp2p: DhtLibp2p): Listener {
  const { components } = libp2p as unknown as {
    components: { transportManager: { getListeners(): Partial<Listener>[] } }
  }
  const listener = components.transportManager.getListeners().find(({ wsServer }) => wsServer !== undefined)
  if (listener === undefined)
    throw new StickyError('UNSUPPORTED_PLATFORM', 'libp2p has no websocket listener.')
  return listener as Listener
}

/** Its free loopback port: the announced addresses do not tell it. */
export function loopbackPortOf(libp2p: DhtLibp2p): number {
  const port = listenerOf(libp2p)
    .getAddrs()
    .map((address) => /\/tcp\/(\d+)/.exec(String(address))?.[1])
    .find(Boolean)
  if (port === undefined)
    throw new StickyError('UNSUPPORTED_PLATFORM', 'libp2p did not open its loopback port.')
  return Number(port)
}

/**
 * @libp2p/websockets 10.1.21 sets no error handler on the sockets it accepts, so that one bad frame of anybody ends the
 * process; and ws takes messages of 100 MiB before anybody has proved a key. Here a bad frame ends its own socket.
 */
export function hardenListener(libp2p: DhtLibp2p, maxMessageBytes: number): void {
  const { wsServer } = listenerOf(libp2p)
  wsServer.options.maxPayload = maxMessageBytes
  const handleUpgrade = wsServer.handleUpgrade.bind(wsServer)
  wsServer.handleUpgrade = (request, socket, head, done) =>
    handleUpgrade(request, socket, head, (webSocket, upgraded) => {
      webSocket.on('error', () => webSocket.terminate())
      done(webSocket, upgraded)
    })
}
