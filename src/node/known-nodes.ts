import type { PeerId } from '@libp2p/interface'
import * as v from 'valibot'
import {
  type DhtLibp2p,
  decode,
  encode,
  jittered,
  type Libp2pNetwork,
  type Storage,
  systemRuntime,
  type Timer,
} from '../dht/index.ts'

/**
 * Which holders this node knew when it ran last, on its disk: through them it joins where its bridge is away. Addresses
 * are what others say of themselves; who answers there is proved by the handshake.
 */

const KEY = 'known-nodes'
/** More than a replica set, so that most of them may be gone. */
const MAX_NODES = 32
const MAX_ADDRESSES = 2
const MAX_ADDRESS_CHARACTERS = 300
const MAX_BYTES = 64 * 1024
/** The first look finds whom the join has met. Nothing is written where nothing has changed. */
const FIRST_LOOK_MS = 5_000
const LOOK_MS = 60_000

const savedSchema = v.strictObject({
  v: v.literal(1),
  nodes: v.pipe(
    v.array(
      v.strictObject({
        nodeId: v.string(),
        addresses: v.pipe(
          v.array(v.pipe(v.string(), v.maxLength(MAX_ADDRESS_CHARACTERS))),
          v.maxLength(MAX_ADDRESSES),
        ),
      }),
    ),
    v.maxLength(MAX_NODES),
  ),
})
type KnownNode = v.InferOutput<typeof savedSchema>['nodes'][number]

export class KnownNodes {
  readonly #storage: Storage
  #nodes: KnownNode[]

  private constructor(storage: Storage, nodes: KnownNode[]) {
    this.#storage = storage
    this.#nodes = nodes
  }

  /** Nobody where what is there cannot be read. */
  static async open(storage: Storage): Promise<KnownNodes> {
    const bytes = await storage.get(KEY)
    return new KnownNodes(storage, bytes === undefined ? [] : read(bytes))
  }

  /** Multiaddrs with node ids. */
  get addresses(): string[] {
    return this.#nodes.flatMap(({ addresses }) => addresses)
  }

  /** From now on. Gives the function that ends it, with a last look. */
  keep(libp2p: DhtLibp2p, network: Libp2pNetwork): () => Promise<void> {
    let timer: Timer | undefined
    let looking = Promise.resolve()
    const look = () => {
      // of a disk that is full others tell
      looking = looking.then(() => this.#look(libp2p, network)).catch(() => undefined)
      return looking
    }
    const schedule = (ms: number) => {
      timer = systemRuntime.setTimer(
        () => {
          void look()
          schedule(LOOK_MS)
        },
        jittered(systemRuntime, ms),
      )
    }
    schedule(FIRST_LOOK_MS)
    return () => {
      timer?.clear()
      return look()
    }
  }

  /** Who is connected, the durable ones first; behind them those of before. */
  async #look(libp2p: DhtLibp2p, network: Libp2pNetwork): Promise<void> {
    const connected = await Promise.all(
      libp2p.getPeers().map(async (peerId) => {
        const profile = await network.profile(peerId)
        const addresses = profile?.stores ? await addressesOf(libp2p, peerId) : []
        return { nodeId: peerId.toString(), durable: profile?.durable, addresses }
      }),
    )
    const useful = connected.filter(({ addresses }) => addresses.length > 0)
    const ranked = [...useful.filter(({ durable }) => durable), ...useful.filter(({ durable }) => !durable)]
    const now = ranked.map(({ nodeId, addresses }) => ({ nodeId, addresses }))
    const before = this.#nodes.filter((old) => now.every(({ nodeId }) => nodeId !== old.nodeId))
    await this.#save([...now, ...before].slice(0, MAX_NODES))
  }

  async #save(nodes: KnownNode[]): Promise<void> {
    const inOrder = (list: KnownNode[]) =>
      JSON.stringify(list.toSorted((a, b) => (a.nodeId < b.nodeId ? -1 : 1)))
    if (inOrder(nodes) === inOrder(this.#nodes)) return
    await this.#storage.write([{ type: 'put', key: KEY, value: encode({ v: 1, nodes }) }])
    this.#nodes = nodes
  }
}

function read(bytes: Uint8Array): KnownNode[] {
  try {
    return decode(bytes, MAX_BYTES, savedSchema).nodes
  } catch {
    return []
  }
}

/** Where it has answered before where it only says that it can be reached; not through a relay, which may be the bridge's. */
async function addressesOf(libp2p: DhtLibp2p, peerId: PeerId): Promise<string[]> {
  const dialled = libp2p.getConnections(peerId).filter(({ direction }) => direction === 'outbound')
  const { addresses } = await libp2p.peerStore.get(peerId).catch(() => ({ addresses: [] }))
  const all = [...dialled.map(({ remoteAddr }) => remoteAddr), ...addresses.map(({ multiaddr }) => multiaddr)]
  const named = all.map((address) => `${String(address).replace(/\/p2p\/[^/]+$/, '')}/p2p/${peerId}`)
  const isUseful = (address: string) =>
    /\/wss?(\/|$)/.test(address) &&
    !address.includes('/p2p-circuit') &&
    address.length <= MAX_ADDRESS_CHARACTERS
  return [...new Set(named.filter(isUseful))].slice(0, MAX_ADDRESSES)
}
