import type { Multiaddr } from '@multiformats/multiaddr'
import { multiaddrToUri } from '@multiformats/multiaddr-to-uri'
import { WebSocket } from 'ws'
import { StickyError } from '../dht/index.ts'

/** The largest message a peer may send: libp2p's are noise frames of at most 64 KiB. */
const MAX_MESSAGE_BYTES = 1024 * 1024

/**
 * Dials with `ws`, whose sockets can be ended without a closing handshake: Node's own stay open for as long as a dead
 * peer does not answer one, and keep the process alive. Rejects with UNREACHABLE, or the signal's reason.
 */
export function connectWebSocket(
  address: { toString(): string },
  { signal }: { signal?: AbortSignal } = {},
): Promise<WebSocket> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted()
    const socket = new WebSocket(multiaddrToUri(address as Multiaddr), {
      perMessageDeflate: false,
      maxPayload: MAX_MESSAGE_BYTES,
    })
    socket.binaryType = 'arraybuffer'
    const onAbort = () => {
      socket.terminate()
      reject(signal?.reason)
    }
    signal?.addEventListener('abort', onAbort, { once: true })
    // stays for good: what a hostile listener sends ends its socket, not this process
    socket.on('error', (error) => {
      socket.terminate()
      signal?.removeEventListener('abort', onAbort)
      reject(new StickyError('UNREACHABLE', `No websocket to ${address}.`, { cause: error }))
    })
    socket.on('open', () => {
      signal?.removeEventListener('abort', onAbort)
      resolve(socket)
    })
  })
}
