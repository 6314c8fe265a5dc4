import { createServer } from 'node:net'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { LocalNetwork, RunningNode } from './local-network.ts'
import { startTcpProxy, type TcpProxy } from './tcp-proxy.ts'

/** The connections of one process, each through a proxy: what befalls them befalls nobody else. */

const PRELOAD = pathToFileURL(join(import.meta.dirname, 'dial-through.ts')).href

export class ProxiedLinks {
  /** Where others dial, if they do; then to the nodes; last to the bridge. */
  readonly #proxies: TcpProxy[]
  /** For the process whose links these are. */
  readonly env: NodeJS.ProcessEnv

  private constructor(proxies: TcpProxy[], ports: Record<string, number>) {
    this.#proxies = proxies
    this.env = {
      NODE_OPTIONS: `--import ${PRELOAD} --disable-warning=ExperimentalWarning`,
      STICKY_TEST_PROXIES: JSON.stringify(ports),
    }
  }

  /** Towards the bridge and the nodes that there are; and from others, where the process listens on `ownPort`. */
  static async start(network: LocalNetwork, ownPort?: number): Promise<ProxiedLinks> {
    const targets = [...network.nodes.flatMap(portsOf), Number(new URL(network.url).port)]
    const outward = await Promise.all(targets.map((port) => startTcpProxy(port)))
    const inward = ownPort === undefined ? [] : [await startTcpProxy(ownPort)]
    const ports = Object.fromEntries(targets.map((port, i) => [port, (outward[i] as TcpProxy).port]))
    return new ProxiedLinks([...inward, ...outward], ports)
  }

  /** Where others reach a process that listens on a port of its own. */
  get inwardPort(): number {
    return (this.#proxies[0] as TcpProxy).port
  }

  /** Connections since the start, all together. */
  get accepted(): number {
    return this.#proxies.reduce((sum, { accepted }) => sum + accepted, 0)
  }

  each(change: (proxy: TcpProxy) => void): void {
    for (const proxy of this.#proxies) change(proxy)
  }

  /** Its links to other nodes, and theirs to it; it stays in touch with the bridge. */
  eachToNodes(change: (proxy: TcpProxy) => void): void {
    for (const proxy of this.#proxies.slice(0, -1)) change(proxy)
  }

  async close(): Promise<void> {
    await Promise.all(this.#proxies.map((proxy) => proxy.close()))
  }
}

/** On which it can be dialled itself, not through a relay. */
const portsOf = ({ addresses }: RunningNode): number[] =>
  addresses.flatMap((address) => {
    const [, port] = /^\/ip4\/127\.0\.0\.1\/tcp\/(\d+)\/ws\/p2p\/\w+$/.exec(address) ?? []
    return port === undefined ? [] : [Number(port)]
  })

export const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer().on('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number }
      server.close(() => resolve(port))
    })
  })
