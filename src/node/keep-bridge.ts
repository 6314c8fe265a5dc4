import {
  type Bootstrap,
  type DhtLibp2p,
  enterBridge,
  type Identity,
  jittered,
  joinDht,
  listenOnRelay,
  rejoinPauseMs,
  StickyError,
  systemRuntime,
} from '../dht/index.ts'

/** Joining the network through a bridge, and staying joined. */

/** A first join that takes longer than this has hit a connection whose start was lost: another one is made. */
const ATTEMPT_MS = 10_000
const JOIN_TIMEOUT_MS = 30_000

/** The connection is looked at, and the bridge asked again, this often; doubling to the maximum while it does not answer. */
const REJOIN_MS = 1_500
const MAX_REJOIN_MS = 6_000

export interface Joining {
  bridgeUrl: string
  /** What the bridge said when the node started. Undefined where it was away. */
  bootstrap?: Bootstrap
  identity: Identity
  libp2p: DhtLibp2p
  /** Whether others look for this node: then it is to be reached through the bridge's relay. */
  stores: boolean
  /** Shown again each time the challenge is passed. */
  invitation?: string
  /** At each look that finds the bridge connected. */
  onJoined?(): void
}

/**
 * Makes a node reachable through the relay before it meets others, so that they are told of it at once. A relay that has
 * no place keeps nobody from joining, who may be reachable without: `keepBridge` asks it again.
 */
export async function takePlace(libp2p: DhtLibp2p, { relay }: Bootstrap, signal: AbortSignal): Promise<void> {
  const over = Promise.withResolvers<void>()
  const onAbort = () => over.resolve()
  signal.addEventListener('abort', onAbort)
  if (signal.aborted) onAbort()
  await Promise.race([listenOnRelay(libp2p, relay).catch(() => undefined), over.promise])
  signal.removeEventListener('abort', onAbort)
}

/** Rejects with TIMEOUT after 30 s, with UNREACHABLE when the relay cannot be dialled, or with ABORTED. */
export async function joinThrough(
  libp2p: DhtLibp2p,
  bridgeUrl: string,
  { relay }: Bootstrap,
  signal: AbortSignal,
): Promise<void> {
  for (let leftMs = JOIN_TIMEOUT_MS; leftMs > 0; leftMs -= ATTEMPT_MS) {
    const attempt = AbortSignal.timeout(ATTEMPT_MS)
    try {
      return await joinDht(libp2p, [relay], { signal: AbortSignal.any([signal, attempt]) })
    } catch (error) {
      if (signal.aborted || !attempt.aborted) throw error
      await Promise.all(
        libp2p.getConnections().map((connection) => connection.close().catch(() => undefined)),
      )
    }
  }
  throw new StickyError(
    'TIMEOUT',
    `The bridge at ${bridgeUrl} answers, but nobody can join through its relay ${relay}: 30 s have passed.`,
  )
}

export interface RejoinOptions {
  rejoinMs: number
  maxRejoinMs: number
}

/**
 * A bridge admits for a day and forgets everybody when it restarts, so a node that lost it passes its challenge again;
 * until then the bridge would refuse the node's connections, and nobody new would find it. Gives the function that ends
 * this; it resolves when no attempt is under way any more.
 */
export function keepBridge(
  { bridgeUrl, bootstrap, identity, libp2p, stores, invitation, onJoined }: Joining,
  { rejoinMs, maxRejoinMs }: RejoinOptions = { rejoinMs: REJOIN_MS, maxRejoinMs: MAX_REJOIN_MS },
): () => Promise<void> {
  const stopped = new AbortController()
  const over = new Promise((resolve) => stopped.signal.addEventListener('abort', resolve))
  const shown = invitation === undefined ? {} : { invitation }
  let bridge = bootstrap
  let waitMs = rejoinMs
  let timer: ReturnType<typeof setTimeout> | undefined
  let attempting = Promise.resolve()

  const isConnected = () =>
    libp2p.getConnections().some(({ remotePeer }) => String(remotePeer) === bridge?.serverId)
  const rejoin = async () => {
    bridge = await enterBridge(bridgeUrl, identity, stopped.signal, shown)
    const signal = AbortSignal.any([stopped.signal, AbortSignal.timeout(ATTEMPT_MS)])
    await joinDht(libp2p, [bridge.relay], { signal })
  }
  const look = async () => {
    try {
      if (!isConnected()) await rejoin()
      if (stopped.signal.aborted) return
      onJoined?.()
      // a bridge that was away at the start, or has come back as another one
      if (stores && bridge !== undefined) await Promise.race([listenOnRelay(libp2p, bridge.relay), over])
      waitMs = rejoinMs
    } catch (error) {
      waitMs = rejoinPauseMs(error, waitMs, maxRejoinMs) // connections to others go on meanwhile
    }
    schedule()
  }
  const schedule = () => {
    if (stopped.signal.aborted) return
    const start = () => {
      attempting = look()
    }
    timer = setTimeout(start, jittered(systemRuntime, waitMs))
  }
  schedule()
  return () => {
    stopped.abort()
    clearTimeout(timer)
    return attempting
  }
}
