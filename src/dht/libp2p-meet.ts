import type { PeerId } from '@libp2p/interface'
import type { KadDHT } from '@libp2p/kad-dht'
import { reach } from './libp2p-introduce.ts'
import type { DhtLibp2p } from './libp2p-services.ts'
import { routingTable } from './routing-table.ts'
import { jittered, type Runtime, type Timer } from './runtime.ts'

/**
 * Keeps a node acquainted with its neighbours: it looks for itself in both DHTs and connects to whom it finds, often while
 * that brings somebody new and seldom once it does not. kad-dht alone takes tens of seconds when several nodes join at
 * once, because each looked before the others were known.
 */

export interface MeetOptions {
  firstMs: number
  /**
   * The pause doubles up to here while nobody new is found. A look asks up to twenty peers in each DHT, and each of them
   * answers with twenty, which is much for a node that is idle.
   */
  maxMs: number
  /**
   * Whoever loses a neighbour looks at once, but not sooner than this after the look before, and then after twice as long:
   * where tabs come and go all the time, each that goes would have fifty others look ten times.
   */
  lossMs: number
  /** One round, look-ups and dials. */
  roundMs: number
  /** Connections made on account of this, and at most half of what the connection manager allows. */
  maxNeighbours: number
  /** A neighbour that could not be reached, or did not stay, is dialled again after this, doubling to the maximum. */
  againMs: number
  maxAgainMs: number
  /** Neighbours whose last dial is remembered, the latest ones. */
  maxRemembered: number
}

export const DEFAULT_MEET_OPTIONS: MeetOptions = {
  firstMs: 250,
  maxMs: 120_000,
  lossMs: 5_000,
  roundMs: 10_000,
  maxNeighbours: 32,
  againMs: 2_000,
  maxAgainMs: 60_000,
  maxRemembered: 512,
}

/**
 * When whom was dialled. Others go on naming a neighbour that is dead, and one that has better ones closes the connection
 * again and again: neither is worth a dial at every look.
 */
export class DialPace {
  readonly #dials = new Map<string, { atMs: number; againMs: number }>()
  readonly #runtime: Runtime
  readonly #options: MeetOptions

  constructor(runtime: Runtime, options: MeetOptions) {
    this.#runtime = runtime
    this.#options = options
  }

  /** Whether it may be dialled now. A true answer counts as the dial. */
  take(nodeId: string): boolean {
    const { againMs, maxAgainMs, maxRemembered } = this.#options
    const now = this.#runtime.monotonicNow()
    const last = this.#dials.get(nodeId)
    if (last !== undefined && now - last.atMs < last.againMs) return false
    // who stayed for long before it went begins anew
    const isKnown = last !== undefined && now - last.atMs < 2 * maxAgainMs
    this.#dials.delete(nodeId)
    this.#dials.set(nodeId, {
      atMs: now,
      againMs: isKnown ? Math.min(last.againMs * 2, maxAgainMs) : againMs,
    })
    if (this.#dials.size > maxRemembered) this.#dials.delete(this.#dials.keys().next().value as string)
    return true
  }
}

/** `isNeighbour`: whether a peer is one whose loss leaves a place; one that stores nothing is not. Gives the function that ends it. */
export function keepMeeting(
  libp2p: DhtLibp2p,
  runtime: Runtime,
  isNeighbour: (peerId: PeerId) => boolean,
  options: MeetOptions = DEFAULT_MEET_OPTIONS,
): () => void {
  let timer: Timer | undefined
  let dueMs = 0
  let pauseMs = options.firstMs
  let lookedAtMs = Number.NEGATIVE_INFINITY
  const stop = new AbortController()
  const pace = new DialPace(runtime, options)
  const schedule = (waitMs: number) => {
    timer?.clear()
    if (stop.signal.aborted) return
    dueMs = runtime.monotonicNow() + waitMs
    timer = runtime.setTimer(() => void round(), waitMs)
  }
  const round = async () => {
    lookedAtMs = runtime.monotonicNow()
    const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(options.roundMs)])
    const met = await meetNeighbours(libp2p, signal, options.maxNeighbours, pace).catch(() => 0)
    pauseMs = met > 0 ? options.firstMs : Math.min(pauseMs * 2, options.maxMs)
    schedule(jittered(runtime, pauseMs))
  }
  const onDisconnect = ({ detail }: CustomEvent<PeerId>) => {
    if (!isNeighbour(detail)) return
    pauseMs = Math.min(pauseMs, options.lossMs)
    const now = runtime.monotonicNow()
    const waitMs = Math.max(options.firstMs, lookedAtMs + options.lossMs - now)
    if (now + waitMs < dueMs) schedule(jittered(runtime, waitMs))
  }
  libp2p.addEventListener('peer:disconnect', onDisconnect)
  schedule(jittered(runtime, pauseMs))
  return () => {
    stop.abort()
    timer?.clear()
    libp2p.removeEventListener('peer:disconnect', onDisconnect)
  }
}

/** One look for oneself in both DHTs; connects to those found. Gives how many are new. */
export async function meetNeighbours(
  libp2p: DhtLibp2p,
  signal: AbortSignal,
  maxNeighbours = DEFAULT_MEET_OPTIONS.maxNeighbours,
  pace?: DialPace,
): Promise<number> {
  const { kad, kadDurable } = libp2p.services
  const found = new Map<string, PeerId>()
  await Promise.allSettled([kad, kadDurable].map((service) => lookForSelf(libp2p, service, found, signal)))
  const room = Math.min(maxNeighbours, maxConnections(libp2p) / 2) - libp2p.getPeers().length
  let dialled = 0
  let met = 0
  const strangers = found.values()
  const meetInTurn = async () => {
    for (const peerId of strangers) {
      if (dialled >= room || signal.aborted) return
      if (libp2p.getConnections(peerId).length > 0 || pace?.take(peerId.toString()) === false) continue
      dialled += 1
      const connection = await reach(libp2p, peerId, signal).catch(() => undefined)
      if (connection !== undefined) met += 1
    }
  }
  await Promise.all(Array.from({ length: DIALS_AT_ONCE }, meetInTurn))
  return met
}

/** More handshakes at the same time would each take longer than a slow machine gives them, and all be in vain. */
const DIALS_AT_ONCE = 4

/** What libp2p's connection manager offers beyond the node's published type. */
interface WithComponents {
  components: { connectionManager: { getMaxConnections(): number } }
}

const maxConnections = (libp2p: DhtLibp2p): number =>
  (libp2p as unknown as WithComponents).components.connectionManager.getMaxConnections()

async function lookForSelf(
  libp2p: DhtLibp2p,
  service: KadDHT,
  found: Map<string, PeerId>,
  signal: AbortSignal,
): Promise<void> {
  if (routingTable(service).size === 0) return // nobody to ask
  for await (const event of service.getClosestPeers(libp2p.peerId.toMultihash().bytes, { signal })) {
    const peers =
      event.name === 'PEER_RESPONSE' ? event.closer : event.name === 'FINAL_PEER' ? [event.peer] : []
    for (const { id } of peers) if (!id.equals(libp2p.peerId)) found.set(id.toString(), id)
  }
}
