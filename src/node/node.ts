import { join } from 'node:path'
import {
  Cleanups,
  createLibp2pNetwork,
  type DhtOptions,
  enterBridge,
  identityFromSeed,
  memoryStorage,
  StickyError,
  type Storage,
} from '../dht/index.ts'
import { type PubSubOptions, StickyPubSub } from '../pubsub/index.ts'
import { useNodeEd25519 } from './ed25519.ts'
import { loadOrCreateIdentity } from './identity-store.ts'
import { joinThrough, keepBridge } from './keep-bridge.ts'
import { openLevelStorage } from './object-store.ts'
import { useNodeSha256 } from './sha256.ts'
import { createNodeLibp2p, type NodeRole } from './transports.ts'

export interface NodeOptions {
  /** The bridge to join through, e.g. http://127.0.0.1:8080. Without one the node starts a network of its own. */
  bridgeUrl?: string
  /** The text of an invitation, for a bridge that admits no strangers. */
  invitation?: string
  /** Where identity and records live. Without one both are in memory, and gone with the process. */
  directory?: string
  /** Opens the identity file. Needed with `directory`. */
  passphrase?: string
  /**
   * Default 'durable': holds records of others and counts as disk-backed; without a `directory` it is 'fleeting', which
   * holds them while it is here. 'client' only reads and publishes.
   */
  role?: NodeRole
  /** libp2p multiaddrs. Default: a free loopback port for holders, none for clients. */
  listen?: string[]
  announce?: string[]
  dhtOptions?: Partial<DhtOptions>
  pubsubOptions?: Partial<PubSubOptions>
  signal?: AbortSignal
}

export interface StickyNode extends AsyncDisposable {
  readonly nodeId: string
  readonly pubsub: StickyPubSub
  readonly addresses: string[]
  /** Storing nodes this one knows, itself included where it stores. */
  knownHolders(): Promise<number>
  close(): Promise<void>
}

/** Starts a node and joins the network of its bridge. Everything is released again when any step fails. */
export async function createNode(options: NodeOptions = {}): Promise<StickyNode> {
  const cleanups = new Cleanups()
  try {
    return await start(options, cleanups)
  } catch (error) {
    await cleanups.close().catch(() => undefined) // why it could not start is what counts
    throw error
  }
}

async function start(options: NodeOptions, cleanups: Cleanups): Promise<StickyNode> {
  const { bridgeUrl, invitation, signal = new AbortController().signal } = options
  requireWebsocket(options.listen ?? [])
  useNodeEd25519()
  useNodeSha256()
  const { seed, storage } = await openState(options)
  cleanups.add(() => storage.close())
  const role = roleOf(options, storage)
  const identity = await identityFromSeed(seed)
  if (signal.aborted) throw new StickyError('ABORTED', 'The start was aborted.', { cause: signal.reason })
  const shown = invitation === undefined ? {} : { invitation }
  const bootstrap =
    bridgeUrl === undefined ? undefined : await enterBridge(bridgeUrl, identity, signal, shown)
  const listen = options.listen ?? (role === 'client' ? [] : ['/ip4/127.0.0.1/tcp/0/ws'])
  const libp2p = await createNodeLibp2p({
    seed,
    role,
    listen,
    ...(options.announce ? { announce: options.announce } : {}),
    ...(bootstrap && role !== 'client' ? { relay: bootstrap.relay } : {}),
  }).catch((error: unknown) => {
    throw listenError(error, listen)
  })
  cleanups.add(() => libp2p.stop())
  const network = await createLibp2pNetwork({
    libp2p,
    durable: role === 'durable',
    stores: role !== 'client',
  })
  cleanups.add(() => network.close())
  const pubsub = new StickyPubSub({
    network,
    storage,
    identity,
    ...(options.dhtOptions ? { dhtOptions: options.dhtOptions } : {}),
    ...(options.pubsubOptions ? { options: options.pubsubOptions } : {}),
  })
  cleanups.add(() => pubsub.close())
  if (bridgeUrl !== undefined && bootstrap !== undefined) {
    const joining = { bridgeUrl, bootstrap, identity, libp2p, ...shown }
    await joinThrough(joining, signal)
    cleanups.add(keepBridge(joining))
  }
  const close = () => cleanups.close()
  return {
    nodeId: identity.nodeId,
    pubsub,
    get addresses() {
      return libp2p.getMultiaddrs().map(String)
    },
    knownHolders: async () => {
      const key = crypto.getRandomValues(new Uint8Array(32))
      const peers = await network.closestPeers(key, {
        count: 64,
        minDurable: 0,
        signal: AbortSignal.timeout(5_000),
      })
      return peers.length
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

/** Others count on a durable node to have its records after a restart; in memory it holds them like a fleeting one. */
function roleOf({ role = 'durable' }: NodeOptions, storage: Storage): NodeRole {
  return role === 'durable' && !storage.persistent ? 'fleeting' : role
}

/** libp2p would pass over an address of another kind, and listen nowhere. */
function requireWebsocket(listen: string[]): void {
  const other = listen.find((address) => !/^\/.+\/tcp\/\d+\/(tls\/)?wss?(\/|$)/.test(address))
  if (other !== undefined)
    throw new StickyError(
      'MALFORMED',
      `${other} is not an address to listen on. It is of the form /ip4/0.0.0.0/tcp/4001/ws.`,
    )
}

/** libp2p tells why in a text of many lines. */
function listenError(error: unknown, listen: string[]): StickyError {
  const where = listen.join(', ')
  return String(error).includes('EADDRINUSE')
    ? new StickyError('PORT_IN_USE', `Something listens on ${where} already. Choose another port.`, {
        cause: error,
      })
    : new StickyError('UNREACHABLE', `This node cannot listen on ${where || 'its relay'}.`, { cause: error })
}

async function openState({
  directory,
  passphrase,
}: NodeOptions): Promise<{ seed: Uint8Array; storage: Storage }> {
  if (directory === undefined)
    return { seed: crypto.getRandomValues(new Uint8Array(32)), storage: memoryStorage() }
  if (passphrase === undefined)
    throw new StickyError(
      'WRONG_PASSPHRASE',
      'A node with a data folder needs a passphrase for its identity.',
    )
  const { seed } = await loadOrCreateIdentity({ directory, passphrase })
  return { seed, storage: await openLevelStorage(join(directory, 'records')) }
}
