import { join } from 'node:path'
import type { Express } from 'express'
import {
  type DhtLibp2p,
  type Identity,
  identityFromSeed,
  isLoopbackName,
  loopbackPortOf,
  publicKeyOf,
  RateLimiter,
  type Runtime,
  StickyError,
  systemRuntime,
} from '../dht/index.ts'
import { addressOf, nodeVersionProblem, openLevelStorage } from '../node/program.ts'
import { announcedBy, multiaddrOf, type Reach, reachOf } from './addresses.ts'
import { Admission } from './admission.ts'
import { ChallengeSocket } from './challenge-socket.ts'
import { clientGroup } from './client-address.ts'
import { bridgeDiagnostics } from './diagnostics.ts'
import { createHttpApp } from './http.ts'
import { InvitationUses } from './invitation-uses.ts'
import { openPort, type PublicPort } from './listen.ts'
import { createMetrics } from './metrics.ts'
import { type BridgeLimits, DEFAULT_BRIDGE_LIMITS } from './options.ts'
import type { OriginRules } from './origins.ts'
import { type InviteOnly, Policy } from './policy.ts'
import { newRelayCounters, type RelayCounters } from './relay-guard.ts'
import { createBridgeLibp2p, DEFAULT_RELAY_LIMITS, type RelayLimits } from './transports.ts'
import { CHALLENGE_PATH, handleUpgrades, type Pipes } from './upgrade.ts'

export interface BridgeOptions {
  /** 32 bytes: the Ed25519 seed the bridge's id comes from. */
  seed: Uint8Array
  /** Default 8080; 0: any free one. */
  port?: number
  /** Default 127.0.0.1. Behind another address browsers need https: see publicUrl. */
  host?: string
  /** How clients reach it when that is not host and port, e.g. https://bridge.example behind a TLS proxy. */
  publicUrl?: string
  /** A folder with a page to serve, under a strict content security policy. Default: none. */
  webRoot?: string
  /** Origins whose pages may use this bridge beside its own and publicUrl's; `*`: any. */
  allowedOrigins?: string[]
  /** Proxies in front of it, by address: what they say in `X-Forwarded-For` counts. */
  trustedProxies?: string[]
  /** Admits only who shows an invitation by this bridge's key, or by one of `inviteIssuers` (node ids). */
  inviteOnly?: boolean
  inviteIssuers?: string[]
  /** The bridge's data folder, for one invite-only bridge at a time: which invitations were used is kept there, else in memory. */
  directory?: string
  /** Whether `/metrics` and `/diagnostics` answer others than this machine. Default: no. */
  publicMetrics?: boolean
  limits?: Partial<BridgeLimits>
  relay?: Partial<RelayLimits>
  runtime?: Runtime
}

export interface Bridge extends AsyncDisposable {
  readonly nodeId: string
  /** What is pasted into a browser on this machine; the public address where there is one. */
  readonly url: string
  /** For terminals on other machines, when it listens on all addresses of this one. */
  readonly lanUrls: string[]
  /** The relay's multiaddr. */
  readonly address: string
  readonly port: number
  isAdmitted(peerId: string): boolean
  /** Peer ids that hold a relay reservation. */
  reservations(): string[]
  close(): Promise<void>
}

/**
 * Starts a bridge: relay, DHT server and challenge behind one public port. It helps peers find each other and owns
 * nothing. Rejects with UNSUPPORTED_PLATFORM (an old Node), PORT_IN_USE, UNREACHABLE (that address is not this machine's), MALFORMED (publicUrl),
 * WRONG_IDENTITY (an issuer), BAD_KEY (a seed that is not 32 bytes), STORAGE_LOCKED (another bridge has the folder),
 * STORAGE_FULL, IDENTITY_UNREADABLE or STORAGE_FAILED (the folder, or the record of used invitations).
 */
export async function startBridge(options: BridgeOptions): Promise<Bridge> {
  const versionProblem = nodeVersionProblem()
  if (versionProblem !== undefined) throw new StickyError('UNSUPPORTED_PLATFORM', versionProblem)
  if (options.publicUrl !== undefined) multiaddrOf(options.publicUrl)
  const { directory, inviteOnly = false } = options
  const lock =
    directory === undefined || !inviteOnly ? undefined : await openLevelStorage(join(directory, LOCK))
  const unlock = async () => lock?.close()
  try {
    return await startLocked(options, unlock)
  } catch (error) {
    await unlock().catch(() => undefined) // why it could not start is what counts
    throw error
  }
}

