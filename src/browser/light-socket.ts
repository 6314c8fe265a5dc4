import { AbstractMessageStream } from '@libp2p/utils'
import { StickyError } from '../dht/index.ts'
import { log } from './no-libp2p-log.ts'

/**
 * A WebSocket as the byte stream that libp2p's handshakes work on. The transport of @libp2p/websockets would do as well,
 * and brings the matchers of all kinds of addresses.
 */

/** Above it nothing more is handed to the socket until all of it has gone. */
const MAX_BUFFERED_BYTES = 4 * 1024 * 1024
/** The platform does not tell when a socket has sent its bytes. */
const DRAIN_CHECK_MS = 20

type Bytes = Parameters<AbstractMessageStream['sendData']>[0]

class SocketStream extends AbstractMessageStream {
  readonly #socket: WebSocket
  #draining: ReturnType<typeof setInterval> | undefined

  constructor(socket: WebSocket) {
    super({ log: log as unknown as AbstractMessageStream['log'], direction: 'outbound' })
    this.#socket = socket
    socket.addEventListener('message', ({ data }) => {
      if (data instanceof ArrayBuffer) this.onData(new Uint8Array(data))
      else this.abort(new Error('A text came where bytes are expected.'))
    })
    socket.addEventListener('close', ({ wasClean }) => {
      clearInterval(this.#draining)
      if (this.status !== 'open') return
      if (wasClean) this.onTransportClosed()
      else this.onRemoteReset()
    })
  }

  sendData(data: Bytes): { sentBytes: number; canSendMore: boolean } {
    const sentBytes = data.byteLength
    for (const part of data) this.#socket.send(part as Uint8Array<ArrayBuffer>)
    const canSendMore = this.#socket.bufferedAmount < MAX_BUFFERED_BYTES
    if (!canSendMore) this.#draining ??= setInterval(() => this.#checkDrained(), DRAIN_CHECK_MS)
    return { sentBytes, canSendMore }
  }

  #checkDrained(): void {
    if (this.#socket.bufferedAmount > 0) return
    clearInterval(this.#draining)
    this.#draining = undefined
    this.safeDispatchEvent('drain')
  }

  sendReset(): void {
    clearInterval(this.#draining)
    this.#socket.close()
  }

  /** All that was sent is with the socket already, but for what waits for it to drain. */
  async close(): Promise<void> {
    if (this.status !== 'open') return
    this.#socket.close()
    clearInterval(this.#draining)
    this.onTransportClosed()
  }

  /** A socket cannot be told to read no more. */
  sendPause(): void {}
  sendResume(): void {}
}

/** Rejects with UNREACHABLE, or the signal's reason. */
export function openSocket(uri: string, signal: AbortSignal): Promise<AbstractMessageStream> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason)
    const socket = newSocket(uri)
    socket.binaryType = 'arraybuffer'
    const settled = new AbortController()
    const failed = (error: unknown) => {
      if (settled.signal.aborted) return // closing a socket that has not opened tells of an error again
      settled.abort()
      socket.close()
      reject(error)
    }
    const refused = () => failed(new StickyError('UNREACHABLE', `Nobody answers at ${uri}.`))
    socket.addEventListener(
      'open',
      () => {
        settled.abort()
        resolve(new SocketStream(socket))
      },
      { signal: settled.signal },
    )
    socket.addEventListener('error', refused, { signal: settled.signal })
    socket.addEventListener('close', refused, { signal: settled.signal })
    signal.addEventListener('abort', () => failed(signal.reason), { signal: settled.signal })
  })
}

function newSocket(uri: string): WebSocket {
  try {
    return new WebSocket(uri)
  } catch (error) {
    throw new StickyError('UNREACHABLE', `No websocket can be opened to ${uri}.`, { cause: error })
  }
}
