import { connect, createServer, type Socket } from 'node:net'

/** A user-space TCP proxy in front of a local port: delays, halts, black holes without an error, and resets. */

/** Which bytes: those on their way to who dialled, or to who listens. */
export type Way = 'toDialler' | 'toListener'

export interface TcpProxy {
  port: number
  /** From now on nothing passes on the connections that stand, or nothing that way; new ones are as good as ever. */
  stallStanding(way?: Way): void
  readonly stalled: number
  /** Nobody takes anything any more, on new connections neither, until `release`: what was sent waits, and none is lost. */
  hold(): void
  release(): void
  /** Ends what stands without a goodbye. */
  reset(): void
  /** What comes from now on arrives so much later, in order. */
  delayMs: number
  /** Connections since the start. */
  readonly accepted: number
  /** Sockets that stand, on either side of the proxy. */
  readonly open: { fromDialler: number; toListener: number }
  close(): Promise<void>
}

interface Pipe {
  from: Socket
  to: Socket
  way: Way
  isStalled: boolean
  /** Delayed chunks. */
  waiting: Buffer[]
}

/** `localAddress`: whose connections they seem to be, for limits by address. */
export async function startTcpProxy(targetPort: number, localAddress = '127.0.0.1'): Promise<TcpProxy> {
  const pipes = new Set<Pipe>()
  const open = { fromDialler: 0, toListener: 0 }
  let isHeld = false
  let accepted = 0

  const pass = (pipe: Pipe, chunk: Buffer) => {
    if (pipe.isStalled) return // what is swallowed is still read: the end must be seen
    pipe.waiting.push(chunk)
    // whichever timer runs first: the order is that of the queue
    const write = () => {
      const next = pipe.waiting.shift()
      if (next !== undefined && !pipe.to.destroyed) pipe.to.write(next)
    }
    if (proxy.delayMs === 0 && pipe.waiting.length === 1) write()
    else setTimeout(write, proxy.delayMs)
  }
  const start = (from: Socket, to: Socket, way: Way) => {
    const pipe: Pipe = { from, to, way, isStalled: false, waiting: [] }
    const side = way === 'toListener' ? 'fromDialler' : 'toListener'
    pipes.add(pipe)
    open[side] += 1
    from.setNoDelay(true)
    from.on('data', (chunk) => pass(pipe, chunk))
    from.on('error', () => from.destroy())
    from.on('close', () => {
      open[side] -= 1
      pipes.delete(pipe)
      if (!pipe.isStalled) to.destroy()
    })
    if (isHeld) from.pause()
  }
  const server = createServer((client) => {
    accepted += 1
    const target = connect({ port: targetPort, host: '127.0.0.1', localAddress })
    start(client, target, 'toListener')
    start(target, client, 'toDialler')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const sockets = () => new Set([...pipes].flatMap(({ from, to }) => [from, to]))

  const proxy: TcpProxy = {
    port: (server.address() as { port: number }).port,
    delayMs: 0,
    open,
    get accepted() {
      return accepted
    },
    stallStanding(way) {
      for (const pipe of pipes) if (way === undefined || pipe.way === way) pipe.isStalled = true
    },
    get stalled() {
      return new Set([...pipes].filter(({ isStalled }) => isStalled).map(connectionOf)).size
    },
    hold() {
      isHeld = true
      for (const { from } of pipes) from.pause()
    },
    release() {
      isHeld = false
      for (const { from } of pipes) from.resume()
    },
    reset() {
      for (const socket of sockets()) socket.resetAndDestroy()
    },
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets()) socket.destroy()
        server.close(() => resolve())
      }),
  }
  return proxy
}

const connectionOf = ({ from, to, way }: Pipe): Socket => (way === 'toListener' ? from : to)
