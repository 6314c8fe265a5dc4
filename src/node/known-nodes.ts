import type { PeerId } from '@libp2p/interface'
import * as v from 'valibot'
import {
  type DhtLibp2p,
  decode,
  delay,
  encode,
  jittered,
  joinDht,
  type Libp2pNetwork,
  requireNotAborted,
  type Storage,
  systemRuntime,
  type Timer,
} from '../dht/index.ts'

/**
 * Which holders of its bridge's network this node knew when it ran last, on its disk: through them it joins where the
 * bridge is away. Addresses are what others say of themselves; who answers there is proved by the handshake.
 */

const KEY = 'known-nodes'
/** More than a replica set, so that most of them may be gone. */
const MAX_NODES = 32
const MAX_ADDRESSES = 4
const MAX_ADDRESS_CHARACTERS = 300
const MAX_BYTES = 64 * 1024
const JOIN_MS = 8_000
const AGAIN_MS = 1_000
/** The first look finds whom the join has met. Nothing is written where nothing has changed. */
const FIRST_LOOK_MS = 5_000
const LOOK_MS = 60_000

const savedSchema = v.strictObject({
  v: v.literal(1),
  bridge: v.string(),
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
  readonly #bridge: string
  #nodes: KnownNode[]

  private constructor(storage: Storage, bridge: string, nodes: KnownNode[]) {
    this.#storage = storage
    this.#bridge = bridge
    this.#nodes = nodes
  }

  /** Nobody where what is there is of another bridge, and maybe another network, or cannot be read. */
  static async open(storage: Storage, bridgeUrl: string): Promise<KnownNodes> {
    const bridge = URL.canParse(bridgeUrl) ? new URL(bridgeUrl).href : bridgeUrl
    const kept = await storage.get(KEY).then(read, () => undefined)
    return new KnownNodes(storage, bridge, kept?.bridge === bridge ? kept.nodes : [])
  }

  get size(): number {
    return this.#nodes.length
  }

  /**
   * False where none of them can be reached, and none has come, in `JOIN_MS`. After a power cut nobody is there at first:
   * each starts as often as it takes until two are there at the same time. Rejects with ABORTED.
   */
  async join(libp2p: DhtLibp2p, signal: AbortSignal): Promise<boolean> {
    const addresses = this.#nodes.flatMap((node) => node.addresses)
    const limit = AbortSignal.any([signal, AbortSignal.timeout(JOIN_MS)])
    while (!limit.aborted) {
      const hasJoined = await joinDht(libp2p, addresses, { signal: limit }).then(
        () => !limit.aborted,
        () => false,
      )
      if (hasJoined || (libp2p.getPeers().length > 0 && !signal.aborted)) return true
      await delay(systemRuntime, jittered(systemRuntime, AGAIN_MS), limit).catch(() => undefined)
    }
    requireNotAborted(signal, 'The start')
    return false
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
    await this.#storage.write([
      { type: 'put', key: KEY, value: encode({ v: 1, bridge: this.#bridge, nodes }) },
    ])
    this.#nodes = nodes
  }
}

function read(bytes: Uint8Array | undefined): v.InferOutput<typeof savedSchema> | undefined {
  try {
    return bytes && decode(bytes, MAX_BYTES, savedSchema)
  } catch {
    return undefined
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
  // who listens everywhere names its loopback first, and that is another machine's
  const isLocal = (address: string) => /^\/(ip4\/127\.|ip6\/::1\/)/.test(address)
  const useful = [...new Set(named.filter(isUseful))].toSorted(
    (a, b) => Number(isLocal(a)) - Number(isLocal(b)),
  )
  return useful.slice(0, MAX_ADDRESSES)
}
