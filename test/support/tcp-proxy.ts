import { connect, createServer, type Socket } from 'node:net'

/** A user-space TCP proxy in front of a local port: black holes without an error, for links that die silently. */
export interface TcpProxy {
  port: number
  /** From now on nothing passes on the connections that stand; new ones are as good as ever. */
  stallStanding(): void
  readonly stalled: number
  /** Sockets that stand, on either side of the proxy. */
  readonly open: { fromDialler: number; toListener: number }
  close(): Promise<void>
}

/** `localAddress`: whose connections they seem to be, for limits by address. */
export async function startTcpProxy(targetPort: number, localAddress = '127.0.0.1'): Promise<TcpProxy> {
  const standing = new Set<[Socket, Socket]>()
  const stalledPairs = new Set<[Socket, Socket]>()
  const open = { fromDialler: 0, toListener: 0 }
  const server = createServer((client) => {
    const target = connect({ port: targetPort, host: '127.0.0.1', localAddress })
    const pair: [Socket, Socket] = [client, target]
    standing.add(pair)
    for (const [from, to, side] of [
      [client, target, 'fromDialler'],
      [target, client, 'toListener'],
    ] as const) {
      open[side] += 1
      from.setNoDelay(true)
      from.on('data', (chunk) => {
        if (!stalledPairs.has(pair)) to.write(chunk) // what is swallowed is still read: the end must be seen
      })
      from.on('error', () => from.destroy())
      from.on('close', () => {
        open[side] -= 1
        standing.delete(pair)
        if (!stalledPairs.has(pair)) to.destroy()
      })
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  return {
    port,
    stallStanding() {
      for (const pair of standing) stalledPairs.add(pair)
    },
    get stalled() {
      return stalledPairs.size
    },
    open,
    close: () =>
      new Promise((resolve) => {
        for (const pair of [...standing, ...stalledPairs]) for (const socket of pair) socket.destroy()
        server.close(() => resolve())
      }),
  }
}
