import { join } from 'node:path'
import {
  createLibp2pNetwork,
  type DhtOptions,
  enterBridge,
  identityFromSeed,
  joinDht,
  memoryStorage,
  StickyError,
  type Storage,
} from '../dht/index.ts'
import { type PubSubOptions, StickyPubSub } from '../pubsub/index.ts'
import { loadOrCreateIdentity } from './identity-store.ts'
import { openLevelStorage } from './object-store.ts'
import { createNodeLibp2p } from './transports.ts'

export interface NodeOptions {
  /** The bridge to join through, e.g. http://127.0.0.1:8080. Without one the node starts a network of its own. */
  bridgeUrl?: string
  /** Where identity and records live. Without one both are in memory, and gone with the process. */
  directory?: string
  /** Opens the identity file. Needed with `directory`. */
  passphrase?: string
  /** 'durable' holds records of others and is counted as disk-backed; 'client' only reads and publishes. */
  role?: 'durable' | 'fleeting' | 'client'
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

const JOIN_TIMEOUT_MS = 30_000

/** Starts a node and joins the network of its bridge. Everything is released again when any step fails. */
export async function createNode(options: NodeOptions = {}): Promise<StickyNode> {
  const role = options.role ?? 'durable'
  const cleanups: (() => Promise<unknown> | unknown)[] = []
  try {
    const { seed, storage } = await openState(options)
    cleanups.push(() => storage.close())
    const identity = await identityFromSeed(seed)
    const bootstrap =
      options.bridgeUrl === undefined
        ? undefined
        : await enterBridge(options.bridgeUrl, identity, options.signal)
    const libp2p = await createNodeLibp2p({
      seed,
      role,
      listen: options.listen ?? (role === 'client' ? [] : ['/ip4/127.0.0.1/tcp/0/ws']),
      ...(options.announce ? { announce: options.announce } : {}),
      ...(bootstrap && role !== 'client' ? { relay: bootstrap.relay } : {}),
    })
    cleanups.push(() => libp2p.stop())
    const network = await createLibp2pNetwork({
      libp2p,
      durable: role === 'durable',
      stores: role !== 'client',
    })
    cleanups.push(() => network.close())
    const pubsub = new StickyPubSub({
      network,
      storage,
      identity,
      ...(options.dhtOptions ? { dhtOptions: options.dhtOptions } : {}),
      ...(options.pubsubOptions ? { options: options.pubsubOptions } : {}),
    })
    cleanups.push(() => pubsub.close())
    if (bootstrap !== undefined)
      await joinDht(libp2p, [bootstrap.relay], {
        signal: options.signal ?? AbortSignal.timeout(JOIN_TIMEOUT_MS),
      })
    const close = () => closeAll(cleanups)
    return {
      nodeId: identity.nodeId,
      pubsub,
      get addresses() {
        return libp2p.getMultiaddrs().map(String)
      },
      knownHolders: async () => {
        const key = crypto.getRandomValues(new Uint8Array(32))
        const signal = AbortSignal.timeout(5_000)
        return (await network.closestPeers(key, { count: 64, minDurable: 0, signal })).length
      },
      close,
      [Symbol.asyncDispose]: close,
    }
  } catch (error) {
    await closeAll(cleanups)
    throw error
  }
}

/** Last opened, first closed; each once. */
async function closeAll(cleanups: (() => Promise<unknown> | unknown)[]): Promise<void> {
  for (let cleanup = cleanups.pop(); cleanup !== undefined; cleanup = cleanups.pop()) await cleanup()
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
