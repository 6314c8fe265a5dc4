import {
  Cleanups,
  createLibp2pNetwork,
  type DhtLibp2p,
  enterBridge,
  type Identity,
  identityFromSeed,
  jittered,
  joinDht,
  rejoinPauseMs,
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
  /** The text of an invitation, for a bridge that admits no strangers. */
  invitation?: string
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
  const cleanups = new Cleanups()
  try {
    return await start(options, cleanups)
  } catch (error) {
    await cleanups.close().catch(() => undefined) // why it could not start is what counts
    throw error
  }
}

async function start(options: BrowserNodeOptions, cleanups: Cleanups): Promise<BrowserNode> {
  const slot = await takeTabSlot()
  cleanups.add(() => slot.release())
  const name = slot.index === 0 ? 'sticky-pubsub' : `sticky-pubsub-${slot.index}`
  const { seed } = await loadOrCreateIdentity(name)
  const identity = await identityFromSeed(seed)
  const storage = await openIdbStorage(`${name}-records`)
  cleanups.add(() => storage.close())
  const bootstrap = await enterBridge(options.bridgeUrl, identity, options.signal, options)
  const libp2p = await createBrowserLibp2p({
    seed,
    relay: bootstrap.relay,
    ...(options.rtcConfiguration ? { rtcConfiguration: options.rtcConfiguration } : {}),
  })
  cleanups.add(() => libp2p.stop())
  const network = await createLibp2pNetwork({ libp2p, durable: false, stores: true })
  cleanups.add(() => network.close())
  const pubsub = new StickyPubSub({ network, storage, identity })
  cleanups.add(() => pubsub.close())
  const bridgeId = bootstrap.relay.split('/p2p/')[1] ?? ''
  const view = watchStatus(libp2p, bridgeId, options.onStatus)
  const stopRejoining = keepBridge({
    options,
    identity,
    isConnected: () => view.status().bridge,
    join: async (signal) => {
      await joinDht(libp2p, [bootstrap.relay], {
        signal: AbortSignal.any([signal, AbortSignal.timeout(JOIN_TIMEOUT_MS)]),
      })
      view.joined()
    },
  })
  cleanups.add(stopRejoining)
  return {
    nodeId: identity.nodeId,
    pubsub,
    status: view.status,
    onStatus: view.onStatus,
    exportIdentity: (passphrase) => exportIdentity(passphrase, name),
    importIdentity: async (text, passphrase) => {
      await importIdentity(text, passphrase, name)
    },
    close: () => cleanups.close(),
  }
}

interface StatusView {
  status(): NodeStatus
  onStatus(listener: (status: NodeStatus) => void): () => void
  /** The first join, and every later one, has succeeded. */
  joined(): void
}

function watchStatus(
  libp2p: DhtLibp2p,
  bridgeId: string,
  first: ((status: NodeStatus) => void) | undefined,
): StatusView {
  const listeners = new Set<(status: NodeStatus) => void>(first ? [first] : [])
  let hasJoined = false
  const status = (): NodeStatus => {
    const connections = libp2p.getConnections()
    const bridge = connections.some(({ remotePeer }) => remotePeer.toString() === bridgeId)
    const peers = peersOf(connections, bridgeId)
    if (!hasJoined) return { state: 'connecting', peers, bridge }
    if (bridge) return { state: 'online', peers, bridge }
    return { state: peers.length > 0 ? 'degraded' : 'offline', peers, bridge }
  }
  const tell = () => {
    const now = status()
    for (const listener of listeners) listener(now)
  }
  libp2p.addEventListener('connection:open', tell)
  libp2p.addEventListener('connection:close', tell)
  return {
    status,
    onStatus(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    joined() {
      hasJoined = true
      tell()
    },
  }
}

function peersOf(connections: ReturnType<DhtLibp2p['getConnections']>, bridgeId: string): PeerView[] {
  const peers = new Map<string, PeerView>()
  for (const { remotePeer, remoteAddr } of connections) {
    const nodeId = remotePeer.toString()
    if (nodeId === bridgeId) continue
    const address = remoteAddr.toString()
    const webrtc = address.includes('/webrtc')
    const direct = webrtc || !address.includes('/p2p-circuit')
    const known = peers.get(nodeId)
    peers.set(nodeId, {
      nodeId,
      direct: direct || known?.direct === true,
      webrtc: webrtc || known?.webrtc === true,
    })
  }
  return [...peers.values()]
}

interface KeepBridge {
  options: BrowserNodeOptions
  identity: Identity
  isConnected(): boolean
  join(signal: AbortSignal): Promise<void>
}

/** Joins, and joins again whenever the bridge was lost; one failed attempt never ends it. Gives the stop function. */
function keepBridge({ options, identity, isConnected, join }: KeepBridge): () => void {
  const stopped = new AbortController()
  const { signal } = stopped
  let timer: ReturnType<typeof setTimeout> | undefined
  let waitMs = REJOIN_MS
  let first = true
  let isAdmitted = true // by createBrowserNode; a bridge that restarted has forgotten it
  const attempt = async () => {
    try {
      if (!isConnected() || first) {
        if (!isAdmitted) await enterBridge(options.bridgeUrl, identity, signal, options)
        isAdmitted = false
        await join(signal)
      }
      first = false
      waitMs = REJOIN_MS
    } catch (error) {
      waitMs = rejoinPauseMs(error, waitMs, MAX_REJOIN_MS)
    }
    if (!signal.aborted) timer = setTimeout(() => void attempt(), jittered(systemRuntime, waitMs))
  }
  void attempt()
  return () => {
    stopped.abort()
    clearTimeout(timer)
  }
}
