import { join } from 'node:path'
import {
  asStickyError,
  type Bootstrap,
  Cleanups,
  createLibp2pNetwork,
  type DhtLibp2p,
  type DhtOptions,
  enterBridge,
  type Identity,
  identityFromSeed,
  isLoopbackName,
  memoryStorage,
  StickyError,
  type Storage,
} from '../dht/index.ts'
import { type PubSubOptions, StickyPubSub } from '../pubsub/index.ts'
import { useNodeEd25519 } from './ed25519.ts'
import { loadOrCreateIdentity } from './identity-store.ts'
import { joinThrough, keepBridge, takePlace } from './keep-bridge.ts'
import { KnownNodes } from './known-nodes.ts'
import { nodeVersionProblem } from './node-version.ts'
import { openLevelStorage } from './object-store.ts'
import { useNodeSha256 } from './sha256.ts'
import { createNodeLibp2p, type NodeRole } from './transports.ts'

export interface NodeOptions {
  /**
   * The bridge to join through, e.g. http://127.0.0.1:8080. Without one the node starts a network of its own. Where it is
   * away, a node with a `directory` joins through nodes that it knew before, and goes on asking the bridge.
   */
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
  /**
   * libp2p multiaddrs. Default: none for clients; for holders a free port, of this machine alone where the bridge is on it
   * too, else of all its networks, so that the other holders reach it while the bridge is away.
   */
  listen?: string[]
  /** Websocket multiaddrs told to others instead of what it listens on: behind a router what the router passes on. */
  announce?: string[]
  dhtOptions?: Partial<DhtOptions>
  pubsubOptions?: Partial<PubSubOptions>
  signal?: AbortSignal
}

export interface StickyNode extends AsyncDisposable {
  readonly nodeId: string
  readonly pubsub: StickyPubSub
  readonly addresses: string[]
  /** Why the bridge could not be joined at the start, until it has been. */
  readonly bridgeProblem: StickyError | undefined
  /** Storing nodes this one knows, itself included where it stores. */
  knownHolders(): Promise<number>
  close(): Promise<void>
}

/**
 * Starts a node and joins the network of its bridge. Everything is released again when any step fails. Rejects with
 * UNSUPPORTED_PLATFORM (an old Node), WRONG_PASSPHRASE, IDENTITY_UNREADABLE, STORAGE_LOCKED, STORAGE_FAILED, MALFORMED
 * (`listen`, `announce`, or no bridge), PORT_IN_USE, UNREACHABLE, TIMEOUT, ADMISSION_REFUSED, WRONG_IDENTITY, EXPIRED or
 * FROM_THE_FUTURE (the clocks), or ABORTED.
 */
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
  const versionProblem = nodeVersionProblem()
  if (versionProblem !== undefined) throw new StickyError('UNSUPPORTED_PLATFORM', versionProblem)
  const { bridgeUrl, invitation, signal = new AbortController().signal } = options
  requireWebsocket(options.listen ?? [], 'listen on', '/ip4/0.0.0.0/tcp/4001/ws')
  requireWebsocket(options.announce ?? [], 'announce', '/dns4/node.example/tcp/443/wss')
  useNodeEd25519()
  useNodeSha256()
  const { seed, storage } = await openState(options)
  cleanups.add(() => storage.close())
  const role = roleOf(options, storage)
  const identity = await identityFromSeed(seed)
  if (signal.aborted) throw new StickyError('ABORTED', 'The start was aborted.', { cause: signal.reason })
  const known = await KnownNodes.open(storage, bridgeUrl ?? '')
  const shown = invitation === undefined ? {} : { invitation }
  const way: Way = bridgeUrl === undefined ? {} : await askBridge(bridgeUrl, identity, shown, known, signal)
  const listen = options.listen ?? (role === 'client' ? [] : [listenNear(bridgeUrl)])
  const libp2p = await createNodeLibp2p({
    seed,
    role,
    listen,
    ...(options.announce ? { announce: options.announce } : {}),
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
  if (bridgeUrl !== undefined) {
    const stores = role !== 'client'
    if (stores && way.bootstrap !== undefined) await takePlace(libp2p, way.bootstrap, signal)
    await joinNetwork(libp2p, bridgeUrl, way, known, signal)
    const onJoined = () => {
      delete way.problem
    }
    const joined = { bridgeUrl, identity, libp2p, stores, onJoined }
    cleanups.add(keepBridge({ ...joined, ...way, ...shown }))
    if (storage.persistent) cleanups.add(known.keep(libp2p, network))
  }
  const close = () => cleanups.close()
  return {
    nodeId: identity.nodeId,
    pubsub,
    get addresses() {
      return libp2p.getMultiaddrs().map(String)
    },
    get bridgeProblem() {
      return way.problem
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

/** What the bridge said; or why it could not be asked, where there are others to join through. */
interface Way {
  bootstrap?: Bootstrap
  problem?: StickyError
}

async function askBridge(
  bridgeUrl: string,
  identity: Identity,
  shown: { invitation?: string },
  known: KnownNodes,
  signal: AbortSignal,
): Promise<Way> {
  try {
    return { bootstrap: await enterBridge(bridgeUrl, identity, signal, shown) }
  } catch (error) {
    const problem = asStickyError(error, 'UNREACHABLE')
    if (!problem.retryable || known.size === 0) throw problem
    return { problem }
  }
}

async function joinNetwork(
  libp2p: DhtLibp2p,
  bridgeUrl: string,
  { bootstrap, problem }: Way,
  known: KnownNodes,
  signal: AbortSignal,
): Promise<void> {
  if (bootstrap !== undefined) return joinThrough(libp2p, bridgeUrl, bootstrap, signal)
  if (!(await known.join(libp2p, signal))) throw problem // it is the bridge that is missing
}

/** Others count on a durable node to have its records after a restart; in memory it holds them like a fleeting one. */
function roleOf({ role = 'durable' }: NodeOptions, storage: Storage): NodeRole {
  return role === 'durable' && !storage.persistent ? 'fleeting' : role
}

const listenNear = (bridgeUrl = 'http://localhost'): string =>
  `/ip4/${isLoopbackName(new URL(bridgeUrl).hostname) ? '127.0.0.1' : '0.0.0.0'}/tcp/0/ws`

/** libp2p would pass over an address of another kind, and listen nowhere, or tell others what they cannot dial. */
function requireWebsocket(addresses: string[], use: string, example: string): void {
  const isWebsocket = /^\/.+\/tcp\/\d+\/(tls\/(sni\/[^/]+\/)?)?wss?(\/|$)/
  const other = addresses.find((address) => !isWebsocket.test(address))
  if (other !== undefined)
    throw new StickyError('MALFORMED', `${other} is not an address to ${use}. It is of the form ${example}.`)
}

/** libp2p tells why in a text of many lines. */
function listenError(error: unknown, listen: string[]): StickyError {
  const where = listen.join(', ')
  return String(error).includes('EADDRINUSE')
    ? new StickyError('PORT_IN_USE', `Something listens on ${where} already. Choose another port.`, {
        cause: error,
      })
    : new StickyError('UNREACHABLE', `This node cannot listen on ${where}.`, { cause: error })
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
