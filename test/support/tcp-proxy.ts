import { connect, createServer, type Socket } from 'node:net'

/** A user-space TCP proxy in front of a local port: black holes without an error, for links that die silently. */
export interface TcpProxy {
  port: number
  /** From now on nothing passes on the connections that stand; new ones are as good as ever. */
  stallStanding(): void
  readonly stalled: number
  close(): Promise<void>
}

export async function startTcpProxy(targetPort: number): Promise<TcpProxy> {
  const standing = new Set<[Socket, Socket]>()
  let stalled = 0
  const server = createServer((client) => {
    const target = connect(targetPort, '127.0.0.1')
    const pair: [Socket, Socket] = [client, target]
    standing.add(pair)
    for (const [from, to] of [pair, pair.toReversed() as [Socket, Socket]]) {
      from.setNoDelay(true)
      from.on('data', (chunk) => to.write(chunk))
      from.on('error', () => to.destroy())
      from.on('close', () => {
        standing.delete(pair)
        to.destroy()
      })
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  return {
    port,
    stallStanding() {
      for (const pair of standing) {
        stalled += 1
        for (const socket of pair) socket.removeAllListeners('data').pause()
      }
    },
    get stalled() {
      return stalled
    },
    close: () =>
      new Promise((resolve) => {
        for (const pair of standing) for (const socket of pair) socket.destroy()
        server.close(() => resolve())
      }),
  }
}