/**
 * A LevelDB with nothing in it: its lock ends with its process, in whatever way. Two bridges in one folder would each let
 * in as many as an invitation is for.
 */
const LOCK = 'lock'

async function startLocked(options: BridgeOptions, unlock: () => Promise<void>): Promise<Bridge> {
  const host = options.host ?? '127.0.0.1'
  const identity = await identityFromSeed(options.seed)
  const guard = await createGuard(options, host, identity)
  const { limits, trustedProxies } = guard
  const publicPort = await openPort(options.port ?? 8080, host, { ...limits, trustedProxies })
  let libp2p: DhtLibp2p | undefined
  try {
    const relayCounters = newRelayCounters()
    const clients: Clients = { of: () => undefined }
    const reach = reachOf(host, publicPort.port, options.publicUrl)
    libp2p = await createBridgeLibp2p({
      seed: options.seed,
      listenPort: 0,
      announce: announcedBy(reach),
      admit: (peerId) => guard.admission.isAdmitted(peerId),
      maxMessageBytes: limits.maxPipedMessageBytes,
      relayCounters,
      inboundUpgradeTimeoutMs: limits.pipeDeadlineMs,
      // libp2p knows no addresses: a bound of its own below that of the pipes lets two of them keep everybody out
      maxConnections: Math.max(1, limits.maxPipes),
      maxPendingInboundConnections: limits.maxPipes,
      clientOf: (address) => clients.of(Number(/\/tcp\/(\d+)/.exec(address)?.[1])) ?? 'unknown',
      ...(options.relay ? { relay: options.relay } : {}),
    })
    return serve({ options, identity, guard, publicPort, reach, libp2p, clients, relayCounters, unlock })
  } catch (error) {
    await Promise.all([publicPort.close(0), libp2p?.stop()])
    throw error
  }
}

/** Who is let in, and what is asked of them first. */
interface Guard {
  runtime: Runtime
  trustedProxies: ReadonlySet<string>
  limits: BridgeLimits
  origins: OriginRules
  admission: Admission
  challenge: ChallengeSocket
  inviteOnly?: InviteOnly
}

async function createGuard(options: BridgeOptions, host: string, identity: Identity): Promise<Guard> {
  const limits = { ...DEFAULT_BRIDGE_LIMITS, ...options.limits }
  const runtime = options.runtime ?? systemRuntime
  const admission = new Admission(limits.maxAdmitted, limits.admissionMs, () => runtime.monotonicNow())
  const origins = {
    allowedOrigins: options.allowedOrigins ?? [],
    isLoopbackOnly: isLoopbackName(host),
    ...(options.publicUrl === undefined ? {} : { publicUrl: options.publicUrl }),
  }
  const inviteOnly = await openInvitations(options, identity, limits, runtime)
  const policy = new Policy({ limits, runtime, ...(inviteOnly ? { inviteOnly } : {}) })
  const challenge = new ChallengeSocket({ identity, admission, limits, origins, policy, runtime })
  const trustedProxies = new Set(options.trustedProxies?.map(addressOf))
  const guard = { limits, origins, admission, challenge, runtime, trustedProxies }
  return inviteOnly === undefined ? guard : { ...guard, inviteOnly }
}

async function openInvitations(
  { inviteOnly = false, inviteIssuers = [], directory }: BridgeOptions,
  { nodeId }: Identity,
  { maxInvitationUses: maxUses }: BridgeLimits,
  { now }: Runtime,
): Promise<InviteOnly | undefined> {
  for (const issuer of inviteIssuers) publicKeyOf(issuer)
  if (!inviteOnly) return undefined
  const uses = await InvitationUses.open({ maxUses, now, ...(directory ? { directory } : {}) })
  return { issuers: new Set([nodeId, ...inviteIssuers]), uses }
}

/** Which client is behind a loopback port; known once the upgrades are handled. */
interface Clients {
  of(loopbackPort: number): string | undefined
}

interface Parts {
  options: BridgeOptions
  identity: Identity
  guard: Guard
  publicPort: PublicPort
  reach: Reach
  libp2p: DhtLibp2p
  clients: Clients
  relayCounters: RelayCounters
  unlock(): Promise<void>
}

