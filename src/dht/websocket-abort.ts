/**
 * libp2p's websocket transport ends a connection that it gives up with `close(1006)`, a code that every WebSocket refuses:
 * the error is swallowed and the socket stays open. The other side goes on believing in the connection, and the process
 * never ends. Sockets that pass through here are really closed.
 */

export interface AbortableSocket {
  close(code?: number, reason?: string): void
  /** Where the platform has it: without a closing handshake that a dead peer never answers. */
  terminate?(): void
}

const ABNORMAL_CLOSURE = 1006

export function endOnAbort<T extends AbortableSocket>(socket: T): T {
  const close = socket.close.bind(socket)
  socket.close = (code, reason) => {
    if (code !== ABNORMAL_CLOSURE) close(code, reason)
    else if (socket.terminate !== undefined) socket.terminate()
    else close()
  }
  return socket
}

type Connect = (
  address: { toString(): string },
  options?: { signal?: AbortSignal },
) => Promise<AbortableSocket>

/** The transport of `factory`, dialling with `connect` where one is given and with the platform's WebSocket otherwise. */
export function endingOnAbort<C, T extends object>(
  factory: (components: C) => T,
  connect?: Connect,
): (components: C) => T {
  return (components) => {
    const transport = factory(components) as T & { _connect: Connect }
    const dial = connect ?? transport._connect.bind(transport)
    transport._connect = async (address, options) => endOnAbort(await dial(address, options))
    return transport
  }
}
