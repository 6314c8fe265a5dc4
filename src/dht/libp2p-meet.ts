import type { PeerId } from '@libp2p/interface'
import type { KadDHT } from '@libp2p/kad-dht'
import type { DhtLibp2p } from './libp2p.ts'
import { routingTable } from './routing-table.ts'
import { jittered, type Runtime, type Timer } from './runtime.ts'

/**
 * Keeps a node acquainted with its neighbours: it looks for itself in both DHTs and connects to whom it finds, often while
 * that brings somebody new and seldom once it does not. kad-dht alone takes tens of seconds when several nodes join at
 * once, because each looked before the others were known.
 */

export interface MeetOptions {
  firstMs: number
  /** The pause doubles up to here while nobody new is found. */
  maxMs: number
  /** One round, look-ups and dials. */
  roundMs: number
  /** Connections made on account of this; the connection manager has its own, higher bound. */
  maxNeighbours: number
}

export const DEFAULT_MEET_OPTIONS: MeetOptions = {
  firstMs: 250,
  maxMs: 30_000,
  roundMs: 10_000,
  maxNeighbours: 32,
}

/** Gives the function that ends it. */
export function keepMeeting(
  libp2p: DhtLibp2p,
  runtime: Runtime,
  options: MeetOptions = DEFAULT_MEET_OPTIONS,
): () => void {
  let timer: Timer | undefined
  let pauseMs = options.firstMs
  const stop = new AbortController()
  const schedule = () => {
    timer?.clear()
    if (!stop.signal.aborted) timer = runtime.setTimer(() => void round(), jittered(runtime, pauseMs))
  }
  const round = async () => {
    const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(options.roundMs)])
    const met = await meetNeighbours(libp2p, signal, options.maxNeighbours).catch(() => 0)
    pauseMs = met > 0 ? options.firstMs : Math.min(pauseMs * 2, options.maxMs)
    schedule()
  }
  const onDisconnect = () => {
    if (pauseMs <= options.firstMs) return
    pauseMs = options.firstMs
    schedule()
  }
  libp2p.addEventListener('peer:disconnect', onDisconnect)
  schedule()
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
): Promise<number> {
  const { kad, kadDurable } = libp2p.services
  const found = new Map<string, PeerId>()
  await Promise.allSettled([kad, kadDurable].map((service) => lookForSelf(libp2p, service, found, signal)))
  const room = maxNeighbours - libp2p.getPeers().length
  const strangers = [...found.values()].filter((peerId) => libp2p.getConnections(peerId).length === 0)
  const dials = strangers.slice(0, Math.max(0, room)).map((peerId) => libp2p.dial(peerId, { signal }))
  return (await Promise.allSettled(dials)).filter(({ status }) => status === 'fulfilled').length
}

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