function serve(parts: Parts): Bridge {
  const { identity, guard, publicPort, reach, libp2p, clients, unlock } = parts
  const { admission, challenge, limits, origins, trustedProxies, runtime } = guard
  const pipes = handleUpgrades(publicPort.server, {
    libp2pPort: loopbackPortOf(libp2p),
    challenge,
    limits,
    origins,
    trustedProxies,
    runtime,
  })
  clients.of = pipes.clientOf
  followConnections(libp2p, admission)
  const stopLapses = endLapsed(libp2p, admission, limits.lapseCheckMs)
  const address = `${multiaddrOf(reach.url)}/p2p/${identity.nodeId}`
  publicPort.serve(createApp(parts, address, pipes))
  let closing: Promise<void> | undefined
  const close = () => {
    closing ??= (async () => {
      // no new connections from here on, while requests under way finish
      const closed = publicPort.close(limits.drainMs)
      challenge.close()
      stopLapses()
      try {
        await libp2p.stop()
      } finally {
        pipes.closeAll()
      }
      await closed
    })().finally(async () => {
      await guard.inviteOnly?.uses.close()
      await unlock()
    })
    return closing
  }
  return {
    nodeId: identity.nodeId,
    ...reach,
    address,
    port: publicPort.port,
    isAdmitted: (peerId) => admission.isAdmitted(peerId),
    reservations: () => relayReservations(libp2p),
    close,
    [Symbol.asyncDispose]: close,
  }
}

/** Who is connected keeps its admission, however many come. */
function followConnections(libp2p: DhtLibp2p, admission: Admission): void {
  libp2p.addEventListener('peer:connect', ({ detail }) => admission.setConnected(String(detail), true))
  libp2p.addEventListener('peer:disconnect', ({ detail }) => admission.setConnected(String(detail), false))
}

/** Admission ends with its time, also for who is connected: who still may then passes the challenge again. */
function endLapsed(libp2p: DhtLibp2p, admission: Admission, everyMs: number): () => void {
  const timer = setInterval(() => {
    admission.forgetLapsed()
    for (const connection of libp2p.getConnections())
      if (!admission.isAdmitted(connection.remotePeer.toString()))
        connection.abort(new Error('The admission of this peer is over.'))
  }, everyMs)
  return () => clearInterval(timer)
}

function createApp(
  { options, identity, guard, libp2p, relayCounters }: Parts,
  address: string,
  pipes: Pipes,
): Express {
  const { admission, challenge, limits, trustedProxies, runtime } = guard
  const startedAt = runtime.now()
  const startedAtMs = runtime.monotonicNow()
  const limiter = new RateLimiter(runtime)
  const quota = { perSecond: limits.requestsPerSecond, burst: limits.requestBurst }
  const numbers = () => ({
    admittedPeers: admission.size,
    challengesAccepted: challenge.counters.accepted,
    challengesPending: challenge.pending,
    refusals: challenge.counters.refused,
    pipes: pipes.count,
    connections: libp2p.getConnections().length,
    reservations: relayReservations(libp2p).length,
    relay: relayCounters,
  })
  return createHttpApp({
    metrics: createMetrics(numbers),
    mayAsk: (request) => limiter.take(clientGroup(request, trustedProxies), quota),
    publicMetrics: options.publicMetrics ?? false,
    health: () => {
      const { connections, reservations } = numbers()
      return { status: 'ok', nodeId: identity.nodeId, connections, reservations }
    },
    diagnostics: () =>
      bridgeDiagnostics({
        nodeId: identity.nodeId,
        startedAt,
        uptimeMs: runtime.monotonicNow() - startedAtMs,
        numbers: numbers(),
        limits,
        relay: { ...DEFAULT_RELAY_LIMITS, ...options.relay },
      }),
    bootstrap: (requestHost) => ({
      serverId: identity.nodeId,
      relay:
        options.publicUrl === undefined && requestHost !== ''
          ? `${multiaddrOf(`http://${requestHost}`)}/p2p/${identity.nodeId}`
          : address,
      challenge: CHALLENGE_PATH,
      version: 1,
    }),
    ...(options.webRoot ? { webRoot: options.webRoot } : {}),
  })
}

/** Peer ids that hold a reservation. */
function relayReservations(libp2p: DhtLibp2p): string[] {
  const relay = (
    libp2p.services as unknown as { relay: { reservations: { keys(): Iterable<{ toString(): string }> } } }
  ).relay
  return [...relay.reservations.keys()].map(String)
}
