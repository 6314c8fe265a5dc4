import {
  Cleanups,
  type Identity,
  identityFromSeed,
  type PeerNetwork,
  type PeerView,
  type StickyError,
  systemRuntime,
} from '../dht/index.ts'
import type { ClientPubSub, PubSubInit } from '../pubsub/index.ts'
import { type BridgeWay, keepBridge } from './bridge-link.ts'
import { exportIdentity, importIdentity, loadOrCreateIdentity } from './identity-store.ts'
import { openIdbStorage } from './object-store.ts'
import { type NodeStatus, StatusView } from './status.ts'
import { WatchedStorage } from './storage-state.ts'

/** The node of the tab that leads: identity, storage and network, and the way into it, which may take its time. */

export interface OriginNodeOptions {
  bridgeUrl: string
  invitation?: string
  /** The first join, or something was stored: now there is something to lose. */
  onWorthKeeping(): void
}

export interface NetworkNode {
  readonly nodeId: string
  readonly pubsub: ClientPubSub
  status(): NodeStatus
  onStatus(listener: (status: NodeStatus) => void): () => void
  resyncNode(reason: string): Promise<void>
  exportIdentity(passphrase: string): Promise<string>
  importIdentity(text: string, passphrase: string): Promise<void>
  /** Resolves when this node is of no use any more: the identity was replaced, or, with the reason, the storage is lost. */
  readonly replaced: Promise<StickyError | undefined>
  close(): Promise<void>
}

/** What is different between the whole node and the light one. */
export interface NodeNetwork {
  network: PeerNetwork
  way: BridgeWay
  /** Who is connected, the bridge included. */
  connected(): PeerView[]
  createPubSub(init: PubSubInit): ClientPubSub
}

/** `onConnections`: called when one came or went. What is opened is closed by `cleanups`. */
export type OpenNetwork = (
  identity: { nodeId: string; seed: Uint8Array },
  onConnections: () => void,
  cleanups: Cleanups,
) => Promise<NodeNetwork>

const NAME = 'sticky-pubsub'
const MAX_REASON_CHARACTERS = 100
/** A tab has just started and knows nobody; it joins through its bridge in a fraction of a second, on a slow line in two. */
const TAB_OPTIONS = { outboxAwaitsPeers: true, awaitPeersMs: 3_000 }

/** Resolves when identity and storage are open. Rejects with what no retry cures; the network is tried from then on. */
export async function startOriginNode(options: OriginNodeOptions, open: OpenNetwork): Promise<NetworkNode> {
  const cleanups = new Cleanups()
  try {
    return await start(options, open, cleanups)
  } catch (error) {
    await cleanups.close().catch(() => undefined) // why it could not start is what counts
    throw error
  }
}

async function start(
  options: OriginNodeOptions,
  open: OpenNetwork,
  cleanups: Cleanups,
): Promise<NetworkNode> {
  const { seed } = await loadOrCreateIdentity(NAME)
  const identity: Identity = await identityFromSeed(seed)
  const view = new StatusView()
  const replaced = Promise.withResolvers<StickyError | undefined>()
  const storage = new WatchedStorage(await openIdbStorage(`${NAME}-records`, replaced.resolve), {
    onProblem: (problem?: StickyError) => view.setStorageProblem(problem),
    onWrite: options.onWorthKeeping,
  })
  cleanups.add(() => storage.close())
  const tell = view.watch(() => connected())
  const { network, way, connected, createPubSub } = await open(
    { nodeId: identity.nodeId, seed },
    () => tell(),
    cleanups,
  )
  const pubsub = createPubSub({ network, storage, identity, options: TAB_OPTIONS })
  cleanups.add(() => pubsub.close())
  const bridge = keepBridge({
    bridgeUrl: options.bridgeUrl,
    ...(options.invitation === undefined ? {} : { invitation: options.invitation }),
    identity,
    way,
    runtime: systemRuntime,
    onAttempt: (outcome) => {
      view.attempted(outcome)
      if (outcome.error === undefined) options.onWorthKeeping()
    },
  })
  cleanups.add(() => bridge.stop())
  return {
    nodeId: identity.nodeId,
    pubsub,
    status: () => view.status(),
    onStatus: (listener) => view.onStatus(listener),
    resyncNode: async (reason) => {
      view.resyncing(String(reason).slice(0, MAX_REASON_CHARACTERS))
      await bridge.reconnect()
      await pubsub.resync(reason)
    },
    exportIdentity: (passphrase) => exportIdentity(passphrase, NAME),
    importIdentity: async (text, passphrase) => {
      await importIdentity(text, passphrase, NAME)
      setTimeout(() => replaced.resolve(undefined)) // the answer goes out before this node ends
    },
    replaced: replaced.promise,
    close: () => cleanups.close(),
  }
}
