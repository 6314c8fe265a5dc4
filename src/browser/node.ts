import {
  createLibp2pNetwork,
  enterBridge,
  type Identity,
  identityFromSeed,
  jittered,
  joinDht,
  StickyError,
  systemRuntime,
} from '../dht/index.ts'
import { StickyPubSub } from '../pubsub/index.ts'
import { exportIdentity, importIdentity, loadOrCreateIdentity } from './identity-store.ts'
import { openIdbStorage } from './object-store.ts'
import { takeTabSlot } from './tab-slot.ts'
import { createBrowserLibp2p } from './transports.ts'

export interface PeerView {
  nodeId: string
  /** Not through a relay. */
  direct: boolean
  webrtc: boolean
}

export interface NodeStatus {
  /** Online: a storing peer is connected. Degraded: peers, but the bridge is gone. Offline: nobody. */
  state: 'connecting' | 'online' | 'degraded' | 'offline'
  peers: PeerView[]
  bridge: boolean
}

export interface BrowserNodeOptions {
  /** The bridge's page address, e.g. location.origin. */
  bridgeUrl: string
  onStatus?: (status: NodeStatus) => void
  /** Default: the browser's own. Tests pass { iceServers: [] }. */
  rtcConfiguration?: RTCConfiguration
  signal?: AbortSignal
}

export interface BrowserNode {
  readonly nodeId: string
  readonly pubsub: StickyPubSub
  status(): NodeStatus
  onStatus(listener: (status: NodeStatus) => void): () => void
  /** A backup text under a passphrase; the key itself is sent nowhere. */
  exportIdentity(passphrase: string): Promise<string>
  /** Replaces this tab's identity; it counts from the next start. */
  importIdentity(text: string, passphrase: string): Promise<void>
  close(): Promise<void>
}

/** The bridge is asked again this often after it was lost, doubling to the maximum. */
const REJOIN_MS = 1_500
const MAX_REJOIN_MS = 30_000
const JOIN_TIMEOUT_MS = 30_000

export async function createBrowserNode(options: BrowserNodeOptions): Promise<BrowserNode> {
  if (globalThis.crypto?.subtle === undefined) {
    throw new StickyError(
      'UNSUPPORTED_PLATFORM',
      'This page needs https (or localhost): browsers give no cryptography to insecure pages.',
    )
  }
  const slot = await takeTabSlot()
  const name = slot.index === 0 ? 'sticky-pubsub' : `sticky-pubsub-${slot.index}`
  const { seed } = await loadOrCreateIdentity(name)
  const identity = await identityFromSeed(seed)
  const storage = await openIdbStorage(`${name}-records`)
  const bootstrap = await enterBridge(options.bridgeUrl, identity, options.signal)
  const libp2p = await createBrowserLibp2p({
    seed,
    relay: bootstrap.relay,
    ...(options.rtcConfiguration ? { rtcConfiguration: options.rtcConfiguration } : {}),
  })
  const network = await createLibp2pNetwork({ libp2p, durable: false, stores: true })
  const pubsub = new StickyPubSub({ network, storage, identity })
  const listeners = new Set<(status: NodeStatus) => void>()
  if (options.onStatus) listeners.add(options.onStatus)
  let joined = false
  let closed = false
  const bridgeId = bootstrap.relay.split('/p2p/')[1] ?? ''

  const status = (): NodeStatus => {
    const connections = libp2p.getConnections()
    const bridge = connections.some((connection) => connection.remotePeer.toString() === bridgeId)
    const peers = new Map<string, PeerView>()
    for (const connection of connections) {
      const nodeId = connection.remotePeer.toString()
      if (nodeId === bridgeId) continue
      const address = connection.remoteAddr.toString()
      const webrtc = address.includes('/webrtc')
      const direct = webrtc || !address.includes('/p2p-circuit')
      const known = peers.get(nodeId)
      peers.set(nodeId, {
        nodeId,
        direct: direct || known?.direct === true,
        webrtc: webrtc || known?.webrtc === true,
      })
    }
    if (!joined) return { state: 'connecting', peers: [...peers.values()], bridge }
    const state = peers.size > 0 ? (bridge ? 'online' : 'degraded') : bridge ? 'online' : 'offline'
    return { state, peers: [...peers.values()], bridge }
  }
  const tell = () => {
    const now = status()
    for (const listener of listeners) listener(now)
  }
  libp2p.addEventListener('connection:open', tell)
  libp2p.addEventListener('connection:close', tell)
  const stopRejoining = keepBridge({
    options,
    identity,
    isConnected: () => status().bridge,
    join: async () => {
      await joinDht(libp2p, [bootstrap.relay], { signal: AbortSignal.timeout(JOIN_TIMEOUT_MS) })
      joined = true
      tell()
    },
  })

  return {
    nodeId: identity.nodeId,
    pubsub,
    status,
    onStatus(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    exportIdentity: (passphrase) => exportIdentity(passphrase, name),
    importIdentity: async (text, passphrase) => {
      await importIdentity(text, passphrase, name)
    },
    async close() {
      if (closed) return
      closed = true
      stopRejoining()
      await pubsub.close()
      await network.close()
      await libp2p.stop()
      slot.release()
    },
  }
}

interface KeepBridge {
  options: BrowserNodeOptions
  identity: Identity
  isConnected(): boolean
  join(): Promise<void>
}

/** Joins, and joins again whenever the bridge was lost; one failed attempt never ends it. Gives the stop function. */
function keepBridge({ options, identity, isConnected, join }: KeepBridge): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined
  let waitMs = REJOIN_MS
  let stopped = false
  let first = true
  const attempt = async () => {
    try {
      if (!isConnected() || first) {
        if (!first) await enterBridge(options.bridgeUrl, identity)
        await join()
      }
      first = false
      waitMs = REJOIN_MS
    } catch {
      waitMs = Math.min(waitMs * 2, MAX_REJOIN_MS)
    }
    if (!stopped) timer = setTimeout(() => void attempt(), jittered(systemRuntime, waitMs))
  }
  void attempt()
  return () => {
    stopped = true
    clearTimeout(timer)
  }
}
